//! While the store is away: what requests are told, what is owed, and the way back. Not how it is found out.
//! Invariant: what was admitted without a lease stays owed until a reply has taken it.
use std::sync::Arc;

use super::share::Share;
use super::site::{Site, UNKNOWN};
use super::{Exchange, OnOutage, Told, Verdict, slot_of};
use crate::limit::key::Hash;
use crate::limit::limits::seconds;
use crate::limit::node::Node;
use crate::limit::slot::Slot;

/// What a share advances to the slot at once, so that not every request has to ask; and for how long.
const ADVANCE_MAX: u32 = 256;
const ADVANCE_NS: u64 = 200_000_000;
/// A refusal by a share is believed this long at most: the store may be back any time.
const DENY_NS_MAX: u64 = 1_000_000_000;

impl<R> Exchange<R> {
    /// The store does not answer: calls under way are forgotten, and whoever waits is judged here. `nodes` share each limit.
    pub fn put_away(&mut self, nodes: u32, now: u64) {
        self.away = true;
        self.flying = 0;
        self.ready.clear();
        self.later.clear();
        self.put_nodes(nodes);
        let hashes: Vec<Hash> = self.sites.keys().copied().collect();
        for hash in hashes {
            let Some(site) = self.sites.get_mut(&hash) else {
                continue;
            };
            let flight = site.flight.take();
            // One that is ready may have had its timer taken, too.
            let timed = std::mem::take(&mut site.is_later) || site.is_ready || flight.is_some();
            site.is_ready = false;
            self.traffic.lost += u64::from(flight.is_some());
            let (mut waiters, mut watchers) = (Vec::new(), std::mem::take(&mut site.watchers));
            if let Some(flight) = flight {
                // A reset that may not have been made is made again.
                site.reset |= flight.reset;
                waiters = flight.waiters;
                watchers.extend(flight.watchers);
            }
            waiters.extend(site.waiting.drain(..));
            self.waiting -= waiters.len();
            for waiter in waiters {
                let verdict = self.judge_away(hash, waiter.cost, now);
                self.answers
                    .extend(waiter.reply.map(|place| (place, verdict)));
            }
            if !watchers.is_empty() {
                let told = Verdict(Told::Granted(self.tokens_known(hash, now)));
                self.answers
                    .extend(watchers.into_iter().map(|place| (place, told)));
            }
            if timed {
                self.schedule(hash, now);
            }
            self.forget_slotless(hash);
        }
    }

    /// So many nodes share each limit now: also while the store is there, for it may be too busy to be asked in time.
    pub fn put_nodes(&mut self, nodes: u32) {
        self.nodes = nodes.max(1);
    }

    /// The store answers again: what is owed is paid, and every key goes back to its leases.
    pub fn put_back(&mut self) {
        self.away = false;
        let mut owing = Vec::new();
        for (hash, site) in &mut self.sites {
            take_back(&self.node, site);
            if site.share.take().is_some()
                && let Some(slot) = slot_of(&self.node, site)
            {
                slot.deny(0);
            }
            if site.owed > 0 || site.reset {
                owing.push(*hash);
            }
        }
        for hash in owing {
            self.mark_later(hash);
        }
    }

    /// Whether the store is away.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away
    }

    /// By the policy, for a key whose lease is used up.
    pub(super) fn judge_away(&mut self, hash: Hash, cost: u32, now: u64) -> Verdict {
        let limits = self.node.limits();
        let node = Arc::clone(&self.node);
        let refused = |ns| Verdict(Told::Refused(seconds(ns)));
        let Some(site) = self.sites.get_mut(&hash) else {
            return Verdict::unasked(self.policy);
        };
        let slot = slot_of(&node, site);
        if slot.is_some_and(|slot| slot.is_over(now)) {
            take_back(&node, site);
        }
        let tokens = match (self.policy, slot) {
            (OnOutage::Closed, _) | (OnOutage::Share, None) => return refused(0),
            // Of a key without a place nothing can be remembered, not even what it owes.
            (OnOutage::Open, None) => return Verdict(Told::Granted(limits.capacity)),
            (OnOutage::Open, Some(slot)) => slot.tokens_leased(0, &limits, now),
            (OnOutage::Share, Some(slot)) => {
                let known = *site.epoch != *UNKNOWN;
                let told = known.then(|| slot.told().aged(&limits, now));
                let nodes = self.nodes;
                let owed = site.owed;
                let share = site
                    .share
                    .get_or_insert_with(|| Share::new(told, owed, nodes, &limits, now));
                match share.take(cost, &limits, now) {
                    Ok(tokens) => tokens,
                    Err(wait) => {
                        slot.deny(now + wait.min(DENY_NS_MAX));
                        return refused(wait);
                    }
                }
            }
        };
        // Beside a call that is under way nothing is advanced: its reply brings a lease.
        let ahead = slot.filter(|_| self.away);
        let ahead = ahead.map_or(0, |slot| advance(slot, site, now));
        site.owed = site.owed.saturating_add(cost).saturating_add(ahead);
        self.traffic.owed += u64::from(cost) + u64::from(ahead);
        Verdict(Told::Granted(tokens))
    }

    /// The level as this node remembers it.
    pub(super) fn tokens_known(&self, hash: Hash, now: u64) -> u32 {
        let limits = self.node.limits();
        let site = self.sites.get(&hash).filter(|site| *site.epoch != *UNKNOWN);
        site.and_then(|site| slot_of(&self.node, site))
            .map_or(limits.capacity, |slot| {
                slot.tokens_leased(slot.held(now).all, &limits, now)
            })
    }
}

/// Moves a part of the share into the slot, if no lease is left there: workers spend it without asking. Counted as owed at once.
fn advance<R>(slot: &Slot, site: &mut Site<R>, now: u64) -> u32 {
    if slot.held(now).all > 0 {
        return 0;
    }
    if slot.is_over(now) {
        // What is left of a lease that has ended must not live again under another end.
        slot.end();
    }
    let tokens = match &mut site.share {
        Some(share) => share.advance(ADVANCE_MAX),
        None => ADVANCE_MAX,
    };
    if tokens > 0 {
        slot.grant(tokens, now.saturating_add(ADVANCE_NS), 0);
        site.is_advanced = true;
    }
    tokens
}

/// The rest of an advance goes back to the share and is not owed; what slices still hold of it counts as spent.
fn take_back<R>(node: &Node, site: &mut Site<R>) {
    let Some(slot) = slot_of(node, site) else {
        return;
    };
    if !site.is_advanced {
        return;
    }
    let rest = slot.drain().pool;
    slot.end();
    site.is_advanced = false;
    site.owed = site.owed.saturating_sub(rest);
    if let Some(share) = &mut site.share {
        share.give(rest);
    }
}
