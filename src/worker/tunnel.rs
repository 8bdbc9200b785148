//! A WebSocket after its 101: bytes both ways until either side ends. Not the handshake (`handshake`, `forward`) and no message
//! is read. Invariants: one buffer in flight each way; an end is passed on as an end; a close frame of ours stands only between
//! two frames; when the token ends or the gateway drains, so does the tunnel.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::admit::Ticket;
use super::answer::{Done, Facts};
use super::connection::Client;
use super::decide::Exchange;
use super::lane::{End, Lane, carry};
use super::shard::Shard;
use super::tunnels::{NO_EXPIRY, Notice};
use super::upstream::Upstream;
use crate::http1::websocket::write_close;
use crate::metrics::CloseReason;
use crate::net::{Broken, Buf, Reader, Stream, Writer};

/// How long a tunnel that must end may take to come to the end of the frames under way. Then it is closed in the middle.
const BOUNDARY_MS: u64 = 1_000;

/// Room for a close frame.
const CLOSE_BYTES: usize = 128;

/// A tunnel to a service, and what is remembered of the request that opened it.
pub(super) struct Tunnel<S: Stream> {
    upstream: Upstream<S>,
    /// What the service sent behind its 101.
    ahead: Buf,
    facts: Facts,
    /// Kept for its place among its organization's requests: as long as a tunnel holds a service's connection, it is one.
    ticket: Ticket,
}

impl<S: Stream> Tunnel<S> {
    /// After the 101 has gone to the client. The request has been answered: it is counted here, and logged at the tunnel's end.
    pub(super) fn open(
        exchange: Exchange,
        upstream: Upstream<S>,
        ahead: Buf,
        shard: &Shard<S>,
    ) -> Box<Self> {
        let Exchange {
            ticket,
            out,
            mut facts,
            ..
        } = exchange;
        shard.buffers.put(out);
        shard.tally(&facts, Some(101));
        // For hours: without the buffers that a request may have for milliseconds.
        shard.buffers.put(std::mem::take(&mut facts.own));
        if let Some(draft) = &mut facts.draft {
            draft.shrink(&shard.buffers);
        }
        Box::new(Self {
            upstream,
            ahead,
            facts,
            ticket,
        })
    }
}

/// Sees a tunnel through, and says why it ended.
pub(super) async fn tunnel<S: Stream>(
    mut client: Client<S>,
    tunnel: Box<Tunnel<S>>,
    shard: &Shard<S>,
) -> CloseReason {
    let Tunnel {
        mut upstream,
        ahead,
        mut facts,
        ticket,
    } = *tunnel;
    let token = ticket.identity();
    let token_ends_ms = token.map_or(NO_EXPIRY, |identity| identity.expires_ms());
    let proved = client.reader.proved();
    let certificate_ends_ms = proved.map_or(NO_EXPIRY, |proved| proved.ends_ms);
    let place = if certificate_ends_ms < token_ends_ms {
        let reason = CloseReason::CertificateExpired;
        shard.tunnels.enter(certificate_ends_ms, reason)
    } else {
        shard
            .tunnels
            .enter(token_ends_ms, CloseReason::TokenExpired)
    };
    let (up, down) = (Lane::default(), Lane::default());
    let inbox = std::mem::take(&mut client.inbox);
    let ends = {
        let io = (&mut client.reader, &mut upstream.writer);
        let rising = pin!(carry::<S>(io, inbox, (&up, &down), &place.notice, shard));
        let io = (&mut upstream.reader, &mut client.writer);
        let falling = pin!(carry::<S>(io, ahead, (&down, &up), &place.notice, shard));
        both::<S, _, _>(rising, falling, (&up, &down), &place.notice).await
    };
    let reason = ends.reason(place.notice.told());
    if !ends.is_broken() {
        let goodbyes = (up.takes_frame(ends.up), down.takes_frame(ends.down));
        // Boxed: a tunnel would carry the room for its last second through all its hours.
        let goodbye = say_goodbye(&mut client, &mut upstream, goodbyes, reason, shard);
        Box::pin(goodbye).await;
    }
    shard.count(|core| {
        core.bytes_in(up.moved.get());
        core.bytes_out(down.moved.get());
    });
    if let Some(draft) = &mut facts.draft {
        draft.bytes_in = up.moved.get();
        draft.bytes_out = down.moved.get();
    }
    shard.log(Done {
        facts,
        status: Some(101),
        keep: Err(reason),
    });
    reason
}

