//! While the store is away: what requests are told, what is owed, and the way back. Not how it is found out.
//! Invariant: what was admitted without a lease stays owed until a reply has taken it.
use std::sync::Arc;

use super::reset::Reset;
use super::share::Share;
use super::{Exchange, OnOutage, Told, Verdict, slot_of};
use crate::limit::key::Hash;
use crate::limit::limits::{Limits, seconds};
use crate::limit::slot::Slot;

/// What a share advances to the slot at once, so that not every request has to ask; and for how long.
const ADVANCE_MAX: u32 = 256;
const ADVANCE_NS: u64 = 200_000_000;
/// A refusal by a share is believed this long at most: the store may be back any time.
const DENY_NS_MAX: u64 = 1_000_000_000;

/// What one key is given without a lease.
#[derive(Debug, Default)]
pub(super) struct Outage {
    pub(super) share: Option<Share>,
    /// Admitted without a lease and not yet deducted in the store.
    pub(super) owed: u32,
    /// The slot holds tokens of the share (or of nobody, if all is open), and no lease.
    is_advanced: bool,
    /// Those of them that are owed.
    owed_ahead: u32,
}

impl Outage {
    pub(super) fn is_over(&self) -> bool {
        self.share.is_none() && self.owed == 0 && !self.is_advanced
    }

    /// The rest of an advance goes back to the share and is not owed; what slices still hold of it counts as spent.
    fn take_back(&mut self, slot: &Slot) {
        if !std::mem::take(&mut self.is_advanced) {
            return;
        }
        let rest = slot.drain().pool;
        slot.end();
        // Those that the store has been paid for went first.
        let owed = rest.min(std::mem::take(&mut self.owed_ahead));
        self.owed = self.owed.saturating_sub(owed);
        if let Some(share) = &mut self.share {
            share.give(rest, rest - owed);
        }
    }

    /// What is left in a slot whose time is over: of an advance, or of a lease. The store counts the latter as spent, so it is not owed.
    fn end(&mut self, slot: &Slot, limits: &Limits) {
        if self.is_advanced {
            self.take_back(slot);
            return;
        }
        let rest = slot.drain().pool;
        slot.end();
        if let Some(share) = &mut self.share {
            share.keep(rest, limits);
        }
    }

    /// Moves a part of the share into the slot, if no lease is left there: workers spend it without asking. Counted as owed at once.
    fn advance(&mut self, slot: &Slot, now: u64) -> u32 {
        if slot.held(now).all > 0 {
            return 0;
        }
        let tokens = match &mut self.share {
            Some(share) => share.advance(ADVANCE_MAX),
            None => ADVANCE_MAX,
        };
        if tokens > 0 {
            slot.grant(tokens, now.saturating_add(ADVANCE_NS), 0);
            self.is_advanced = true;
        }
        tokens
    }

    /// Counts what was admitted and what was advanced.
    fn owe(&mut self, cost: u32, ahead: u32) -> u32 {
        let (mut owed, mut owed_ahead) = (cost, ahead);
        if let Some(share) = &mut self.share {
            (owed, owed_ahead) = (share.owe(cost), share.owe(ahead));
        }
        if ahead > 0 {
            self.owed_ahead = owed_ahead;
        }
        let owed = owed.saturating_add(owed_ahead);
        self.owed = self.owed.saturating_add(owed);
        owed
    }
}

impl<R> Exchange<R> {
    /// The store does not answer: calls under way are forgotten, and whoever waits is judged here. `nodes` share each limit.
    pub fn put_away(&mut self, nodes: u32, now: u64) {
        self.away = true;
        self.put_nodes(nodes);
        self.tell_part();
        let mut hashes: Vec<Hash> = std::mem::take(&mut self.flying).into_iter().collect();
        hashes.extend(self.ready.drain(..));
        hashes.extend(self.later.drain(..));
        for hash in hashes {
            self.set_down(hash, now);
        }
    }

    /// Nobody waits for this key any more, and no call of it is awaited.
    fn set_down(&mut self, hash: Hash, now: u64) {
        let Some(site) = self.sites.record_mut(hash) else {
            return;
        };
        // One that is ready may have had its timer taken, too.
        let timed = std::mem::take(&mut site.is_later)
            | std::mem::take(&mut site.is_ready)
            | site.is_in_flight();
        let Some(busy) = site.take_busy() else {
            if timed {
                self.schedule(hash, now);
            }
            return;
        };
        let (mut waiters, mut watchers) = (Vec::new(), busy.watchers);
        let mut reset = None;
        if let Some(flight) = busy.flight {
            self.traffic.lost += 1;
            reset = flight.reset;
            waiters = flight.waiters;
            watchers.extend(flight.watchers);
        }
        waiters.extend(busy.waiting);
        self.waiting -= waiters.len();
        for waiter in waiters {
            let verdict = self.judge_away(hash, waiter.cost, now);
            self.answers
                .extend(waiter.reply.map(|place| (place, verdict)));
        }
        if !watchers.is_empty() {
            let told = self.tokens_known(hash, now);
            self.answers
                .extend(watchers.into_iter().map(|place| (place, told)));
        }
        let unanswered = reset.map(|(_, place)| (place, Verdict::of_reset(Reset::Unanswered)));
        let unmade = busy.resets.into_iter();
        let unmade = unmade.map(|(_, place)| (place, Verdict::of_reset(Reset::Away)));
        self.answers.extend(unanswered.into_iter().chain(unmade));
        if timed {
            self.schedule(hash, now);
        }
        self.forget_slotless(hash);
    }

