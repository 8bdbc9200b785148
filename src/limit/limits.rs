//! The numbers of one version of the limits, in the units that the buckets count in. Not where the current version is kept.
//! Invariant: 1 <= capacity < 2^24 and `token_ns` >= 1, whatever the settings say.
use super::word::CAPACITY_MAX;

const WINDOW_NS: u64 = 60_000_000_000;
pub(super) const SECOND_NS: u64 = 1_000_000_000;
/// Units of one token: a bucket's level as the store counts it.
pub(super) const TOKEN_UNITS: u64 = 60_000;

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
    /// The largest D that this node has known: no block that some node may remember is longer.
    pub(super) block_ns_max: u64,
    /// ceil(W / L): rounded up, so that rounding never admits more.
    pub(super) token_ns: u64,
    /// Grows with every change that the fleet agrees on.
    pub(super) version: u64,
    /// Grows with every change of this value at this node; what a core compares before each request.
    pub(super) revision: u64,
    /// This node's part of each bucket is 1/nodes. More than 1 only while the store is away.
    pub(super) nodes: u32,
    /// Requests are told their numbers. False only while the store is away and nothing is charged.
    pub(super) are_told: bool,
    /// The most that this node's part of a bucket holds.
    pub(super) part: u32,
    /// The part of B that is not promised by what this node tells.
    pub(super) withheld: u32,
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
            block_ns_max: block_ms.saturating_mul(1_000_000),
            token_ns: WINDOW_NS.div_ceil(u64::from(rpm)),
            version,
            revision: 0,
            nodes: 1,
            are_told: true,
            part: rpm + burst,
            withheld: burst,
        }
    }

    /// The same limits, as a node that cannot reach the store tells them.
    pub(super) fn as_told(self, nodes: u32, are_told: bool) -> Self {
        let nodes = nodes.max(1);
        Self {
            nodes,
            are_told,
            part: self.capacity / nodes,
            withheld: self.burst / nodes,
            ..self
        }
    }

    /// What the store counts as one token of this node's part, in units of its level.
    pub(super) fn token_units(&self) -> u64 {
        TOKEN_UNITS * u64::from(self.nodes)
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
        tokens.saturating_sub(self.withheld).min(self.rpm)
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

    #[test]
    fn a_node_that_is_cut_off_tells_its_part() {
        // nodes, part, tokens of it: remaining
        for (nodes, part, tokens, remaining) in [
            (1, 120, 119, 99),
            (3, 40, 39, 33),
            (3, 40, 6, 0),
            (200, 0, 0, 0),
        ] {
            let limits = Limits::new(100, 20, 0, 1).as_told(nodes, true);
            let found = (limits.part, limits.remaining(tokens));
            assert_eq!(found, (part, remaining), "{nodes} nodes");
        }
    }
}
