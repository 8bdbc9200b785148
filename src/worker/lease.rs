//! How a request comes by a connection: which endpoint, pooled or new, and what is tried when it cannot be had. Not the pool
//! (`upstream`) and not the judgement of endpoints (`balance`). Invariant: all attempts together take no longer than `CONNECT_TIMEOUT`.

use std::net::SocketAddr;

use super::failure::Failure;
use super::shard::Shard;
use super::tls_handshake::service_failed;
use super::upstream::Upstream;
use crate::balance::Outcome;
use crate::mailbox::Call;
use crate::metrics::UpstreamEvent;
use crate::net::{Secure, Stream, out_of_descriptors};

/// Attempts to free a descriptor for a new connection.
const FREED_MAX: usize = 8;

/// How long an evicted client's descriptor takes to be closed: its own task does it.
const FREED_MS: u64 = 1;

/// The shortest time worth trying an address for.
const SHARE_MS_MIN: u64 = 250;

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
        // Before the handshake: what is trusted may be replaced during it.
        let generation = shard
            .snapshot()
            .secure(service, address)
            .map(Secure::generation);
        let none = match connect((service, address), share_ms, shard).await {
            Ok((reader, writer)) => {
                shard.count(|core| core.upstream(service, UpstreamEvent::Connected));
                return Ok(Upstream {
                    reader,
                    writer,
                    reused: false,
                    address,
                    generation,
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
    let secure = snapshot.secure(service, address);
    for _ in 0..=FREED_MAX {
        let opened = match secure {
            None => S::connect(address, within_ms).await,
            Some(secure) => S::connect_secure(address, secure, within_ms).await,
        };
        match opened {
            Ok(halves) => return Ok(halves),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                let why = error.get_ref().and_then(|inner| inner.downcast_ref());
                if let (Some(secure), Some(why)) = (secure, why) {
                    let what = "a service's TLS handshake failed";
                    service_failed((address, secure), why, what, shard);
                }
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
