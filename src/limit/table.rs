//! The node's slots: which key has which, in bounded memory. Not the bucket's arithmetic and not a core's own index.
//! Invariant: a key has at most one live slot; a slot changes hands only if its bucket is full, unblocked and unlent.
//!
//! There is no lock of the table's own. A slot is won by a CAS (`Slot::evict`); which of two cores brings a new key in is decided
//! by the map's shard. The map is met only when a core does not have the key in its index, and its guards never leave this file.
mod lease;

use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::key::{Hash, Kind};
use super::limits::Limits;
use super::slot::{Id, Slot};

/// Slots that one insertion looks at: 4 KiB in sequence, well below a microsecond.
const LOOKS_MAX: usize = 64;
/// Overflow buckets per kind.
const OVERFLOW: usize = 256;
const KINDS: usize = 2;
/// Never a key's: an overflow bucket is met by its place alone.
const OVERFLOW_OWNER: Hash = Hash::MAX;
const SHARDS: usize = 64;
/// Room of a shard at the start, and beyond twice its even share, for the unevenness of few keys.
const SHARD_SPARE: usize = 32;

/// Where a key's bucket is, and whose it was when that was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: u32,
    pub(super) id: Id,
}

#[derive(Clone, Copy, Debug)]
struct Entered {
    slot: u32,
    generation: u16,
}

#[derive(Debug)]
pub(super) struct Table {
    /// The keys' slots, then the overflow buckets.
    slots: Box<[Slot]>,
    keys_max: usize,
    map: DashMap<Hash, Entered, RandomState>,
    hand: AtomicUsize,
    used: AtomicUsize,
}

impl Table {
    pub(super) fn new(keys_max: usize, capacity: u32) -> Self {
        // Slots are named by 32 bits.
        let keys_max = keys_max.clamp(1, 1 << 30);
        let overflow = (0..KINDS * OVERFLOW).map(|_| Slot::of(OVERFLOW_OWNER, capacity));
        let slots = (0..keys_max)
            .map(|_| Slot::free())
            .chain(overflow)
            .collect();
        // It grows with the keys: room for all of them, touched here and there, would cost a few keys a page each. A shard that grows
        // moves some thousand entries at most. From twice the room that its keys need on it clears its tombstones in place instead.
        let room = SHARDS * SHARD_SPARE;
        let map =
            DashMap::with_capacity_and_hasher_and_shard_amount(room, RandomState::new(), SHARDS);
        Self {
            slots,
            keys_max,
            map,
            hand: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
        }
    }

    /// Bytes of the slots and the map. The map's buckets are a power of two and at most 7/8 full; a shard grows while it holds more than
    /// half of its room, so to less than four times its keys: at most 2 * 8/7 times twice its keys, 17 bytes each.
    pub(super) fn bytes_max(keys_max: usize) -> usize {
        let slots = keys_max + KINDS * OVERFLOW;
        let room = 2 * keys_max + SHARDS * (SHARD_SPARE + 1);
        slots * size_of::<Slot>()
            + room * 16 / 7 * (size_of::<(Hash, Entered)>() + 1)
            + SHARDS * 256
    }

    pub(super) fn keys(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn slot(&self, place: Place) -> &Slot {
        &self.slots[place.slot as usize]
    }

    /// All buckets that somebody owns, the overflow buckets too.
    pub(super) fn owned(&self) -> impl Iterator<Item = (&Slot, Id)> {
        self.slots
            .iter()
            .filter_map(|slot| Some((slot, slot.id()?)))
    }

    /// The key's own slot; it may have been evicted a moment ago, which `Slot::take` finds out.
    pub(super) fn find(&self, hash: Hash) -> Option<Place> {
        self.map.get(&hash).map(|entered| entered.of(hash))
    }

    /// Whether the place is a bucket that many keys share.
    pub(super) fn is_overflow(&self, place: Place) -> bool {
        place.slot as usize >= self.keys_max
    }

    /// The bucket that a key shares while the table is full.
    pub(super) fn overflow(&self, kind: Kind, hash: Hash) -> Place {
        let row = match kind {
            Kind::Org => 0,
            Kind::Ip => OVERFLOW,
        };
        // The lowest byte of the keyed hash picks one of the 256.
        let [column, ..] = hash.to_le_bytes();
        let slot = u32::try_from(self.keys_max + row).map_or(u32::MAX, |at| at + u32::from(column));
        let id = Id {
            owner: OVERFLOW_OWNER,
            generation: 0,
        };
        Place { slot, id }
    }

    /// A place for a key that has none: a slot of its own, or its overflow bucket if the table is full of buckets in use, or if that
    /// bucket is not full (then the key may have spent from it). `limits` are those of the caller.
    pub(super) fn admit(&self, kind: Kind, hash: Hash, limits: &Limits, now: u64) -> Place {
        let overflow = self.overflow(kind, hash);
        let shared = self.slot(overflow);
        // Before the search: a flood is turned away without looking at 64 slots.
        if !shared.is_full(overflow.id, limits, now) {
            return self.find_live(hash).unwrap_or(overflow);
        }
        let Some((at, generation)) = self.claim(limits, now) else {
            return self.find_live(hash).unwrap_or(overflow);
        };
        let slot = &self.slots[at as usize];
        let entered = Entered {
            slot: at,
            generation,
        };
        // The owner and the room in the overflow bucket are decided under the shard's guard: a core that spent from the overflow
        // bucket looks here afterwards, so one of the two sees the other.
        let (place, mine) = match self.map.entry(hash) {
            Entry::Occupied(mut found) => {
                let place = found.get().of(hash);
                if self.slot(place).belongs(place.id) {
                    (place, false)
                } else {
                    slot.publish(hash, generation, limits.capacity, now);
                    found.insert(entered);
                    (entered.of(hash), true)
                }
            }
            Entry::Vacant(vacant) => {
                if shared.is_full(overflow.id, limits, now) {
                    slot.publish(hash, generation, limits.capacity, now);
                    vacant.insert(entered);
                    (entered.of(hash), true)
                } else {
                    (overflow, false)
                }
            }
        };
        if !mine {
            slot.release();
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
        place
    }

    fn find_live(&self, hash: Hash) -> Option<Place> {
        self.find(hash)
            .filter(|place| self.slot(*place).belongs(place.id))
    }

    /// Wins a slot for the caller alone: the clock hand looks at a bounded number of slots and takes the first that is free, or
    /// whose bucket would be full again, so that nothing is lost. Clearing the table instead would reset an attacker's limit.
    fn claim(&self, limits: &Limits, now: u64) -> Option<(u32, u16)> {
        let start = self.hand.load(Ordering::Relaxed);
        let looks = LOOKS_MAX.min(self.keys_max);
        for look in 0..looks {
            let at = start.wrapping_add(look) % self.keys_max;
            let Some((old, generation)) = self.slots[at].evict(limits, now) else {
                continue;
            };
            self.hand.fetch_add(look + 1, Ordering::Relaxed);
            let at = u32::try_from(at).ok()?;
            if old.owner == 0 {
                self.used.fetch_add(1, Ordering::Relaxed);
            } else {
                // Only the entry that names this slot: the key may have come back elsewhere since.
                self.map.remove_if(&old.owner, |_, entered| {
                    entered.slot == at && entered.generation == old.generation
                });
            }
            return Some((at, generation));
        }
        self.hand.fetch_add(looks, Ordering::Relaxed);
        None
    }
}

impl Entered {
    fn of(self, owner: Hash) -> Place {
        Place {
            slot: self.slot,
            id: Id {
                owner,
                generation: self.generation,
            },
        }
    }
}
