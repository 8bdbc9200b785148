//! Building calls: what is said, wanted and given back. Not their sending. Invariant: what a call gives back has left the pool by a
//! CAS before, and is never said twice.
use std::sync::Arc;

use super::call::{Call, CallId, Terms};
use super::site::{Flight, Site, UNKNOWN, Waiter};
use super::{Exchange, slot_of, terms};
use crate::limit::key::Hash;
use crate::limit::limits::Limits;
use crate::limit::slot::{Held, Slot};

impl<R> Exchange<R> {
    /// The calls to be sent now, at most `max`: of those who wait, and of timers that have gone off.
    pub fn calls(&mut self, now: u64, max: usize) -> Vec<Call> {
        if self.away {
            return Vec::new();
        }
        self.wake(now);
        let mut calls = Vec::new();
        let mut later = Vec::new();
        for hash in std::mem::take(&mut self.ready) {
            if calls.len() >= max {
                later.push(hash);
                continue;
            }
            if let Some(site) = self.sites.get_mut(&hash) {
                site.is_ready = false;
            }
            calls.extend(self.build(hash, now));
        }
        self.ready = later;
        self.traffic.calls += u64::try_from(calls.len()).unwrap_or(0);
        calls
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
                self.mark_ready(hash);
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
