//! What the control thread keeps of one key: how it is called, what is owed, and, while something is going on, who waits and which call
//! is under way. Not the tokens, which are in the slot. Invariants: at most one call per key is in flight; a key that nobody asks about
//! right now takes `KEY_BYTES_MAX` and no memory beside it (an organization: its text).
use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::epoch::Epoch;
use super::outage::Outage;
use super::reset::Wish;
use super::terms::{self, Rate};
use crate::limit::key::{Key, Name};
use crate::limit::limits::{Limits, seconds};
use crate::limit::slot::Slot;

/// A cached block is asked about again, in case a reset's message was missed. A little sooner than a core would do so (`Slot`).
const RECHECK_NS: u64 = 4_000_000_000;
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
    pub(super) reset: Option<(Wish, R)>,
    /// The key was reset since: what the reply says of a block may have been true before.
    pub(super) is_stale: bool,
    pub(super) waiters: Vec<Waiter<R>>,
    pub(super) watchers: Vec<R>,
}

/// What goes on about a key right now.
#[derive(Debug)]
pub(super) struct Busy<R> {
    pub(super) waiting: VecDeque<Waiter<R>>,
    /// Who only wants to know the level.
    pub(super) watchers: Vec<R>,
    /// Resets, one call each.
    pub(super) resets: VecDeque<(Wish, R)>,
    pub(super) flight: Option<Flight<R>>,
}

impl<R> Busy<R> {
    /// Somebody waits for a call that is not made yet.
    pub(super) fn waits(&self) -> bool {
        !(self.waiting.is_empty() && self.watchers.is_empty() && self.resets.is_empty())
    }
}

impl<R> Default for Busy<R> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            watchers: Vec::new(),
            resets: VecDeque::new(),
            flight: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Site<R> {
    pub(super) name: Name,
    pub(super) epoch: Epoch,
    pub(super) rate: Rate,
    /// When the last call was sent; before the first, when the key came.
    pub(super) called_ns: u64,
    /// When a request was last refused, by the store or, between paced calls, here: as long as refusals come, calls stay paced. 0: never.
    refused_ns: u64,
    /// When its timer goes off; 0: none is set.
    pub(super) due_ns: u64,
    /// None: the table is full of keys in use; such a key holds nothing and is forgotten after its call.
    slot: Option<NonZeroU32>,
    pub(super) demand: u32,
    /// What the node held after the last reply.
    pub(super) held_then: u32,
    pub(super) was_called: bool,
    /// The store has refused more than once of late.
    is_short: bool,
    /// In the queue of those for whom somebody waits.
    pub(super) is_ready: bool,
    /// In the queue of calls that nobody waits for.
    pub(super) is_later: bool,
    busy: Option<Box<Busy<R>>>,
    /// What was admitted, or may be, without a lease.
    outage: Option<Box<Outage>>,
}

/// A record among others (`sites`).
pub(super) const KEY_BYTES_MAX: usize = 128;
const _: () = assert!(size_of::<Option<Site<usize>>>() <= KEY_BYTES_MAX);

impl<R> Site<R> {
    pub(super) fn new(key: &Key, slot: Option<u32>, now: u64) -> Self {
        Self {
            name: Name::from(key),
            epoch: Epoch::Unknown,
            rate: Rate::default(),
            called_ns: now,
            refused_ns: 0,
            due_ns: 0,
            slot: slot.and_then(|at| NonZeroU32::new(at.wrapping_add(1))),
            demand: 0,
            held_then: 0,
            was_called: false,
            is_short: false,
            is_ready: false,
            is_later: false,
            busy: None,
            outage: None,
        }
    }

    pub(super) fn slot(&self) -> Option<u32> {
        self.slot.map(|at| at.get() - 1)
    }

    pub(super) fn busy(&self) -> Option<&Busy<R>> {
        self.busy.as_deref()
    }

    pub(super) fn busy_mut(&mut self) -> Option<&mut Busy<R>> {
        self.busy.as_deref_mut()
    }

