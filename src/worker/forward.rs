//! One exchange with a service: connect or reuse, send the head, relay both bodies, give the connection back if it is clean.
//! Not the judging: it demands a `Ticket`. Invariants: a request is sent a second time only where that cannot do anything
//! twice; an upstream connection goes back to the pool only after a complete answer with nothing unread; once the client's
//! head is out, a failure shows as a broken message and never as a complete one.

use super::answer::{Answer, Content, Done, Facts, client_broke, send};
use super::connection::Client;
use super::decide::Exchange;
use super::failure::Failure;
use super::heads::{self, Head, ResponseHead};
use super::progress::Progress;
use super::relay::{Body, Cut, Pace, Pipe, pump};
use super::shard::Shard;
use super::tunnel::Tunnel;
use super::upstream::{Upstream, lease};
use crate::http1::{self, RESPONSE_HEAD_BYTES_MAX};
use crate::metrics::{CloseReason, UpstreamEvent};
use crate::net::{Broken, Buf, Reader, Stream, Writer, race, told_within};

/// Interim responses (1xx) before the final one; more is an upstream gone mad.
const INTERIM_MAX: usize = 64;

/// How long a service may take to ask for a body that its client withholds (RFC 9110 10.1.1); then we ask for it.
const CONTINUE_MS: u64 = 1_000;

/// What asks for it.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How an attempt ended.
enum Ended {
    /// The client's head is out.
    Answered(Answered),
    /// Nothing was sent to the client.
    Unanswered(Failure),
    /// The same, and a read of the request's body was dropped: it may have taken bytes with it, so that nothing that still
    /// comes from this client can be relied on (no second attempt, no next request).
    Torn(Failure),
}

/// What an exchange came to.
pub(super) enum Forwarded<S: Stream> {
    Done(Done),
    /// Both sides speak another protocol now.
    Switched(Box<Tunnel<S>>),
}

struct Answered {
    status: u16,
    /// The client has the whole answer and may send the next request.
    keep: Result<(), CloseReason>,
    /// The upstream connection is clean.
    clean: bool,
    bytes: u64,
    /// The client has its 101: what the service has sent behind it.
    switched: Option<Buf>,
}

