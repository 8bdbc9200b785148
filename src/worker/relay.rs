//! Bodies both ways: from one connection's reader to another's writer, one buffer in flight. Not the heads. Invariants: a body
//! is written on as it comes and never gathered; the next piece is read only when the last one is written (back-pressure); a
//! body that breaks is never ended as if it were whole.

use std::sync::Arc;

use super::shard::Deadlines;
use crate::http1::chunked::{write_chunk_head, write_last};
use crate::http1::{Decoder, Fault, FieldSet, RequestBody, ResponseBody, Step};
use crate::net::{Broken, Buf, Pool, Reader, Writer};

/// Room that a chunk's frame needs beside its data: 16 hex digits and two line ends.
pub(super) const CHUNK_FRAME_BYTES: usize = 20;

/// From this size on it is cheaper to move a head in front of the body than the body behind the head.
pub(super) const STRAIGHT_BYTES_MIN: usize = 2_048;

/// Room in front of what is read: for what the head that goes on is longer than the one that came, so that it can go with the body as
/// it lies.
pub(super) const HEAD_ROOM: usize = 1_024;

/// A body under way: how it comes, how it goes.
#[derive(Debug)]
pub(super) struct Body {
    coming: Coming,
    /// Written on with chunk framing.
    chunked: bool,
    done: bool,
    moved: u64,
    bytes_max: u64,
    /// What came before a fault is still written: the receiver has been told of the message and must see it break.
    is_response: bool,
}

#[derive(Debug)]
enum Coming {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

/// Why a body was not moved to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The source ended in the middle.
    Ended,
    /// The source broke.
    Source(Broken),
    /// The sink broke.
    Sink(Broken),
    /// The framing is wrong.
    Malformed(Fault),
    /// More than `MAX_BODY_BYTES`.
    TooLarge,
}

impl Body {
    /// A request's body; written on in the framing it came in.
    pub(super) fn of_request(body: RequestBody, bytes_max: Option<u64>) -> Self {
        let (coming, done) = match body {
            RequestBody::None => (Coming::Length(0), true),
            RequestBody::Length(length) => (Coming::Length(length), length == 0),
            RequestBody::Chunked => (Coming::Chunked(Decoder::new()), false),
        };
        let chunked = matches!(body, RequestBody::Chunked);
        Self {
            coming,
            chunked,
            done,
            moved: 0,
            bytes_max: bytes_max.unwrap_or(u64::MAX),
            is_response: false,
        }
    }

    /// Trailers of these names do not go on.
    pub(super) fn drop_trailers(&mut self, names: &Arc<FieldSet>) {
        if let Coming::Chunked(decoder) = &mut self.coming {
            decoder.drop_trailers(names);
        }
    }

    /// The content alone, for whoever gathers it here.
    pub(super) fn unframed(self) -> Self {
        Self {
            chunked: false,
            ..self
        }
    }

