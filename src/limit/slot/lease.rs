//! The slot while its tokens are leased: workers take and settle, the control thread alone adds, ends and hands over. Not the
//! exchange that decides. Invariant: tokens enter the word only under the end that is stored before them, and a word whose lease has
//! ended is emptied under a new generation before anything is added, so no slice of the old lease can add to it.
use super::{Id, Ordering, Slot, Take, spin_loop};
use crate::limit::key::Hash;
use crate::limit::limits::{Limits, TOKEN_UNITS, seconds};
use crate::limit::word::{CAPACITY_MAX, Word};

const MS: u64 = 1_000_000;
/// A block that was told longer ago is asked about before a request is refused by it; with the time of a call that is within 5 s. The
/// control thread asks a little sooner where there is demand (`RECHECK_NS`), so that hardly a request waits for it.
const BELIEVED_NS: u64 = 4_500 * MS;
const OUT_BITS: u32 = 24;

/// What the last reply said of the bucket; while the store is away, what this node's own part of it holds, times the number of nodes,
/// so that it grows as fast as the whole bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::limit) struct Told {
    /// In units, after the call.
    pub(in crate::limit) level: u64,
    /// Tokens leased to all nodes.
    pub(in crate::limit) out: u32,
    pub(in crate::limit) at_ns: u64,
}

/// What a node holds of a key, read in one load (pitfall 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::limit) struct Held {
    pub(in crate::limit) pool: u32,
    /// pool + lent.
    pub(in crate::limit) all: u32,
}

impl Told {
    /// The level now: refilled since, as far as what is leased leaves room.
    pub(in crate::limit) fn aged(self, limits: &Limits, now: u64) -> u64 {
        let cap = u64::from(limits.capacity.saturating_sub(self.out)) * TOKEN_UNITS;
        let ms = now.saturating_sub(self.at_ns) / MS;
        let refill = ms.saturating_mul(u64::from(limits.rpm));
        self.level.max(self.level.saturating_add(refill).min(cap))
    }

    /// Whole tokens of it that this node may tell.
    pub(in crate::limit) fn tokens(self, limits: &Limits, now: u64) -> u32 {
        let level = self.aged(limits, now);
        // Divided by a constant where it can be: this is on each request's way.
        let tokens = match limits.nodes {
            1 => level / TOKEN_UNITS,
            _ => level / limits.token_units(),
        };
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    /// ns until `cost` tokens are there.
    pub(in crate::limit) fn wait_ns(self, cost: u32, limits: &Limits, now: u64) -> u64 {
        let missing =
            (u64::from(cost) * limits.token_units()).saturating_sub(self.aged(limits, now));
        missing.div_ceil(u64::from(limits.rpm)) * MS
    }
}

impl Slot {
    /// Takes `cost` while the lease lasts; `lend` gets what is left of the pool and of the lease in ns. The second value says that
    /// the pool has just fallen to the mark at which more should be fetched.
    pub(in crate::limit) fn take_leased(
        &self,
        id: Id,
        cost: u32,
        lend: impl Fn(u32, u64) -> u32,
        now: u64,
    ) -> (Take, bool) {
        loop {
            let word = self.word();
            if !self.is_of(word, id) {
                return (Take::Gone, false);
            }
            let ends = self.ends.load(Ordering::Acquire);
            let rest = word.pool.checked_sub(cost).filter(|_| now < ends);
            let Some(rest) = rest else {
                return (Take::Short, false);
            };
            let lend = lend(rest, ends - now).min(rest);
            if let Some(next) = word.take(cost, lend)
                && self.swap(word, next)
            {
                self.count(cost);
                let low = self.capacity.load(Ordering::Relaxed);
                let crossed = word.pool > low && next.pool <= low;
                return (
                    Take::Taken { word: next, lend },
                    crossed && self.has_level(),
                );
            }
            spin_loop();
        }
    }

    /// Whether `cost` could be taken now; None: gone.
    pub(in crate::limit) fn affords_leased(&self, id: Id, cost: u32, now: u64) -> Option<bool> {
        let word = self.word();
        self.is_of(word, id)
            .then(|| word.pool >= cost && now < self.ends.load(Ordering::Acquire))
    }

    /// Counts demand.
    pub(in crate::limit) fn count(&self, cost: u32) {
        self.demand.fetch_add(cost, Ordering::Relaxed);
    }

    /// Demand of a blocked key: that there is some is enough, and a flood should not write to a shared line.
    pub(in crate::limit) fn count_blocked(&self) {
        if self.demand.load(Ordering::Relaxed) == 0 {
            self.count(1);
        }
    }

    /// Whether what was last told is too old to refuse by: a block may have been lifted since, and the message missed.
    pub(in crate::limit) fn is_doubtful(&self, now: u64) -> bool {
        let told_ns = self.mark.load(Ordering::Acquire);
        told_ns.saturating_add(BELIEVED_NS) <= now
            && self.denied_until.load(Ordering::Acquire) <= now
    }

    fn has_level(&self) -> bool {
        self.told.load(Ordering::Relaxed) >> OUT_BITS >= TOKEN_UNITS
    }

    pub(in crate::limit) fn ends(&self) -> u64 {
        self.ends.load(Ordering::Acquire)
    }

