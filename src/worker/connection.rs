//! THE STORY of a request: read a head, decide, forward or answer, record; again until the connection ends. Everything else in
//! this wing is a detail of one of these lines. Invariant: a connection ends with a reason, and after a reason nothing more is
//! read as a request.

use std::cell::Cell;
use std::net::IpAddr;

use super::answer;
use super::ask::ask;
use super::decide::{Decision, decide};
use super::forward::{Forwarded, forward};
use super::relay::HEAD_ROOM;
use super::shard::Shard;
use super::tls_handshake::certificate_ended;
use super::tunnel::Tunnel;
use crate::http1;
use crate::metrics::CloseReason;
use crate::net::{Broken, Buf, Reader, Stream, Writer};
use crate::reject::Reject;

/// How long an ended connection is still read from, so that our last answer is not lost to a reset (RFC 9112 9.6).
const LINGER_MS: u64 = 1_000;

/// Bytes read and dropped while lingering: what a client that speaks before it listens has under way.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// The length of a whole head, or the answer to what is none.
type Head = Result<usize, Reject>;

/// A downstream connection.
pub(super) struct Client<S: Stream> {
    pub(super) reader: S::Reader,
    pub(super) writer: S::Writer,
    /// What was read and belongs to no request yet.
    pub(super) inbox: Buf,
    /// The TCP peer, IPv4-mapped addresses as IPv4.
    pub(super) peer: IpAddr,
    /// Its last request came after a pause: after the answer it is parked at once and not first waited for.
    pub(super) is_slow: bool,
}

/// Why a connection is no longer served: what is to come needs less memory, or none.
pub(super) enum Served<S: Stream> {
    /// It has been idle for a moment: to be parked.
    Idle(Client<S>),
    /// No more requests come: what follows are a tunnel's bytes.
    Switched(Client<S>, Box<Tunnel<S>>),
    /// It has ended.
    Ended(CloseReason),
}

/// Serves one connection until it ends, is idle, or becomes a tunnel. `asked` is true while a request is under way: a panic leaves
/// it so.
pub(super) async fn serve<S: Stream>(
    mut client: Client<S>,
    shard: &Shard<S>,
    asked: &Cell<bool>,
) -> Served<S> {
    let reason = loop {
        let head = match client.read_head(shard).await {
            Ok(Some(head)) => head,
            Ok(None) => return Served::Idle(client),
            Err(reason) => break reason,
        };
        if client.certificate_has_ended(shard) {
            break CloseReason::CertificateExpired;
        }
        asked.set(true);
        let mut decision = decide(&mut client, head, shard);
        while let Decision::Wait(wait) = decision {
            decision = ask(&mut client, wait, shard).await;
        }
        let done = match decision {
            // None is left after the loop above.
            Decision::Wait(_) => continue,
            Decision::Forward(exchange) => match forward(&mut client, exchange, shard).await {
                Forwarded::Done(done) => done,
                Forwarded::Switched(tunnel) => {
                    asked.set(false);
                    return Served::Switched(client, tunnel);
                }
            },
            Decision::Own(call) => answer::own(&mut client, call, shard).await,
            Decision::Answer(answer) => answer::send(&mut client, answer, shard).await,
        };
        let keep = done.keep;
        shard.record(done);
        asked.set(false);
        if let Err(reason) = keep {
            break reason;
        }
        if client.rests(shard) {
            return Served::Idle(client);
        }
    };
    client.linger(reason, shard).await;
    shard.buffers.put(client.inbox);
    Served::Ended(reason)
}

impl<S: Stream> Client<S> {
    /// Whether the certificate that it proved to have has expired since: it speaks for nobody any more.
    fn certificate_has_ended(&self, shard: &Shard<S>) -> bool {
        let Some(proved) = self.reader.proved() else {
            return false;
        };
        let has_ended = proved.ends_ms <= S::unix_ms();
        if has_ended {
            certificate_ended(self.peer, shard);
        }
        has_ended
    }

    /// Whether it is parked right after an answer.
    fn rests(&self, shard: &Shard<S>) -> bool {
        self.is_slow && self.inbox.is_empty() && !shard.is_draining() && self.reader.may_park()
    }

