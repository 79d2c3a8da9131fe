//! How much of what can be tried is tried: `POWER=4096`, or `POWER=all`, asks for more than a plain `cargo test`.

/// The extent of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Up to so many mixtures at one crash point are all tried; of more, so many drawn ones.
    pub(crate) mixtures: u32,
    /// Of so many remains, in one each call of the recovery is the last one too; beside the three plain ones.
    pub(crate) nested_each: usize,
    /// Whether whatever can be counted through is, and not only samples of it.
    pub(crate) is_deep: bool,
}

impl Scale {
    /// What the environment asks for.
    pub(crate) fn asked() -> Self {
        match std::env::var("POWER") {
            Err(_) => Self { mixtures: 512, nested_each: 64, is_deep: false },
            Ok(all) if all == "all" => Self { mixtures: 4_096, nested_each: 1, is_deep: true },
            Ok(number) => {
                let mixtures = number.parse().expect("POWER is a number of mixtures, or `all`");
                Self { mixtures, nested_each: 16, is_deep: true }
            }
        }
    }

    /// One measure or, in a deep run, the other.
    pub(crate) fn or_deep<T>(self, plain: T, deep: T) -> T {
        if self.is_deep { deep } else { plain }
    }
}
