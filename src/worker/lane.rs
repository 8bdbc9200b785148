//! One direction of a tunnel: from one connection's reader to the other's writer, its frames followed by their lengths. Not the
//! tunnel (`tunnel`). Invariants: one buffer in flight; once the tunnel must end nothing is written beyond the frame under way;
//! a byte this way keeps the other way open.

use std::cell::Cell;

use super::shard::Shard;
use super::tunnels::Notice;
use crate::http1::websocket::Frames;
use crate::net::{Broken, Buf, Pool, Reader, Stream, Writer};

/// Room of the buffer that a quiet direction waits with: tunnels are idle most of the time, and a message of a chat or a ticker
/// fits. What is longer is read on with a large one.
const WAITING_BYTES: usize = 512;

/// How one direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The source ended, and the sink was told.
    Closed,
    /// It stands between two frames, and the tunnel must end.
    Boundary,
    Source(Broken),
    Sink(Broken),
}

/// What the outside knows of one direction.
#[derive(Default)]
pub(super) struct Lane {
    frames: Cell<Frames>,
    /// It waits for a byte, and no frame is under way.
    pub(super) resting: Cell<bool>,
    /// Its source has ended.
    closed: Cell<bool>,
    pub(super) moved: Cell<u64>,
}

impl Lane {
    /// A frame may be written behind what was written: nothing is half way, and no close frame has gone before.
    pub(super) fn takes_frame(&self, end: Option<End>) -> bool {
        end == Some(End::Boundary) && !self.frames.get().close_seen()
    }
}

/// Moves one direction to its end; `lanes` are its own and the other one.
pub(super) async fn carry<S: Stream>(
    io: (&mut S::Reader, &mut S::Writer),
    mut buf: Buf,
    lanes: (&Lane, &Lane),
    notice: &Notice,
    shard: &Shard<S>,
) -> End {
    let (from, to) = io;
    let (lane, other) = lanes;
    let times = shard.snapshot().rules.times;
    // A client that vanished without its service noticing would otherwise be waited on for an hour.
    let half_closed_ms = times.read.min(times.tunnel_idle);
    loop {
        let written;
        (written, buf) = write_on::<S>(to, buf, lane, notice, shard).await;
        if let Err(end) = written {
            shard.buffers.put(buf);
            return end;
        }
        buf = fitted(buf, from.is_quiet(), &shard.buffers);
        let idle_ms = if other.closed.get() {
            half_closed_ms
        } else {
            times.tunnel_idle
        };
        lane.resting.set(lane.frames.get().at_boundary());
        let read;
        (read, buf) = from.read(buf, shard.deadlines.after(idle_ms)).await;
        lane.resting.set(false);
        let (end, other_idle_ms) = match read {
            Err(broken) => (Some(End::Source(broken)), None),
            Ok(0) => {
                lane.closed.set(true);
                to.finish();
                (Some(End::Closed), Some(half_closed_ms))
            }
            // A byte this way keeps the other way open, too: its read is in flight already.
            Ok(_) => (None, Some(times.tunnel_idle)),
        };
        if let (Some(ms), false) = (other_idle_ms, other.closed.get()) {
            to.answer_by(shard.deadlines.after(ms));
        }
        if let Some(end) = end {
            shard.buffers.put(buf);
            return end;
        }
    }
}

/// Writes `buf` on, once the tunnel must end only to the end of the frame under way.
async fn write_on<S: Stream>(
    to: &mut S::Writer,
    mut buf: Buf,
    lane: &Lane,
    notice: &Notice,
    shard: &Shard<S>,
) -> (Result<(), End>, Buf) {
    let write_ms = shard.snapshot().rules.times.write;
    loop {
        let mut frames = lane.frames.get();
        let ending = notice.told().is_some();
        if ending && frames.at_boundary() {
            return (Err(End::Boundary), buf);
        }
        if buf.is_empty() {
            return (Ok(()), buf);
        }
        let mut count = buf.len();
        if ending {
            count = frames.pass_frame(buf.filled());
        } else {
            frames.pass(buf.filled());
        }
        lane.frames.set(frames);
        let written;
        (written, buf) = to.write(buf, count, shard.deadlines.after(write_ms)).await;
        if let Err(broken) = written {
            return (Err(End::Sink(broken)), buf);
        }
        lane.moved.set(lane.moved.get() + count as u64);
    }
}

/// An empty buffer for the next read: large only while there is something for it.
fn fitted(mut buf: Buf, quiet: bool, buffers: &Pool) -> Buf {
    buf.clear();
    match (quiet, buf.room()) {
        (true, WAITING_BYTES) => buf,
        (true, _) => {
            buffers.put(buf);
            Buf::with_capacity(WAITING_BYTES)
        }
        (false, 0..=WAITING_BYTES) => buffers.large(),
        (false, _) => buf,
    }
}