/// Runs both directions until both have ended or one has broken. Once the tunnel must end, one that rests between two frames
/// has ended, too, and the others have a moment to come there.
async fn both<S, U, D>(
    mut rising: Pin<&mut U>,
    mut falling: Pin<&mut D>,
    lanes: (&Lane, &Lane),
    notice: &Notice,
) -> Ends
where
    S: Stream,
    U: Future<Output = End>,
    D: Future<Output = End>,
{
    let mut ends = Ends::default();
    let mut poll_both = |context: &mut Context<'_>| {
        if ends.up.is_none()
            && let Poll::Ready(end) = rising.as_mut().poll(context)
        {
            ends.up = Some(end);
        }
        if ends.down.is_none()
            && let Poll::Ready(end) = falling.as_mut().poll(context)
        {
            ends.down = Some(end);
            ends.down_first = ends.up.is_none();
        }
        if notice.told().is_some() {
            ends.rest(lanes);
        }
        ends.are_all().then_some(ends)
    };
    let ended = poll_fn(|context| {
        notice.wake(context.waker());
        match poll_both(context) {
            None if notice.told().is_none() => Poll::Pending,
            ends => Poll::Ready(ends),
        }
    });
    if let Some(ends) = ended.await {
        return ends;
    }
    let mut moment = pin!(S::sleep_ms(BOUNDARY_MS));
    let ended = poll_fn(|context| match poll_both(context) {
        None => moment.as_mut().poll(context).map(|()| None),
        ends => Poll::Ready(ends),
    });
    ended.await.unwrap_or(ends)
}

/// How both directions ended, as far as they have.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    up: Option<End>,
    down: Option<End>,
    down_first: bool,
}

impl Ends {
    /// What rests between two frames need not be waited for.
    fn rest(&mut self, lanes: (&Lane, &Lane)) {
        for (end, lane) in [(&mut self.up, lanes.0), (&mut self.down, lanes.1)] {
            if end.is_none() && lane.resting.get() {
                *end = Some(End::Boundary);
            }
        }
    }

    fn are_all(&self) -> bool {
        self.is_broken() || (self.up.is_some() && self.down.is_some())
    }

    fn is_broken(&self) -> bool {
        let broke = |end| matches!(end, Some(End::Source(_) | End::Sink(_)));
        broke(self.up) || broke(self.down)
    }

    fn reason(&self, told: Option<CloseReason>) -> CloseReason {
        match (self.up, self.down) {
            (Some(End::Source(Broken::TimedOut)), _) | (_, Some(End::Source(Broken::TimedOut))) => {
                CloseReason::IdleTimeout
            }
            (_, Some(End::Sink(Broken::TimedOut))) => CloseReason::WriteTimeout,
            (Some(End::Source(_)), _) | (_, Some(End::Sink(_))) => CloseReason::ClientReset,
            (Some(End::Sink(_)), _) | (_, Some(End::Source(_))) => CloseReason::UpstreamBroken,
            (_, _) => told.unwrap_or(if self.down_first {
                CloseReason::UpstreamClosed
            } else {
                CloseReason::ClientClosed
            }),
        }
    }
}

/// Tells both sides why their tunnel ends, where a frame of ours can stand (RFC 6455 7.4.1).
async fn say_goodbye<S: Stream>(
    client: &mut Client<S>,
    upstream: &mut Upstream<S>,
    goodbyes: (bool, bool),
    reason: CloseReason,
    shard: &Shard<S>,
) {
    let (code, text) = if reason == CloseReason::TokenExpired {
        (1008, "Token has expired")
    } else if reason == CloseReason::CertificateExpired {
        (1008, "Client certificate has expired")
    } else {
        (1001, "The gateway is shutting down")
    };
    let deadline = shard.deadlines.after(BOUNDARY_MS);
    if goodbyes.0 {
        let mut frame = Buf::with_capacity(CLOSE_BYTES);
        write_close(frame.out(), code, text, true);
        let count = frame.len();
        // Whether it arrives is the service's affair: its connection is closed next.
        let _ = upstream.writer.write(frame, count, deadline).await;
        upstream.writer.finish();
    }
    if goodbyes.1 {
        let mut frame = Buf::with_capacity(CLOSE_BYTES);
        write_close(frame.out(), code, text, false);
        let count = frame.len();
        let (written, frame) = client.writer.write(frame, count, deadline).await;
        if written.is_ok() {
            client.inbox = frame;
            client.outstay(shard).await;
        }
    }
}
