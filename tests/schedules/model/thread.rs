//! `std::thread`: threads that the explorer runs one step at a time.

use std::fmt;
use std::io;
use std::num::NonZero;

use real_std::sync::{Arc, Mutex};

pub(crate) use real_std::thread::*;

use crate::model::weave::{Bell, World, give_way, is_explored, wait, world};

/// What every thread of the model has: untouched pages cost nothing.
pub(crate) const STACK_BYTES: usize = 2 << 20;

/// As std's.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    name: String,
    stack_bytes: usize,
}

struct End<T> {
    value: Mutex<Option<T>>,
    bell: Bell,
}

/// As std's.
pub(crate) struct JoinHandle<T>(Arc<End<T>>);

impl Builder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn name(self, name: String) -> Self {
        Self { name, ..self }
    }

    pub(crate) fn stack_size(self, stack_bytes: usize) -> Self {
        Self { stack_bytes, ..self }
    }

    pub(crate) fn spawn<T: Send + 'static>(
        self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let end = Arc::new(End { value: Mutex::new(None), bell: Bell::default() });
        let at_end = Arc::clone(&end);
        let run = move || {
            let value = body();
            *at_end.value.lock().expect("never poisoned") = Some(value);
            at_end.bell.ring();
        };
        if !is_explored() {
            real_std::thread::Builder::new().name(self.name).stack_size(self.stack_bytes).spawn(run)?;
            return Ok(JoinHandle(end));
        }
        if !world(World::take_thread) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // Dropping this handle lets go of nothing: a thread that does not end is a deadlock.
        drop(shuttle::thread::Builder::new().name(self.name).stack_size(STACK_BYTES).spawn(run)?);
        Ok(JoinHandle(end))
    }
}

impl<T> JoinHandle<T> {
    pub(crate) fn join(self) -> Result<T> {
        Ok(wait(&[&self.0.bell], || self.0.value.lock().expect("never poisoned").take()))
    }

    pub(crate) fn is_finished(&self) -> bool {
        give_way();
        self.0.value.lock().expect("never poisoned").is_some()
    }
}

/// As std's.
pub(crate) fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    Builder::new().stack_size(STACK_BYTES).spawn(body).expect("a thread")
}

/// One: signatures are checked where they are read.
pub(crate) fn available_parallelism() -> io::Result<NonZero<usize>> {
    Ok(NonZero::<usize>::MIN)
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinHandle")
    }
}
