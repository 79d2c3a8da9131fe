//! `std::sync` with other atomics: each operation is one step, in one order for all.

pub(crate) use real_std::sync::*;

pub(crate) mod atomic {
    use real_std::sync::Arc;
    use real_std::sync::atomic as real;
    pub(crate) use real_std::sync::atomic::Ordering;

    use crate::model::weave::{give_way, is_explored, world};

    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            /// As std's.
            #[derive(Debug, Default)]
            pub(crate) struct $name(real::$name);

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self(real::$name::new(value))
                }

                pub(crate) fn load(&self, _: Ordering) -> $value {
                    give_way();
                    self.0.load(Ordering::SeqCst)
                }

                pub(crate) fn store(&self, value: $value, _: Ordering) {
                    give_way();
                    self.0.store(value, Ordering::SeqCst);
                }
            }
        };
    }

    atomic!(AtomicBool, bool);
    atomic!(AtomicU64, u64);

    impl AtomicU64 {
        pub(crate) fn fetch_add(&self, more: u64, _: Ordering) -> u64 {
            give_way();
            self.0.fetch_add(more, Ordering::SeqCst)
        }

        pub(crate) fn fetch_max(&self, value: u64, _: Ordering) -> u64 {
            give_way();
            self.0.fetch_max(value, Ordering::SeqCst)
        }
    }

    /// What a counter stands at, and what it stood at when it was highest.
    #[derive(Debug, Default)]
    pub(crate) struct Counter {
        now: real::AtomicUsize,
        highest: real::AtomicUsize,
    }

    impl Counter {
        pub(crate) fn now(&self) -> usize {
            self.now.load(Ordering::SeqCst)
        }

        pub(crate) fn highest(&self) -> usize {
            self.highest.load(Ordering::SeqCst)
        }
    }

    /// As std's; all of them can be looked at in [`world`].
    #[derive(Debug)]
    pub(crate) struct AtomicUsize(Arc<Counter>);

    impl AtomicUsize {
        pub(crate) fn new(value: usize) -> Self {
            let counter = Arc::new(Counter::default());
            counter.now.store(value, Ordering::SeqCst);
            counter.highest.store(value, Ordering::SeqCst);
            if is_explored() {
                world(|world| world.counters.push(Arc::clone(&counter)));
            }
            Self(counter)
        }

        pub(crate) fn load(&self, _: Ordering) -> usize {
            give_way();
            self.0.now()
        }

        pub(crate) fn fetch_add(&self, more: usize, _: Ordering) -> usize {
            give_way();
            let before = self.0.now.fetch_add(more, Ordering::SeqCst);
            self.0.highest.fetch_max(before.wrapping_add(more), Ordering::SeqCst);
            before
        }

        pub(crate) fn fetch_sub(&self, less: usize, _: Ordering) -> usize {
            give_way();
            let before = self.0.now.fetch_sub(less, Ordering::SeqCst);
            self.0.highest.fetch_max(before.wrapping_sub(less), Ordering::SeqCst);
            before
        }
    }

    impl Default for AtomicUsize {
        fn default() -> Self {
            Self::new(0)
        }
    }
}
