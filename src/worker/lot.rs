//! The parking lot: connections between two requests, as entries of a table instead of tasks. Not their life (`mod` serves them,
//! `net` watches them). Invariants: an entry holds some fifty bytes, and nothing on the heap but the keys of an encrypted
//! connection; entries stand in the order they came, which is the order in which their idle time ends but for `PARK_AFTER_MS`;
//! the bell watches an entry exactly as long as it stands here.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;

use crate::metrics::CloseReason;
use crate::net::{Bell, Signal, Stream};

/// No entry.
const NONE: u32 = u32::MAX;

/// Entries passed over for eviction because they have just spoken; where more have, one of them is given up.
const SPOKEN_MAX: usize = 16;

/// Parked connections that are worth giving memory back for: they have left some 6 MB.
const CROWD: usize = 256;

/// A pause after which the next one is expected to be long enough for parking. Expecting too little costs a read that is taken back
/// (with thousands of them in flight the kernel searches for each), expecting too much a look at the bell.
const PAUSE_MS: u64 = 100;

/// Looks after which memory is given back even though the crowd still comes.
const LOOKS_MAX: u32 = 10;

/// A connection that waits for its next request.
struct Entry<S: Stream> {
    parked: S::Parked,
    peer: IpAddr,
    /// The neighbour that came before.
    older: u32,
    younger: u32,
    idle_since_ms: u64,
}

/// Entries in a line, oldest first, in slots that are used again.
struct Line<S: Stream> {
    slots: Vec<Option<Entry<S>>>,
    free: Vec<u32>,
    oldest: u32,
    youngest: u32,
}

/// What becomes of a connection that is taken out.
pub(super) enum Taken<S: Stream> {
    /// It has a request: it lives on. True: after a pause.
    Awake(S::Parked, IpAddr, bool),
    /// It is closed already.
    Ended(CloseReason, IpAddr),
}

/// One worker's parked connections.
pub(super) struct Lot<S: Stream> {
    pub(super) bell: S::Bell,
    line: RefCell<Line<S>>,
    /// Parked since memory was last given back; at the last look; looks since then.
    came: Cell<(usize, usize, u32)>,
}

impl<S: Stream> Lot<S> {
    pub(super) fn new() -> io::Result<Self> {
        let line = Line {
            slots: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            youngest: NONE,
        };
        Ok(Self {
            bell: S::Bell::new()?,
            line: RefCell::new(line),
            came: Cell::new((0, 0, 0)),
        })
    }

    /// Parks a connection that is idle; gives it back when it cannot be watched.
    pub(super) fn park(
        &self,
        parked: S::Parked,
        peer: IpAddr,
        idle_since_ms: u64,
    ) -> Option<S::Parked> {
        let line = &mut *self.line.borrow_mut();
        let slot = line
            .free
            .pop()
            .or_else(|| u32::try_from(line.slots.len()).ok());
        let Some(slot) = slot.filter(|slot| *slot != NONE) else {
            return Some(parked);
        };
        // What has come already rings at once.
        if self.bell.watch(&parked, slot).is_err() {
            line.free.push(slot);
            return Some(parked);
        }
        let entry = Entry {
            parked,
            peer,
            older: line.youngest,
            younger: NONE,
            idle_since_ms,
        };
        line.append(slot, entry);
        let (came, seen, looks) = self.came.get();
        self.came.set((came + 1, seen, looks));
        None
    }

    /// Takes out a connection that has rung, `seen` to do that. `None`: it has nothing to say after all.
    pub(super) fn take_rung(
        &self,
        slot: u32,
        seen: Option<Signal>,
        now_ms: u64,
    ) -> Option<Taken<S>> {
        let line = &mut *self.line.borrow_mut();
        let parked = &line.entry(slot)?.parked;
        let signal = seen.unwrap_or_else(|| S::Bell::signal(parked));
        if signal == Signal::Quiet && self.bell.watch(parked, slot).is_ok() {
            return None;
        }
        let entry = line.remove(slot)?;
        Some(taken(entry, signal, CloseReason::Failed, now_ms))
    }

