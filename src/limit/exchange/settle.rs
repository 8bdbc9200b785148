//! Applying replies: tokens into the slot, verdicts to those who wait. Not what the store decided. Invariant: a lease ends here
//! before it ends in the store, counted from the call's sending; a reply that is not the awaited one changes nothing.
use std::sync::Arc;

use super::call::{CallId, Reply, Status};
use super::epoch::Epoch;
use super::reset::Reset;
use super::site::Flight;
use super::{Exchange, Told, Verdict, slot_of, terms};
use crate::limit::key::Hash;
use crate::limit::limits::{TOKEN_UNITS, seconds};
use crate::limit::slot::{Slot, Take, Told as Level};

const MS: u64 = 1_000_000;

impl<R> Exchange<R> {
    /// The reply to a call. One that comes late, or twice, is ignored.
    pub fn reply(&mut self, id: CallId, reply: &Reply, now: u64) {
        let Some(site) = self.sites.record_mut(id.hash) else {
            return;
        };
        let flight = site.busy_mut().and_then(|busy| {
            let awaited = |flight: &mut Flight<R>| flight.seq == id.seq;
            busy.flight.take_if(awaited)
        });
        let Some(mut flight) = flight else {
            return;
        };
        self.flying.remove(&id.hash);
        let rtt = now.saturating_sub(flight.sent_ns);
        self.rtt_ns = (self.rtt_ns * 7 + rtt) / 8;
        self.node.adopt(reply.limits);
        // The call ran before and its answer is lost; what it gave back is not given back again. Or it speaks of a block that was lifted
        // since. Or a reset came too late. Each time somebody else is to be asked again; what the store did counts as lost.
        let is_outdated = flight.is_stale && reply.status == Status::Blocked;
        if is_outdated || matches!(reply.status, Status::Repeated | Status::NotReset) {
            self.traffic.repeated += u64::from(reply.status == Status::Repeated);
            self.ask_again(id.hash, flight, reply, now);
            return;
        }
        self.traffic.short += u64::from(reply.status == Status::Short);
        self.traffic.granted += u64::from(reply.grant);
        self.traffic.returned += u64::from(flight.ret);
        if let Some((_, place)) = flight.reset.take() {
            site.forget_refusals();
            self.answers.push((place, Verdict::of_reset(Reset::Done)));
        }
        site.epoch = match flight.is_stale {
            true => Epoch::Unknown,
            false => reply.epoch.clone(),
        };
        if let Some(outage) = site.outage_mut() {
            outage.owed = outage.owed.saturating_sub(flight.owed);
            // Of a time when the store could not be asked soon enough: what it has said now is newer, and a share that went on filling
            // beside the store's bucket would be a second one.
            outage.share = None;
        }
        self.waiting -= flight.waiters.len();
        self.apply(id.hash, flight, reply, now);
        self.follow_up(id.hash, now);
    }

    /// Whoever waited for a call that said nothing goes back to the queue, but for a reset that must not be made any more.
    fn ask_again(&mut self, hash: Hash, flight: Flight<R>, reply: &Reply, now: u64) {
        let Some(site) = self.sites.record_mut(hash) else {
            return;
        };
        let busy = site.begun();
        for waiter in flight.waiters.into_iter().rev() {
            busy.waiting.push_front(waiter);
        }
        busy.watchers.extend(flight.watchers);
        if let Some((wish, place)) = flight.reset {
            match reply.status {
                Status::NotReset => {
                    let refused = match reply.soon_ms {
                        0 => Reset::TooLate,
                        ms => Reset::TooSoon(ms),
                    };
                    self.answers.push((place, Verdict::of_reset(refused)));
                }
                Status::Judged | Status::Blocked | Status::Repeated | Status::Short => {
                    busy.resets.push_front((wish, place));
                }
            }
        }
        if site.waits() {
            self.mark_ready(hash);
        } else {
            self.schedule(hash, now);
            self.forget_slotless(hash);
        }
    }

