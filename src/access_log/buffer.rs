//! The way of lines from a worker to the writer thread: whole buffers, over a bounded queue, and back for reuse. Not the
//! thread. Invariant: every buffer is made at start, and there are never more of them than places in the queue.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::line::{LINE_BYTES_MAX, Line, write_json, write_text};
use super::{Format, Stamp};

/// Bytes of one buffer: some 400 requests in text.
pub const BUFFER_BYTES: usize = 64 * 1024;

/// Buffers of one worker: one being filled, the others on their way to the writer or back. What they hold together is how
/// far the writer may fall behind before lines are dropped.
pub const BUFFERS_PER_CORE: usize = 8;

const _: () = assert!(
    LINE_BYTES_MAX * 2 <= BUFFER_BYTES,
    "a fresh buffer holds a request"
);
const _: () = assert!(
    BUFFERS_PER_CORE >= 2,
    "one is filled while another is written"
);

/// What travels to the writer thread.
#[derive(Debug)]
enum Parcel {
    /// Lines of one worker.
    Lines {
        /// The worker, to which the buffer goes back.
        core: usize,
        /// Whole lines.
        lines: Vec<u8>,
    },
    /// Write what came before and end.
    Stop,
}

/// A worker's end: its buffer and the ways there and back.
#[derive(Debug)]
pub struct CoreLog {
    core: usize,
    format: Format,
    stamp: Stamp,
    lines: Vec<u8>,
    full: SyncSender<Parcel>,
    empty: Receiver<Vec<u8>>,
    dropped: u64,
}

/// The writer thread's end.
#[derive(Debug)]
pub struct Drain {
    full: Receiver<Parcel>,
    empty: Vec<SyncSender<Vec<u8>>>,
}

/// Ends the writer thread.
#[derive(Debug, Clone)]
pub struct StopHandle(SyncSender<Parcel>);

impl StopHandle {
    /// Asks the writer to end once it has written what it was given before. Waits for a place in the queue at most as long
    /// as the writer takes to write one buffer.
    pub fn stop(&self) {
        // A writer that has gone has nothing left to end.
        let _ = self.0.send(Parcel::Stop);
    }
}

/// Makes the ends for so many workers.
pub fn channel(cores: usize, format: Format) -> (Vec<CoreLog>, Drain, StopHandle) {
    // Every buffer finds a place, so a worker that has a spare buffer never finds the queue full.
    let (full, drain) = sync_channel(cores * BUFFERS_PER_CORE + 1);
    let mut logs = Vec::with_capacity(cores);
    let mut back = Vec::with_capacity(cores);
    for core in 0..cores {
        let (give, empty) = sync_channel(BUFFERS_PER_CORE);
        for _ in 1..BUFFERS_PER_CORE {
            let _ = give.try_send(Vec::with_capacity(BUFFER_BYTES));
        }
        back.push(give);
        logs.push(CoreLog {
            core,
            format,
            stamp: Stamp::new(),
            lines: Vec::with_capacity(BUFFER_BYTES),
            full: full.clone(),
            empty,
            dropped: 0,
        });
    }
    let drain = Drain {
        full: drain,
        empty: back,
    };
    (logs, drain, StopHandle(full))
}

impl CoreLog {
    /// Appends a finished request. Never waits: without room the request's lines are dropped and counted.
    pub fn record(&mut self, line: &Line<'_>, unix_ms: u64) {
        if self.lines.capacity() - self.lines.len() < LINE_BYTES_MAX {
            self.flush();
        }
        if self.lines.capacity() - self.lines.len() < LINE_BYTES_MAX {
            self.dropped += match self.format {
                Format::Text => 2,
                Format::Json => 1,
            };
            return;
        }
        match self.format {
            Format::Text => write_text(line, unix_ms, &mut self.stamp, &mut self.lines),
            Format::Json => write_json(line, unix_ms, &mut self.stamp, &mut self.lines),
        }
    }

    /// Hands the buffer to the writer if it holds anything and an empty one is there to take its place. Call it at each
    /// tick, so that an idle worker's lines appear, and once at the end.
    pub fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let Ok(empty) = self.empty.try_recv() else {
            return;
        };
        let lines = std::mem::replace(&mut self.lines, empty);
        let core = self.core;
        // Only a writer that is gone refuses: its lines are kept, and dropped when there is no more room.
        if let Err(
            TrySendError::Full(Parcel::Lines { lines, .. })
            | TrySendError::Disconnected(Parcel::Lines { lines, .. }),
        ) = self.full.try_send(Parcel::Lines { core, lines })
        {
            self.lines = lines;
        }
    }

    /// Hands over what is left, without asking for an empty buffer. Lines after this are dropped and counted.
    pub fn finish(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if !lines.is_empty() {
            let core = self.core;
            let _ = self.full.try_send(Parcel::Lines { core, lines });
        }
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Drop for CoreLog {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Drain {
    /// Waits for lines; `None` when all workers have gone or the end was asked for.
    pub fn next(&self) -> Option<(usize, Vec<u8>)> {
        match self.full.recv() {
            Ok(Parcel::Lines { core, lines }) => Some((core, lines)),
            Ok(Parcel::Stop) | Err(_) => None,
        }
    }

    /// Gives a written buffer back to its worker.
    pub fn give_back(&self, core: usize, mut lines: Vec<u8>) {
        lines.clear();
        if let Some(back) = self.empty.get(core) {
            // A worker that has gone needs no buffer.
            let _ = back.try_send(lines);
        }
    }
}
