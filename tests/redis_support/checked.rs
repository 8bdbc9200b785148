//! The checker of LIMITS.md section 7: all admissions of a key against one exact bucket. Not the limiter's own arithmetic.
//! Invariant: in 1/(60 s * 1 ns) tokens, so that nothing is rounded; every interval is checked, for the worst one ends somewhere.

const MINUTE_NS: u128 = 60_000_000_000;

/// One key.
#[derive(Default)]
pub(crate) struct Checked {
    used: u128,
    at: u64,
    worst: u128,
    pub(crate) tokens: u64,
}

impl Checked {
    /// `cost` tokens were admitted at `now`, in ns.
    pub(crate) fn admit(&mut self, cost: u32, rpm: u32, now: u64) {
        let refill = u128::from(now - self.at) * u128::from(rpm);
        self.used = self.used.saturating_sub(refill) + u128::from(cost) * MINUTE_NS;
        self.worst = self.worst.max(self.used);
        self.at = now;
        self.tokens += u64::from(cost);
    }

    /// The most that was ever used at once, in tokens. Rounded up: half a token too much is too much.
    pub(crate) fn worst(&self) -> i128 {
        self.worst.div_ceil(MINUTE_NS) as i128
    }
}
