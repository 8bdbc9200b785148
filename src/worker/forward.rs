//! One exchange with a service: connect or reuse, send the head, relay both bodies, give the connection back if it is clean.
//! Not the judging: it demands a `Ticket`. Invariants: a request is sent a second time only where that cannot do anything
//! twice; an upstream connection goes back to the pool only after a complete answer with nothing unread; once the client's
//! head is out, a failure shows as a broken message and never as a complete one.

use std::net::SocketAddr;
use std::pin::pin;

use super::answer::Done;
use super::connection::Client;
use super::decide::Exchange;
use super::download::{Answered, Ended, download};
use super::endpoints::Asked;
use super::failure::{Failure, fail};
use super::lease::lease;
use super::progress::Progress;
use super::relay::{Cut, Pace};
use super::shard::Shard;
use super::tls_handshake::tell_fault;
use super::tunnel::Tunnel;
use super::upload::{make_way, upload};
use super::upstream::Upstream;
use crate::metrics::CloseReason;
use crate::net::{Broken, Stream, Writer, race};

/// What an exchange came to.
#[allow(
    clippy::large_enum_variant,
    reason = "a box would be an allocation per request; the tunnel's is one per tunnel"
)]
pub(super) enum Forwarded<S: Stream> {
    Done(Done),
    /// Both sides speak another protocol now.
    Switched(Box<Tunnel<S>>),
}

/// Forwards an admitted request and sees it through.
pub(super) async fn forward<S: Stream>(
    client: &mut Client<S>,
    mut exchange: Exchange,
    shard: &Shard<S>,
) -> Forwarded<S> {
    let service = exchange.ticket.service();
    let pass = match shard.enter(service) {
        Ok(pass) => pass,
        Err(retry_after_s) => {
            let failure = Failure::LeftAlone(retry_after_s);
            return Forwarded::Done(fail(client, exchange, failure, shard).await);
        }
    };
    let mut died = None;
    loop {
        let mut upstream = match lease(service, died, shard).await {
            Ok(upstream) => upstream,
            Err(none) => {
                let failure = Failure::NoUpstream(none);
                shard.settle(service, pass, None, failure.outcome(false));
                return Forwarded::Done(fail(client, exchange, failure, shard).await);
            }
        };
        let asked = Asked {
            service,
            address: upstream.address,
            pass,
        };
        address_to(&mut exchange, upstream.address, shard);
        client.writer.tie(&upstream.reader);
        let (body_begun, begun_bytes) = (exchange.body.moved(), exchange.out.len());
        let ended = attempt(client, &mut upstream, &mut exchange, asked, shard).await;
        client.writer.untie();
        tell_fault(service, &upstream, shard);
        match ended {
            Ended::Answered(mut answered) => {
                if let Some(ahead) = answered.switched.take() {
                    return Forwarded::Switched(Tunnel::open(exchange, upstream, ahead, shard));
                }
                if answered.clean {
                    shard
                        .upstreams
                        .give_back(service, upstream, shard.deadlines.now_ms());
                }
                return Forwarded::Done(finish(client, exchange, answered, shard));
            }
            Ended::Unanswered(failure)
                if died.is_none()
                    && exchange.body.moved() == body_begun
                    && failure.may_resend(exchange.idempotent, &upstream, asked, shard) =>
            {
                shard.failed_once(asked, failure.outcome(upstream.reused), failure);
                exchange.out.rewind(begun_bytes);
                died = Some(asked.address);
            }
            Ended::Unanswered(failure) => {
                shard.failed(asked, failure.outcome(upstream.reused), failure);
                return Forwarded::Done(fail(client, exchange, failure, shard).await);
            }
            Ended::Torn(failure) => {
                shard.failed(asked, failure.outcome(upstream.reused), failure);
                exchange.facts.keep_alive = false;
                let done = fail(client, exchange, failure, shard).await;
                return Forwarded::Done(Done {
                    keep: abandoned(done.keep, CloseReason::BodyAbandoned),
                    ..done
                });
            }
        }
    }
}

/// Names the endpoint that is asked in `Host`, where a service's endpoints have names of their own.
fn address_to<S: Stream>(exchange: &mut Exchange, address: SocketAddr, shard: &Shard<S>) {
    let snapshot = shard.snapshot();
    let service = exchange.ticket.service();
    let Some(endpoint) = snapshot.endpoint_of_several(service, address) else {
        return;
    };
    let name = endpoint.authority.as_bytes();
    let known = exchange.out.filled().get(exchange.host.clone());
    if known != Some(name) && exchange.out.replace(exchange.host.clone(), name) {
        exchange.host.end = exchange.host.start + name.len();
    }
}

