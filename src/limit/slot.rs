//! One key's bucket, shared by all cores: a cache line of atomics. Not the table that finds it, nor a core's slice.
//! Memory mode here, lease mode in `lease`.
//! Invariant: whoever changes `mark`, the capacity, the block or the owner holds `mark` locked; takes never wait for that lock
//! while the pool has what they need.
#[cfg(feature = "shuttle")]
use shuttle::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};
#[cfg(not(feature = "shuttle"))]
use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

mod lease;
#[cfg(all(test, feature = "shuttle"))]
mod model;

pub(super) use lease::{Held, Told};

use super::key::Hash;
use super::limits::{Limits, seconds};
use super::word::Word;

/// The value of `mark` while one core refills, blocks, resets or evicts. Held for a few instructions,
/// so waiters spin: with a thread per core, a holder that is preempted in between is rare, and costs them its time slice at worst.
const LOCKED: u64 = u64::MAX;

/// Whom a slot has to belong to. The generation wraps after 65,536 evictions, hence the owner beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) owner: Hash,
    pub(super) generation: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// `cost` is spent and `lend` more went to the caller's slice.
    Taken {
        word: Word,
        lend: u32,
    },
    Short,
    /// The slot belongs to somebody else now.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Refused; `Retry-After` in seconds.
    Refused(u32),
    /// Tokens came back meanwhile.
    Again,
    Gone,
}

/// The bucket; 64 bytes, so that two keys never share a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    word: AtomicU64,
    /// Refill is paid up to here (ns), or `LOCKED`.
    mark: AtomicU64,
    /// 0 = not blocked.
    blocked_until: AtomicU64,
    /// 0 = free.
    owner: AtomicU64,
    /// Lease mode: the tokens of the word may be taken until then (ns).
    ends: AtomicU64,
    /// Lease mode: refused locally until then (ns).
    denied_until: AtomicU64,
    /// Lease mode: level in units:40 | out in tokens:24 of the last reply; its time is `mark`.
    told: AtomicU64,
    /// Lease mode: tokens asked for since the last call, admitted or not.
    demand: AtomicU32,
    /// The C that the word was counted with; in lease mode the pool at which the exchange is to be told.
    capacity: AtomicU32,
}

#[cfg(not(feature = "shuttle"))]
const _: () = assert!(size_of::<Slot>() == 64);

impl Slot {
    pub(super) fn free() -> Self {
        Self {
            word: AtomicU64::new(0),
            mark: AtomicU64::new(0),
            blocked_until: AtomicU64::new(0),
            owner: AtomicU64::new(0),
            ends: AtomicU64::new(0),
            denied_until: AtomicU64::new(0),
            told: AtomicU64::new(0),
            demand: AtomicU32::new(0),
            capacity: AtomicU32::new(0),
        }
    }

    /// A bucket that is never evicted.
    pub(super) fn of(owner: Hash, capacity: u32) -> Self {
        let slot = Self::free();
        slot.publish(owner, 0, capacity, 0);
        slot
    }

    fn word(&self) -> Word {
        Word::unpack(self.word.load(Ordering::Acquire))
    }

