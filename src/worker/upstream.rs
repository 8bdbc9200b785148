//! A worker's connections to services: a pool of clean idle ones and the opening of new ones. Not the choice of
//! an endpoint (`endpoints` has it). Invariants: a connection taken out is dirty until `give_back` is told that it is clean;
//! only connections with nothing unread are handed out again; the pool is bounded and its idle time is below the upstream's.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;

use super::failure::Failure;
use super::shard::Shard;
use crate::balance::{Load, Outcome};
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
    /// Where it leads to.
    pub(super) address: SocketAddr,
    /// While a request is under way on it.
    load: Option<Load>,
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
    /// The service's TLS was not what it must be.
    Untrusted,
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
}

impl<S: Stream> Upstreams<S> {
    pub(super) fn new(services: usize) -> Self {
        let idle = (0..services)
            .map(|_| RefCell::new(VecDeque::with_capacity(64)))
            .collect();
        Self { idle }
    }

    /// The endpoint's youngest idle connection that is still quiet: the one least likely to be closed meanwhile, and a warm cache.
    fn reuse(&self, service: usize, address: SocketAddr) -> Option<Upstream<S>> {
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
        if idle.len() < IDLE_PER_SERVICE_MAX {
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

/// A connection to the service: of the endpoint that is asked next, its youngest idle one or a new one. One that cannot be connected
/// to has seen nothing of the request, so the next one is tried at once. `died` is an endpoint whose connection died under
/// this request: another one is better, and whichever it is gets a fresh connection.
pub(super) async fn lease<S: Stream>(
    service: usize,
    died: Option<SocketAddr>,
    shard: &Shard<S>,
) -> Result<Upstream<S>, NoUpstream> {
    // Most leases need no clock: they find a connection.
    let mut until_ms = None;
    let mut last_resort = died;
    let mut tried: Vec<SocketAddr> = died.into_iter().collect();
    let mut failure = NoUpstream::Unresolved;
    loop {
        let Some((address, load)) = shard.pick(service, &tried) else {
            if let Some(address) = last_resort.take() {
                tried.retain(|one| *one != address);
                continue;
            }
            break;
        };
        if died.is_none()
            && let Some(mut upstream) = shard.upstreams.reuse(service, address)
        {
            shard.count(|core| core.upstream(service, UpstreamEvent::Reused));
            upstream.load = Some(load);
            return Ok(upstream);
        }
        let now_ms = now_ms::<S>();
        let until_ms =
            *until_ms.get_or_insert_with(|| now_ms + shard.snapshot().rules.times.connect);
        let left_ms = until_ms.saturating_sub(now_ms);
        let untried = shard.endpoints.count(service).saturating_sub(tried.len());
        let share_ms = share(left_ms, untried);
        if share_ms == 0 {
            return Err(failure);
        }
        let none = match connect((service, address), share_ms, shard).await {
            Ok((reader, writer)) => {
                shard.count(|core| core.upstream(service, UpstreamEvent::Connected));
                return Ok(Upstream {
                    reader,
                    writer,
                    reused: false,
                    address,
                    load: Some(load),
                });
            }
            Err(none) => none,
        };
        not_connected(service, none, shard);
        if none == NoUpstream::NoDescriptor {
            return Err(none);
        }
        let reason = Failure::NoUpstream(none).what();
        shard.report(service, address, Outcome::Failed, reason);
        tried.push(address);
        // A client is told the slowest way in which it failed: that is what it has waited for.
        if failure != NoUpstream::TimedOut {
            failure = none;
        }
    }
    if failure == NoUpstream::Unresolved {
        not_connected(service, failure, shard);
    }
    Err(failure)
}

/// Counts it, and has the name looked up again: its addresses may have moved.
fn not_connected<S: Stream>(service: usize, none: NoUpstream, shard: &Shard<S>) {
    let event = match none {
        NoUpstream::TimedOut => UpstreamEvent::ConnectTimeout,
        NoUpstream::Refused
        | NoUpstream::Unresolved
        | NoUpstream::Untrusted
        | NoUpstream::NoDescriptor => UpstreamEvent::ConnectFailed,
    };
    shard.count(|core| core.upstream(service, event));
    if none != NoUpstream::NoDescriptor {
        // A full mailbox has this request in it already.
        let _ = shard.setup.outbox.try_send(Call::Resolve(service));
    }
}

/// Opens a connection to one endpoint, if need be with a descriptor that something less useful held.
async fn connect<S: Stream>(
    (service, address): (usize, SocketAddr),
    within_ms: u64,
    shard: &Shard<S>,
) -> Result<(S::Reader, S::Writer), NoUpstream> {
    let snapshot = shard.snapshot();
    let secure = snapshot.rules.secure.get(service).and_then(Option::as_ref);
    for _ in 0..=FREED_MAX {
        let opened = match secure {
            None => S::connect(address, within_ms).await,
            Some(secure) => S::connect_secure(address, secure, within_ms).await,
        };
        match opened {
            Ok(halves) => return Ok(halves),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                tracing::warn!(%address, why = %error, "a service's TLS handshake failed");
                return Err(NoUpstream::Untrusted);
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                return Err(NoUpstream::TimedOut);
            }
            Err(error) if out_of_descriptors(&error) => {}
            Err(_) => return Err(NoUpstream::Refused),
        }
        // A pooled connection that nobody uses is worth less than this request, and so is a client that asks nothing.
        if !shard.upstreams.give_up_oldest() {
            if !shard.evict_oldest_idle() {
                break;
            }
            S::sleep_ms(FREED_MS).await;
        }
    }
    Err(NoUpstream::NoDescriptor)
}

fn now_ms<S: Stream>() -> u64 {
    S::now_ns() / 1_000_000
}

/// How long one of `addresses` that are still to be tried may take: its share of the time that is left, so that the next one has
/// some, too (the thought of RFC 8305).
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
