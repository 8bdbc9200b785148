//! The way of a request's body that did not come with its head. Not the answer's way (`download`). Invariant: a body that broke off
//! breaks the service's connection off too, so that no half request looks whole.

use super::progress::Progress;
use super::relay::{Body, Cut, Pace, Pipe, pump};
use super::shard::Shard;
use crate::net::{Buf, Reader, Stream, Writer, told_within};

/// How long a service may take to ask for a body that its client withholds (RFC 9110 10.1.1); then we ask for it.
const CONTINUE_MS: u64 = 1_000;

/// What asks for it.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

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
