//! An operator's resets, from this node and from others. Not what they do to the bucket: the script does that. Invariants: a reset is
//! made while the store answers, or not at all; what a node remembers from before a reset that it knows of is never declared again.
use std::sync::Arc;

use super::site::Site;
use super::{Exchange, Verdict, slot_of};
use crate::limit::key::Key;
use crate::limit::limits::Limits;
use crate::limit::node::Node;

/// What is asked of a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The store's time in ms after which it is not to be made any more: a call that lay in a queue must not change what its caller
    /// was told is unchanged. 0: whenever.
    pub until_ms: u64,
    /// The shortest time in ms since the last reset that asked for one; 0: none.
    pub gap_ms: u64,
}

impl Wish {
    /// As the script reads it. A block that some node remembers is no longer than the longest D that was known here.
    pub(super) fn written(self, limits: &Limits) -> String {
        let keep_ms = limits.block_ns_max / 1_000_000;
        format!("{keep_ms}:{}:{}", self.until_ms, self.gap_ms)
    }
}

/// What became of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// It was made, in the store and here.
    Done,
    /// Nothing was changed: the last one was too short ago. Milliseconds until it may be made.
    TooSoon(u64),
    /// Nothing was changed: the store is away.
    Away,
    /// Nothing was changed: the call came too late to the store.
    TooLate,
    /// The store was asked and has not answered in time: it changed nothing, unless its answer alone was lost.
    Unanswered,
}

impl<R> Exchange<R> {
    /// Fills the key's bucket and lifts its block, in the store and here; `reply` is told when that has been made, or that it was not.
    pub fn reset(&mut self, key: &Key, wish: Wish, reply: R, now: u64) {
        if self.away {
            self.answers.push((reply, Verdict::of_reset(Reset::Away)));
            return;
        }
        let (_, hash) = self.node.hasher.key(key);
        self.enter(key, hash, now);
        if let Some(site) = self.sites.record_mut(hash) {
            site.begun().resets.push_back((wish, reply));
            self.mark_ready(hash);
        }
    }

    /// Another node has reset a key: what this one remembers of it holds no longer.
    pub fn reset_elsewhere(&mut self, key: &str) {
        let node = Arc::clone(&self.node);
        if let Some(hash) = self.hash_of(key)
            && let Some(site) = self.sites.record_mut(hash)
        {
            forget(&node, site);
        }
    }

    /// All keys were reset, at this time of the store in ms: what was told before holds no longer, and the store is told of the reset
    /// with every call, so that each bucket follows at its next use. False: this node knew.
    pub fn put_all_reset(&mut self, all_ms: u64) -> bool {
        if all_ms <= self.all_ms {
            return false;
        }
        self.all_ms = all_ms;
        let node = Arc::clone(&self.node);
        for site in self.sites.iter_mut() {
            forget(&node, site);
        }
        true
    }

    /// The time of the last reset of all keys that this node knows of, in the store's ms; 0: none.
    #[must_use]
    pub fn all_reset_ms(&self) -> u64 {
        self.all_ms
    }
}

/// What this node remembers of a key holds no longer.
fn forget<R>(node: &Node, site: &mut Site<R>) {
    site.forget_refusals();
    if let Some(slot) = slot_of(node, site) {
        slot.block(0);
        slot.deny(0);
    }
}
