//! Building calls: what is said, wanted and given back. Not their sending. Invariant: what a call gives back has left the pool by a
//! CAS before, and is never said twice.
use std::sync::Arc;

use super::call::{Call, CallId, Terms};
use super::epoch::Epoch;
use super::site::{Busy, Flight, Site, Waiter};
use super::{Exchange, slot_of, terms};
use crate::limit::key::Hash;
use crate::limit::limits::{Limits, TOKEN_UNITS};
use crate::limit::slot::{Held, Slot};

const MS: u64 = 1_000_000;

impl<R> Exchange<R> {
    /// The calls to be sent now, of those who wait, then of timers that have gone off and of what is owed. At most `max` are under way at
    /// once, and half of that for those that nobody waits for: more would time out behind each other. An eighth is theirs always.
    pub fn calls(&mut self, now: u64, max: usize) -> Vec<Call> {
        if self.away {
            return Vec::new();
        }
        self.wake(now);
        let mut calls = Vec::new();
        // Debts are paid also when requests could use every call: what owes keeps its slot from others.
        let kept = self.later.len().min(max / 8);
        while self.flying.len() < max - kept
            && let Some(hash) = self.ready.pop_front()
        {
            let site = self.sites.record_mut(hash);
            if let Some(site) = site.filter(|site| site.is_ready) {
                site.is_ready = false;
                if self.is_too_late(hash, now) {
                    continue;
                }
                calls.extend(self.build(hash, now));
            }
        }
        let most = (self.flying.len() + kept).clamp(max / 2, max);
        while self.flying.len() < most
            && let Some(hash) = self.later.pop_front()
        {
            let site = self.sites.record_mut(hash);
            if site.is_some_and(|site| std::mem::take(&mut site.is_later)) {
                calls.extend(self.build(hash, now));
            }
        }
        self.traffic.calls += u64::try_from(calls.len()).unwrap_or(0);
        calls
    }

    /// Whoever has waited for as long as a call may take, before one could be sent, is judged as if the store were away. True: nobody
    /// waits for a call any more.
    fn is_too_late(&mut self, hash: Hash, now: u64) -> bool {
        let timeout_ns = self.timeout_ns;
        let overdue = |waiter: &Waiter<R>| waiter.asked_ns.saturating_add(timeout_ns) <= now;
        let mut judged = false;
        while let Some(site) = self.sites.record_mut(hash)
            && let Some(busy) = site.busy_mut()
            && busy.flight.is_none()
            && busy.waiting.front().is_some_and(overdue)
            && let Some(waiter) = busy.waiting.pop_front()
        {
            self.waiting -= 1;
            judged = true;
            let verdict = self.judge_away(hash, waiter.cost, now);
            let place = waiter.reply.map(|place| (place, verdict));
            self.answers.extend(place);
        }
        let site = self.sites.record(hash).filter(|_| judged);
        let done = site.is_some_and(|site| !site.waits());
        if done {
            // Otherwise nothing is left to be said, and its timers go on.
            if self.owes(hash) {
                self.mark_later(hash);
            }
            self.schedule(hash, now);
            self.forget_slotless(hash);
        }
        done
    }

    /// Timers that have gone off.
    fn wake(&mut self, now: u64) {
        let capacity = self.node.limits().capacity;
        while let Some((due, hash)) = self.due.first().copied() {
            if due > now {
                break;
            }
            self.due.remove(&(due, hash));
            let Some(site) = self.sites.record_mut(hash) else {
                continue;
            };
            site.due_ns = 0;
            let calls = slot_of(&self.node, site)
                .is_some_and(|slot| site.wants_call(slot, capacity, now, self.rtt_ns));
            if calls {
                self.mark_later(hash);
            } else {
                self.schedule(hash, now);
            }
        }
    }

