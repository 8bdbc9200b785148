//! A worker's open tunnels by the time their tokens or certificates end. Not the tunnels themselves (`tunnel`).
//! Invariant: whoever is in the table is told within a tick of that end, or of the beginning of the drain, and leaves
//! the table when it is dropped.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Waker;

use crate::metrics::CloseReason;

/// For a tunnel that was opened without a token.
pub(super) const NO_EXPIRY: u64 = u64::MAX;

/// What one tunnel is told, once.
pub(super) struct Notice {
    told: Cell<Option<CloseReason>>,
    waker: Cell<Option<Waker>>,
    /// What ends when the tunnel's time is over.
    expiry: CloseReason,
}

impl Notice {
    /// Why the tunnel must end, once it must.
    pub(super) fn told(&self) -> Option<CloseReason> {
        self.told.get()
    }

    /// Whom to wake when there is something to be told.
    pub(super) fn wake(&self, waker: &Waker) {
        self.waker.set(Some(waker.clone()));
    }

    fn tell(&self, reason: CloseReason) {
        if self.told.get().is_none() {
            self.told.set(Some(reason));
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }
}

/// The table: ordered by expiry, so that a tick looks at the first one only.
#[derive(Default)]
pub(super) struct Tunnels {
    open: RefCell<BTreeMap<Key, Rc<Notice>>>,
    serial: Cell<u64>,
}

/// Milliseconds of the Unix clock, and a number that makes two equal ones two.
type Key = (u64, u64);

/// A tunnel's place in the table, until it is dropped.
pub(super) struct Place<'a> {
    tunnels: &'a Tunnels,
    key: Key,
    pub(super) notice: Rc<Notice>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.tunnels.open.borrow_mut().remove(&self.key);
    }
}

impl Tunnels {
    /// Enters a tunnel that may live until `expires_ms`, and what ends then.
    pub(super) fn enter(&self, expires_ms: u64, expiry: CloseReason) -> Place<'_> {
        let serial = self.serial.get().wrapping_add(1);
        self.serial.set(serial);
        let key = (expires_ms, serial);
        let notice = Rc::new(Notice {
            told: Cell::new(None),
            waker: Cell::new(None),
            expiry,
        });
        self.open.borrow_mut().insert(key, Rc::clone(&notice));
        Place {
            tunnels: self,
            key,
            notice,
        }
    }

    /// Tells those whose token or certificate has ended. Called every tick.
    pub(super) fn expire(&self, unix_ms: u64) {
        let mut open = self.open.borrow_mut();
        while let Some(first) = open.first_entry() {
            if first.key().0 > unix_ms {
                return;
            }
            let notice = first.remove();
            notice.tell(notice.expiry);
        }
    }

    /// Tells all: the gateway shuts down.
    pub(super) fn drain(&self) {
        for notice in self.open.borrow().values() {
            notice.tell(CloseReason::Draining);
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.open.borrow().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_in_the_order_of_its_end() {
        let tunnels = Tunnels::default();
        let enter = |ends_ms| tunnels.enter(ends_ms, CloseReason::TokenExpired);
        let (late, early, never) = (enter(200), enter(100), enter(NO_EXPIRY));
        let same = tunnels.enter(100, CloseReason::CertificateExpired);
        let told = || [&late, &early, &same, &never].map(|place| place.notice.told());
        let expired = Some(CloseReason::TokenExpired);
        let draining = Some(CloseReason::Draining);
        let certificate = Some(CloseReason::CertificateExpired);
        tunnels.expire(99);
        assert_eq!((told(), tunnels.count()), ([None; 4], 4));
        tunnels.expire(100);
        assert_eq!(told(), [None, expired, certificate, None]);
        tunnels.drain();
        assert_eq!(told(), [draining, expired, certificate, draining]);
        tunnels.expire(u64::MAX - 1);
        assert_eq!(told(), [draining, expired, certificate, draining]);
        drop((late, early, same));
        assert_eq!(tunnels.count(), 1);
        drop(never);
        assert_eq!(tunnels.count(), 0);
    }

    #[test]
    fn telling_wakes_who_waits() {
        struct Flag(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let flag = std::sync::Arc::new(Flag(std::sync::atomic::AtomicBool::new(false)));
        let tunnels = Tunnels::default();
        let place = tunnels.enter(5, CloseReason::TokenExpired);
        place
            .notice
            .wake(&Waker::from(std::sync::Arc::clone(&flag)));
        tunnels.expire(4);
        assert!(!flag.0.load(std::sync::atomic::Ordering::Relaxed));
        tunnels.expire(5);
        assert!(flag.0.load(std::sync::atomic::Ordering::Relaxed));
    }
}
