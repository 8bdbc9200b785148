//! A bound on how often one kind of log line is written, with a count of the lines that were left out. Not the line itself.
//! Invariant: however often an event happens, at most one line per interval says so, and no event is lost from the count.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

/// The bound of one kind of line, for all threads of the process.
#[derive(Debug)]
pub struct SharedThrottle {
    interval_ms: u64,
    next_ms: AtomicU64,
    left_out: AtomicU64,
}

impl SharedThrottle {
    /// At most one line per `interval_ms`.
    #[must_use]
    pub const fn new(interval_ms: u64) -> Self {
        Self {
            interval_ms,
            next_ms: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// As [`Throttle::pass`]; the threads' clocks are one.
    pub fn pass(&self, now_ms: u64) -> Option<u64> {
        let next_ms = self.next_ms.load(Relaxed);
        let later_ms = now_ms.saturating_add(self.interval_ms);
        let is_due = now_ms >= next_ms
            && self
                .next_ms
                .compare_exchange(next_ms, later_ms, Relaxed, Relaxed)
                .is_ok();
        if is_due {
            return Some(self.left_out.swap(0, Relaxed));
        }
        self.left_out.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_counts_the_events_between() {
        let throttle = Throttle::new(1_000);
        let shared = SharedThrottle::new(1_000);
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
            assert_eq!(shared.pass(now_ms), expected, "at {now_ms}");
        }
    }

    #[test]
    fn threads_share_one_line_and_lose_no_event() {
        let throttle = SharedThrottle::new(1_000);
        let lines = std::thread::scope(|scope| {
            let count = || (0..1_000).filter_map(|_| throttle.pass(5)).count();
            let threads = [(); 4].map(|()| scope.spawn(count));
            threads
                .map(|thread| thread.join().unwrap_or(0))
                .iter()
                .sum()
        });
        assert_eq!((lines, throttle.pass(1_005)), (1_usize, Some(3_999)));
    }
}
