//! Where the records of all keys lie: beside the slots, each at its slot's number; those without a slot in a small map. Not what a record
//! says (`site`). Invariant: the record at a slot's number is that of the slot's owner, for the control thread alone hands slots over and
//! both change together.
use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;

use super::site::Site;
use crate::limit::key::Hash;
use crate::limit::node::Node;

/// Records that are allocated together: slots are given out in their order, so that memory grows with the keys, in steps of some 30 KB.
const CHUNK: usize = 256;

type Chunk<R> = Box<[Option<Site<R>>]>;

#[derive(Debug)]
pub(super) struct Sites<R> {
    node: Arc<Node>,
    chunks: Vec<Chunk<R>>,
    slotless: HashMap<Hash, Site<R>, RandomState>,
    in_slots: usize,
}

impl<R> Sites<R> {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            chunks: Vec::new(),
            slotless: HashMap::default(),
            in_slots: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.in_slots + self.slotless.len()
    }

    fn slot_of(&self, hash: Hash) -> Option<u32> {
        self.node.table.find_leased(hash).map(|place| place.slot)
    }

    /// The record at a slot's number.
    pub(super) fn at(&self, slot: u32) -> Option<&Site<R>> {
        let at = slot as usize;
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)?.as_ref()
    }

    pub(super) fn record(&self, hash: Hash) -> Option<&Site<R>> {
        match self.slot_of(hash) {
            Some(slot) => self.at(slot),
            None => self.slotless.get(&hash),
        }
    }

    pub(super) fn record_mut(&mut self, hash: Hash) -> Option<&mut Site<R>> {
        match self.slot_of(hash) {
            Some(slot) => {
                let at = slot as usize;
                let chunk = self.chunks.get_mut(at / CHUNK)?;
                chunk.get_mut(at % CHUNK)?.as_mut()
            }
            None => self.slotless.get_mut(&hash),
        }
    }

    pub(super) fn contains(&self, hash: Hash) -> bool {
        self.record(hash).is_some()
    }

    /// Enters a key; whose record was at its slot's number is gone.
    pub(super) fn insert(&mut self, hash: Hash, site: Site<R>) -> Option<Site<R>> {
        let Some(slot) = site.slot() else {
            return self.slotless.insert(hash, site);
        };
        let at = slot as usize;
        while self.chunks.len() <= at / CHUNK {
            let chunk = std::iter::repeat_with(|| None).take(CHUNK);
            self.chunks.push(chunk.collect());
        }
        let place = self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)?;
        let gone = place.replace(site);
        self.in_slots += usize::from(gone.is_none());
        gone
    }

    /// Forgets a key without a slot.
    pub(super) fn remove_slotless(&mut self, hash: Hash) {
        self.slotless.remove(&hash);
    }

    /// All of them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Site<R>> {
        let in_slots = self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut());
        in_slots.flatten().chain(self.slotless.values_mut())
    }
}
