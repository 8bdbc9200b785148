//! What the limiter's tests share: an injected clock, a node with its cores on one thread, the exact bucket that LIMITS.md
//! compares everything with, and random numbers from a seed. Not a test and not a second limiter: the bucket knows one key,
//! no slices, no threads. Invariant: nothing here reads a real clock, and nothing calls into the limiter but through its public API.
#![allow(
    dead_code,
    reason = "each test file compiles this module for itself and uses its own part"
)]

use std::net::IpAddr;
use std::sync::Arc;

use dbpower_gateway::limit::{Core, Info, IpKey, Key, Node, OrgKey, Permit, Refusal, Settings};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
pub(crate) const MINUTE: u64 = 60 * SECOND;
/// How often a worker ticks, and how long a core may keep an unsettled slice (LIMITS.md 3.1).
pub(crate) const TICK: u64 = 20 * MS;

/// L, B and D; C and the length of a token follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rpm: u32,
    pub(crate) burst: u32,
    pub(crate) block_ms: u64,
}

pub(crate) const fn limits(rpm: u32, burst: u32, block_ms: u64) -> Limits {
    Limits {
        rpm,
        burst,
        block_ms,
    }
}

impl Limits {
    pub(crate) fn capacity(self) -> u64 {
        u64::from(self.rpm) + u64::from(self.burst)
    }

    /// One token, in ns: ceil(W / L).
    pub(crate) fn token_ns(self) -> u64 {
        MINUTE.div_ceil(u64::from(self.rpm))
    }

    pub(crate) fn block_ns(self) -> u64 {
        self.block_ms * MS
    }

    /// From empty to full.
    pub(crate) fn fill_ns(self) -> u64 {
        self.capacity() * self.token_ns()
    }

    pub(crate) fn remaining(self, tokens: u64) -> u32 {
        let above_burst = tokens.saturating_sub(u64::from(self.burst));
        u32::try_from(above_burst).unwrap_or(u32::MAX).min(self.rpm)
    }

    pub(crate) fn settings(self, cores: usize, slices: bool) -> Settings {
        Settings {
            rpm: self.rpm,
            burst: self.burst,
            block_ms: self.block_ms,
            per_org: true,
            per_ip: true,
            keys_max: 4_096,
            cores,
            slices,
        }
    }
}

/// Seconds until `ns` are over, as `Retry-After` says it.
pub(crate) fn retry_after(ns: u64) -> u32 {
    u32::try_from(ns.div_ceil(SECOND))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// The exact bucket of LIMITS.md 1, in whole tokens and the time since the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) limits: Limits,
    pub(crate) blocked_until: u64,
    tokens: u64,
    mark: u64,
}

impl Bucket {
    pub(crate) fn full(limits: Limits, now: u64) -> Self {
        Self {
            limits,
            blocked_until: 0,
            tokens: limits.capacity(),
            mark: now,
        }
    }

    /// Whole tokens at `now`.
    pub(crate) fn tokens(&mut self, now: u64) -> u64 {
        let token = self.limits.token_ns();
        let more = (now - self.mark) / token;
        if self.tokens + more >= self.limits.capacity() {
            (self.tokens, self.mark) = (self.limits.capacity(), now);
        } else {
            self.tokens += more;
            self.mark += more * token;
        }
        self.tokens
    }

    /// Seconds to wait if a request is refused now, or nothing. Starts the block, takes no token.
    pub(crate) fn ask(&mut self, cost: u32, now: u64) -> Result<(), u32> {
        if now < self.blocked_until {
            return Err(retry_after(self.blocked_until - now));
        }
        let tokens = self.tokens(now);
        if tokens >= u64::from(cost) {
            return Ok(());
        }
        if self.limits.block_ms > 0 {
            self.blocked_until = now + self.limits.block_ns();
            return Err(retry_after(self.limits.block_ns()));
        }
        let there = self.mark + (u64::from(cost) - tokens) * self.limits.token_ns();
        Err(retry_after(there - now))
    }

    /// A request: the remaining tokens as the header tells them, or the seconds to wait.
    pub(crate) fn take(&mut self, cost: u32, now: u64) -> Result<u32, u32> {
        self.ask(cost, now)?;
        self.tokens -= u64::from(cost);
        Ok(self.limits.remaining(self.tokens))
    }

    pub(crate) fn info(&mut self, now: u64) -> Info {
        let tokens = self.tokens(now);
        Info {
            current_count: u32::try_from(self.limits.capacity() - tokens).unwrap_or(u32::MAX),
            limit: self.limits.rpm,
            remaining: self.limits.remaining(tokens),
        }
    }

    pub(crate) fn reset(&mut self, now: u64) {
        *self = Self::full(self.limits, now);
    }

    /// New limits: the tokens change by the change of C, not below 0; the time since the last token stays.
    pub(crate) fn change(&mut self, new: Limits, now: u64) {
        let tokens = self.tokens(now) + new.capacity();
        self.tokens = tokens.saturating_sub(self.limits.capacity());
        self.limits = new;
    }
}

/// One node with its cores, all on this thread, and the time that they see.
pub(crate) struct World {
    pub(crate) node: Arc<Node>,
    pub(crate) cores: Vec<Core>,
    pub(crate) now: u64,
}

impl World {
    pub(crate) fn new(settings: Settings, now: u64) -> Self {
        let cores = settings.cores;
        let node = Node::new(settings);
        let cores = (0..cores)
            .map(|core| Core::new(Arc::clone(&node), core))
            .collect();
        Self { node, cores, now }
    }

    pub(crate) fn take(&mut self, core: usize, who: Who<'_>, cost: u32) -> Result<Permit, Refusal> {
        let now = self.now;
        let (org, ip) = (who.org.map(OrgKey::new), who.ip.map(IpKey::from));
        self.cores[core].take(org, ip, cost, &|| now)
    }

    pub(crate) fn peek(&mut self, core: usize, ip: IpAddr, cost: u32) -> Result<(), Refusal> {
        let now = self.now;
        self.cores[core].peek_ip(ip.into(), cost, &|| now)
    }

    pub(crate) fn charge(&mut self, core: usize, ip: IpAddr, cost: u32) {
        let now = self.now;
        self.cores[core].charge_ip(ip.into(), cost, &|| now);
    }

    /// 20 ms pass and every core ticks, as the workers do it.
    pub(crate) fn tick(&mut self) {
        self.now += TICK;
        for core in &mut self.cores {
            core.tick(self.now);
        }
    }

    pub(crate) fn info(&self, key: &Key) -> Info {
        self.node.info(key, self.now)
    }

    /// Requests that the cores served from their slices.
    pub(crate) fn served_from_slices(&self) -> u64 {
        self.cores.iter().map(|core| core.counters().slice).sum()
    }
}

/// Who asks: an organization, an address, or both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) org: Option<&'a str>,
    pub(crate) ip: Option<IpAddr>,
}

impl Who<'_> {
    /// The keys that such a request is counted on.
    pub(crate) fn keys(self) -> Vec<Key> {
        let org = self.org.map(|org| Key::Org(org.into()));
        org.into_iter().chain(self.ip.map(Key::Ip)).collect()
    }
}

/// xorshift64*: reproducible from the seed that a failing test prints.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// 0 .. end, end excluded.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap_or(0)
    }

    pub(crate) fn cost(&mut self, max: u32) -> u32 {
        u32::try_from(1 + self.below(u64::from(max))).unwrap_or(1)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }
}