    pub(in crate::limit) fn demand_taken(&self) -> u32 {
        self.demand.swap(0, Ordering::Relaxed)
    }

    /// The time and the numbers belong together: `mark` is locked while they change.
    pub(in crate::limit) fn told(&self) -> Told {
        loop {
            let at_ns = self.mark.load(Ordering::Acquire);
            let told = self.told.load(Ordering::Acquire);
            if at_ns != super::LOCKED && at_ns == self.mark.load(Ordering::Acquire) {
                let out = u32::try_from(told & u64::from(CAPACITY_MAX)).unwrap_or(0);
                let level = told >> OUT_BITS;
                return Told { level, out, at_ns };
            }
            spin_loop();
        }
    }

    /// Whole tokens that a request may still count on, here and in the store.
    pub(in crate::limit) fn tokens_leased(&self, held: u32, limits: &Limits, now: u64) -> u32 {
        let tokens = self.told().tokens(limits, now);
        tokens.saturating_add(held).min(limits.part)
    }

    /// Seconds that a refusal without a block tells, while one is known.
    pub(in crate::limit) fn denied(
        &self,
        id: Id,
        cost: u32,
        limits: &Limits,
        now: u64,
    ) -> Option<u32> {
        let until = self.denied_until.load(Ordering::Acquire);
        (until > now && self.belongs(id)).then(|| seconds(self.told().wait_ns(cost, limits, now)))
    }

    // From here on: the control thread alone.

    /// What the node holds, and its pool.
    pub(in crate::limit) fn held(&self, now: u64) -> Held {
        let word = self.word();
        let live = now < self.ends();
        Held {
            pool: if live { word.pool } else { 0 },
            all: if live { word.tokens() } else { 0 },
        }
    }

    /// Something is left of a lease that has ended.
    pub(in crate::limit) fn is_over(&self, now: u64) -> bool {
        now >= self.ends() && self.word().tokens() > 0
    }

    pub(in crate::limit) fn has_demand(&self) -> bool {
        self.demand.load(Ordering::Relaxed) > 0
    }

    /// Takes the whole pool, to give it back.
    pub(in crate::limit) fn drain(&self) -> Held {
        loop {
            let word = self.word();
            let next = Word { pool: 0, ..word };
            if self.swap(word, next) {
                let (pool, all) = (word.pool, word.tokens());
                return Held { pool, all };
            }
            spin_loop();
        }
    }

    /// The lease has ended: what is left is spent.
    pub(in crate::limit) fn end(&self) -> u32 {
        let mut left = 0;
        loop {
            let word = self.word();
            if word.tokens() > 0 {
                left = word.tokens();
            }
            if self.swap(word, word.evict()) {
                return left;
            }
            spin_loop();
        }
    }

    /// Tokens that the store does not count as ours any more. Those that the pool lacks are in slices, or were spent meanwhile: what a
    /// core that is late still settles of such a slice must not come back, so a new generation begins.
    pub(in crate::limit) fn withdraw(&self, tokens: u32) {
        self.change(|word| match word.pool.checked_sub(tokens) {
            Some(pool) => Word { pool, ..word },
            None => word.evict(),
        });
    }

    /// A grant, under its end; the end goes first.
    pub(in crate::limit) fn grant(&self, tokens: u32, ends: u64, low: u32) {
        self.ends.store(ends, Ordering::Release);
        self.capacity.store(low, Ordering::Relaxed);
        self.change(|word| Word {
            pool: (word.pool + tokens).min(CAPACITY_MAX),
            ..word
        });
    }

    pub(in crate::limit) fn put_told(&self, told: Told) {
        self.mark.store(super::LOCKED, Ordering::Release);
        let level = told.level.min(u64::MAX >> OUT_BITS);
        let out = u64::from(told.out.min(CAPACITY_MAX));
        self.told.store(level << OUT_BITS | out, Ordering::Release);
        self.mark.store(told.at_ns, Ordering::Release);
    }

    /// Blocked until then, or (0) no longer.
    pub(in crate::limit) fn block(&self, until: u64) {
        self.blocked_until.store(until, Ordering::Release);
    }

    pub(in crate::limit) fn blocked_until(&self) -> u64 {
        self.blocked_until.load(Ordering::Acquire)
    }

    /// Refused locally until then, or (0) no longer.
    pub(in crate::limit) fn deny(&self, until: u64) {
        self.denied_until.store(until, Ordering::Release);
    }

    /// Hands the slot to a key. It is emptied under a new generation first, the owner goes last.
    pub(in crate::limit) fn hand_over(&self, owner: Hash, now: u64) {
        self.end();
        self.owner.store(0, Ordering::Release);
        for field in [
            &self.ends,
            &self.denied_until,
            &self.told,
            &self.blocked_until,
        ] {
            field.store(0, Ordering::Release);
        }
        self.demand.store(0, Ordering::Relaxed);
        self.capacity.store(0, Ordering::Relaxed);
        self.mark.store(now, Ordering::Release);
        self.owner.store(owner, Ordering::Release);
    }

    /// The slot as its owner meets it now.
    pub(in crate::limit) fn met_by(&self, owner: Hash) -> Option<Id> {
        let generation = self.word().generation;
        let id = Id { owner, generation };
        self.belongs(id).then_some(id)
    }
}