    fn swap(&self, from: Word, to: Word) -> bool {
        self.word
            .compare_exchange(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn is_of(&self, word: Word, id: Id) -> bool {
        word.generation == id.generation && self.owner.load(Ordering::Acquire) == id.owner
    }

    /// Whether `id` may still be answered from this slot.
    pub(super) fn belongs(&self, id: Id) -> bool {
        self.is_of(self.word(), id)
    }

    /// Seconds left of a block. A slot of another owner answers nothing.
    pub(super) fn block_left(&self, id: Id, now: u64) -> Option<u32> {
        let until = self.blocked_until.load(Ordering::Acquire);
        (until > now && self.belongs(id)).then(|| seconds(until - now))
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity.load(Ordering::Acquire)
    }

    /// Takes `cost` by one CAS of the very word that was found to be the owner's (pitfall 11), after refill. `lend` says how much
    /// of the rest goes to the caller's slice, in the same CAS.
    pub(super) fn take(
        &self,
        id: Id,
        cost: u32,
        lend: impl Fn(u32) -> u32,
        limits: &Limits,
        now: u64,
    ) -> Take {
        loop {
            let Some(word) = self.accrue(id, cost, limits, now) else {
                return Take::Gone;
            };
            let Some(rest) = word.pool.checked_sub(cost) else {
                return Take::Short;
            };
            let lend = lend(rest).min(rest);
            if let Some(next) = word.take(cost, lend)
                && self.swap(word, next)
            {
                return Take::Taken { word: next, lend };
            }
            spin_loop();
        }
    }

    /// Whether `cost` tokens are there, after refill; None: gone.
    pub(super) fn affords(&self, id: Id, cost: u32, limits: &Limits, now: u64) -> Option<bool> {
        self.accrue(id, cost, limits, now)
            .map(|word| word.pool >= cost)
    }

    /// Refill, then the word. The amount is bounded by the room before the lock was taken: tokens spent after that moment must not
    /// make room for time that passed before it, or a full bucket would give more than C at once.
    fn accrue(&self, id: Id, cost: u32, limits: &Limits, now: u64) -> Option<Word> {
        loop {
            let word = self.word();
            if !self.is_of(word, id) {
                return None;
            }
            let mark = self.mark.load(Ordering::Acquire);
            if mark == LOCKED {
                if word.pool >= cost {
                    return Some(word);
                }
                spin_loop();
                continue;
            }
            let room = word.room(limits.capacity);
            if room == 0 {
                // Full: time does not count. A lost race means that somebody else has moved the mark.
                if mark < now {
                    let _ = self.swap_mark(mark, now);
                }
                return Some(word);
            }
            let refill = limits.refill(now.saturating_sub(mark));
            if refill == 0 {
                return Some(word);
            }
            if !self.swap_mark(mark, LOCKED) {
                continue;
            }
            if !self.belongs(id) {
                self.unlock(mark);
                return None;
            }
            let amount = refill.min(room);
            self.change(|word| word.give(amount, limits.capacity));
            // A bucket that this fills forgets the fraction of a token, or it would hold more than C.
            let paid = u64::from(refill).saturating_mul(limits.token_ns);
            let mark = if refill >= room {
                now
            } else {
                mark.saturating_add(paid)
            };
            self.unlock(mark);
        }
    }

    /// Refuses, and starts the block. The second look is taken with refill and eviction held off, so that the block falls on a
    /// bucket that is short at that moment and on nobody else's.
    pub(super) fn refuse(&self, id: Id, cost: u32, limits: &Limits, now: u64) -> Verdict {
        let Some(mark) = self.lock(id) else {
            return Verdict::Gone;
        };
        let word = self.word();
        let until = self.blocked_until.load(Ordering::Acquire);
        let verdict = if until > now {
            Verdict::Refused(seconds(until - now))
        } else if word.pool >= cost || limits.refill(now.saturating_sub(mark)) > 0 {
            Verdict::Again
        } else if word.lent > 0 {
            // Other cores' slices come back within 20 ms; a block now would be one while they still admit.
            Verdict::Refused(1)
        } else if limits.block_ns > 0 {
            self.blocked_until
                .store(now.saturating_add(limits.block_ns), Ordering::Release);
            Verdict::Refused(seconds(limits.block_ns))
        } else {
            let missing = u64::from(cost - word.pool);
            let there = mark.saturating_add(missing.saturating_mul(limits.token_ns));
            Verdict::Refused(seconds(there.saturating_sub(now)))
        };
        self.unlock(mark);
        verdict
    }

    /// Gives back a token that a refused request had taken.
    pub(super) fn give_back(&self, id: Id, tokens: u32, capacity: u32) {
        self.change_of(id, |word| word.give(tokens, capacity));
    }

    /// Ends a slice of `lent` tokens of which `unspent` are left; a slice of an old owner is dropped.
    pub(super) fn settle(&self, id: Id, lent: u32, unspent: u32) {
        self.change_of(id, |word| word.settle(lent, unspent));
    }

    /// Full again, and no block.
    pub(super) fn reset(&self, id: Id, limits: &Limits, now: u64) {
        if self.lock(id).is_some() {
            self.change(|word| word.fill(limits.capacity));
            self.capacity.store(limits.capacity, Ordering::Release);
            self.blocked_until.store(0, Ordering::Release);
            self.unlock(now);
        }
    }

    /// Follows a change of C.
    pub(super) fn adapt(&self, id: Id, limits: &Limits) {
        if let Some(mark) = self.lock(id) {
            let from = self.capacity.swap(limits.capacity, Ordering::AcqRel);
            self.change(|word| word.resize(from, limits.capacity));
            self.unlock(mark);
        }
    }

    /// pool + lent as they would be after refill now. Changes nothing.
    pub(super) fn tokens(&self, id: Id, limits: &Limits, now: u64) -> Option<u32> {
        loop {
            let word = self.word();
            if !self.is_of(word, id) {
                return None;
            }
            let mark = self.mark.load(Ordering::Acquire);
            if mark != LOCKED {
                let word = word.resize(self.capacity(), limits.capacity);
                let refill = limits.refill(now.saturating_sub(mark));
                return Some(word.give(refill, limits.capacity).tokens());
            }
            spin_loop();
        }
    }

    /// Whether nothing would be lost by forgetting this bucket.
    pub(super) fn is_full(&self, id: Id, limits: &Limits, now: u64) -> bool {
        self.blocked_until.load(Ordering::Acquire) <= now
            && self
                .tokens(id, limits, now)
                .is_none_or(|tokens| tokens >= limits.capacity)
    }

    /// Takes the slot from its owner if that loses nothing: not blocked, nothing lent, full at `now`. The mark stays locked until
    /// `publish` or `release`. Gives the old owner (0: it was free) and the new generation.
    pub(super) fn evict(&self, limits: &Limits, now: u64) -> Option<(Id, u16)> {
        let word = self.word();
        let owner = self.owner.load(Ordering::Acquire);
        let mark = self.mark.load(Ordering::Acquire);
        if mark == LOCKED || word.lent > 0 {
            return None;
        }
        let room = word
            .resize(self.capacity(), limits.capacity)
            .room(limits.capacity);
        let full = room == 0 || limits.refill(now.saturating_sub(mark)) >= room;
        let idle = full && self.blocked_until.load(Ordering::Acquire) <= now;
        if !(owner == 0 || idle) || !self.swap_mark(mark, LOCKED) {
            return None;
        }
        let next = word.evict();
        // With the mark locked nobody refills, so an equal word is the same state and not one that came back to it.
        let same = self.owner.load(Ordering::Acquire) == owner
            && self.blocked_until.load(Ordering::Acquire) <= now
            && self.swap(word, next);
        if !same {
            self.unlock(mark);
            return None;
        }
        let generation = word.generation;
        Some((Id { owner, generation }, next.generation))
    }

    /// Gives an evicted slot to its new owner, full. The word goes last but one: takes look at it first.
    pub(super) fn publish(&self, owner: Hash, generation: u16, capacity: u32, now: u64) {
        self.owner.store(owner, Ordering::Release);
        self.blocked_until.store(0, Ordering::Release);
        self.capacity.store(capacity, Ordering::Release);
        let word = Word {
            pool: capacity,
            lent: 0,
            generation,
        };
        self.word.store(word.pack(), Ordering::Release);
        self.unlock(now);
    }

    /// Frees an evicted slot that nobody needs after all.
    pub(super) fn release(&self) {
        self.owner.store(0, Ordering::Release);
        self.unlock(0);
    }

    /// The present owner, if any.
    pub(super) fn id(&self) -> Option<Id> {
        let generation = self.word().generation;
        let owner = self.owner.load(Ordering::Acquire);
        (owner != 0).then_some(Id { owner, generation })
    }

    fn lock(&self, id: Id) -> Option<u64> {
        loop {
            if !self.belongs(id) {
                return None;
            }
            let mark = self.mark.load(Ordering::Acquire);
            if mark != LOCKED && self.swap_mark(mark, LOCKED) {
                // Between the look and the lock the slot may have changed hands.
                if self.belongs(id) {
                    return Some(mark);
                }
                self.unlock(mark);
                return None;
            }
            spin_loop();
        }
    }

    fn unlock(&self, mark: u64) {
        self.mark.store(mark.min(LOCKED - 1), Ordering::Release);
    }

    fn swap_mark(&self, from: u64, to: u64) -> bool {
        let to = if to == LOCKED {
            LOCKED
        } else {
            to.min(LOCKED - 1)
        };
        self.mark
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// A step on the word under the lock, where the owner cannot change.
    fn change(&self, step: impl Fn(Word) -> Word) {
        let mut word = self.word();
        while !self.swap(word, step(word)) {
            spin_loop();
            word = self.word();
        }
    }

    fn change_of(&self, id: Id, step: impl Fn(Word) -> Word) {
        let mut word = self.word();
        while self.is_of(word, id) && !self.swap(word, step(word)) {
            spin_loop();
            word = self.word();
        }
    }
}
