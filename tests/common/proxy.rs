//! A wire between two processes that a test can cut, stop and mend, with no rights of a machine's owner.
//!
//! It listens where one of them dials and passes bytes on to where the other listens. A cut wire closes what goes
//! over it and whatever comes; a stopped one keeps connections and moves nothing, so that both ends must find out by
//! themselves.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// What goes over a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Everything.
    All,
    /// Nothing, and nobody is told.
    Stopped,
    /// Nothing, and everybody is told.
    Cut,
    /// Nothing any more.
    Ended,
}

#[derive(Debug)]
struct State {
    flow: Flow,
    next: u64,
    /// Both ends of each connection.
    live: BTreeMap<u64, [TcpStream; 2]>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// See the top of the file. Dropping it cuts it for ever.
#[derive(Debug)]
pub(crate) struct Wire {
    shared: Arc<Shared>,
    port: u16,
    accepting: Option<JoinHandle<()>>,
}

impl Wire {
    /// A wire to a port of this machine.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = State { flow: Flow::All, next: 0, live: BTreeMap::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for visitor in listener.incoming().flatten() {
                if accepting.state().flow == Flow::Ended {
                    return;
                }
                // Nobody there: the visitor finds that out.
                let _ = accepting.connect(visitor, target);
            }
        });
        Self { shared, port, accepting: Some(accepting) }
    }

    /// Where to dial.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn flow(&self) -> Flow {
        self.shared.state().flow
    }

    /// From now on this goes over it.
    pub(crate) fn set(&self, flow: Flow) {
        let mut state = self.shared.state();
        state.flow = flow;
        if matches!(flow, Flow::Cut | Flow::Ended) {
            for end in state.live.values().flatten() {
                // It may be closed already.
                let _ = end.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.set(Flow::Ended);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("it does not panic");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn connect(self: &Arc<Self>, visitor: TcpStream, target: u16) -> std::io::Result<()> {
        if self.state().flow == Flow::Cut {
            return Ok(());
        }
        let host = TcpStream::connect((Ipv4Addr::LOCALHOST, target))?;
        let (visitor_too, host_too) = (visitor.try_clone()?, host.try_clone()?);
        let mut state = self.state();
        if matches!(state.flow, Flow::Cut | Flow::Ended) {
            return Ok(());
        }
        let number = state.next;
        state.next += 1;
        state.live.insert(number, [visitor.try_clone()?, host.try_clone()?]);
        drop(state);
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        let back = std::thread::spawn(move || back.pass_on(host_too, visitor_too));
        std::thread::spawn(move || {
            there.pass_on(visitor, host);
            back.join().expect("it does not panic");
            there.state().live.remove(&number);
        });
        Ok(())
    }

    /// Passes bytes on one way until that ends.
    fn pass_on(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let mut state = self.state();
            while state.flow == Flow::Stopped {
                state = self.changed.wait(state).expect("nobody panics with it");
            }
            drop(state);
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}
