//! The checker of LIMITS.md section 7: one exact bucket per key, charged with all admissions of a test, or asked for each of its
//! requests. Not the limiter's own arithmetic. Invariant: in 1/(60 s * 1 ns) tokens, so that nothing is rounded but
//! the store's clock, which counts whole milliseconds; every interval is checked, for the worst one ends somewhere.

use dbpower_gateway::limit::Settings;

const MINUTE_NS: u128 = 60_000_000_000;
/// What lies between two moments of the store's clock may be this much shorter in truth.
const STORE_CLOCK_NS: u128 = 1_000_000;

/// One key.
#[derive(Default)]
pub(crate) struct Checked {
    used: u128,
    at: u64,
    worst: u128,
    pub(crate) tokens: u64,
    /// The most whole tokens that were left when a request was refused.
    pub(crate) gap: u64,
    /// Nothing was admitted since a refusal: with D > 0 the next one may belong to the same block.
    is_refused: bool,
    /// Of this very bucket, when it is asked.
    blocked_until: u64,
}

impl Checked {
    /// `cost` tokens were admitted at `now`, in ns.
    pub(crate) fn admit(&mut self, cost: u32, settings: &Settings, now: u64) {
        self.used = self.used_at(settings, now) + u128::from(cost) * MINUTE_NS;
        let early = STORE_CLOCK_NS * u128::from(settings.rpm);
        self.worst = self.worst.max(self.used.saturating_sub(early));
        (self.at, self.is_refused) = (now, false);
        self.tokens += u64::from(cost);
    }

    /// An operator has filled the bucket and lifted its block.
    pub(crate) fn reset(&mut self, now: u64) {
        (self.used, self.at) = (0, now);
        (self.is_refused, self.blocked_until) = (false, 0);
    }

    /// A request was refused. Within a block only its first refusal is judged.
    pub(crate) fn refuse(&mut self, settings: &Settings, now: u64) {
        let blocks = settings.block_ms > 0;
        if !(blocks && std::mem::replace(&mut self.is_refused, true)) {
            self.gap = self.gap.max(self.left(settings, now));
        }
    }

    /// What this very bucket says to a request.
    pub(crate) fn take(&mut self, cost: u32, settings: &Settings, now: u64) -> bool {
        if now < self.blocked_until {
            return false;
        }
        let passes = self.left(settings, now) >= u64::from(cost);
        if passes {
            self.admit(cost, settings, now);
        } else {
            self.blocked_until = now + settings.block_ms * 1_000_000;
        }
        passes
    }

    /// The most that was ever used at once, in tokens. Rounded up: half a token too much is too much.
    pub(crate) fn worst(&self) -> i128 {
        self.worst.div_ceil(MINUTE_NS) as i128
    }

    fn used_at(&self, settings: &Settings, now: u64) -> u128 {
        let refill = u128::from(now - self.at) * u128::from(settings.rpm);
        self.used.saturating_sub(refill)
    }

    /// Whole tokens.
    fn left(&self, settings: &Settings, now: u64) -> u64 {
        let full = u128::from(settings.rpm + settings.burst) * MINUTE_NS;
        let left = full.saturating_sub(self.used_at(settings, now)) / MINUTE_NS;
        u64::try_from(left).unwrap_or(u64::MAX)
    }
}
