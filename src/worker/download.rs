//! The way of an answer: read its head, write the client's, move its body down. Not the request's way (`forward`, `upload`).
//! Invariants: nothing reaches the client before a whole head was read and found good; an answer that breaks off ends visibly broken.

use std::net::SocketAddr;

use super::answer::{Facts, client_broke};
use super::endpoints::Asked;
use super::failure::Failure;
use super::heads::{self, Head, ResponseHead};
use super::progress::Progress;
use super::relay::{Cut, HEAD_ROOM, Pace, Pipe, pump};
use super::shard::Shard;
use crate::http1::{self, RESPONSE_HEAD_BYTES_MAX};
use crate::metrics::CloseReason;
use crate::net::{Broken, Buf, Reader, Stream, Writer};

/// Interim responses (1xx) before the final one; more is an upstream gone mad.
const INTERIM_MAX: usize = 64;

/// How an attempt ended.
pub(super) enum Ended {
    /// The client's head is out.
    Answered(Answered),
    /// Nothing was sent to the client.
    Unanswered(Failure),
    /// The same, and a read of the request's body was dropped: it may have taken bytes with it, so that nothing that still
    /// comes from this client can be relied on (no second attempt, no next request).
    Torn(Failure),
}

/// What became of an answer that had begun.
pub(super) struct Answered {
    pub(super) status: u16,
    /// The client has the whole answer and may send the next request.
    pub(super) keep: Result<(), CloseReason>,
    /// The upstream connection is clean.
    pub(super) clean: bool,
    pub(super) bytes: u64,
    /// The client has its 101: what the service has sent behind it.
    pub(super) switched: Option<Buf>,
}

/// Where an answer comes from, where it goes, and who may say nothing before it has come: the client of a handshake. What it
/// says all the same is meant for a tunnel, and is no request when there will be none.
type Answering<'a, S> = (
    &'a mut <S as Stream>::Reader,
    &'a mut <S as Stream>::Writer,
    Option<&'a <S as Stream>::Reader>,
);

/// Relays the answer, interim ones first.
pub(super) async fn download<S: Stream>(
    io: Answering<'_, S>,
    facts: &Facts,
    progress: &Progress,
    asked: Asked,
    shard: &Shard<S>,
) -> Ended {
    let (from, to, early) = io;
    let mut pipe = Pipe {
        inbox: shard.buffers.small(),
        out: shard.buffers.small(),
    };
    pipe.inbox.leave_room(HEAD_ROOM);
    let (head, mut pipe) = read_head::<S>(
        (from, to, early),
        facts,
        (progress, asked.address),
        pipe,
        shard,
    )
    .await;
    progress.answered.set(true);
    // From here on the connection to the client is the answer's: a 100 of ours would stand in its middle.
    progress.told.set(true);
    let ended = match head {
        Err(failure) => Ended::Unanswered(failure),
        Ok(head) => {
            shard.answered(asked);
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
    (progress, address): (&Progress, SocketAddr),
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
            let read = (&mut pipe.inbox, length, address);
            match heads::write_response(read, facts, closing, shard, out) {
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
        if interims > 0 || pipe.inbox.room() == 0 {
            pipe.inbox.compact();
        }
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
