//! One sweep per worker over the deadlines of all its connections, instead of a timer per operation (0.26 µs each) and a
//! cancellation handle per operation. Not exact: a deadline is noticed up to one tick late. Invariant: a socket is shut down
//! only while its connection is registered, and it is unregistered before its descriptor is closed.

#![allow(
    unsafe_code,
    reason = "descriptors are borrowed from connections that are registered here"
)]

use std::cell::{Cell, RefCell};
use std::os::fd::{BorrowedFd, RawFd};
use std::rc::Rc;

use monoio::io::{CancelHandle, Canceller};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};

use super::stream::{Broken, Sweeping};

/// No deadline.
const NEVER: u64 = u64::MAX;

/// A client is looked after only when its upstream has taken longer than this: most answers come sooner.
const TIE_GRACE_MS: u64 = 20;

/// An idle connection gives its buffer and its request's state back after this time: ten thousand idle ones would otherwise own
/// ten thousand of each. Who then asks after a pause is parked right after its answer. Later is no better: the parked are woken in fair shares,
/// and with 2 s a crowd of 2,500 that woke together kept others waiting for 99 ms, with 0.3 s for 19.
pub const PARK_AFTER_MS: u64 = 300;

/// Descriptors looked at by one poll call.
const POLL_BATCH: usize = 512;

/// What the sweep knows of one connection. Both halves and the table hold it.
pub(super) struct Watch {
    fd: RawFd,
    slot: Cell<usize>,
    read_until: Cell<u64>,
    write_until: Cell<u64>,
    fired: Cell<Option<Broken>>,
    idle_since: Cell<u64>,
    /// Ends the idle read in flight without ending the connection.
    canceller: RefCell<Option<Canceller>>,
    tied_since: Cell<u64>,
    tied: RefCell<Option<Rc<Watch>>>,
}

impl Watch {
    pub(super) fn read_until(&self, deadline_ms: u64) {
        self.read_until.set(deadline_ms);
    }

    pub(super) fn write_until(&self, deadline_ms: u64) {
        self.write_until.set(deadline_ms);
    }

    pub(super) fn fired(&self) -> Option<Broken> {
        self.fired.get()
    }

    pub(super) fn idle(&self, since_ms: Option<u64>) {
        self.idle_since.set(since_ms.unwrap_or(NEVER));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle_since.get() != NEVER
    }

    /// What a read must be given so that the sweep can take its buffer back.
    pub(super) fn cancel_handle(&self) -> CancelHandle {
        self.canceller
            .borrow_mut()
            .get_or_insert_with(Canceller::new)
            .handle()
    }

    pub(super) fn tie(&self, upstream: Rc<Watch>, now_ms: u64) {
        self.tied.replace(Some(upstream));
        self.tied_since.set(now_ms);
    }

    pub(super) fn untie(&self) {
        self.tied_since.set(NEVER);
        self.tied.replace(None);
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: a watch is unregistered before its descriptor is closed, so the descriptor is open here.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    /// Breaks the connection off for a reason. A timed-out read leaves the other direction open for a last answer.
    fn fire(&self, why: Broken, how: Shutdown) {
        if self.fired.get().is_none() {
            self.fired.set(Some(why));
        }
        self.read_until.set(NEVER);
        self.write_until.set(NEVER);
        // The peer may have gone already (ENOTCONN): then the operation ends by itself.
        let _ = shutdown(self.borrow(), how);
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("fd", &self.fd)
            .field("fired", &self.fired)
            .finish_non_exhaustive()
    }
}

/// A worker's table of connections.
#[derive(Debug, Default)]
pub struct Sweep {
    watches: RefCell<Vec<Option<Rc<Watch>>>>,
    free: RefCell<Vec<usize>>,
    /// Time of the last tick: exact enough for deadlines, and free to read.
    now_ms: Cell<u64>,
}

thread_local! {
    static SWEEP: Rc<Sweep> = Rc::new(Sweep::default());
}

impl Sweep {
    /// This thread's table.
    pub fn of_thread() -> Rc<Self> {
        SWEEP.with(Rc::clone)
    }