    /// Moves what was granted to those who wait and to the slot.
    fn apply(&mut self, hash: Hash, flight: Flight<R>, reply: &Reply, now: u64) {
        let node = Arc::clone(&self.node);
        let Some(site) = self.sites.record_mut(hash) else {
            return;
        };
        let slot = slot_of(&node, site);
        let ends = (flight.sent_ns + reply.lease_ms * MS).saturating_sub(terms::MARGIN_NS);
        let in_time = now < ends;
        let mut rest = if in_time { reply.grant } else { 0 };
        let mut held = 0;
        if let Some(slot) = slot {
            slot.withdraw(flight.held.saturating_sub(reply.kept));
            slot.put_told(Level {
                level: reply.level,
                out: reply.out,
                at_ns: now,
            });
            let blocked = now + reply.block_ms * MS;
            slot.block(if reply.block_ms > 0 { blocked } else { 0 });
            held = slot.held(now).all;
        }
        let level = u32::try_from(reply.level / TOKEN_UNITS).unwrap_or(u32::MAX);
        let mut refused = false;
        let waiters = flight.waiters.into_iter();
        for (cost, place) in waiters.map(|waiter| (waiter.cost, waiter.reply)) {
            let verdict = if cost <= rest {
                rest -= cost;
                Told::Granted(level.saturating_add(held).saturating_add(rest))
            } else {
                refused = true;
                let ms = match reply.block_ms {
                    0 => reply.soon_ms,
                    block_ms => block_ms,
                };
                Told::Refused(seconds(ms * MS))
            };
            self.answers
                .extend(place.map(|place| (place, Verdict(verdict))));
        }
        let told = Verdict(Told::Granted(level.saturating_add(reply.out)));
        self.answers
            .extend(flight.watchers.into_iter().map(|place| (place, told)));
        if refused {
            site.note_refusal(now);
        }
        let Some(slot) = slot else {
            return;
        };
        if in_time && (rest > 0 || reply.kept > 0) {
            slot.grant(rest, ends, terms::low_water(&site.rate, self.rtt_ns));
        }
        site.held_then = slot.held(now).all;
        let paced = site.paced_until(now);
        let denied = if reply.block_ms > 0 {
            // A block is cached by itself, and its end is judged by the bucket.
            0
        } else if refused {
            let soon = now + (reply.soon_ms * MS).min(terms::DENY_NS_MAX);
            paced.map_or(soon, |paced| paced.max(soon))
        } else if site.held_then == 0 {
            // Nothing is left here and no call is made before then: cores refuse by themselves, and need not ask this thread.
            paced.unwrap_or(0)
        } else {
            0
        };
        slot.deny(denied);
    }

    /// Those who came while the call was under way: from what it brought, or by the next call.
    fn follow_up(&mut self, hash: Hash, now: u64) {
        let node = Arc::clone(&self.node);
        let limits = node.limits();
        let Some(site) = self.sites.record_mut(hash) else {
            return;
        };
        let slot = slot_of(&node, site);
        while let Some(busy) = site.busy_mut()
            && let Some(cost) = busy.waiting.front().map(|waiter| waiter.cost)
        {
            let verdict = slot.and_then(|slot| serve(slot, cost, &limits, now));
            let verdict = verdict.or_else(|| {
                let wait = site.refuse_paced(slot?, cost, &limits, now)?;
                Some(Told::Refused(wait))
            });
            let Some(verdict) = verdict else { break };
            let first = site.busy_mut().and_then(|busy| busy.waiting.pop_front());
            let place = first.and_then(|waiter| waiter.reply);
            self.waiting -= 1;
            self.answers
                .extend(place.map(|place| (place, Verdict(verdict))));
        }
        if site.waits() {
            self.mark_ready(hash);
        }
        self.schedule(hash, now);
        self.forget_slotless(hash);
    }
}

fn serve(slot: &Slot, cost: u32, limits: &crate::limit::limits::Limits, now: u64) -> Option<Told> {
    let blocked = slot.blocked_until();
    if blocked > now {
        return Some(Told::Refused(seconds(blocked - now)));
    }
    match slot.take_leased(slot.id()?, cost, |_, _| 0, now) {
        (Take::Taken { word, .. }, _) => {
            let tokens = slot.tokens_leased(word.tokens(), limits, now);
            Some(Told::Granted(tokens))
        }
        (Take::Short | Take::Gone, _) => None,
    }
}
