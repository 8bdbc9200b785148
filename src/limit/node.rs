//! The node's limiter as all cores and the control thread share it: settings, slots, limits. Not a core's view. Invariant: everything
//! an operator does here takes effect at each core's next request, without a message to it.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::index::Index;
use super::key::{Hasher, Key};
use super::limits::Limits;
use super::slice::Slices;
use super::slot::{Take, Verdict};
use super::table::{Place, Table};

/// What a node is started with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// L: tokens that come back per minute; at least 1.
    pub rpm: u32,
    /// B: what an idle key may spend above L. L + B < 2^24.
    pub burst: u32,
    /// D in milliseconds; 0 = never block.
    pub block_ms: u64,
    /// Whether organizations are limited.
    pub per_org: bool,
    /// Whether client addresses are limited.
    pub per_ip: bool,
    /// Keys with a bucket of their own.
    pub keys_max: usize,
    /// Worker threads.
    pub cores: usize,
    /// Whether busy keys are taken from in slices: true in production; false makes every number exact at every moment.
    pub slices: bool,
}

/// A key's numbers as an operator sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// C - tokens: 0 to C, so it may exceed `limit`.
    pub current_count: u32,
    /// L.
    pub limit: u32,
    /// As in `X-RateLimit-Remaining`.
    pub remaining: u32,
}

/// All buckets of this process.
#[derive(Debug)]
pub struct Node {
    pub(super) settings: Settings,
    pub(super) hasher: Hasher,
    pub(super) table: Table,
    limits: ArcSwap<Limits>,
    /// The revision of `limits`; what a core compares before each request.
    revision: AtomicU64,
    /// Tokens come from an exchange and not from the clock.
    pub(super) leased: bool,
}

impl Node {
    /// An empty node that refills its buckets by the clock, for itself.
    #[must_use]
    pub fn new(settings: Settings) -> Arc<Self> {
        Self::with(settings, false)
    }

    /// An empty node whose tokens are leased by an `Exchange`.
    #[must_use]
    pub fn leased(settings: Settings) -> Arc<Self> {
        Self::with(settings, true)
    }

    fn with(settings: Settings, leased: bool) -> Arc<Self> {
        // What the fleet has agreed on is newer than anything of this node's own.
        let version = u64::from(!leased);
        let limits = Limits::new(settings.rpm, settings.burst, settings.block_ms, version);
        Arc::new(Self {
            settings,
            hasher: Hasher::new(),
            table: Table::new(settings.keys_max, limits.capacity),
            limits: ArcSwap::from_pointee(limits),
            revision: AtomicU64::new(limits.revision),
            leased,
        })
    }

    /// A key's numbers at `now_ns`; takes nothing. A key that shares an overflow bucket is shown that bucket, which its next request
    /// will meet. What a core has taken from an unsettled slice is not counted yet.
    #[must_use]
    pub fn info(&self, key: &Key, now_ns: u64) -> Info {
        let limits = self.limits();
        let place = self.place(key);
        let tokens = self
            .table
            .slot(place)
            .tokens(place.id, &limits, now_ns)
            .unwrap_or(limits.capacity);
        Info {
            current_count: limits.capacity.saturating_sub(tokens),
            limit: limits.rpm,
            remaining: limits.remaining(tokens),
        }
    }

    /// Fills the key's bucket (as far as it is not in slices) and lifts its block.
    pub fn reset(&self, key: &Key, now_ns: u64) {
        let place = self.place(key);
        let slot = self.table.slot(place);
        slot.reset(place.id, &self.limits(), now_ns);
    }

    /// Resets every key.
    pub fn reset_all(&self, now_ns: u64) {
        let limits = self.limits();
        for (slot, id) in self.table.owned() {
            slot.reset(id, &limits, now_ns);
        }
    }

