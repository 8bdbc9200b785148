//! A bound on how often one kind of log line is written, with a count of the lines that were left out. Not the line itself.
//! Invariant: however often an event happens, at most one line per interval says so, and no event is lost from the count.

use std::cell::Cell;

/// The bound of one kind of line, for one thread.
#[derive(Debug)]
pub struct Throttle {
    interval_ms: u64,
    next_ms: Cell<u64>,
    left_out: Cell<u64>,
}

impl Throttle {
    /// At most one line per `interval_ms`.
    #[must_use]
    pub const fn new(interval_ms: u64) -> Self {
        Self {
            interval_ms,
            next_ms: Cell::new(0),
            left_out: Cell::new(0),
        }
    }

    /// Called for each event. `Some`: a line is due now, and so many events since the last line were left out before this one.
    pub fn pass(&self, now_ms: u64) -> Option<u64> {
        if now_ms < self.next_ms.get() {
            self.left_out.set(self.left_out.get().saturating_add(1));
            return None;
        }
        self.next_ms.set(now_ms.saturating_add(self.interval_ms));
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_counts_the_events_between() {
        let throttle = Throttle::new(1_000);
        let table = [
            (5, Some(0)),
            (6, None),
            (1_004, None),
            (1_005, Some(2)),
            (2_004, None),
            (9_000, Some(1)),
            (10_000, Some(0)),
        ];
        for (now_ms, expected) in table {
            assert_eq!(throttle.pass(now_ms), expected, "at {now_ms}");
        }
    }
}