    /// A response's body. Without a length it goes chunked to a 1.1 client and until close to a 1.0 client.
    pub(super) fn of_response(body: ResponseBody, client_minor: u8) -> Self {
        let (coming, framed) = match body {
            ResponseBody::None => (Coming::Length(0), false),
            ResponseBody::Length(length) => (Coming::Length(length), false),
            ResponseBody::Chunked => (Coming::Chunked(Decoder::new()), true),
            ResponseBody::UntilClose => (Coming::UntilClose, true),
        };
        let done = matches!(coming, Coming::Length(0));
        Self {
            coming,
            chunked: framed && client_minor >= 1,
            done,
            moved: 0,
            bytes_max: u64::MAX,
            is_response: true,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Bytes of content moved so far.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// The announced length that is still to come, when one was announced.
    pub(super) fn length_left(&self) -> Option<u64> {
        match self.coming {
            Coming::Length(left) => Some(left),
            Coming::Chunked(_) | Coming::UntilClose => None,
        }
    }

    /// Only the connection's end tells the receiver where this body stops.
    pub(super) fn ends_with_close(&self) -> bool {
        !self.chunked && !matches!(self.coming, Coming::Length(_))
    }

    /// Moves what `inbox` holds into `out`, as far as `out` has room; frames are taken off and put on.
    pub(super) fn take(&mut self, inbox: &mut Buf, out: &mut Buf) -> Result<(), Cut> {
        while !self.done && !inbox.is_empty() {
            let room = out.room().saturating_sub(CHUNK_FRAME_BYTES);
            if room == 0 {
                return Ok(());
            }
            let before = inbox.len();
            self.take_piece(inbox, out, room)?;
            if self.moved > self.bytes_max {
                return Err(Cut::TooLarge);
            }
            if inbox.len() == before {
                break;
            }
        }
        Ok(())
    }

    fn take_piece(&mut self, inbox: &mut Buf, out: &mut Buf, room: usize) -> Result<(), Cut> {
        let filled = inbox.filled();
        let input = filled.get(..room.min(filled.len())).unwrap_or(filled);
        let consumed = match &mut self.coming {
            Coming::Length(left) => {
                let count = input
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.out()
                    .extend_from_slice(input.get(..count).unwrap_or(input));
                *left -= count as u64;
                self.moved += count as u64;
                self.done = *left == 0;
                count
            }
            Coming::UntilClose => {
                append(out, input, self.chunked);
                self.moved += input.len() as u64;
                input.len()
            }
            Coming::Chunked(decoder) => match decoder.step(input).map_err(Cut::Malformed)? {
                Step::NeedMore { consumed } => consumed,
                Step::Data { start, end } => {
                    append(out, input.get(start..end).unwrap_or_default(), self.chunked);
                    self.moved += (end - start) as u64;
                    end
                }
                Step::Done { consumed } => {
                    self.done = true;
                    if self.chunked {
                        write_last(out.out(), decoder.trailers());
                    }
                    consumed
                }
            },
        };
        inbox.consume(consumed);
        Ok(())
    }

    /// How many of the coming bytes can be written on untouched.
    pub(super) fn straight(&self) -> Option<u64> {
        match self.coming {
            _ if self.chunked || self.done => None,
            Coming::Length(left) => Some(left),
            Coming::UntilClose => Some(u64::MAX),
            Coming::Chunked(_) => None,
        }
    }

    pub(super) fn went_straight(&mut self, count: u64) {
        self.moved += count;
        if let Coming::Length(left) = &mut self.coming {
            *left -= count;
            self.done = *left == 0;
        }
    }

    /// The source has ended: fine for a body that lasts until then.
    fn end(&mut self, out: &mut Buf) -> Result<(), Cut> {
        if !matches!(self.coming, Coming::UntilClose) {
            return Err(Cut::Ended);
        }
        self.done = true;
        if self.chunked {
            write_last(out.out(), b"");
        }
        Ok(())
    }
}

fn append(out: &mut Buf, data: &[u8], chunked: bool) {
    if data.is_empty() {
        return;
    }
    if chunked {
        write_chunk_head(out.out(), data.len());
    }
    out.out().extend_from_slice(data);
    if chunked {
        out.out().extend_from_slice(b"\r\n");
    }
}

/// Time limits of one direction, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) read_ms: u64,
    pub(super) write_ms: u64,
}

/// Buffers of one direction: what was read and not moved, what is ready to be written.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) inbox: Buf,
    pub(super) out: Buf,
}

/// Moves a body to its end; `pipe.out` may already hold a head. Gives the buffers back for reuse.
pub(super) async fn pump<R: Reader, W: Writer>(
    from: &mut R,
    to: &mut W,
    body: &mut Body,
    mut pipe: Pipe,
    pace: Pace,
    ground: (&Deadlines, &Pool),
) -> (Result<(), Cut>, Pipe) {
    let (deadlines, buffers) = ground;
    loop {
        let before = pipe.inbox.len();
        // A head that fills `out` leaves no room for what came with it: that goes next, without another read.
        let headed = !pipe.out.is_empty();
        let result;
        (result, pipe) = move_on(to, body, pipe, deadlines.after(pace.write_ms)).await;
        if result.is_err() || body.is_done() {
            return (result, pipe);
        }
        if !pipe.inbox.is_empty() && (headed || pipe.inbox.len() < before) {
            continue;
        }
        pipe = widen(pipe, body, buffers);
        let read;
        (read, pipe.inbox) = from.read(pipe.inbox, deadlines.after(pace.read_ms)).await;
        let result = match read {
            Ok(0) => body.end(&mut pipe.out),
            Ok(_) => Ok(()),
            Err(broken) => Err(Cut::Source(broken)),
        };
        if result.is_err() {
            return (result, pipe);
        }
    }
}