    /// Charges a key for a request that no core judges; in memory mode. Gives the key's numbers after it.
    ///
    /// # Errors
    /// Seconds to wait, if the key is blocked or short.
    pub fn charge(&self, key: &Key, cost: u32, now_ns: u64) -> Result<Info, u32> {
        let limits = self.limits();
        let (kind, hash) = self.hasher.key(key);
        loop {
            let own = self.table.find(hash);
            let own = own.filter(|place| self.table.slot(*place).belongs(place.id));
            let place = own.unwrap_or_else(|| self.table.admit(kind, hash, &limits, now_ns));
            let slot = self.table.slot(place);
            if let Some(left) = slot.block_left(place.id, now_ns) {
                return Err(left);
            }
            if slot.capacity() != limits.capacity {
                slot.adapt(place.id, &limits);
            }
            match slot.take(place.id, cost, |_| 0, &limits, now_ns) {
                Take::Taken { word, .. } => return Ok(self.info_of(word.tokens())),
                Take::Gone => {}
                Take::Short => match slot.refuse(place.id, cost, &limits, now_ns) {
                    Verdict::Refused(seconds) => return Err(seconds),
                    Verdict::Again | Verdict::Gone => {}
                },
            }
        }
    }

    /// New limits from `now_ns` on. Each bucket follows at its next use: its pool moves by the change of C, not below 0, and the time
    /// since its last refill counts at the new rate.
    pub fn set_limits(&self, rpm: u32, burst: u32, block_ms: u64, _now_ns: u64) {
        self.change(|old| Limits::new(rpm, burst, block_ms, old.version.saturating_add(1)));
    }

    fn change(&self, step: impl Fn(&Limits) -> Limits) {
        self.limits.rcu(|old| {
            let new = step(old);
            Limits {
                revision: old.revision.saturating_add(1),
                block_ns_max: old.block_ns_max.max(new.block_ns),
                ..new
            }
        });
        let revision = self.limits.load().revision;
        self.revision.fetch_max(revision, Ordering::Release);
    }

    /// While the store is away: this node tells its own part, or nothing. `nodes` = 1 and `are_told` when it is there.
    pub(super) fn tell_part(&self, nodes: u32, are_told: bool) {
        let limits = self.limits();
        if (limits.nodes, limits.are_told) != (nodes.max(1), are_told) {
            self.change(|old| old.as_told(nodes, are_told));
        }
    }

    /// Limits that another node has brought, if they are newer.
    pub(super) fn adopt(&self, limits: Limits) {
        if limits.version > self.limits().version {
            self.change(|old| limits.as_told(old.nodes, old.are_told));
        }
    }

    /// The limits as every node of the fleet knows them: version, L, B, D in ms.
    pub fn put_limits(&self, version: u64, rpm: u32, burst: u32, block_ms: u64) {
        self.adopt(Limits::new(rpm, burst, block_ms, version));
    }

    /// Version, L, B, D in ms, as they hold now.
    #[must_use]
    pub fn limits_now(&self) -> (u64, u32, u32, u64) {
        let limits = self.limits();
        let block_ms = limits.block_ns / 1_000_000;
        (limits.version, limits.rpm, limits.burst, block_ms)
    }

    /// A key's numbers when its bucket (while the store is away: this node's part of it) holds so many tokens.
    #[must_use]
    pub fn info_of(&self, tokens: u32) -> Info {
        let limits = self.limits();
        let tokens = tokens.min(limits.part);
        Info {
            current_count: limits.part - tokens,
            limit: limits.rpm,
            remaining: limits.remaining(tokens),
        }
    }

    /// Slots in use.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.table.keys()
    }

    /// The most that the node and all its cores ever hold: 64 B per slot, at most 80 B per key in the map (17 B an entry, twice
    /// the room, at most 7/8 full, a power of two), 32 B per index entry of each core (twice its share of the keys, at most 131,072),
    /// at most 16,384 slices per core, 512 overflow buckets. With 262,144 keys and two cores about 50 MB, of which about 35 MB are
    /// touched.
    #[must_use]
    pub fn memory_bytes_max(settings: &Settings) -> usize {
        let core = Index::bytes_max(settings.keys_max, settings.cores) + Slices::bytes_max();
        Table::bytes_max(settings.keys_max) + core * settings.cores.max(1) + size_of::<Self>()
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    pub(super) fn limits(&self) -> Limits {
        **self.limits.load()
    }

    fn place(&self, key: &Key) -> Place {
        let (kind, hash) = self.hasher.key(key);
        let own = self.table.find(hash);
        own.unwrap_or_else(|| self.table.overflow(kind, hash))
    }
}
