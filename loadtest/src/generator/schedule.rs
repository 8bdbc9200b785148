//! When requests are due. A pure value: `now` is an argument. Invariant: what is due does not depend on what was answered, nor on when
//! anybody asked.

/// The moments of one phase, in nanoseconds on the caller's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: u64,
    end: u64,
    /// Requests per second; `None`: due whenever asked.
    rate: Option<u32>,
    taken: u64,
}

impl Schedule {
    pub(crate) fn new(start: u64, nanos: u64, rate: Option<u32>) -> Self {
        Self {
            start,
            end: start + nanos,
            rate,
            taken: 0,
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The next request's moment, if it has come: from then on its latency runs.
    pub(crate) fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next_due(now)?;
        if due > now {
            return None;
        }
        self.taken += 1;
        Some(due)
    }

    /// When the next request is due; `None` when no more are.
    pub(crate) fn next_due(&self, now: u64) -> Option<u64> {
        let due = match self.rate {
            // By multiplication, not by adding a rounded interval: no drift, whatever the rate.
            Some(rate) => {
                self.start + self.taken.saturating_mul(1_000_000_000) / u64::from(rate.max(1))
            }
            None => now,
        };
        (due < self.end).then_some(due)
    }
}