    pub(super) fn register(&self, fd: RawFd) -> Rc<Watch> {
        let watch = Rc::new(Watch {
            fd,
            slot: Cell::new(0),
            read_until: Cell::new(NEVER),
            write_until: Cell::new(NEVER),
            fired: Cell::new(None),
            idle_since: Cell::new(NEVER),
            canceller: RefCell::new(None),
            tied_since: Cell::new(NEVER),
            tied: RefCell::new(None),
        });
        let mut watches = self.watches.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or(watches.len());
        watch.slot.set(slot);
        match watches.get_mut(slot) {
            Some(place) => *place = Some(Rc::clone(&watch)),
            None => watches.push(Some(Rc::clone(&watch))),
        }
        watch
    }

    pub(super) fn unregister(&self, watch: &Watch) {
        watch.untie();
        if let Some(place) = self.watches.borrow_mut().get_mut(watch.slot.get()) {
            *place = None;
            self.free.borrow_mut().push(watch.slot.get());
        }
    }

    /// Time of the last tick, on the monotonic clock.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Connections of this worker, in both directions.
    pub fn connections(&self) -> usize {
        self.watches.borrow().len() - self.free.borrow().len()
    }
}

impl Sweeping for Sweep {
    fn tick(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        let watches = self.watches.borrow();
        let mut tied: Vec<&Rc<Watch>> = Vec::new();
        for watch in watches.iter().flatten() {
            if watch.write_until.get() <= now_ms {
                watch.fire(Broken::TimedOut, Shutdown::Both);
            } else if watch.read_until.get() <= now_ms {
                watch.fire(Broken::TimedOut, Shutdown::Read);
            }
            // What was shut down here looks like a client that has left.
            if watch.idle_since.get().saturating_add(PARK_AFTER_MS) <= now_ms {
                // The operation completes all the same, with what came in the last moment if anything did.
                drop(watch.canceller.borrow_mut().take().map(Canceller::cancel));
            }
            if watch.fired.get().is_none()
                && watch.tied_since.get().saturating_add(TIE_GRACE_MS) <= now_ms
            {
                tied.push(watch);
            }
        }
        for batch in tied.chunks(POLL_BATCH) {
            break_off_left(batch);
        }
    }

    fn end_idle(&self) {
        for watch in self.watches.borrow().iter().flatten() {
            if watch.idle_since.get() != NEVER {
                watch.fire(Broken::Draining, Shutdown::Read);
            }
        }
    }

    fn evict_oldest_idle(&self) -> bool {
        let watches = self.watches.borrow();
        let idle = watches
            .iter()
            .flatten()
            .filter(|w| w.idle_since.get() != NEVER);
        let Some(oldest) = idle.min_by_key(|watch| watch.idle_since.get()) else {
            return false;
        };
        oldest.idle_since.set(NEVER);
        oldest.fire(Broken::Evicted, Shutdown::Read);
        true
    }
}

/// A client that has closed or reset its side will not read the answer (HTTP.md "client leaves").
fn break_off_left(tied: &[&Rc<Watch>]) {
    let mut polled: Vec<PollFd<'_>> = tied
        .iter()
        .map(|watch| PollFd::from_borrowed_fd(watch.borrow(), PollFlags::RDHUP))
        .collect();
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if !matches!(poll(&mut polled, Some(&at_once)), Ok(count) if count > 0) {
        return;
    }
    let left = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    for (watch, seen) in tied.iter().zip(&polled) {
        if seen.revents().intersects(left) {
            watch.tied_since.set(NEVER);
            if let Some(upstream) = watch.tied.borrow_mut().take() {
                upstream.fire(Broken::Gone, Shutdown::Both);
            }
            watch.fired.set(Some(Broken::Gone));
        }
    }
}
