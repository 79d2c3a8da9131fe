//! The lines of a trace: when, who, what.

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: Vec<String>,
    /// The time that stands before the last line that has one.
    told_ms: Option<u64>,
    /// What happens now is left out.
    pub(crate) is_quiet: bool,
}

impl Trace {
    /// Adds a line; the time stands where it is another one than before.
    pub(crate) fn line(&mut self, now_ms: u64, who: &str, what: &str) {
        if self.is_quiet {
            return;
        }
        let time = if self.told_ms == Some(now_ms) {
            String::new()
        } else {
            format!("{}.{:03}", now_ms / 1_000, now_ms % 1_000)
        };
        self.told_ms = Some(now_ms);
        self.lines.push(format!("{time:>8}  {who:<5}  {what}"));
    }

    /// The lines since the last call; the next one has its time again.
    pub(crate) fn take(&mut self) -> Vec<String> {
        self.told_ms = None;
        std::mem::take(&mut self.lines)
    }
}