/// Forwards an admitted request and sees it through.
pub(super) async fn forward<S: Stream>(
    client: &mut Client<S>,
    mut exchange: Exchange,
    shard: &Shard<S>,
) -> Forwarded<S> {
    let service = exchange.ticket.service();
    let mut fresh = false;
    loop {
        let mut upstream = match lease(service, fresh, shard).await {
            Ok(upstream) => upstream,
            Err(none) => {
                let failure = Failure::NoUpstream(none);
                return Forwarded::Done(fail(client, exchange, failure, shard).await);
            }
        };
        client.writer.tie(&upstream.reader);
        let body_begun = exchange.body.moved();
        let ended = attempt(client, &mut upstream, &mut exchange, shard).await;
        client.writer.untie();
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
                return Forwarded::Done(finish(exchange, answered, shard));
            }
            // A pooled connection that its peer closed meanwhile: RUNTIME "Upstream pool".
            Ended::Unanswered(failure @ (Failure::Silent | Failure::Unsent))
                if upstream.reused
                    && (exchange.idempotent || failure == Failure::Unsent)
                    && exchange.body.moved() == body_begun =>
            {
                shard.count(|core| core.upstream(service, UpstreamEvent::Retried));
                exchange.out.rewind();
                fresh = true;
            }
            Ended::Unanswered(failure) => {
                return Forwarded::Done(fail(client, exchange, failure, shard).await);
            }
            Ended::Torn(failure) => {
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
    if exchange.body.is_done() {
        // Even a failed write may have been answered: a service that refuses early closes early.
        let progress = Progress::without_upload(shard.deadlines.after(response_ms));
        let early = exchange.facts.handshake.map(|_| &client.reader);
        let io = (&mut upstream.reader, &mut client.writer, early);
        return download(io, &exchange.facts, &progress, shard).await;
    }
    let withheld = exchange.withheld && client.inbox.is_empty() && exchange.body.moved() == 0;
    let progress = Progress::with_upload(withheld);
    let upload = upload(
        (&mut client.reader, &mut upstream.writer),
        std::mem::take(&mut client.inbox),
        &mut exchange.body,
        Pace {
            read_ms: times.body,
            write_ms: response_ms,
        },
        &progress,
        shard,
    );
    let io = (&mut upstream.reader, &mut client.writer, None);
    let download = download(io, &exchange.facts, &progress, shard);
    let (ended, uploaded) = race(download, upload).await;
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

/// Moves the rest of the request's body up. A fault breaks the upstream off, so that no half request looks whole.
async fn upload<S: Stream>(
    io: (&mut S::Reader, &mut S::Writer),
    inbox: Buf,
    body: &mut Body,
    pace: Pace,
    progress: &Progress,
    shard: &Shard<S>,
) -> (Result<(), Cut>, Buf) {
    let (from, to) = io;
    if !progress.told.get()
        && !told_within(&progress.told, S::sleep_ms(CONTINUE_MS)).await
        && !progress.speaking.get()
    {
        // The service says nothing: the client is not left waiting for ever. A client that has gone is noticed below.
        from.interject(CONTINUE);
    }
    let pipe = Pipe {
        inbox,
        out: shard.buffers.small(),
    };
    let ground = (&shard.deadlines, &shard.buffers);
    let (moved, pipe) = pump(from, to, body, pipe, pace, ground).await;
    shard.buffers.put(pipe.out);
    match moved {
        Ok(()) | Err(Cut::Sink(_)) => {
            if !progress.answered.get() {
                let deadline = shard.deadlines.after(pace.write_ms);
                progress.answer_by.set(deadline);
                // The read that waits for the answer is in flight already.
                to.answer_by(deadline);
            }
        }
        Err(_) => to.abort(),
    }
    (moved, pipe.inbox)
}

/// Where an answer comes from, where it goes, and who may say nothing before it has come: the client of a handshake. What it
/// says all the same is meant for a tunnel, and is no request when there will be none.
type Answering<'a, S> = (
    &'a mut <S as Stream>::Reader,
    &'a mut <S as Stream>::Writer,
    Option<&'a <S as Stream>::Reader>,
);

/// Relays the answer, interim ones first.
async fn download<S: Stream>(
    io: Answering<'_, S>,
    facts: &Facts,
    progress: &Progress,
    shard: &Shard<S>,
) -> Ended {
    let (from, to, early) = io;
    let pipe = Pipe {
        inbox: shard.buffers.small(),
        out: shard.buffers.small(),
    };
    let (head, mut pipe) = read_head::<S>((from, to, early), facts, progress, pipe, shard).await;
    progress.answered.set(true);
    // From here on the connection to the client is the answer's: a 100 of ours would stand in its middle.
    progress.told.set(true);
    let ended = match head {
        Err(failure) => Ended::Unanswered(failure),
        Ok(head) => {
            let answered;
            (answered, pipe) = relay_answer::<S>(from, to, head, pipe, shard).await;
            Ended::Answered(answered)
        }
    };
    shard.buffers.put(pipe.inbox);
    shard.buffers.put(pipe.out);
    ended
}

/// Reads up to the final head and writes the client's into `pipe.out`; interim responses go out on the way.
async fn read_head<S: Stream>(
    io: Answering<'_, S>,
    facts: &Facts,
    progress: &Progress,
    mut pipe: Pipe,
    shard: &Shard<S>,
) -> (Result<ResponseHead, Failure>, Pipe) {
    let (from, to, early) = io;
    let times = shard.snapshot().rules.times;
    let mut scanned = 0;
    let mut interims = 0;
    // An interim answer is a sign of life: the time to the next one is counted from it.
    let mut alive_until = 0;
    let mut head_by = 0;
    loop {
        let end = http1::head_end(pipe.inbox.filled(), &mut scanned, RESPONSE_HEAD_BYTES_MAX);
        let length = match end {
            Err(fault) => return (Err(Failure::Malformed(fault)), pipe),
            Ok(length) => length,
        };
        if let Some(length) = length {
            let out = pipe.out.out();
            let closing = shard.is_draining() || early.is_some_and(|client| !client.is_quiet());
            match heads::write_response(&mut pipe.inbox, length, facts, closing, shard, out) {
                Err(fault) => return (Err(Failure::Malformed(fault)), pipe),
                Ok(Head::Final(head)) => return (Ok(head), pipe),
                Ok(Head::Continue) => progress.told.set(true),
                Ok(Head::Interim) => {}
            }
            scanned = 0;
            interims += 1;
            if interims > INTERIM_MAX {
                return (Err(Failure::Interims), pipe);
            }
            let count = pipe.out.len();
            let write_by = shard.deadlines.after(times.write);
            let written;
            progress.speaking.set(true);
            (written, pipe.out) = to.write(pipe.out, count, write_by).await;
            progress.speaking.set(false);
            pipe.out.clear();
            if let Err(broken) = written {
                return (Err(Failure::ClientLeft(broken)), pipe);
            }
            alive_until = shard.deadlines.after(times.read);
            head_by = alive_until;
            continue;
        }
        // What interim heads took up is free again; without it a read of 0 bytes would look like the service's end.
        pipe.inbox.compact();
        if pipe.inbox.room() == 0 {
            pipe.inbox.grow(RESPONSE_HEAD_BYTES_MAX);
        }
        let begun = !pipe.inbox.is_empty();
        let deadline = if begun {
            head_by
        } else {
            progress.answer_by.get().max(alive_until)
        };
        let read;
        (read, pipe.inbox) = from.read(pipe.inbox, deadline).await;
        match read {
            Ok(0) | Err(Broken::Failed) if begun => return (Err(Failure::HalfHead), pipe),
            Ok(0) | Err(Broken::Failed) => return (Err(Failure::Silent), pipe),
            Ok(_) => {}
            Err(Broken::TimedOut) => return (Err(Failure::TimedOut), pipe),
            Err(broken) => return (Err(Failure::ClientLeft(broken)), pipe),
        }
        if !begun {
            head_by = shard.deadlines.after(times.read);
        }
    }
}

/// Moves the answer's body down, its head first, in one write where they came together.
async fn relay_answer<S: Stream>(
    from: &mut S::Reader,
    to: &mut S::Writer,
    mut head: ResponseHead,
    mut pipe: Pipe,
    shard: &Shard<S>,
) -> (Answered, Pipe) {
    let times = shard.snapshot().rules.times;
    let pace = Pace {
        read_ms: head.read_ms,
        write_ms: times.write,
    };
    let ground = (&shard.deadlines, &shard.buffers);
    // Closing would say "complete" to a client that reads until then.
    let until_close = !head.keep && head.body.ends_with_close();
    if until_close {
        to.reset_when_lost(true);
    }
    let moved;
    (moved, pipe) = pump(from, to, &mut head.body, pipe, pace, ground).await;
    if until_close && moved.is_ok() {
        to.reset_when_lost(false);
    }
    let keep = match moved {
        Ok(()) if head.keep => Ok(()),
        Ok(()) if shard.is_draining() => Err(CloseReason::Draining),
        Ok(()) => Err(CloseReason::KeepAliveOff),
        Err(Cut::Sink(broken) | Cut::Source(broken @ Broken::Gone)) => Err(client_broke(broken)),
        Err(Cut::Ended | Cut::Source(_) | Cut::Malformed(_) | Cut::TooLarge) => {
            Err(CloseReason::UpstreamBroken)
        }
    };
    // Bytes after the answer belong to nobody: such a connection is never used again.
    let clean = moved.is_ok() && head.reusable && pipe.inbox.is_empty();
    let answered = Answered {
        status: head.status,
        keep,
        clean,
        bytes: head.body.moved(),
        switched: (head.status == 101 && moved.is_ok()).then(|| std::mem::take(&mut pipe.inbox)),
    };
    (answered, pipe)
}

fn finish<S: Stream>(exchange: Exchange, answered: Answered, shard: &Shard<S>) -> Done {
    let Exchange {
        out,
        mut facts,
        body,
        ..
    } = exchange;
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

/// Answers for a service that did not, or ends the connection of a client that left.
async fn fail<S: Stream>(
    client: &mut Client<S>,
    exchange: Exchange,
    failure: Failure,
    shard: &Shard<S>,
) -> Done {
    let service = exchange.ticket.service();
    let early = exchange.facts.handshake.is_some() && !client.reader.is_quiet();
    let Exchange {
        out,
        mut facts,
        body: pending,
        withheld,
        ..
    } = exchange;
    shard.buffers.put(out);
    facts.keep_alive &= !early;
    if let Some(event) = failure.event() {
        shard.count(|core| core.upstream(service, event));
    }
    let snapshot = shard.snapshot();
    let name = snapshot
        .rules
        .config
        .services
        .get(service)
        .map_or("", |s| s.name.as_str());
    let reject = match failure.reject(name) {
        Ok(reject) => reject,
        Err(reason) => {
            return Done {
                facts,
                status: None,
                keep: Err(reason),
            };
        }
    };
    if reject.status >= 500 {
        shard.warn(name, &reject, failure.detail());
    }
    let answer = Answer {
        facts,
        content: Content::Reject(reject),
        pending,
        withheld,
    };
    let mut done = send(client, answer, shard).await;
    if done.keep.is_err() && matches!(failure, Failure::Body(Cut::Source(_))) {
        done.keep = Err(CloseReason::BodyTimeout);
    }
    done
}

fn response_ms<S: Stream>(service: usize, shard: &Shard<S>) -> u64 {
    let snapshot = shard.snapshot();
    let services = &snapshot.rules.config.services;
    services.get(service).map_or(30_000, |service| {
        crate::config::ms(service.response_timeout)
    })
}
