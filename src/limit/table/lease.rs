//! Slots in lease mode: the control thread alone gives them out. Not the workers' way to them (`find_live`).
//! Invariant: a slot is taken from a key only when its caller says that nothing of that key would be forgotten.
use super::{Entered, Table};
use crate::limit::key::Hash;
use crate::limit::slot::Slot;
use crate::limit::table::Place;

impl Table {
    /// The key's slot with the generation that holds now.
    pub(in crate::limit) fn find_leased(&self, hash: Hash) -> Option<Place> {
        let slot = self.map.get(&hash).map(|entered| entered.slot)?;
        let id = self.slots.get(slot as usize)?.met_by(hash)?;
        Some(Place { slot, id })
    }

    /// A slot for a new key: a free one, or the first within reach that `spare` (of its number) gives up; `gone` takes its owner.
    pub(in crate::limit) fn enter_leased(
        &self,
        hash: Hash,
        now: u64,
        spare: impl Fn(u32, &Slot) -> bool,
        mut gone: impl FnMut(Hash),
    ) -> Option<Place> {
        use std::sync::atomic::Ordering::Relaxed;
        let start = self.hand.load(Relaxed);
        for look in 0..super::LOOKS_MAX.min(self.keys_max) {
            let at = start.wrapping_add(look) % self.keys_max;
            let slot = &self.slots[at];
            let owner = slot.id().map(|id| id.owner);
            let number = u32::try_from(at).ok()?;
            if owner.is_some() && !spare(number, slot) {
                continue;
            }
            self.hand.store(start.wrapping_add(look + 1), Relaxed);
            match owner {
                Some(owner) => {
                    self.map.remove(&owner);
                    gone(owner);
                }
                None => {
                    self.used.fetch_add(1, Relaxed);
                }
            }
            slot.hand_over(hash, now);
            let id = slot.id()?;
            let generation = id.generation;
            self.map.insert(
                hash,
                Entered {
                    slot: number,
                    generation,
                },
            );
            return Some(Place { slot: number, id });
        }
        self.hand
            .store(start.wrapping_add(super::LOOKS_MAX), Relaxed);
        None
    }

    /// The slot of a key that has one.
    pub(in crate::limit) fn slot_at(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)
    }
}