/// Writes on what there is: untouched where no frame changes, behind a head that takes its old one's place, and through `out`
/// otherwise. Ends with an empty `out`.
async fn move_on<W: Writer>(
    to: &mut W,
    body: &mut Body,
    mut pipe: Pipe,
    deadline_ms: u64,
) -> (Result<(), Cut>, Pipe) {
    let mut head = 0;
    if pipe.inbox.len() > STRAIGHT_BYTES_MIN
        && body.straight().is_some()
        && pipe.inbox.prepend(pipe.out.filled())
    {
        head = pipe.out.len();
        pipe.out.clear();
    }
    if pipe.out.is_empty()
        && !pipe.inbox.is_empty()
        && let Some(limit) = body.straight()
    {
        let body_bytes = pipe.inbox.len() - head;
        let count = head + body_bytes.min(usize::try_from(limit).unwrap_or(usize::MAX));
        let written;
        (written, pipe.inbox) = to.write(pipe.inbox, count, deadline_ms).await;
        let left = pipe.inbox.len().min(body_bytes);
        // What was not sent is still in the inbox, and still to come: counted twice, the body's last bytes on the wire would
        // be read as the next request.
        body.went_straight((body_bytes - left) as u64);
        return (written.map_err(Cut::Sink), pipe);
    }
    let taken = body.take(&mut pipe.inbox, &mut pipe.out);
    if taken.is_err() && !body.is_response {
        return (taken, pipe);
    }
    let count = pipe.out.len();
    let written;
    (written, pipe.out) = to.write(pipe.out, count, deadline_ms).await;
    if written.is_ok() {
        pipe.out.clear();
    }
    (taken.and(written.map_err(Cut::Sink)), pipe)
}

/// Makes room for the next read. A body that fills a small buffer gets large ones: fewer operations per byte, and small
/// messages do not pay for it.
fn widen(mut pipe: Pipe, body: &Body, buffers: &Pool) -> Pipe {
    let was_full = pipe.inbox.room() == 0;
    pipe.inbox.compact();
    if pipe.inbox.is_empty() {
        pipe.inbox.clear();
    }
    if was_full
        || body
            .straight()
            .is_some_and(|left| left > pipe.inbox.room() as u64 && left != u64::MAX)
    {
        pipe.inbox = exchanged(pipe.inbox, buffers);
        if body.chunked {
            pipe.out = exchanged(pipe.out, buffers);
        }
    }
    pipe
}

/// A large buffer with what is in a small one, which goes back.
pub(super) fn exchanged(small: Buf, buffers: &Pool) -> Buf {
    let mut large = buffers.large();
    if small.room() + small.len() >= large.room() {
        buffers.put(large);
        return small;
    }
    large.out().extend_from_slice(small.filled());
    buffers.put(small);
    large
}

/// Reads and drops what is left of a request's body, so that an answer made without it is not lost to a reset: at most
/// `BYTES_MAX` and until `deadline_ms`. True when the body came to its end.
pub(super) async fn discard<R: Reader>(
    from: &mut R,
    body: &mut Body,
    mut inbox: Buf,
    deadline_ms: u64,
) -> (bool, Buf) {
    const BYTES_MAX: usize = 64 * 1024;
    let mut dropped = 0;
    let mut nowhere = Buf::with_capacity(4096);
    loop {
        let before = inbox.len();
        if body.take(&mut inbox, &mut nowhere).is_err() {
            return (false, inbox);
        }
        nowhere.clear();
        dropped += before - inbox.len();
        if body.is_done() || dropped > BYTES_MAX {
            return (body.is_done(), inbox);
        }
        if !inbox.is_empty() {
            continue;
        }
        inbox.clear();
        let read;
        (read, inbox) = from.read(inbox, deadline_ms).await;
        if !matches!(read, Ok(count) if count > 0) {
            return (false, inbox);
        }
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