/// Why a connection closes whose request's body was not read to its end. A reason that closes it anyway, but politely, is no
/// reason to close it before the client has read its answer.
fn abandoned(keep: Result<(), CloseReason>, why: CloseReason) -> Result<(), CloseReason> {
    match keep {
        Ok(()) | Err(CloseReason::KeepAliveOff | CloseReason::Draining) => Err(why),
        broken @ Err(_) => broken,
    }
}

/// Sends the request and relays what comes back, both at once when a body is still coming.
async fn attempt<S: Stream>(
    client: &mut Client<S>,
    upstream: &mut Upstream<S>,
    exchange: &mut Exchange,
    asked: Asked,
    shard: &Shard<S>,
) -> Ended {
    let times = shard.snapshot().rules.times;
    let response_ms = response_ms(exchange.ticket.service(), shard);
    let out = std::mem::take(&mut exchange.out);
    let count = out.len();
    let deadline = shard.deadlines.after(response_ms);
    let sent;
    (sent, exchange.out) = upstream.writer.write(out, count, deadline).await;
    if sent.is_err() && upstream.reused {
        let untouched = exchange.out.len() == count;
        return Ended::Unanswered(if untouched {
            Failure::Unsent
        } else {
            Failure::Silent
        });
    }
    if sent.is_ok() && !exchange.idempotent {
        // It has been sent, and is not sent again.
        make_way(&mut exchange.out, &mut client.inbox);
    }
    if exchange.body.is_done() {
        // Even a failed write may have been answered: a service that refuses early closes early.
        let progress = Progress::without_upload(shard.deadlines.after(response_ms));
        let early = exchange.facts.handshake.map(|_| &client.reader);
        let io = (&mut upstream.reader, &mut client.writer, early);
        return download(io, &exchange.facts, &progress, asked, shard).await;
    }
    let withheld = exchange.withheld && client.inbox.is_empty() && exchange.body.moved() == 0;
    let progress = Progress::with_upload(withheld);
    let (ended, uploaded) = {
        let upload = pin!(upload(
            (&mut client.reader, &mut upstream.writer),
            std::mem::take(&mut client.inbox),
            &mut exchange.body,
            Pace {
                read_ms: times.body,
                write_ms: response_ms,
            },
            &progress,
            shard,
        ));
        let io = (&mut upstream.reader, &mut client.writer, None);
        let download = pin!(download(io, &exchange.facts, &progress, asked, shard));
        race(download, upload).await
    };
    match uploaded {
        Some((Ok(()), inbox)) => {
            client.inbox = inbox;
            ended
        }
        Some((Err(cut), inbox)) => {
            client.inbox = inbox;
            cut_short(ended, Some(cut))
        }
        None => {
            // The upload's own buffer went with it.
            client.inbox = shard.buffers.small();
            cut_short(ended, None)
        }
    }
}

/// The request's body was not sent whole: neither connection can carry another request.
fn cut_short(ended: Ended, cut: Option<Cut>) -> Ended {
    match (ended, cut) {
        (Ended::Answered(answered), cut) => {
            let reason = match cut {
                Some(Cut::Source(Broken::TimedOut)) => CloseReason::BodyTimeout,
                Some(Cut::Ended | Cut::Source(_)) => CloseReason::ClientReset,
                Some(Cut::Malformed(_) | Cut::TooLarge) => CloseReason::BadRequest,
                Some(Cut::Sink(_)) | None => CloseReason::BodyAbandoned,
            };
            Ended::Answered(Answered {
                keep: abandoned(answered.keep, reason),
                clean: false,
                ..answered
            })
        }
        (Ended::Unanswered(failure) | Ended::Torn(failure), None) => Ended::Torn(failure),
        // A service that stopped reading and did not answer: what its own side did says more.
        (unanswered, Some(Cut::Sink(_))) => unanswered,
        (Ended::Unanswered(_) | Ended::Torn(_), Some(cut)) => Ended::Unanswered(Failure::Body(cut)),
    }
}

fn finish<S: Stream>(
    client: &mut Client<S>,
    exchange: Exchange,
    answered: Answered,
    shard: &Shard<S>,
) -> Done {
    let Exchange {
        mut out,
        mut facts,
        body,
        ..
    } = exchange;
    make_way(&mut out, &mut client.inbox);
    shard.buffers.put(out);
    shard.count(|core| {
        core.bytes_in(body.moved());
        core.bytes_out(answered.bytes);
    });
    if let Some(draft) = &mut facts.draft {
        draft.bytes_in = body.moved();
        draft.bytes_out = answered.bytes;
    }
    Done {
        facts,
        status: Some(answered.status),
        keep: answered.keep,
    }
}

fn response_ms<S: Stream>(service: usize, shard: &Shard<S>) -> u64 {
    let snapshot = shard.snapshot();
    let services = &snapshot.rules.config.services;
    services.get(service).map_or(30_000, |service| {
        crate::config::ms(service.response_timeout)
    })
}
