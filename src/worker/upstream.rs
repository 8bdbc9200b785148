//! A worker's pool of clean idle connections to services. Not the opening of new ones (`lease`) and not the choice of an endpoint
//! (`endpoints`). Invariants: a connection taken out is dirty until `give_back` is told that it is clean;
//! only connections with nothing unread are handed out again; the pool is bounded and its idle time is below the upstream's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::balance::Load;
use crate::net::{Reader, Stream};

/// Idle connections kept per service and worker.
const IDLE_PER_SERVICE_MAX: usize = 256;

/// How long a connection may idle: below the 5 s after which common Python servers close theirs.
const IDLE_MS_MAX: u64 = 4_000;

/// A connection to a service.
pub(super) struct Upstream<S: Stream> {
    pub(super) reader: S::Reader,
    pub(super) writer: S::Writer,
    /// It has carried a request before, so its peer may have closed it meanwhile.
    pub(super) reused: bool,
    /// Where it leads to.
    pub(super) address: SocketAddr,
    /// Over TLS, of what was trusted when it was opened: [`Secure::generation`](crate::net::Secure::generation).
    pub(super) generation: Option<u64>,
    /// While a request is under way on it.
    pub(super) load: Option<Load>,
}

impl<S: Stream> Upstream<S> {
    /// It is a plain connection, or one that proved itself to this list.
    fn is_of(&self, generation: u64) -> bool {
        self.generation.is_none_or(|opened| opened == generation)
    }
}

struct Idle<S: Stream> {
    connection: Upstream<S>,
    since_ms: u64,
}

/// The pool of one worker.
pub(super) struct Upstreams<S: Stream> {
    idle: Vec<RefCell<VecDeque<Idle<S>>>>,
    /// Of what is trusted now.
    generation: Cell<u64>,
}

impl<S: Stream> Upstreams<S> {
    pub(super) fn new(services: usize) -> Self {
        let idle = (0..services)
            .map(|_| RefCell::new(VecDeque::with_capacity(64)))
            .collect();
        Self {
            idle,
            generation: Cell::new(0),
        }
    }

    /// Tells what is trusted now. When that was replaced, idle connections are closed that proved themselves to another
    /// list.
    pub(super) fn renew(&self, generation: u64) {
        if self.generation.replace(generation) == generation {
            return;
        }
        for idle in &self.idle {
            let is_new = |one: &Idle<S>| one.connection.is_of(generation);
            idle.borrow_mut().retain(is_new);
        }
    }

    /// The endpoint's youngest idle connection that is still quiet: the one least likely to be closed meanwhile, and a warm cache.
    pub(super) fn reuse(&self, service: usize, address: SocketAddr) -> Option<Upstream<S>> {
        let mut idle = self.idle.get(service)?.borrow_mut();
        let leads_there = |idle: &Idle<S>| idle.connection.address == address;
        while let Some(at) = idle.iter().rposition(leads_there) {
            let Idle { connection, .. } = idle.remove(at)?;
            // A byte or an end that waits here belongs to nobody's request: reading on would answer one caller with it.
            if connection.reader.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Takes back a connection whose last exchange ended clean: complete answer, nothing unread, both sides keep it.
    pub(super) fn give_back(&self, service: usize, mut connection: Upstream<S>, now_ms: u64) {
        let Some(idle) = self.idle.get(service) else {
            return;
        };
        let mut idle = idle.borrow_mut();
        if idle.len() < IDLE_PER_SERVICE_MAX && connection.is_of(self.generation.get()) {
            connection.reused = true;
            connection.load = None;
            idle.push_back(Idle {
                connection,
                since_ms: now_ms,
            });
        }
    }

    /// Closes what has idled too long. Called every tick; the oldest stand in front.
    pub(super) fn expire(&self, now_ms: u64) {
        for idle in &self.idle {
            let mut idle = idle.borrow_mut();
            while idle
                .front()
                .is_some_and(|oldest| oldest.since_ms + IDLE_MS_MAX <= now_ms)
            {
                idle.pop_front();
            }
        }
    }

    /// Closes the idle connection that has waited longest, at once, so that its descriptor is free when this returns.
    pub(super) fn give_up_oldest(&self) -> bool {
        let waited = |idle: &RefCell<VecDeque<Idle<S>>>| idle.borrow().front().map(|i| i.since_ms);
        let oldest = self
            .idle
            .iter()
            .filter_map(|idle| Some((waited(idle)?, idle)))
            .min_by_key(|(since_ms, _)| *since_ms);
        let gone = oldest.and_then(|(_, idle)| idle.borrow_mut().pop_front());
        gone.is_some_and(|Idle { connection, .. }| {
            // A dropped stream is closed by the runtime some time later; a parked one by its owner.
            S::park(connection.reader, connection.writer).is_ok()
        })
    }

    /// Closes all idle connections: draining.
    pub(super) fn close(&self) {
        for idle in &self.idle {
            idle.borrow_mut().clear();
        }
    }

    /// How many services there are.
    pub(super) fn services(&self) -> usize {
        self.idle.len()
    }

    /// Idle connections to one service.
    pub(super) fn idle_count(&self, service: usize) -> usize {
        self.idle.get(service).map_or(0, |idle| idle.borrow().len())
    }
}
