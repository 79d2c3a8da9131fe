//! Channels as crossbeam has them: bounded or not, many senders, and a choice between several receivers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use real_std::sync::atomic::AtomicUsize;
use real_std::sync::{Mutex, MutexGuard};

pub(crate) use real_crossbeam::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};

use crate::model::chance::once_in;
use crate::model::time::pass;
use crate::model::weave::{Bell, give_way, is_explored, wait, world};

struct Queue<T> {
    waiting: VecDeque<T>,
    senders: usize,
    receivers: usize,
    /// Looks at what waits whenever something has joined it.
    guard: Option<Guard<T>>,
}

type Guard<T> = Box<dyn Fn(&VecDeque<T>) + Send>;

struct Shared<T> {
    capacity: usize,
    queue: Mutex<Queue<T>>,
    bell: Bell,
}

impl<T> Shared<T> {
    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().expect("never poisoned")
    }

    fn put(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut queue = self.queue();
        if queue.receivers == 0 {
            return Err(TrySendError::Disconnected(value));
        }
        if queue.waiting.len() >= self.capacity {
            return Err(TrySendError::Full(value));
        }
        queue.waiting.push_back(value);
        if let Some(guard) = &queue.guard {
            guard(&queue.waiting);
        }
        drop(queue);
        self.bell.ring();
        Ok(())
    }

    fn take(&self) -> Result<T, TryRecvError> {
        let mut queue = self.queue();
        let taken = queue.waiting.pop_front();
        let nobody = queue.senders == 0;
        drop(queue);
        self.bell.ring();
        taken.ok_or(if nobody { TryRecvError::Disconnected } else { TryRecvError::Empty })
    }
}

/// As crossbeam's.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// As crossbeam's.
pub(crate) struct Receiver<T>(Source<T>);

enum Source<T> {
    Queue(Arc<Shared<T>>),
    /// Has something so many times more, whenever it likes.
    Time {
        left: AtomicUsize,
        pause: Duration,
        make: fn() -> T,
    },
}

/// As crossbeam's.
pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let queue = Queue { waiting: VecDeque::new(), senders: 1, receivers: 1, guard: None };
    let shared = Arc::new(Shared { capacity, queue: Mutex::new(queue), bell: Bell::default() });
    (Sender(Arc::clone(&shared)), Receiver(Source::Queue(shared)))
}

/// As crossbeam's.
pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

/// As crossbeam's, but as often as the world says.
pub(crate) fn tick(pause: Duration) -> Receiver<Instant> {
    let left = AtomicUsize::new(world(|world| world.ticks));
    Receiver(Source::Time { left, pause, make: Instant::now })
}

/// As crossbeam's.
pub(crate) fn after(pause: Duration) -> Receiver<Instant> {
    Receiver(Source::Time { left: AtomicUsize::new(1), pause, make: Instant::now })
}

/// As crossbeam's.
pub(crate) fn never<T>() -> Receiver<T> {
    let make = || unreachable!("nothing is left");
    Receiver(Source::Time { left: AtomicUsize::new(0), pause: Duration::ZERO, make })
}

impl<T> Sender<T> {
    pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut left = Some(value);
        wait(&[&self.0.bell], || match self.0.put(left.take().expect("it comes back when it does not fit")) {
            Ok(()) => Some(Ok(())),
            Err(TrySendError::Disconnected(value)) => Some(Err(SendError(value))),
            Err(TrySendError::Full(value)) => {
                left = Some(value);
                None
            }
        })
    }

    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        give_way();
        self.0.put(value)
    }

    /// The time may be over whenever there is no room.
    pub(crate) fn send_deadline(&self, value: T, until: Instant) -> Result<(), SendTimeoutError<T>> {
        let mut left = Some(value);
        wait(&[&self.0.bell], || match self.0.put(left.take().expect("it comes back when it does not fit")) {
            Ok(()) => Some(Ok(())),
            Err(TrySendError::Disconnected(value)) => Some(Err(SendTimeoutError::Disconnected(value))),
            Err(TrySendError::Full(value)) if is_over(until) => Some(Err(SendTimeoutError::Timeout(value))),
            Err(TrySendError::Full(value)) => {
                left = Some(value);
                None
            }
        })
    }

    pub(crate) fn len(&self) -> usize {
        give_way();
        self.0.queue().waiting.len()
    }
}

impl<T> Receiver<T> {
    pub(crate) fn recv(&self) -> Result<T, RecvError> {
        pick(&[self]);
        self.taken()
    }

    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        give_way();
        self.take()
    }

    /// The time may be over whenever nothing is there.
    pub(crate) fn recv_timeout(&self, limit: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_deadline(Instant::now() + limit)
    }

    /// The same.
    pub(crate) fn recv_deadline(&self, until: Instant) -> Result<T, RecvTimeoutError> {
        wait(&[self.bell().expect("only the owner waits for time")], || match self.take() {
            Ok(value) => Some(Ok(value)),
            Err(TryRecvError::Disconnected) => Some(Err(RecvTimeoutError::Disconnected)),
            Err(TryRecvError::Empty) => is_over(until).then_some(Err(RecvTimeoutError::Timeout)),
        })
    }

    pub(crate) fn capacity(&self) -> Option<usize> {
        self.shared().map(|shared| shared.capacity)
    }

    pub(crate) fn len(&self) -> usize {
        give_way();
        self.shared().map_or(0, |shared| shared.queue().waiting.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn try_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.try_recv().ok())
    }

    /// Lets this look at what waits, in the moment in which something joins it.
    pub(crate) fn guard(&self, guard: impl Fn(&VecDeque<T>) + Send + 'static) {
        self.shared().expect("a queue").queue().guard = Some(Box::new(guard));
    }

    /// What a choice that fell on this one brings; nobody else runs in between.
    pub(crate) fn taken(&self) -> Result<T, RecvError> {
        self.take().map_err(|_| RecvError)
    }

    fn shared(&self) -> Option<&Arc<Shared<T>>> {
        match &self.0 {
            Source::Queue(shared) => Some(shared),
            Source::Time { .. } => None,
        }
    }

    fn take(&self) -> Result<T, TryRecvError> {
        match &self.0 {
            Source::Queue(shared) => shared.take(),
            Source::Time { left, pause, make } => {
                left.fetch_sub(1, Ordering::SeqCst);
                pass(*pause);
                Ok(make())
            }
        }
    }
}

