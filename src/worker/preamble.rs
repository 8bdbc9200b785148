//! The PROXY protocol's header in front of a connection: read off the socket, judged, and the client it names put in the peer's place.
//! Not its parsing (`proxy_protocol` is). Invariants: not a byte behind the header is read; a peer that is not trusted may say
//! that it speaks for nobody, and nothing else.

use super::connection::Client;
use super::shard::Shard;
use crate::metrics::CloseReason;
use crate::net::{Broken, Buf, Reader, Stream};
use crate::proxy_protocol::{Source, Step, parse};
use crate::throttle::SharedThrottle;

/// Room for a header without extensions, or with few.
const HEADER_BYTES: usize = 128;

/// Lines about connections that were closed for their header: one a second, over all workers.
static TOLD: SharedThrottle = SharedThrottle::new(1_000);

/// Reads the header and takes the client's address from it.
///
/// # Errors
/// The connection is to be closed, without an answer: whoever came here does not speak HTTP, or speaks for others without leave.
pub(super) async fn introduce<S: Stream>(
    mut client: Client<S>,
    shard: &Shard<S>,
) -> Result<Client<S>, CloseReason> {
    let snapshot = shard.snapshot();
    let deadline = shard.deadlines.after(snapshot.rules.times.head);
    // It grows with what comes: nearly every header is short.
    let mut header = Buf::with_capacity(HEADER_BYTES);
    let source = loop {
        match parse(header.filled()) {
            Err(malformed) => return Err(refused(&client, malformed.0, shard)),
            Ok(Step::Whole { source, .. }) => break source,
            Ok(Step::Need(more)) => {
                // No more room than that, so that what follows stays in the socket for whoever reads on.
                let piece = Buf::with_capacity(more);
                let (read, piece) = client.reader.read(piece, deadline).await;
                match read {
                    Ok(0) if header.is_empty() => return Err(CloseReason::ClientClosed),
                    Ok(0) => return Err(CloseReason::ClientReset),
                    Ok(_) => header.out().extend_from_slice(piece.filled()),
                    Err(Broken::TimedOut) => return Err(CloseReason::HeadTimeout),
                    Err(_) => return Err(CloseReason::ClientReset),
                }
            }
        }
    };
    let rules = &snapshot.rules;
    let trusted = rules.config.trusted_proxies.is_empty() || rules.trust.covers(client.peer);
    match source {
        Source::Peer => Ok(client),
        Source::Address(address) if trusted => {
            client.peer = address;
            Ok(client)
        }
        Source::Address(_) => {
            let why = "its sender is not in TRUSTED_PROXIES";
            Err(refused(&client, why, shard))
        }
    }
}

/// Said once in a while: a balancer without the setting makes one of these per connection.
fn refused<S: Stream>(client: &Client<S>, why: &str, shard: &Shard<S>) -> CloseReason {
    if let Some(left_out) = TOLD.pass(shard.deadlines.now_ms()) {
        let (peer, left_out) = (client.peer, (left_out > 0).then_some(left_out));
        let what = "a connection was closed for its PROXY protocol header";
        tracing::warn!(%peer, why, left_out, "{what}");
    }
    CloseReason::ProxyHeader
}
