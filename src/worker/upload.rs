//! The way of a request's body: what came with its head, then the rest. Not the answer's way (`download`). Invariants: a body that
//! broke off breaks the service's connection off too, so that no half request looks whole; what goes with a head is of its body.

use super::progress::Progress;
use super::relay::{Body, CHUNK_FRAME_BYTES, Cut, Pace, Pipe, STRAIGHT_BYTES_MIN, exchanged, pump};
use super::shard::Shard;
use crate::net::{Buf, Pool, Reader, Stream, Writer, told_within};

/// How long a service may take to ask for a body that its client withholds (RFC 9110 10.1.1); then we ask for it.
const CONTINUE_MS: u64 = 1_000;

/// What asks for it.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Puts the first bytes of the body behind the head in `out`, to go in one write. Much of it stays where it lies, and the head goes
/// in front of it, over the one that came; but only if nothing lies behind it that is not of this body.
pub(super) fn begin(
    body: &mut Body,
    inbox: &mut Buf,
    out: &mut Buf,
    buffers: &Pool,
) -> Result<(), Cut> {
    let here = inbox.len();
    let straight = body.straight().is_some_and(|left| left >= here as u64);
    if straight && here > STRAIGHT_BYTES_MIN {
        if inbox.prepend(out.filled()) {
            body.went_straight(here as u64);
            out.clear();
            std::mem::swap(inbox, out);
            return Ok(());
        }
        // A few bytes left over would be a write of their own.
        if out.room() < here + CHUNK_FRAME_BYTES {
            *out = exchanged(std::mem::take(out), buffers);
        }
    }
    body.take(inbox, out)
}

/// What was sent and is never sent again leaves its large buffer to what this client sends next: the rest of a large body, or
/// another one.
pub(super) fn make_way(out: &mut Buf, inbox: &mut Buf) {
    if out.is_large() && !inbox.is_large() && inbox.is_empty() {
        out.clear();
        std::mem::swap(inbox, out);
    }
}

/// Moves the rest of the request's body up. A fault breaks the upstream off, so that no half request looks whole.
pub(super) async fn upload<S: Stream>(
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

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