/// Whether a wait until then has lasted long enough: by chance, and then so much time has passed.
fn is_over(until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    if is_explored() && !left.is_zero() && once_in(2) {
        pass(left);
        return true;
    }
    left.is_zero()
}

/// What a choice is made between.
pub(crate) trait Ready {
    /// Whether there is something, or never will be; by chance where it depends on time.
    fn is_ready(&self) -> bool;
    /// Whether time alone can bring something.
    fn is_timed(&self) -> bool;
    /// What rings when that changes.
    fn bell(&self) -> Option<&Bell>;
}

impl<T> Ready for Receiver<T> {
    fn is_ready(&self) -> bool {
        match &self.0 {
            Source::Queue(shared) => {
                let queue = shared.queue();
                !queue.waiting.is_empty() || queue.senders == 0
            }
            Source::Time { pause, .. } => self.is_timed() && (pause.is_zero() || once_in(4)),
        }
    }

    fn is_timed(&self) -> bool {
        matches!(&self.0, Source::Time { left, .. } if left.load(Ordering::SeqCst) > 0)
    }

    fn bell(&self) -> Option<&Bell> {
        self.shared().map(|shared| &shared.bell)
    }
}

impl<R: Ready> Ready for &R {
    fn is_ready(&self) -> bool {
        (**self).is_ready()
    }
    fn is_timed(&self) -> bool {
        (**self).is_timed()
    }
    fn bell(&self) -> Option<&Bell> {
        (**self).bell()
    }
}

/// Waits until one of these has something, and says which; the first of several.
pub(crate) fn pick(from: &[&dyn Ready]) -> usize {
    let bells: Vec<&Bell> = from.iter().filter_map(|source| source.bell()).collect();
    let ready = || from.iter().position(|source| source.is_ready());
    // Where nobody else has anything, it is time that passes.
    wait(&bells, || ready().or_else(|| from.iter().position(|source| source.is_timed())))
}

/// As crossbeam's, for the forms in which it is used here. A limit of time never ends the wait.
macro_rules! select_biased {
    (@sort [$($arms:tt)*]) => { $crate::model::channel::select_biased!(@run $($arms)*) };
    (@sort [$($arms:tt)*] default($limit:expr) => $then:block) => {{
        let _ = $limit;
        $crate::model::channel::select_biased!(@run $($arms)*)
    }};
    (@sort [$($arms:tt)*] recv($from:expr) -> $name:pat => $then:block, $($rest:tt)*) => {
        $crate::model::channel::select_biased!(@sort [$($arms)* ($from, $name, $then)] $($rest)*)
    };
    (@sort [$($arms:tt)*] recv($from:expr) -> $name:pat => $then:block $($rest:tt)*) => {
        $crate::model::channel::select_biased!(@sort [$($arms)* ($from, $name, $then)] $($rest)*)
    };
    (@sort [$($arms:tt)*] recv($from:expr) -> $name:pat => $then:expr, $($rest:tt)*) => {
        $crate::model::channel::select_biased!(@sort [$($arms)* ($from, $name, $then)] $($rest)*)
    };
    (@run $(($from:expr, $name:pat, $then:expr))*) => {{
        let picked = $crate::model::channel::pick(&[$(&$from),*]);
        $crate::model::channel::select_biased!(@arm picked, 0, $(($from, $name, $then))*)
    }};
    (@arm $picked:ident, $place:expr,) => { unreachable!("one of them was picked") };
    (@arm $picked:ident, $place:expr, ($from:expr, $name:pat, $then:expr) $($rest:tt)*) => {
        if $picked == $place {
            let $name = $from.taken();
            $then
        } else {
            $crate::model::channel::select_biased!(@arm $picked, $place + 1, $($rest)*)
        }
    };
    ($($arms:tt)*) => { $crate::model::channel::select_biased!(@sort [] $($arms)*) };
}
pub(crate) use select_biased;
// Which of several comes first is no promise of `select!`, and nothing here may depend on it.
pub(crate) use select_biased as select;

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.queue().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if is_explored() {
            give_way();
        }
        self.0.queue().senders -= 1;
        self.0.bell.ring();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if is_explored() {
            give_way();
        }
        let Some(shared) = self.shared() else { return };
        let mut queue = shared.queue();
        queue.receivers -= 1;
        // What waits is dropped with the last receiver, but not under the lock.
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        shared.bell.ring();
        drop(waiting);
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Box<dyn Iterator<Item = T> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(std::iter::from_fn(|| self.recv().ok()))
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
