//! A worker's connections to services: a pool of clean idle ones and the opening of new ones. Not load balancing between
//! services (the route decides that). Invariants: a connection taken out is dirty until `give_back` is told that it is clean;
//! only connections with nothing unread are handed out again; the pool is bounded and its idle time is below the upstream's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;

use super::shard::Shard;
use crate::mailbox::Call;
use crate::metrics::UpstreamEvent;
use crate::net::{Reader, Stream, out_of_descriptors};

/// Idle connections kept per service and worker.
const IDLE_PER_SERVICE_MAX: usize = 256;

/// How long a connection may idle: below the 5 s after which common Python servers close theirs.
const IDLE_MS_MAX: u64 = 4_000;

/// Attempts to free a descriptor for a new connection.
const FREED_MAX: usize = 8;

/// How long an evicted client's descriptor takes to be closed: its own task does it.
const FREED_MS: u64 = 1;

/// The shortest time worth trying an address for.
const SHARE_MS_MIN: u64 = 250;

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
    /// No file descriptor is left for it.
    NoDescriptor,
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

    /// Opens a connection to one of `addresses`, trying each once within the time limit. An address that does not answer gets
    /// its share of the time that is left, so that the next one has some, too (the thought of RFC 8305).
    pub(super) async fn open(
        &self,
        addresses: &[SocketAddr],
        within_ms: u64,
    ) -> Result<Upstream<S>, NoUpstream> {
        let first = self.turn.get();
        self.turn.set(first.wrapping_add(1));
        let until_ms = now_ms::<S>() + within_ms;
        let mut failure = NoUpstream::Unresolved;
        for attempt in 0..addresses.len() {
            let at = first.wrapping_add(attempt) % addresses.len();
            let Some(address) = addresses.get(at) else {
                continue;
            };
            let left_ms = until_ms.saturating_sub(now_ms::<S>());
            let share_ms = share(left_ms, addresses.len() - attempt);
            if share_ms == 0 {
                break;
            }
            match S::connect(*address, share_ms).await {
                Ok((reader, writer)) => {
                    return Ok(Upstream {
                        reader,
                        writer,
                        reused: false,
                    });
                }
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                    failure = NoUpstream::TimedOut;
                }
                Err(error) if out_of_descriptors(&error) => return Err(NoUpstream::NoDescriptor),
                Err(_) if failure == NoUpstream::TimedOut => {}
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
    let mut opened = shard.upstreams.open(&addresses, within_ms).await;
    for _ in 0..FREED_MAX {
        if !matches!(opened, Err(NoUpstream::NoDescriptor)) {
            break;
        }
        // A pooled connection that nobody uses is worth less than this request, and so is a client that asks nothing.
        if !shard.upstreams.give_up_oldest() {
            if !shard.evict_oldest_idle() {
                break;
            }
            S::sleep_ms(FREED_MS).await;
        }
        opened = shard.upstreams.open(&addresses, within_ms).await;
    }
    let event = match opened {
        Ok(_) => UpstreamEvent::Connected,
        Err(NoUpstream::TimedOut) => UpstreamEvent::ConnectTimeout,
        Err(NoUpstream::Refused | NoUpstream::Unresolved | NoUpstream::NoDescriptor) => {
            UpstreamEvent::ConnectFailed
        }
    };
    if matches!(opened, Err(none) if none != NoUpstream::NoDescriptor) {
        // A full mailbox has this request in it already.
        let _ = shard.setup.outbox.try_send(Call::Resolve(service));
    }
    shard.count(|core| core.upstream(service, event));
    opened
}

fn now_ms<S: Stream>() -> u64 {
    S::now_ns() / 1_000_000
}

/// How long one of `addresses` that are still to be tried may take.
fn share(left_ms: u64, addresses: usize) -> u64 {
    let even = left_ms / u64::try_from(addresses.max(1)).unwrap_or(1);
    even.max(SHARE_MS_MIN).min(left_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_gets_a_share_of_what_is_left() {
        let table = [
            ((2_000, 1), 2_000),
            ((2_000, 2), 1_000),
            ((1_000, 1), 1_000),
            ((2_000, 100), 250),
            ((100, 3), 100),
            ((0, 1), 0),
        ];
        for ((left_ms, addresses), expected) in table {
            assert_eq!(share(left_ms, addresses), expected, "{left_ms} {addresses}");
        }
    }
}