    /// Takes out the next connection whose idle time is over.
    pub(super) fn take_expired(&self, now_ms: u64, idle_ms: u64) -> Option<Taken<S>> {
        let line = &mut *self.line.borrow_mut();
        let until = line.entry(line.oldest)?.idle_since_ms + idle_ms;
        if until > now_ms {
            return None;
        }
        let entry = line.remove(line.oldest)?;
        Some(self.taken_unasked(entry, CloseReason::IdleTimeout, now_ms))
    }

    /// Takes out the oldest connection, whatever it does: draining.
    pub(super) fn take_oldest(&self, why: CloseReason, now_ms: u64) -> Option<Taken<S>> {
        let line = &mut *self.line.borrow_mut();
        let entry = line.remove(line.oldest)?;
        Some(self.taken_unasked(entry, why, now_ms))
    }

    /// Closes the connection that has been idle for longest and tells whose it was.
    pub(super) fn evict(&self) -> Option<IpAddr> {
        let line = &mut *self.line.borrow_mut();
        let mut slot = line.oldest;
        for _ in 0..SPOKEN_MAX {
            let Some(entry) = line.entry(slot) else {
                break;
            };
            // A request that waits here would be lost to a reset.
            if S::Bell::signal(&entry.parked) != Signal::Bytes {
                break;
            }
            slot = entry.younger;
        }
        let entry = line.remove(slot).or_else(|| line.remove(line.oldest))?;
        self.bell.unwatch(&entry.parked);
        Some(entry.peer)
    }

    /// Whether what a crowd has left behind should be given back to the system now. Asked once a second.
    pub(super) fn crowd_has_settled(&self) -> bool {
        let (came, seen, looks) = self.came.get();
        let settled = came >= CROWD && (came == seen || looks >= LOOKS_MAX);
        self.came.set(if settled {
            (0, 0, 0)
        } else {
            (came, came, looks.saturating_add(1))
        });
        settled
    }

    /// What becomes of one that has not rung.
    fn taken_unasked(&self, entry: Entry<S>, quiet: CloseReason, now_ms: u64) -> Taken<S> {
        self.bell.unwatch(&entry.parked);
        let signal = S::Bell::signal(&entry.parked);
        taken(entry, signal, quiet, now_ms)
    }
}

fn taken<S: Stream>(entry: Entry<S>, signal: Signal, quiet: CloseReason, now_ms: u64) -> Taken<S> {
    let is_slow = entry.idle_since_ms + PAUSE_MS <= now_ms;
    match signal {
        Signal::Bytes => Taken::Awake(entry.parked, entry.peer, is_slow),
        Signal::End => Taken::Ended(CloseReason::ClientClosed, entry.peer),
        Signal::Failed => Taken::Ended(CloseReason::ClientReset, entry.peer),
        Signal::Quiet => Taken::Ended(quiet, entry.peer),
    }
}

impl<S: Stream> Line<S> {
    fn entry(&self, slot: u32) -> Option<&Entry<S>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn place(&mut self, slot: u32) -> Option<&mut Entry<S>> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    fn append(&mut self, slot: u32, entry: Entry<S>) {
        match self.place(entry.older) {
            Some(before) => before.younger = slot,
            None => self.oldest = slot,
        }
        self.youngest = slot;
        match self.slots.get_mut(slot as usize) {
            Some(place) => *place = Some(entry),
            None => self.slots.push(Some(entry)),
        }
    }

    fn remove(&mut self, slot: u32) -> Option<Entry<S>> {
        let entry = self.slots.get_mut(slot as usize)?.take()?;
        match self.place(entry.older) {
            Some(before) => before.younger = entry.younger,
            None => self.oldest = entry.younger,
        }
        match self.place(entry.younger) {
            Some(after) => after.older = entry.older,
            None => self.youngest = entry.older,
        }
        self.free.push(slot);
        Some(entry)
    }
}

/// Fifty bytes, as the module promises; the table doubles, so that up to twice as many are taken.
const _: () = assert!(size_of::<Option<Entry<crate::net::Tcp>>>() <= 56);

#[cfg(test)]
#[path = "lot_tests.rs"]
mod tests;