    fn build(&mut self, hash: Hash, now: u64) -> Option<Call> {
        let node = Arc::clone(&self.node);
        let limits = node.limits();
        let site = self.sites.record_mut(hash)?;
        if site.is_in_flight() {
            // Its reply makes the key ready again.
            return None;
        }
        self.flying.insert(hash);
        site.is_later = false;
        let slot = slot_of(&node, site);
        if let Some(slot) = slot
            && slot.is_over(now)
        {
            self.traffic.expired += u64::from(slot.end());
        }
        let (owed, busy) = (site.owed(), site.begun());
        let waiters = batch(busy);
        let reset = busy.resets.pop_front();
        let watchers = std::mem::take(&mut busy.watchers);
        // What a reset that is not made would give back were lost.
        let closes =
            reset.is_none() && slot.is_some_and(|slot| site.closes(slot, now, self.rtt_ns));
        let held = held_of(slot, closes, now);
        let (cost, waiting) = waiters
            .first()
            .map_or((1, 0), |first| (first.cost, sum(&waiters)));
        let taken = slot.map_or(0, Slot::demand_taken);
        site.demand = site.demand.saturating_add(taken);
        let may_want = node.settings.slices && !closes;
        let want = want(site, slot.filter(|_| may_want), held, now);
        let brief_ms = (2 * self.timeout_ns / MS).max(terms::BRIEF_MS_MIN);
        let mut said = Terms {
            held: held.all,
            ret: held.pool,
            owed: if reset.is_some() { 0 } else { owed },
            waiting,
            cost,
            want,
            tau_ms: terms::tau_ms(&site.rate, want, held.all, brief_ms),
            reset: reset.as_ref().map(|(wish, _)| *wish),
            all_ms: self.all_ms,
            brief_ms,
            ..Terms::default()
        };
        let known = remember(site, slot, &limits, &mut said, now);
        self.seq += 1;
        let id = CallId {
            hash,
            seq: self.seq,
        };
        site.begun().flight = Some(Flight {
            seq: id.seq,
            sent_ns: now,
            held: said.held,
            owed,
            ret: said.ret,
            reset,
            is_stale: false,
            waiters,
            watchers,
        });
        (site.called_ns, site.was_called) = (now, true);
        Some(Call::new(
            id,
            &site.name,
            (&self.site, &known),
            &said,
            &limits,
        ))
    }
}

/// What is wanted ahead, after the demand since the last call: of a key that was called before, and has a place for it.
fn want<R>(site: &mut Site<R>, place: Option<&Slot>, held: Held, now: u64) -> u32 {
    let demand = std::mem::take(&mut site.demand);
    site.rate
        .observe(demand, now.saturating_sub(site.called_ns));
    match place {
        Some(_) if site.was_called => terms::want(&site.rate, held.all, demand),
        Some(_) | None => 0,
    }
}

/// What the call says of itself, and what it gives back as `pool`: everything that is not lent, when the lease is closed.
fn held_of(slot: Option<&Slot>, closes: bool, now: u64) -> Held {
    let Some(slot) = slot else {
        return Held { pool: 0, all: 0 };
    };
    if closes {
        let drained = slot.drain();
        Held {
            pool: drained.pool,
            all: drained.all - drained.pool,
        }
    } else {
        Held {
            pool: 0,
            all: slot.held(now).all,
        }
    }
}

/// What this node remembers, should the store have lost the key.
fn remember<R>(
    site: &Site<R>,
    slot: Option<&Slot>,
    limits: &Limits,
    said: &mut Terms,
    now: u64,
) -> Epoch {
    let Some(slot) = slot.filter(|_| site.epoch.is_known() && said.reset.is_none()) else {
        return Epoch::Unknown;
    };
    let told = slot.told();
    said.told = told.level;
    // Longer than it takes to fill a bucket says no more.
    let full_ms = u64::from(limits.capacity) * TOKEN_UNITS / u64::from(limits.rpm) + 1;
    said.age_ms = (now.saturating_sub(told.at_ns) / MS).min(full_ms);
    said.left_ms = slot.blocked_until().saturating_sub(now).div_ceil(MS);
    site.epoch.clone()
}

/// Those who wait for the same cost, first come first.
fn batch<R>(busy: &mut Busy<R>) -> Vec<Waiter<R>> {
    let Some(cost) = busy.waiting.front().map(|waiter| waiter.cost) else {
        return Vec::new();
    };
    let same = busy.waiting.iter().take_while(|waiter| waiter.cost == cost);
    let count = same.count();
    busy.waiting.drain(..count).collect()
}

fn sum<R>(waiters: &[Waiter<R>]) -> u32 {
    waiters
        .iter()
        .fold(0_u32, |sum, waiter| sum.saturating_add(waiter.cost))
}
