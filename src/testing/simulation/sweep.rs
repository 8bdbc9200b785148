//! The simulated twin of `net::sweep`: deadlines, parking, eviction, draining and ties, by the rules that are written there.
//! Not the connections. Invariant: a reason that has fired explains everything that ends afterwards.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::task::Waker;

use super::wire::End;
use crate::net::{Broken, PARK_AFTER_MS, Sweeping};

const NEVER: u64 = u64::MAX;

/// As in `net::sweep`.
const TIE_GRACE_MS: u64 = 20;

/// What the sweep knows of one connection.
pub(super) struct Watch {
    pub(super) end: Rc<End>,
    pub(super) read_until: Cell<u64>,
    pub(super) write_until: Cell<u64>,
    pub(super) fired: Cell<Option<Broken>>,
    pub(super) idle_since: Cell<u64>,
    /// A read in flight that can be asked to give its buffer back, and whether it has been.
    pub(super) armed: RefCell<Option<Waker>>,
    pub(super) cancelled: Cell<bool>,
    pub(super) tied: RefCell<Option<Rc<Watch>>>,
    pub(super) tied_since: Cell<u64>,
}

impl Watch {
    pub(super) fn new(end: Rc<End>) -> Rc<Self> {
        Rc::new(Self {
            end,
            read_until: Cell::new(NEVER),
            write_until: Cell::new(NEVER),
            fired: Cell::new(None),
            idle_since: Cell::new(NEVER),
            armed: RefCell::new(None),
            cancelled: Cell::new(false),
            tied: RefCell::new(None),
            tied_since: Cell::new(NEVER),
        })
    }

    pub(super) fn untie(&self) {
        self.tied_since.set(NEVER);
        self.tied.replace(None);
    }

    fn fire(&self, why: Broken, both: bool) {
        if self.fired.get().is_none() {
            self.fired.set(Some(why));
        }
        self.read_until.set(NEVER);
        self.write_until.set(NEVER);
        self.end.shut();
        if both {
            self.end.finish();
        }
    }
}

/// A worker's table.
#[derive(Default)]
pub(super) struct Sweep {
    watches: RefCell<Vec<Rc<Watch>>>,
    now_ms: Cell<u64>,
    /// Links of connections that stand in the worker's lot, with no watch of their own.
    lot: RefCell<BTreeSet<u64>>,
}

impl Sweep {
    pub(super) fn parked(&self, link: u64, is_parked: bool) {
        let mut lot = self.lot.borrow_mut();
        if is_parked {
            lot.insert(link);
        } else {
            lot.remove(&link);
        }
    }

    pub(super) fn is_parked(&self, link: u64) -> bool {
        self.lot.borrow().contains(&link)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    pub(super) fn register(&self, watch: &Rc<Watch>) {
        self.watches.borrow_mut().push(Rc::clone(watch));
    }

    pub(super) fn unregister(&self, watch: &Rc<Watch>) {
        watch.untie();
        self.watches
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, watch));
    }

    pub(super) fn connections(&self) -> usize {
        self.watches.borrow().len() + self.lot.borrow().len()
    }

    /// Links of connections that nothing has ended.
    pub(super) fn unfired(&self) -> Vec<u64> {
        let watches = self.watches.borrow();
        let unfired = watches.iter().filter(|watch| watch.fired.get().is_none());
        let links = unfired.map(|watch| watch.end.link);
        links.chain(self.lot.borrow().iter().copied()).collect()
    }
}

impl Sweeping for Sweep {
    fn tick(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        let watches = self.watches.borrow();
        for watch in watches.iter() {
            if watch.write_until.get() <= now_ms {
                watch.fire(Broken::TimedOut, true);
            } else if watch.read_until.get() <= now_ms {
                watch.fire(Broken::TimedOut, false);
            }
            if watch.idle_since.get().saturating_add(PARK_AFTER_MS) <= now_ms
                && let Some(waker) = watch.armed.borrow_mut().take()
            {
                watch.cancelled.set(true);
                waker.wake();
            }
        }
        for watch in watches.iter() {
            let tied = watch.tied_since.get().saturating_add(TIE_GRACE_MS) <= now_ms;
            if tied && watch.fired.get().is_none() && watch.end.has_left() {
                watch.tied_since.set(NEVER);
                if let Some(upstream) = watch.tied.borrow_mut().take() {
                    upstream.fire(Broken::Gone, true);
                }
                watch.fired.set(Some(Broken::Gone));
            }
        }
    }

    fn end_idle(&self) {
        for watch in self.watches.borrow().iter() {
            if watch.idle_since.get() != NEVER {
                watch.fire(Broken::Draining, false);
            }
        }
    }

    fn evict_oldest_idle(&self) -> bool {
        let watches = self.watches.borrow();
        let idle = watches.iter().filter(|w| w.idle_since.get() != NEVER);
        let Some(oldest) = idle.min_by_key(|watch| watch.idle_since.get()) else {
            return false;
        };
        oldest.idle_since.set(NEVER);
        oldest.fire(Broken::Evicted, false);
        true
    }
}
