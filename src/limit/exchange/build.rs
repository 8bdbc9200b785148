//! Building calls: what is said, wanted and given back. Not their sending. Invariant: what a call gives back has left the pool by a
//! CAS before, and is never said twice.
use std::sync::Arc;

use super::call::{Call, CallId, Terms};
use super::site::{Flight, Site, UNKNOWN, Waiter};
use super::{Exchange, slot_of, terms};
use crate::limit::key::Hash;
use crate::limit::limits::Limits;
use crate::limit::slot::{Held, Slot};

/// How long a request waits before its call is sent.
const WAIT_NS: u64 = 50_000_000;

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
        while self.flying < max - kept
            && let Some(hash) = self.ready.pop_front()
        {
            let site = self.sites.get_mut(&hash);
            if let Some(site) = site.filter(|site| site.is_ready) {
                site.is_ready = false;
                if self.is_too_late(hash, now) {
                    continue;
                }
                calls.extend(self.build(hash, now));
            }
        }
        let most = (self.flying + kept).clamp(max / 2, max);
        while self.flying < most
            && let Some(hash) = self.later.pop_front()
        {
            let site = self.sites.get_mut(&hash);
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
        let overdue = |waiter: &Waiter<R>| waiter.asked_ns.saturating_add(WAIT_NS) <= now;
        let mut judged = false;
        while let Some(site) = self.sites.get_mut(&hash)
            && site.flight.is_none()
            && site.waiting.front().is_some_and(overdue)
            && let Some(waiter) = site.waiting.pop_front()
        {
            self.waiting -= 1;
            judged = true;
            let verdict = self.judge_away(hash, waiter.cost, now);
            let place = waiter.reply.map(|place| (place, verdict));
            self.answers.extend(place);
        }
        let site = self.sites.get(&hash).filter(|_| judged);
        let done = site.is_some_and(|site| site.waiting.is_empty() && site.watchers.is_empty());
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
            let Some(site) = self.sites.get_mut(&hash) else {
                continue;
            };
            site.due_ns = None;
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
        let site = self.sites.get_mut(&hash)?;
        if site.flight.is_some() {
            // Its reply makes the key ready again.
            return None;
        }
        self.flying += 1;
        site.is_later = false;
        let slot = slot_of(&node, site);
        if let Some(slot) = slot
            && slot.is_over(now)
        {
            self.traffic.expired += u64::from(slot.end());
        }
        let closes = slot.is_some_and(|slot| site.closes(slot, now, self.rtt_ns));
        let held = held_of(slot, closes, now);
        let waiters = batch(site);
        let (cost, waiting) = waiters
            .first()
            .map_or((1, 0), |first| (first.cost, sum(&waiters)));
        let taken = slot.map_or(0, Slot::demand_taken);
        let demand = std::mem::take(&mut site.demand).saturating_add(taken);
        site.rate
            .observe(demand, now.saturating_sub(site.called_ns));
        let ahead = node.settings.slices && site.was_called && slot.is_some() && !closes;
        let want = if ahead {
            terms::want(&site.rate, held.all, demand)
        } else {
            0
        };
        let mut said = Terms {
            held: held.all,
            ret: held.pool,
            owed: site.owed,
            waiting,
            cost,
            want,
            tau_ms: terms::tau_ms(&site.rate, want, held.all),
            reset: site.reset,
            ..Terms::default()
        };
        let known = remember(site, slot, &limits, &mut said, now);
        self.seq += 1;
        let id = CallId {
            hash,
            seq: self.seq,
        };
        site.flight = Some(Flight {
            seq: id.seq,
            sent_ns: now,
            held: said.held,
            owed: said.owed,
            ret: said.ret,
            reset: said.reset,
            waiters,
            watchers: std::mem::take(&mut site.watchers),
        });
        (site.called_ns, site.was_called, site.reset) = (now, true, false);
        Some(Call::new(
            id,
            &site.key,
            (&self.site, &known),
            &said,
            &limits,
        ))
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
) -> Box<str> {
    const MS: u64 = 1_000_000;
    let Some(slot) = slot.filter(|_| *site.epoch != *UNKNOWN && !said.reset) else {
        return UNKNOWN.into();
    };
    let told = slot.told();
    said.told = told.level;
    // Longer than it takes to fill a bucket says no more.
    let full_ms = u64::from(limits.capacity) * super::TOKEN_UNITS / u64::from(limits.rpm) + 1;
    said.age_ms = (now.saturating_sub(told.at_ns) / MS).min(full_ms);
    said.left_ms = slot.blocked_until().saturating_sub(now).div_ceil(MS);
    site.epoch.clone()
}

/// Those who wait for the same cost, first come first.
fn batch<R>(site: &mut Site<R>) -> Vec<Waiter<R>> {
    let Some(cost) = site.waiting.front().map(|waiter| waiter.cost) else {
        return Vec::new();
    };
    let same = site.waiting.iter().take_while(|waiter| waiter.cost == cost);
    let count = same.count();
    site.waiting.drain(..count).collect()
}

fn sum<R>(waiters: &[Waiter<R>]) -> u32 {
    waiters
        .iter()
        .fold(0_u32, |sum, waiter| sum.saturating_add(waiter.cost))
}
