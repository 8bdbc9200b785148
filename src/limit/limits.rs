//! The numbers of one version of the limits, in the units that the buckets count in. Not where the current version is kept.
//! Invariant: 1 <= capacity < 2^24 and `token_ns` >= 1, whatever the settings say.
use super::word::CAPACITY_MAX;

const WINDOW_NS: u64 = 60_000_000_000;
pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// L, B, D and what follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// L: tokens that come back per minute.
    pub(super) rpm: u32,
    /// B: tokens that an idle key has above L.
    pub(super) burst: u32,
    /// C = L + B.
    pub(super) capacity: u32,
    /// D; 0 = never block.
    pub(super) block_ns: u64,
    /// ceil(W / L): rounded up, so that rounding never admits more.
    pub(super) token_ns: u64,
    /// Grows with every change.
    pub(super) version: u64,
}

impl Limits {
    pub(super) fn new(rpm: u32, burst: u32, block_ms: u64, version: u64) -> Self {
        let rpm = rpm.clamp(1, CAPACITY_MAX);
        let burst = burst.min(CAPACITY_MAX - rpm);
        Self {
            rpm,
            burst,
            capacity: rpm + burst,
            block_ns: block_ms.saturating_mul(1_000_000),
            token_ns: WINDOW_NS.div_ceil(u64::from(rpm)),
            version,
        }
    }

    /// Whole tokens that `elapsed_ns` bring, at most C. Compares before it divides: most takes come less than a token apart.
    pub(super) fn refill(&self, elapsed_ns: u64) -> u32 {
        if elapsed_ns < self.token_ns {
            return 0;
        }
        let tokens = elapsed_ns / self.token_ns;
        u32::try_from(tokens).map_or(self.capacity, |tokens| tokens.min(self.capacity))
    }

    /// `X-RateLimit-Remaining`: the burst is not promised.
    pub(super) fn remaining(&self, tokens: u32) -> u32 {
        tokens.saturating_sub(self.burst).min(self.rpm)
    }
}

/// `Retry-After`: whole seconds, rounded up, at least 1.
pub(super) fn seconds(ns: u64) -> u32 {
    u32::try_from(ns.div_ceil(SECOND_NS))
        .unwrap_or(u32::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let limits = Limits::new(100, 20, 60_000, 1);
        assert_eq!((limits.capacity, limits.token_ns), (120, 600_000_000));
        for (tokens, remaining) in [(120, 100), (119, 99), (21, 1), (20, 0), (0, 0)] {
            assert_eq!(limits.remaining(tokens), remaining);
        }
        for (elapsed, tokens) in [(0, 0), (599_999_999, 0), (600_000_000, 1), (u64::MAX, 120)] {
            assert_eq!(limits.refill(elapsed), tokens);
        }
        for (ns, s) in [
            (0, 1),
            (1, 1),
            (SECOND_NS, 1),
            (SECOND_NS + 1, 2),
            (u64::MAX, u32::MAX),
        ] {
            assert_eq!(seconds(ns), s);
        }
        assert_eq!(Limits::new(0, u32::MAX, u64::MAX, 1).capacity, CAPACITY_MAX);
    }
}
