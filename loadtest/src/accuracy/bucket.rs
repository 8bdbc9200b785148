//! One exact token bucket in integers, as LIMITS.md section 1 has it. A pure value: `now` is an argument, in ns since a run's start.
//! Invariant: never above its capacity; `take` never leaves it below zero, only `charge` may.

use serde::{Deserialize, Serialize};

const MINUTE_NS: i64 = 60_000_000_000;

/// The limit of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limit {
    pub per_minute: u32,
    pub burst: u32,
    /// A refusal blocks the key for so long; 0: never.
    pub block_s: u32,
}

impl Limit {
    /// C: tokens of a full bucket.
    pub(crate) fn capacity(&self) -> u32 {
        self.per_minute + self.burst
    }

    /// Units of one token: so many that `refill` is whole.
    pub(crate) fn token() -> i64 {
        MINUTE_NS
    }

    /// Units that come back in `ns`.
    pub(crate) fn refill(&self, ns: u64) -> i64 {
        i64::from(self.per_minute).saturating_mul(i64::try_from(ns).unwrap_or(i64::MAX))
    }

    /// C + L*t/W, in whole requests.
    pub(crate) fn bound(&self, ns: u64) -> u64 {
        let refilled = u64::try_from(self.refill(ns) / MINUTE_NS).unwrap_or(0);
        u64::from(self.capacity()) + refilled
    }
}

/// A bucket of a limit, or of its even share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    limit: Limit,
    token: i64,
    full: i64,
    level: i64,
    at: u64,
    blocked_until: u64,
}

impl Bucket {
    pub(crate) fn new(limit: Limit) -> Self {
        Self::share(limit, 1)
    }

    /// What one of `nodes` has of a limit that is split between them: floor(C/N) tokens, refilled at L/N.
    pub(crate) fn share(limit: Limit, nodes: u32) -> Self {
        let nodes = nodes.max(1);
        let token = MINUTE_NS * i64::from(nodes);
        let full = i64::from(limit.capacity() / nodes) * token;
        Self {
            limit,
            token,
            full,
            level: full,
            at: 0,
            blocked_until: 0,
        }
    }

    /// A bucket that held so much at `now`; less than nothing is a debt.
    pub(crate) fn told(limit: Limit, milli_tokens: i64, now: u64, blocked_ms: u64) -> Self {
        let whole = Self::new(limit);
        Self {
            level: (milli_tokens * (MINUTE_NS / 1_000)).min(whole.full),
            at: now,
            blocked_until: if blocked_ms > 0 {
                now + blocked_ms * 1_000_000
            } else {
                0
            },
            ..whole
        }
    }

    /// One request: whether it may pass.
    pub(crate) fn take(&mut self, now: u64) -> bool {
        self.refill(now);
        if now < self.blocked_until {
            return false;
        }
        if self.level >= self.token {
            self.level -= self.token;
            return true;
        }
        self.blocked_until = now + u64::from(self.limit.block_s) * 1_000_000_000;
        false
    }

    /// Somebody else let a request pass.
    pub(crate) fn charge(&mut self, now: u64) {
        self.refill(now);
        self.level -= self.token;
    }

    /// Whole tokens now.
    pub(crate) fn tokens(&mut self, now: u64) -> i64 {
        self.refill(now);
        self.level.div_euclid(self.token)
    }

    fn refill(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.at);
        self.level = (self.level + self.limit.refill(elapsed)).min(self.full);
        self.at = self.at.max(now);
    }
}