    /// What goes on, from now on at the latest.
    pub(super) fn begun(&mut self) -> &mut Busy<R> {
        self.busy.get_or_insert_default()
    }

    pub(super) fn take_busy(&mut self) -> Option<Box<Busy<R>>> {
        self.busy.take()
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.busy().is_some_and(|busy| busy.flight.is_some())
    }

    pub(super) fn waits(&self) -> bool {
        self.busy().is_some_and(Busy::waits)
    }

    pub(super) fn outage(&mut self) -> &mut Outage {
        self.outage.get_or_insert_default()
    }

    pub(super) fn outage_mut(&mut self) -> Option<&mut Outage> {
        self.outage.as_deref_mut()
    }

    /// Admitted without a lease and not yet deducted in the store.
    pub(super) fn owed(&self) -> u32 {
        self.outage.as_ref().map_or(0, |outage| outage.owed)
    }

    /// Gives back what holds nothing any more.
    pub(super) fn tidy(&mut self) {
        self.busy
            .take_if(|busy| busy.flight.is_none() && !busy.waits());
        self.outage.take_if(|outage| outage.is_over());
    }

    /// Nothing would be lost by forgetting this key, but what its slot holds.
    pub(super) fn is_idle(&self) -> bool {
        self.owed() == 0 && !self.is_in_flight() && !self.waits()
    }

    /// What this node has been told of the key holds no longer.
    pub(super) fn forget_refusals(&mut self) {
        self.epoch = Epoch::Unknown;
        (self.refused_ns, self.is_short) = (0, false);
        if let Some(flight) = self.busy_mut().and_then(|busy| busy.flight.as_mut()) {
            flight.is_stale = true;
        }
    }

    /// The store has refused a request.
    pub(super) fn note_refusal(&mut self, now: u64) {
        let last = self.refused_ns;
        self.is_short = last > 0 && now < last + SHORTAGE_NS;
        self.refused_ns = now.max(1);
    }

    /// A refusal is followed by a second of paced calls: whether the next has to wait, and requests until then are refused here. Not
    /// after a single one: the time until the next token is known, and whoever comes just then shall have it.
    pub(super) fn paced_until(&self, now: u64) -> Option<u64> {
        if !self.is_short || self.refused_ns == 0 || now >= self.refused_ns + terms::PACED_NS {
            return None;
        }
        let next = self.called_ns.saturating_add(terms::pace_ns(&self.rate));
        (now < next).then_some(next)
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
        self.refused_ns = now.max(1);
        Some(seconds(slot.told().wait_ns(cost, limits, now)))
    }

    /// When the site is to be looked at again without being asked.
    pub(super) fn next_due(&self, slot: &Slot, now: u64, rtt_ns: u64) -> Option<u64> {
        let held = slot.held(now);
        let close = (held.pool > 0).then(|| terms::close_at(slot.ends(), rtt_ns));
        let report = (held.all > 0).then(|| self.called_ns.max(now).saturating_add(REPORT_NS));
        // Where nobody has asked until then, whoever comes next has it asked about (`Slot::is_doubtful`).
        let recheck = match slot.told().at_ns.saturating_add(RECHECK_NS) {
            soon if soon > now => soon,
            _ => now.saturating_add(RECHECK_NS),
        };
        let recheck = (slot.blocked_until() > now).then_some(recheck);
        [close, report, recheck].into_iter().flatten().min()
    }

    /// Whether the store should be asked if a block still stands: it was told long ago. A call whose reply is lost tells nothing.
    pub(super) fn may_recheck(&self, slot: &Slot, now: u64) -> bool {
        !self.is_in_flight() && now >= slot.told().at_ns.saturating_add(RECHECK_NS)
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
        let recheck =
            slot.blocked_until() > now && slot.has_demand() && self.may_recheck(slot, now);
        self.closes(slot, now, rtt_ns) || report || recheck
    }
}