    /// So many nodes share each limit now: also while the store is there, for it may be too busy to be asked in time.
    pub fn put_nodes(&mut self, nodes: u32) {
        self.nodes = nodes.max(1);
    }

    /// What requests are told from now on: as long as the store is away, of this node's own part, or nothing.
    pub(super) fn tell_part(&self) {
        match (self.away, self.policy) {
            (true, OnOutage::Share) => self.node.tell_part(self.nodes, true),
            (true, OnOutage::Open) => self.node.tell_part(1, false),
            (true, OnOutage::Closed) | (false, _) => self.node.tell_part(1, true),
        }
    }

    /// The store answers again: what is owed is paid, and every key goes back to its leases.
    pub fn put_back(&mut self) {
        self.away = false;
        self.tell_part();
        let node = Arc::clone(&self.node);
        let strained: Vec<Hash> = self.strained.drain().collect();
        for hash in strained {
            let Some(site) = self.sites.record_mut(hash) else {
                continue;
            };
            let slot = slot_of(&node, site);
            let Some(outage) = site.outage_mut() else {
                continue;
            };
            if let Some(slot) = slot {
                outage.take_back(slot);
            }
            if let Some(share) = outage.share.take()
                && let Some(slot) = slot
            {
                slot.put_told(share.before());
                slot.deny(0);
            }
            if outage.owed > 0 {
                self.strained.insert(hash);
                self.mark_later(hash);
            } else {
                site.tidy();
            }
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
        let Some(site) = self.sites.record_mut(hash) else {
            return Verdict::unasked(self.policy);
        };
        let slot = match (self.policy, slot_of(&node, site)) {
            (OnOutage::Closed, _) | (OnOutage::Share, None) => return refused(0),
            // Of a key without a place nothing can be remembered, not even what it owes.
            (OnOutage::Open, None) => return Verdict(Told::Admitted),
            (OnOutage::Open | OnOutage::Share, Some(slot)) => slot,
        };
        let told = site.epoch.is_known().then(|| slot.told());
        let (policy, nodes, away) = (self.policy, self.nodes, self.away);
        self.strained.insert(hash);
        let outage = site.outage();
        let mut verdict = Verdict(Told::Admitted);
        if policy == OnOutage::Share && outage.share.is_none() {
            outage.share = Some(Share::new(told, outage.owed, nodes, &limits, now));
        }
        if slot.is_over(now) {
            outage.end(slot, &limits);
        }
        if let Some(share) = &mut outage.share {
            let taken = share.take(cost, &limits, now);
            if let Err(wait) = taken {
                if away {
                    slot.put_told(share.told(&limits));
                }
                slot.deny(now + wait.min(DENY_NS_MAX));
                return refused(wait);
            }
            verdict = Verdict(Told::Granted(share.tokens(&limits)));
        }
        // Beside a call that is under way nothing is advanced: its reply brings a lease.
        let ahead = if away { outage.advance(slot, now) } else { 0 };
        self.traffic.owed += u64::from(outage.owe(cost, ahead));
        if let Some(share) = outage.share.as_ref().filter(|_| away) {
            slot.put_told(share.told(&limits));
        }
        verdict
    }

    /// The level as this node remembers it, or its own part of it.
    pub(super) fn tokens_known(&mut self, hash: Hash, now: u64) -> Verdict {
        let limits = self.node.limits();
        if !limits.are_told {
            return Verdict(Told::Admitted);
        }
        let node = Arc::clone(&self.node);
        let site = self.sites.record_mut(hash);
        let known = site.and_then(|site| {
            let slot = slot_of(&node, site)?;
            let is_known = site.epoch.is_known();
            let mut is_shared = false;
            if let Some(outage) = site.outage_mut().filter(|_| self.away)
                && outage.share.is_some()
            {
                is_shared = true;
                if slot.is_over(now) {
                    outage.end(slot, &limits);
                    slot.put_told(outage.share.as_ref()?.told(&limits));
                }
            }
            let held = slot.held(now).all;
            (is_known || is_shared).then(|| slot.tokens_leased(held, &limits, now))
        });
        Verdict(Told::Granted(known.unwrap_or(limits.part)))
    }
}
