//! What a node does by itself while the store is away: its share of each bucket. Not the decision that it is away.
//! Invariant: all nodes' shares of a key together are at most the bucket that each was last told of.
use super::TOKEN_UNITS;
use crate::limit::limits::Limits;

const MS: u64 = 1_000_000;

/// `RATE_LIMIT_ON_OUTAGE`: what is done with requests while the store cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOutage {
    /// Each node admits its share of the limit.
    Share,
    /// Refused, to be tried again in a second.
    Closed,
    /// Admitted, without a bound.
    Open,
}

impl OnOutage {
    /// The name in the setting and in `/health`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

/// A local bucket of capacity floor(C/N), refilled at L/N. Counted in 1/(W*N) tokens, so that L come per ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    level: u64,
    at_ns: u64,
    nodes: u64,
}

impl Share {
    /// `told`: the bucket's level as last told and aged, in units; None for a key that nobody knows. `owed`: what this node has admitted
    /// in an outage before, and the store does not know yet.
    pub(super) fn new(told: Option<u64>, owed: u32, nodes: u32, limits: &Limits, now: u64) -> Self {
        let nodes = u64::from(nodes.max(1));
        let full = u64::from(limits.capacity) / nodes * TOKEN_UNITS * nodes;
        Self {
            // A level of x units is x/N for each, which is x in units of 1/(W*N).
            level: told
                .map_or(full, |told| told.min(full))
                .saturating_sub(u64::from(owed) * TOKEN_UNITS * nodes),
            at_ns: now,
            nodes,
        }
    }

    /// Takes a part of what is left, to be spent without asking.
    pub(super) fn advance(&mut self, max: u32) -> u32 {
        let token = TOKEN_UNITS * self.nodes;
        let tokens = u32::try_from(self.level / token / 8)
            .unwrap_or(max)
            .min(max);
        self.level -= u64::from(tokens) * token;
        tokens
    }

    /// What was taken ahead and is not spent.
    pub(super) fn give(&mut self, tokens: u32) {
        self.level += u64::from(tokens) * TOKEN_UNITS * self.nodes;
    }

    /// Takes `cost`, or gives the ns to wait.
    pub(super) fn take(&mut self, cost: u32, limits: &Limits, now: u64) -> Result<u32, u64> {
        let token = TOKEN_UNITS * self.nodes;
        let full = u64::from(limits.capacity) / self.nodes * token;
        let ms = now.saturating_sub(self.at_ns) / MS;
        self.level = (self
            .level
            .saturating_add(ms.saturating_mul(u64::from(limits.rpm))))
        .min(full);
        self.at_ns += ms * MS;
        let price = u64::from(cost) * token;
        if self.level < price {
            return Err((price - self.level).div_ceil(u64::from(limits.rpm)) * MS);
        }
        self.level -= price;
        // What the whole bucket would show.
        Ok(u32::try_from(self.level / TOKEN_UNITS).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g23_forty_of_sixty_on_each_of_three_nodes() {
        let limits = Limits::new(100, 20, 0, 1);
        let admitted = |told: Option<u64>, now: u64| {
            let mut share = Share::new(told, 0, 3, &limits, 0);
            (0..60)
                .filter(|_| share.take(1, &limits, now).is_ok())
                .count()
        };
        for (told, now, expected) in [
            (None, 0, 40),
            (Some(120 * TOKEN_UNITS), 0, 40),
            (Some(60 * TOKEN_UNITS), 0, 20),
            (Some(0), 0, 0),
            (Some(0), 1_800 * MS, 1),
            (Some(0), 1_799 * MS, 0),
            (Some(0), 600_000 * MS, 40),
        ] {
            assert_eq!(admitted(told, now), expected, "{told:?} at {now}");
        }
        let mut empty = Share::new(Some(0), 0, 3, &limits, 0);
        assert_eq!(empty.take(1, &limits, 0), Err(1_800 * MS));
    }

    #[test]
    fn what_is_owed_is_not_admitted_twice_and_an_advance_can_be_given_back() {
        let limits = Limits::new(100, 20, 0, 1);
        let mut share = Share::new(None, 30, 3, &limits, 0);
        let taken = share.advance(256);
        assert_eq!(taken, 1, "an eighth of the ten that are left");
        share.give(taken);
        let admitted = (0..60).filter(|_| share.take(1, &limits, 0).is_ok());
        assert_eq!(admitted.count(), 10);
    }
}
