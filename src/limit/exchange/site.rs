//! What the control thread keeps of one key: who waits, which call is under way, what is owed. Not the tokens, which are in the slot.
//! Invariant: at most one call per key is in flight.
use std::collections::VecDeque;

use super::share::Share;
use super::terms::{self, Rate};
use crate::limit::limits::{Limits, seconds};
use crate::limit::slot::Slot;

/// Without a known epoch: the store is told nothing of what this node remembers.
pub(super) const UNKNOWN: &str = "0";
/// A cached block is asked about again, in case a reset's message was missed.
const RECHECK_NS: u64 = 5_000_000_000;
/// Refusals by the store at most this far apart are of one shortage. As long as one is believed.
const SHORTAGE_NS: u64 = terms::DENY_NS_MAX;
/// The shortest time between a call and a report of what was spent since.
const REPORT_NS: u64 = 1_000_000_000;

/// A request that waits. Without a place for the answer it is charged all the same.
#[derive(Debug)]
pub(super) struct Waiter<R> {
    pub(super) cost: u32,
    pub(super) asked_ns: u64,
    pub(super) reply: Option<R>,
}

/// A call under way, and what it said.
#[derive(Debug)]
pub(super) struct Flight<R> {
    pub(super) seq: u64,
    pub(super) sent_ns: u64,
    pub(super) held: u32,
    pub(super) owed: u32,
    pub(super) ret: u32,
    pub(super) reset: bool,
    pub(super) waiters: Vec<Waiter<R>>,
    pub(super) watchers: Vec<R>,
}

#[derive(Debug)]
pub(super) struct Site<R> {
    /// `rl:{…}`.
    pub(super) key: Box<str>,
    /// None: the table is full of keys in use; such a key holds nothing and is forgotten after its call.
    pub(super) slot: Option<u32>,
    pub(super) epoch: Box<str>,
    pub(super) waiting: VecDeque<Waiter<R>>,
    /// Who only wants to know the level.
    pub(super) watchers: Vec<R>,
    pub(super) flight: Option<Flight<R>>,
    /// Admitted without a lease and not yet deducted in the store.
    pub(super) owed: u32,
    pub(super) demand: u32,
    pub(super) rate: Rate,
    /// When the last call was sent; before the first, when the key came.
    pub(super) called_ns: u64,
    pub(super) was_called: bool,
    /// When a request was last refused, by the store or, between paced calls, here: as long as refusals come, calls stay paced.
    pub(super) refused_ns: Option<u64>,
    /// The store has refused more than once of late.
    pub(super) is_short: bool,
    /// What the node held after the last reply.
    pub(super) held_then: u32,
    pub(super) share: Option<Share>,
    /// The slot holds tokens of the share (or of nobody, if all is open), and no lease.
    pub(super) is_advanced: bool,
    pub(super) reset: bool,
    /// In the queue of those for whom somebody waits.
    pub(super) is_ready: bool,
    /// In the queue of calls that nobody waits for.
    pub(super) is_later: bool,
    pub(super) due_ns: Option<u64>,
}

impl<R> Site<R> {
    pub(super) fn new(key: Box<str>, slot: Option<u32>, now: u64) -> Self {
        Self {
            key,
            slot,
            epoch: UNKNOWN.into(),
            waiting: VecDeque::new(),
            watchers: Vec::new(),
            flight: None,
            owed: 0,
            demand: 0,
            rate: Rate::default(),
            called_ns: now,
            was_called: false,
            refused_ns: None,
            is_short: false,
            held_then: 0,
            share: None,
            is_advanced: false,
            reset: false,
            is_ready: false,
            is_later: false,
            due_ns: None,
        }
    }

    /// Nothing would be lost by forgetting this key, but what its slot holds.
    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_none()
            && self.waiting.is_empty()
            && self.watchers.is_empty()
            && self.owed == 0
            && !self.reset
    }

    /// The store has refused a request.
    pub(super) fn note_refusal(&mut self, now: u64) {
        let last = self.refused_ns;
        self.is_short = last.is_some_and(|last| now < last + SHORTAGE_NS);
        self.refused_ns = Some(now);
    }

    /// A refusal is followed by a second of paced calls: whether the next has to wait, and requests until then are refused here. Not
    /// after a single one: the time until the next token is known, and whoever comes just then shall have it.
    pub(super) fn paced_until(&self, now: u64) -> Option<u64> {
        let refused = self.refused_ns.filter(|_| self.is_short)?;
        let next = self.called_ns.saturating_add(terms::pace_ns(&self.rate));
        (now < refused + terms::PACED_NS && now < next).then_some(next)
    }

    /// Between paced calls a request is refused here, with the seconds to wait.
    pub(super) fn refuse_paced(
        &mut self,
        slot: &Slot,
        cost: u32,
        limits: &Limits,
        now: u64,
    ) -> Option<u32> {
        self.paced_until(now)?;
        self.refused_ns = Some(now);
        Some(seconds(slot.told().wait_ns(cost, limits, now)))
    }

    /// When the site is to be looked at again without being asked.
    pub(super) fn next_due(&self, slot: &Slot, now: u64, rtt_ns: u64) -> Option<u64> {
        let held = slot.held(now);
        let close = (held.pool > 0).then(|| terms::close_at(slot.ends(), rtt_ns));
        let report = (held.all > 0).then(|| self.called_ns.max(now).saturating_add(REPORT_NS));
        let blocked = slot.blocked_until() > now;
        let recheck = blocked.then(|| now.saturating_add(RECHECK_NS));
        [close, report, recheck].into_iter().flatten().min()
    }

    /// Whether the lease is to be closed now.
    pub(super) fn closes(&self, slot: &Slot, now: u64, rtt_ns: u64) -> bool {
        slot.held(now).pool > 0 && now >= terms::close_at(slot.ends(), rtt_ns)
    }

    /// Whether a timer that went off calls: to close, to report, or to look whether a block still stands.
    pub(super) fn wants_call(&self, slot: &Slot, capacity: u32, now: u64, rtt_ns: u64) -> bool {
        let held = slot.held(now);
        let spent = self.held_then.saturating_sub(held.all);
        let report = held.all > 0
            && spent >= terms::report_min(capacity)
            && now >= self.called_ns.saturating_add(REPORT_NS);
        let recheck = slot.blocked_until() > now
            && slot.has_demand()
            && now >= self.called_ns.saturating_add(RECHECK_NS);
        self.closes(slot, now, rtt_ns) || report || recheck
    }
}
