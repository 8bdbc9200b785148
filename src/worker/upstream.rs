//! A worker's connections to services: a pool of clean idle ones and the opening of new ones. Not load balancing between
//! services (the route decides that). Invariants: a connection taken out is dirty until `give_back` is told that it is clean;
//! only connections with nothing unread are handed out again; the pool is bounded and its idle time is below the upstream's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;

use super::shard::Shard;
use crate::mailbox::Call;
use crate::metrics::UpstreamEvent;
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
}

/// Why no connection could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoUpstream {
    /// The name has never resolved.
    Unresolved,
    /// Every address refused or was unreachable.
    Refused,
    /// `CONNECT_TIMEOUT` passed.
    TimedOut,
}

struct Idle<S: Stream> {
    connection: Upstream<S>,
    since_ms: u64,
}

/// The pool of one worker.
pub(super) struct Upstreams<S: Stream> {
    idle: Vec<RefCell<VecDeque<Idle<S>>>>,
    turn: Cell<usize>,
}

impl<S: Stream> Upstreams<S> {
    pub(super) fn new(services: usize) -> Self {
        let idle = (0..services)
            .map(|_| RefCell::new(VecDeque::with_capacity(64)))
            .collect();
        Self {
            idle,
            turn: Cell::new(0),
        }
    }

    /// The youngest idle connection that is still quiet: the one least likely to be closed meanwhile, and a warm cache.
    pub(super) fn reuse(&self, service: usize) -> Option<Upstream<S>> {
        let mut idle = self.idle.get(service)?.borrow_mut();
        while let Some(Idle { connection, .. }) = idle.pop_back() {
            // A byte or an end that waits here belongs to nobody's request: reading on would answer one caller with it.
            if connection.reader.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Opens a connection to one of `addresses`, trying each once within the time limit.
    pub(super) async fn open(
        &self,
        addresses: &[SocketAddr],
        within_ms: u64,
    ) -> Result<Upstream<S>, NoUpstream> {
        let first = self.turn.get();
        self.turn.set(first.wrapping_add(1));
        let mut failure = NoUpstream::Unresolved;
        for attempt in 0..addresses.len() {
            let at = first.wrapping_add(attempt) % addresses.len();
            let Some(address) = addresses.get(at) else {
                continue;
            };
            match S::connect(*address, within_ms).await {
                Ok((reader, writer)) => {
                    return Ok(Upstream {
                        reader,
                        writer,
                        reused: false,
                    });
                }
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                    return Err(NoUpstream::TimedOut);
                }
                Err(_) => failure = NoUpstream::Refused,
            }
        }
        Err(failure)
    }

    /// Takes back a connection whose last exchange ended clean: complete answer, nothing unread, both sides keep it.
    pub(super) fn give_back(&self, service: usize, mut connection: Upstream<S>, now_ms: u64) {
        let Some(idle) = self.idle.get(service) else {
            return;
        };
        let mut idle = idle.borrow_mut();
        if idle.len() < IDLE_PER_SERVICE_MAX {
            connection.reused = true;
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

/// A connection to the service: the youngest idle one, or a new one.
pub(super) async fn lease<S: Stream>(
    service: usize,
    fresh: bool,
    shard: &Shard<S>,
) -> Result<Upstream<S>, NoUpstream> {
    if !fresh && let Some(upstream) = shard.upstreams.reuse(service) {
        shard.count(|core| core.upstream(service, UpstreamEvent::Reused));
        return Ok(upstream);
    }
    let within_ms = shard.snapshot().rules.times.connect;
    let addresses = shard.addresses(service);
    let opened = shard.upstreams.open(&addresses, within_ms).await;
    let event = match opened {
        Ok(_) => UpstreamEvent::Connected,
        Err(NoUpstream::TimedOut) => UpstreamEvent::ConnectTimeout,
        Err(NoUpstream::Refused | NoUpstream::Unresolved) => UpstreamEvent::ConnectFailed,
    };
    if opened.is_err() {
        // A full mailbox has this request in it already.
        let _ = shard.setup.outbox.try_send(Call::Resolve(service));
    }
    shard.count(|core| core.upstream(service, event));
    opened
}
