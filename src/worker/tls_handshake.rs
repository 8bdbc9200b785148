//! The TLS handshake in front of a connection, what becomes of one that fails, and the log lines about TLS. Not the
//! handshake itself (`net`). Invariant: however many handshakes fail, at most one line a second tells of each kind of
//! failure.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use super::answer;
use super::connection::Client;
use super::shard::Shard;
use super::upstream::Upstream;
use crate::metrics::CloseReason;
use crate::net::{Broken, Greeting, Reader, Secure, Stream, Unshaken, Writer, catch_panic};
use crate::reject::Reject;
use crate::throttle::SharedThrottle;
use crate::tls::{Cause, TlsError};

/// Least time between two lines about one kind of failure, over all workers.
const TOLD_MS: u64 = 1_000;

/// Failed handshakes with clients, of each kind.
static TOLD: [SharedThrottle; Cause::COUNT] =
    [const { SharedThrottle::new(TOLD_MS) }; Cause::COUNT];

/// Connections that ended with their client's certificate.
static ENDED_TOLD: SharedThrottle = SharedThrottle::new(TOLD_MS);

/// Told to a client that speaks plain HTTP where TLS is spoken.
const PLAIN_HTTP: &str = "This port speaks HTTPS, and the request came as plain HTTP: use https://";

/// How long such a client may take to read that.
const ANSWER_MS: u64 = 1_000;

/// TLS's handshake where there is TLS. `None`: it came to nothing, and the connection has ended.
pub(super) async fn shake<S: Stream>(mut client: Client<S>, shard: &Shard<S>) -> Option<Client<S>> {
    let peer = client.peer;
    let deadline = shard
        .deadlines
        .after(shard.snapshot().rules.times.handshake);
    let greeting = S::greet(&mut client.reader, &mut client.writer, deadline);
    let reason = match catch_panic(greeting).await {
        Some(Ok(Greeting::Plain)) => return Some(client),
        Some(Ok(greeting)) => {
            shard.count(|core| core.handshake(greeting == Greeting::Resumed));
            // Only now: until here it needed none.
            if client.inbox.room() == 0 {
                client.inbox = shard.buffers.small();
            }
            return Some(client);
        }
        Some(Err(Unshaken::Silent)) => CloseReason::ClientClosed,
        Some(Err(Unshaken::Broken(Broken::Draining))) => CloseReason::Draining,
        Some(Err(Unshaken::Broken(Broken::Evicted))) => CloseReason::Overload,
        Some(Err(why)) => {
            client_failed(peer, &why, shard);
            if let Unshaken::PlainHttp { head } = why {
                answer_plainly(&mut client, head, shard).await;
            }
            CloseReason::TlsHandshake
        }
        None => super::panicked(shard, &Cell::new(false)),
    };
    shard.buffers.put(client.inbox);
    shard.closed(reason, peer);
    None
}

/// Tells a client that speaks plain HTTP what is spoken here.
async fn answer_plainly<S: Stream>(client: &mut Client<S>, head: bool, shard: &Shard<S>) {
    let mut out = shard.buffers.small();
    let body = answer::write_unasked(Reject::malformed(400, PLAIN_HTTP), shard, out.out());
    if head {
        out.truncate(out.len().saturating_sub(body));
    }
    let count = out.len();
    let deadline = shard.deadlines.after(ANSWER_MS);
    let (_, out) = client.writer.write(out, count, deadline).await;
    client.inbox = out;
    client.linger(CloseReason::BadRequest, shard).await;
}

/// One line of those that are due.
fn client_failed<S: Stream>(peer: IpAddr, why: &Unshaken, shard: &Shard<S>) {
    let cause = why.cause();
    let told = TOLD.get(cause as usize);
    if let Some(left_out) = told.and_then(|told| told.pass(shard.deadlines.now_ms())) {
        let (hint, left_out) = (cause.of_client(), counted(left_out));
        tracing::info!(%peer, %why, hint, left_out, "a TLS handshake failed");
    }
}

/// A client's certificate has ended while its connection stood.
pub(super) fn certificate_ended<S: Stream>(peer: IpAddr, shard: &Shard<S>) {
    if let Some(left_out) = ENDED_TOLD.pass(shard.deadlines.now_ms()) {
        let (hint, left_out) = (Cause::Expired.of_client(), counted(left_out));
        tracing::info!(%peer, hint, left_out, "a connection ended with its client's certificate");
    }
}

/// Lines that were left out, as a field: none where there are none.
fn counted(left_out: u64) -> Option<u64> {
    (left_out > 0).then_some(left_out)
}

/// Tells why TLS with a service failed after its handshake, if it did.
pub(super) fn tell_fault<S: Stream>(service: usize, upstream: &Upstream<S>, shard: &Shard<S>) {
    let Some(error) = upstream.reader.fault() else {
        return;
    };
    let snapshot = shard.snapshot();
    if let Some(secure) = snapshot.secure(service, upstream.address) {
        let what = "a service's TLS connection failed";
        service_failed((upstream.address, secure), &error, what, shard);
    }
}

/// TLS with a service failed, in its handshake or later (`what`).
pub(super) fn service_failed<S: Stream>(
    (address, secure): (SocketAddr, &Secure),
    error: &TlsError,
    what: &'static str,
    shard: &Shard<S>,
) {
    if let Some(left_out) = secure.is_told(error.cause, shard.deadlines.now_ms()) {
        let (hint, left_out) = (error.cause.of_service(), counted(left_out));
        tracing::warn!(%address, why = %error, hint, left_out, "{what}");
    }
}
