//! Simulated connections below the gateway's view of them: two pipes of bytes with a bounded room, a delay, an end and a reset.
//! Not deadlines (`sweep`, `stream`). Invariant: what is read is what was written, in order, up to an end or a reset; only a
//! reset may lose bytes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::world::world;
use crate::net::Signal;

/// What becomes of opening a connection.
pub(super) enum Connecting {
    /// Refused after so many milliseconds.
    Refused(u64),
    /// Open after so many milliseconds.
    Open(u64, Rc<End>),
    /// Nobody answers.
    Never,
}

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// One direction.
#[derive(Default)]
struct Pipe {
    pieces: VecDeque<(u64, VecDeque<u8>)>,
    queued: usize,
    room: usize,
    /// When the reader learns of the end, of a reset.
    ends_at: Option<u64>,
    resets_at: Option<u64>,
    /// The reader's own side was shut down.
    shut: bool,
    /// The reader is gone: what arrives is answered by a reset.
    deaf: bool,
    /// When the writer learns that nobody takes its bytes.
    refused_at: Option<u64>,
    last_at: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    /// The next moment that changes what a reader sees.
    fn next_at(&self) -> Option<u64> {
        let piece = self.pieces.front().map(|piece| piece.0);
        [piece, self.ends_at, self.resets_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn wake_reader(&self) {
        if let (Some(waker), Some(at)) = (&self.reader, self.next_at()) {
            world().wake_at(at.max(world().now_ns()), waker);
        }
        if self.shut
            && let Some(waker) = &self.reader
        {
            waker.wake_by_ref();
        }
    }

    fn wake_writer(&self) {
        if let Some(waker) = &self.writer {
            waker.wake_by_ref();
        }
    }
}

/// One end of a connection: what it reads from, what it writes to.
pub(super) struct End {
    /// The same for both ends.
    pub(super) link: u64,
    rx: Rc<RefCell<Pipe>>,
    tx: Rc<RefCell<Pipe>>,
    latency_us_max: u64,
    closed: Cell<bool>,
}

/// Opens a connection between two ends.
pub(super) fn link(rooms: (usize, usize), latency_us_max: u64) -> (Rc<End>, Rc<End>) {
    let pipe = |room| {
        Rc::new(RefCell::new(Pipe {
            room,
            ..Pipe::default()
        }))
    };
    let (there, back) = (pipe(rooms.0), pipe(rooms.1));
    let link = world().number();
    let end = |rx: &Rc<RefCell<Pipe>>, tx: &Rc<RefCell<Pipe>>| {
        Rc::new(End {
            link,
            rx: Rc::clone(rx),
            tx: Rc::clone(tx),
            latency_us_max,
            closed: Cell::new(false),
        })
    };
    (end(&back, &there), end(&there, &back))
}

impl End {
    fn arrival(&self) -> u64 {
        world().now_ns() + world().dice(|dice| dice.below(self.latency_us_max + 1)) * 1_000
    }

    pub(super) fn poll_read(&self, cx: &Context<'_>, max: usize) -> Poll<Found> {
        let now = world().now_ns();
        let mut pipe = self.rx.borrow_mut();
        let past = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if past(pipe.pieces.front().map(|piece| piece.0)) {
            let piece = &mut pipe.pieces[0].1;
            let most = piece.len().min(max);
            let count = world().dice(|dice| match dice.percent(25) {
                true => 1 + dice.size(most),
                false => most,
            });
            let bytes: Vec<u8> = piece.drain(..count).collect();
            if piece.is_empty() {
                pipe.pieces.pop_front();
            }
            pipe.queued -= bytes.len();
            pipe.wake_writer();
            return Poll::Ready(Found::Bytes(bytes));
        }
        if past(pipe.resets_at) {
            return Poll::Ready(Found::Reset);
        }
        if pipe.shut || (pipe.pieces.is_empty() && past(pipe.ends_at)) {
            return Poll::Ready(Found::End);
        }
        pipe.reader = Some(cx.waker().clone());
        if let Some(at) = pipe.next_at() {
            world().wake_at(at, cx.waker());
        }
        Poll::Pending
    }

    pub(super) fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<Result<usize, ()>> {
        let now = world().now_ns();
        let arrival = self.arrival();
        let mut pipe = self.tx.borrow_mut();
        let closed = pipe.ends_at.is_some() || pipe.resets_at.is_some();
        if closed || pipe.refused_at.is_some_and(|at| at <= now) {
            return Poll::Ready(Err(()));
        }
        let most = bytes.len().min(pipe.room - pipe.queued);
        if most == 0 {
            pipe.writer = Some(cx.waker().clone());
            if let Some(at) = pipe.refused_at {
                world().wake_at(at, cx.waker());
            }
            return Poll::Pending;
        }
        let count = world().dice(|dice| match dice.percent(20) {
            true => 1 + dice.size(most),
            false => most,
        });
        if pipe.deaf {
            // Taken by our kernel, refused by theirs: the reset is under way.
            pipe.refused_at.get_or_insert(arrival);
            drop(pipe);
            self.rx.borrow_mut().resets_at.get_or_insert(arrival);
            self.rx.borrow().wake_reader();
            return Poll::Ready(Ok(count));
        }
        let at = arrival.max(pipe.last_at);
        pipe.last_at = at;
        pipe.queued += count;
        pipe.pieces
            .push_back((at, bytes[..count].iter().copied().collect()));
        pipe.wake_reader();
        Poll::Ready(Ok(count))
    }

    /// All of it at once, or nothing.
    pub(super) fn write_now(&self, bytes: &[u8]) -> bool {
        let arrival = self.arrival();
        let mut pipe = self.tx.borrow_mut();
        if pipe.ends_at.is_some() || pipe.deaf || pipe.room - pipe.queued < bytes.len() {
            return false;
        }
        let at = arrival.max(pipe.last_at);
        pipe.last_at = at;
        pipe.queued += bytes.len();
        pipe.pieces.push_back((at, bytes.iter().copied().collect()));
        pipe.wake_reader();
        true
    }

    /// Ends what we write; the peer sees it after all that was written.
    pub(super) fn finish(&self) {
        let arrival = self.arrival();
        let mut pipe = self.tx.borrow_mut();
        let at = arrival.max(pipe.last_at);
        // Nothing comes behind a reset.
        if pipe.resets_at.is_none() {
            pipe.ends_at.get_or_insert(at);
        }
        pipe.wake_reader();
        pipe.wake_writer();
    }

    /// Nothing more is read here.
    pub(super) fn shut(&self) {
        let mut pipe = self.rx.borrow_mut();
        pipe.shut = true;
        pipe.wake_reader();
    }

    /// Breaks the connection: the peer sees a reset, and may lose what it has not read.
    pub(super) fn abort(&self) {
        let (now, arrival) = (world().now_ns(), self.arrival());
        let lossy = world().dice(|dice| dice.percent(50));
        let mut tx = self.tx.borrow_mut();
        tx.refused_at = Some(now);
        // An end that has arrived stays an end, and what came ahead of it with it.
        if tx.ends_at.is_none_or(|at| at > now) {
            tx.ends_at = None;
            tx.resets_at.get_or_insert(arrival);
            if lossy {
                tx.pieces.clear();
                tx.queued = 0;
            }
        }
        tx.wake_reader();
        tx.wake_writer();
        drop(tx);
        let mut rx = self.rx.borrow_mut();
        rx.deaf = true;
        rx.pieces.clear();
        rx.queued = 0;
        rx.resets_at = Some(now);
        rx.refused_at.get_or_insert(arrival);
        rx.wake_reader();
        if let Some(waker) = &rx.writer {
            world().wake_at(arrival, waker);
        }
    }

    /// Both directions are given up. What was not read makes it a reset.
    pub(super) fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        let unread = !self.rx.borrow().pieces.is_empty();
        if unread {
            self.abort();
        } else {
            self.finish();
            self.rx.borrow_mut().deaf = true;
        }
    }

    /// No byte, no end and no reset has arrived.
    pub(super) fn is_quiet(&self) -> bool {
        self.signal() == Signal::Quiet
    }

    /// What one look shows, as a look at a socket does.
    pub(super) fn signal(&self) -> Signal {
        let (pipe, now) = (self.rx.borrow(), world().now_ns());
        let past = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if past(pipe.pieces.front().map(|piece| piece.0)) {
            Signal::Bytes
        } else if past(pipe.resets_at) {
            Signal::Failed
        } else if pipe.shut || (pipe.pieces.is_empty() && past(pipe.ends_at)) {
            Signal::End
        } else {
            Signal::Quiet
        }
    }

    /// Wakes `waker` when anything comes.
    pub(super) fn listen(&self, waker: &Waker) {
        let mut pipe = self.rx.borrow_mut();
        pipe.reader = Some(waker.clone());
        if let Some(at) = pipe.next_at() {
            world().wake_at(at, waker);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// The peer's end or reset has arrived, read or not.
    pub(super) fn has_left(&self) -> bool {
        let (pipe, now) = (self.rx.borrow(), world().now_ns());
        [pipe.ends_at, pipe.resets_at]
            .into_iter()
            .flatten()
            .any(|at| at <= now)
    }
}

/// The other side of a connection: a client's or a service's own socket.
pub(super) struct Peer(pub(super) Rc<End>);

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Peer {
    pub(super) async fn read(&self) -> Found {
        let max = world().dice(|dice| {
            if dice.percent(20) {
                1 + dice.size(64)
            } else {
                65_536
            }
        });
        poll_fn(|cx| self.0.poll_read(cx, max)).await
    }

    /// `None` when nothing came until then.
    pub(super) async fn read_until(&self, at_ns: u64) -> Option<Found> {
        poll_fn(|cx| match self.0.poll_read(cx, 65_536) {
            Poll::Ready(found) => Poll::Ready(Some(found)),
            Poll::Pending if world().now_ns() >= at_ns => Poll::Ready(None),
            Poll::Pending => {
                world().wake_at(at_ns, cx.waker());
                Poll::Pending
            }
        })
        .await
    }

    /// False when the other side takes no more.
    pub(super) async fn write(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match poll_fn(|cx| self.0.poll_write(cx, bytes)).await {
                Ok(count) => bytes = &bytes[count..],
                Err(()) => return false,
            }
        }
        true
    }
}
