//! A core's own index: where the keys that it has met lately have their buckets, and how busy each is. Not the truth: an entry may be
//! stale, and the slot's owner and generation decide. Invariant: bounded and never grown; an entry with a slice is given up only by
//! the caller, who settles the slice.
use super::key::Hash;
use super::slice::SliceId;
use super::slot::Id;
use super::table::Place;

/// Entries that share a set: a key is in one of these or not here.
const WAYS: usize = 4;
const SETS_MIN: usize = 64;
const SETS_MAX: usize = 1 << 15;
/// Demand is counted per 0.2 s.
const WINDOW_NS: u64 = 200_000_000;

/// 32 bytes; two to a cache line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// 0 = empty.
    hash: Hash,
    slot: u32,
    generation: u16,
    /// The slice that this core holds of the key.
    pub(super) slice: SliceId,
    window: u32,
    count: u16,
    count_before: u16,
}

const EMPTY: Entry = Entry {
    hash: 0,
    slot: 0,
    generation: 0,
    slice: 0,
    window: 0,
    count: 0,
    count_before: 0,
};

impl Entry {
    pub(super) fn place(&self) -> Place {
        let id = Id {
            owner: self.hash,
            generation: self.generation,
        };
        Place {
            slot: self.slot,
            id,
        }
    }

    /// Counts one request and gives this core's demand in 20 ms, 0 unless it is above 50 per second.
    pub(super) fn count(&mut self, now: u64) -> u32 {
        let window = u32::try_from(now / WINDOW_NS).unwrap_or(u32::MAX);
        if window != self.window {
            let next = self.window.checked_add(1) == Some(window);
            self.count_before = if next { self.count } else { 0 };
            self.count = 0;
            self.window = window;
        }
        self.count = self.count.saturating_add(1);
        let demand = self.count.max(self.count_before);
        // 50 per second are 10 in a window; 20 ms are a tenth of it.
        if demand > 10 {
            u32::from(demand / 10)
        } else {
            0
        }
    }
}

#[derive(Debug)]
pub(super) struct Index {
    entries: Box<[Entry]>,
}

impl Index {
    fn entries_max(keys_max: usize, cores: usize) -> usize {
        // Twice a core's even share of the keys.
        let share = 2 * keys_max.min(1 << 30) / cores.max(1);
        WAYS * (share / WAYS).clamp(SETS_MIN, SETS_MAX).next_power_of_two()
    }

    pub(super) fn bytes_max(keys_max: usize, cores: usize) -> usize {
        Self::entries_max(keys_max, cores) * size_of::<Entry>()
    }

    pub(super) fn new(keys_max: usize, cores: usize) -> Self {
        let entries = vec![EMPTY; Self::entries_max(keys_max, cores)];
        Self {
            entries: entries.into_boxed_slice(),
        }
    }

    /// The first entry of the key's set. The high half of the hash, since the map and the overflow buckets use the low bits.
    fn set(&self, hash: Hash) -> usize {
        let sets = self.entries.len() / WAYS;
        let high = usize::try_from(hash >> 32).unwrap_or(0);
        (high & (sets - 1)) * WAYS
    }

    pub(super) fn find(&self, hash: Hash) -> Option<u32> {
        let set = self.set(hash);
        let way = self.entries[set..set + WAYS]
            .iter()
            .position(|entry| entry.hash == hash)?;
        u32::try_from(set + way).ok()
    }

    /// The entry at `at`, if it is still the key's.
    pub(super) fn at(&mut self, at: u32, hash: Hash) -> Option<&mut Entry> {
        self.entries
            .get_mut(at as usize)
            .filter(|entry| entry.hash == hash)
    }

    /// Enters a key in the place of the set's least busy one, and gives back the entry that had to go: a flood of new keys, seen once
    /// each, pushes out its own.
    pub(super) fn enter(&mut self, place: Place) -> (u32, Option<SliceId>) {
        let set = self.set(place.id.owner);
        let ways = &mut self.entries[set..set + WAYS];
        let old = ways.iter().position(|entry| entry.hash == place.id.owner);
        let least = ways
            .iter()
            .enumerate()
            .min_by_key(|(_, entry)| (entry.window, entry.count.max(entry.count_before)))
            .map_or(0, |(way, _)| way);
        let way = old.unwrap_or(least);
        let gone = std::mem::replace(
            &mut ways[way],
            Entry {
                hash: place.id.owner,
                slot: place.slot,
                generation: place.id.generation,
                ..EMPTY
            },
        );
        let at = u32::try_from(set + way).unwrap_or(u32::MAX);
        (at, (gone.slice != 0).then_some(gone.slice))
    }

    /// Forgets a stale entry; gives its slice.
    pub(super) fn forget(&mut self, at: u32, hash: Hash) -> Option<SliceId> {
        let entry = self.at(at, hash)?;
        let slice = entry.slice;
        *entry = EMPTY;
        (slice != 0).then_some(slice)
    }

    /// The slice that this entry named is settled.
    pub(super) fn settled(&mut self, at: u32) {
        if let Some(entry) = self.entries.get_mut(at as usize) {
            entry.slice = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn place(owner: Hash) -> Place {
        let id = Id {
            owner,
            generation: 1,
        };
        Place { slot: 3, id }
    }

    #[test]
    fn a_flood_does_not_push_out_a_busy_key() {
        let mut index = Index::new(1, 1);
        let (at, _) = index.enter(place(7));
        for _ in 0..5 {
            index.at(at, 7).unwrap().count(0);
        }
        for owner in 8..5000 {
            let (at, _) = index.enter(place(owner));
            index.at(at, owner).unwrap().count(0);
        }
        assert_eq!(index.find(7), Some(at));
        assert_eq!(index.at(at, 7).unwrap().place(), place(7));
        assert!(index.at(at, 8).is_none());
    }

    #[test]
    fn demand_is_that_of_this_window_or_the_last() {
        let mut entry = EMPTY;
        let counts =
            |entry: &mut Entry, times, now| (0..times).map(|_| entry.count(now)).last().unwrap();
        assert_eq!(counts(&mut entry, 10, 0), 0);
        assert_eq!(counts(&mut entry, 20, 0), 3);
        assert_eq!(counts(&mut entry, 1, WINDOW_NS), 3);
        assert_eq!(counts(&mut entry, 1, 2 * WINDOW_NS), 0);
    }
}