    /// Reads until a whole head is there; its length, or the answer that its sender gets instead. `None`: nothing came for a
    /// moment.
    async fn read_head(&mut self, shard: &Shard<S>) -> Result<Option<Head>, CloseReason> {
        let times = shard.snapshot().rules.times;
        let mut scanned = 0;
        let mut deadline = shard.deadlines.after(times.idle);
        let mut begun = !self.inbox.is_empty();
        if begun {
            deadline = shard.deadlines.after(times.head);
        }
        loop {
            match http1::head_end(self.inbox.filled(), &mut scanned, http1::HEAD_BYTES_MAX) {
                Ok(Some(length)) => return Ok(Some(Ok(length))),
                Ok(None) => {}
                Err(fault) => {
                    return Ok(Some(Err(Reject::malformed(
                        fault.status(),
                        fault.message(),
                    ))));
                }
            }
            if !begun && !self.inbox.is_empty() {
                begun = true;
                deadline = shard.deadlines.after(times.head);
            }
            // A request that has come already is answered: it may be what has woken a parked connection.
            if shard.is_draining() && !begun && self.reader.is_quiet() {
                return Err(CloseReason::Draining);
            }
            self.reader.idle(!begun);
            // Only before a read: moved for each of many pipelined requests, the rest would be moved that often. A client that has
            // sent a large body has a large buffer: it may send another one.
            let front = if self.inbox.is_large() { HEAD_ROOM } else { 0 };
            self.inbox.compact_behind(front);
            let inbox = std::mem::take(&mut self.inbox);
            let read;
            (read, self.inbox) = self.reader.read(inbox, deadline).await;
            self.reader.idle(false);
            match read {
                Ok(0) if begun => return Err(CloseReason::ClientReset),
                Ok(0) => return Err(CloseReason::ClientClosed),
                Ok(_) => {}
                Err(Broken::Parked) => {
                    self.is_slow = false;
                    return Ok(None);
                }
                Err(Broken::TimedOut) if begun => {
                    let what = "The request head did not arrive in time (HEAD_TIMEOUT)";
                    return Ok(Some(Err(Reject::too_slow(what))));
                }
                Err(broken) => return Err(idle_end(broken)),
            }
        }
    }

    /// Says goodbye: our end first, then what the peer still sends is read and dropped for a moment.
    pub(super) async fn linger(&mut self, reason: CloseReason, shard: &Shard<S>) {
        let unread = match reason {
            CloseReason::BadRequest
            | CloseReason::BodyAbandoned
            | CloseReason::Overload
            | CloseReason::AddressFull => true,
            // What waits unread in the socket makes closing a reset as well.
            CloseReason::KeepAliveOff | CloseReason::CertificateExpired | CloseReason::Draining => {
                !self.inbox.is_empty() || !self.reader.is_quiet()
            }
            CloseReason::ClientClosed
            | CloseReason::ClientReset
            | CloseReason::IdleTimeout
            | CloseReason::HeadTimeout
            | CloseReason::BodyTimeout
            | CloseReason::WriteTimeout
            | CloseReason::UpstreamBroken
            | CloseReason::UpstreamClosed
            | CloseReason::TokenExpired
            | CloseReason::TlsHandshake
            | CloseReason::ProxyHeader
            | CloseReason::Panic
            | CloseReason::Failed => false,
        };
        if unread {
            self.outstay(shard).await;
        }
    }

    /// Ends our side, and stays until the peer has ended its own, or for a moment.
    pub(super) async fn outstay(&mut self, shard: &Shard<S>) {
        self.writer.finish();
        let deadline = shard.deadlines.after(LINGER_MS);
        let mut dropped = 0;
        let mut inbox = std::mem::take(&mut self.inbox);
        while dropped < LINGER_BYTES_MAX && inbox.len() + inbox.room() > 0 {
            inbox.clear();
            let read;
            (read, inbox) = self.reader.read(inbox, deadline).await;
            match read {
                Ok(count) if count > 0 => dropped += count,
                Ok(_) | Err(_) => break,
            }
        }
        self.inbox = inbox;
    }
}

/// Why a connection without a request under way ended.
fn idle_end(broken: Broken) -> CloseReason {
    match broken {
        Broken::TimedOut => CloseReason::IdleTimeout,
        Broken::Draining => CloseReason::Draining,
        Broken::Evicted => CloseReason::Overload,
        Broken::Gone | Broken::Parked | Broken::Failed => CloseReason::ClientReset,
    }
}
