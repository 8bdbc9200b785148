//! What a node does by itself while the store is away: its share of each bucket. Not the decision that it is away.
//! Invariant: all nodes' shares of a key together are at most the bucket that each was last told of.
use crate::limit::limits::{Limits, TOKEN_UNITS};
use crate::limit::slot::Told;

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
    nodes: u32,
    /// Tokens of it that the store has counted as spent already: they were left when a lease ended.
    paid: u32,
    /// What the store had told before this node began to tell its own part.
    before: Told,
}

impl Share {
    /// `told`: what the store has said last; None for a key that nobody knows. `owed`: what this node has admitted in an outage before,
    /// and the store does not know yet.
    pub(super) fn new(
        told: Option<Told>,
        owed: u32,
        nodes: u32,
        limits: &Limits,
        now: u64,
    ) -> Self {
        let mut share = Self {
            level: 0,
            at_ns: now,
            nodes: nodes.max(1),
            paid: 0,
            before: told.unwrap_or(Told {
                level: 0,
                out: 0,
                at_ns: now,
            }),
        };
        let full = share.full(limits);
        // A level of x units is x/N for each, which is x in units of 1/(W*N).
        let level = told.map_or(full, |told| told.aged(limits, now).min(full));
        share.level = level.saturating_sub(u64::from(owed) * share.token());
        share
    }

    /// One token in this share's units.
    fn token(&self) -> u64 {
        TOKEN_UNITS * u64::from(self.nodes)
    }

    fn full(&self, limits: &Limits) -> u64 {
        u64::from(limits.capacity / self.nodes) * self.token()
    }

    /// What the store had told.
    pub(super) fn before(&self) -> Told {
        self.before
    }

    /// What this node tells of the key meanwhile: its level times N, since the last take.
    pub(super) fn told(&self, limits: &Limits) -> Told {
        // Room for C/N tokens and not for C.
        let rest = u64::from(limits.capacity) - self.full(limits) / TOKEN_UNITS;
        Told {
            level: self.level,
            out: u32::try_from(rest).unwrap_or(0),
            at_ns: self.at_ns,
        }
    }

    /// Adds what was left of a lease when it ended; the bound of a share is that of its capacity.
    pub(super) fn keep(&mut self, tokens: u32, limits: &Limits) {
        let room = self.full(limits).saturating_sub(self.level) / self.token();
        let kept = tokens.min(u32::try_from(room).unwrap_or(tokens));
        self.level += u64::from(kept) * self.token();
        self.paid += kept;
    }

    /// Of so many admitted tokens, those that are to be owed.
    pub(super) fn owe(&mut self, tokens: u32) -> u32 {
        let paid = tokens.min(self.paid);
        self.paid -= paid;
        tokens - paid
    }

    /// Takes a part of what is left, to be spent without asking.
    pub(super) fn advance(&mut self, max: u32) -> u32 {
        let tokens = u32::try_from(self.level / self.token() / 8)
            .unwrap_or(max)
            .min(max);
        self.level -= u64::from(tokens) * self.token();
        tokens
    }

    /// What was taken ahead and is not spent; `paid` of it was not owed.
    pub(super) fn give(&mut self, tokens: u32, paid: u32) {
        self.level += u64::from(tokens) * self.token();
        self.paid += paid;
    }

    /// Takes `cost`, or gives the ns to wait.
    pub(super) fn take(&mut self, cost: u32, limits: &Limits, now: u64) -> Result<(), u64> {
        let ms = now.saturating_sub(self.at_ns) / MS;
        self.level = (self
            .level
            .saturating_add(ms.saturating_mul(u64::from(limits.rpm))))
        .min(self.full(limits));
        self.at_ns += ms * MS;
        let price = u64::from(cost) * self.token();
        if self.level < price {
            return Err((price - self.level).div_ceil(u64::from(limits.rpm)) * MS);
        }
        self.level -= price;
        Ok(())
    }

    /// What is left, as `limits` tells it: this node's part while the store is away, else as much of the whole bucket.
    pub(super) fn tokens(&self, limits: &Limits) -> u32 {
        u32::try_from(self.level / limits.token_units()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g23_forty_of_sixty_on_each_of_three_nodes() {
        let limits = Limits::new(100, 20, 0, 1);
        let told = |level| Told {
            level,
            out: 0,
            at_ns: 0,
        };
        let admitted = |level: Option<u64>, now: u64| {
            let mut share = Share::new(level.map(told), 0, 3, &limits, 0);
            (0..60)
                .filter(|_| share.take(1, &limits, now).is_ok())
                .count()
        };
        for (level, now, expected) in [
            (None, 0, 40),
            (Some(120 * TOKEN_UNITS), 0, 40),
            (Some(60 * TOKEN_UNITS), 0, 20),
            (Some(0), 0, 0),
            (Some(0), 1_800 * MS, 1),
            (Some(0), 1_799 * MS, 0),
            (Some(0), 600_000 * MS, 40),
        ] {
            assert_eq!(admitted(level, now), expected, "{level:?} at {now}");
        }
        let mut empty = Share::new(Some(told(0)), 0, 3, &limits, 0);
        assert_eq!(empty.take(1, &limits, 0), Err(1_800 * MS));
    }

    #[test]
    fn what_is_owed_is_not_admitted_twice_and_an_advance_can_be_given_back() {
        let limits = Limits::new(100, 20, 0, 1);
        let mut share = Share::new(None, 30, 3, &limits, 0);
        let taken = share.advance(256);
        assert_eq!(taken, 1, "an eighth of the ten that are left");
        share.give(taken, 0);
        let admitted = (0..60).filter(|_| share.take(1, &limits, 0).is_ok());
        assert_eq!(admitted.count(), 10);
    }

    #[test]
    fn what_is_left_of_a_lease_is_kept_within_the_share_and_not_owed() {
        let limits = Limits::new(100, 20, 0, 1).as_told(3, true);
        for (level, rest, kept) in [(30, 5, 5), (30, 15, 10), (40, 5, 0)] {
            let told = Told {
                level: level * 3 * TOKEN_UNITS,
                out: 0,
                at_ns: 0,
            };
            let mut share = Share::new(Some(told), 0, 3, &limits, 0);
            share.keep(rest, &limits);
            assert_eq!(
                share.tokens(&limits),
                u32::try_from(level).unwrap_or(0) + kept
            );
            assert_eq!(share.owe(20), 20 - kept);
            assert_eq!(share.owe(20), 20);
        }
    }

    #[test]
    fn what_is_told_is_this_nodes_own_part() {
        let limits = Limits::new(100, 20, 0, 1).as_told(3, true);
        let mut share = Share::new(None, 0, 3, &limits, 0);
        for left in (0..40).rev() {
            assert_eq!(share.take(1, &limits, 0), Ok(()));
            let told = share.told(&limits);
            assert_eq!(
                (told.tokens(&limits, 0), share.tokens(&limits)),
                (left, left)
            );
        }
        let told = share.told(&limits);
        let wait = share.take(1, &limits, 0);
        assert_eq!(wait, Err(told.wait_ns(1, &limits, 0)));
        // It fills as the share does, and no further.
        for (s, tokens) in [(1, 0), (2, 1), (18, 10), (72, 40), (1_000, 40)] {
            assert_eq!(told.tokens(&limits, s * 1_000 * MS), tokens, "after {s} s");
        }
    }
}
