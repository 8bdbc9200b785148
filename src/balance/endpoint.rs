//! One endpoint as one worker sees it: how busy, how trustworthy. Not the choice between several (the room's door makes it).
//! Invariant: a count of requests under way goes down as often as it went up, however they end.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use super::{Change, Outcome};

/// Failures one after the other after which an endpoint is left out (Envoy's `consecutive_5xx`, but no 5xx is among them: a
/// service that answers is there).
const FAILURES_MAX: u32 = 5;

/// How long it is left out the first time; then twice as long each time.
const EJECTED_MS: u64 = 1_000;

/// The longest time: an endpoint that was away for an hour is asked again within this.
const EJECTED_MS_MAX: u64 = 30_000;

/// Requests under way at an endpoint, this one among them until it is dropped.
#[derive(Debug)]
pub struct Load(Rc<Cell<u32>>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// The smaller, the sooner it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Nothing speaks against it.
    Good,
    /// Its health probe fails. A probe can be wrong, and then all endpoints stand like this and all are asked.
    Ill,
    /// It is left out, for it failed requests: asked when no other is left.
    Ejected,
}

/// An address of a service.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    /// The last probe's verdict; true before the first.
    pub(super) healthy: bool,
    under_way: Rc<Cell<u32>>,
    /// Failures since the last answer.
    failures: u32,
    /// How often it was left out since the last answer.
    ejections: u32,
    /// Left out until then.
    out_until_ms: u64,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            healthy: true,
            under_way: Rc::new(Cell::new(0)),
            failures: 0,
            ejections: 0,
            out_until_ms: 0,
        }
    }

    pub(super) fn standing(&self, now_ms: u64) -> Standing {
        if now_ms < self.out_until_ms {
            Standing::Ejected
        } else if self.healthy {
            Standing::Good
        } else {
            Standing::Ill
        }
    }

    pub(super) fn load(&self) -> u32 {
        self.under_way.get()
    }

    pub(super) fn take(&self) -> Load {
        self.under_way.set(self.under_way.get().saturating_add(1));
        Load(Rc::clone(&self.under_way))
    }

    /// Learns an outcome; `others`: it is not the last one that is not left out.
    pub(super) fn report(&mut self, outcome: Outcome, others: bool, now_ms: u64) -> Option<Change> {
        match outcome {
            Outcome::Answered => {
                self.failures = 0;
                self.out_until_ms = 0;
                let was_out = std::mem::take(&mut self.ejections) > 0;
                was_out.then_some(Change::Returned)
            }
            Outcome::Slow if self.healthy => None,
            Outcome::Failed | Outcome::Slow => self.fail(others, now_ms),
            Outcome::Nothing => None,
        }
    }

    fn fail(&mut self, others: bool, now_ms: u64) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        let is_out = now_ms < self.out_until_ms;
        if self.failures < FAILURES_MAX || is_out || !others {
            return None;
        }
        // 2^5 s is beyond the bound already.
        let for_ms = (EJECTED_MS << self.ejections.min(5)).min(EJECTED_MS_MAX);
        self.ejections = self.ejections.saturating_add(1);
        self.out_until_ms = now_ms.saturating_add(for_ms);
        // When it is back, it is on probation: one more failure is enough.
        Some(Change::Ejected { for_ms })
    }
}
