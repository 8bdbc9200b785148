//! Parked connections and the bell that tells of them: the twin of `net::bell`. Not the table of them (the worker's). Invariant: a
//! parked connection that is dropped is closed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::wire::End;
use super::world::{stumble, world};
use crate::net::{Bell, Rung, Signal};

/// A connection between two requests.
pub(super) struct Parked(Option<Rc<End>>);

impl Parked {
    pub(super) fn new(end: Rc<End>) -> Self {
        world().sweep.parked(end.link, true);
        Self(Some(end))
    }

    pub(super) fn wake(mut self) -> Rc<End> {
        let end = self.0.take().expect("woken once");
        world().sweep.parked(end.link, false);
        end
    }

    fn end(&self) -> &Rc<End> {
        self.0.as_ref().expect("not woken")
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            world().sweep.parked(end.link, false);
            end.close();
        }
    }
}

#[derive(Default)]
pub(super) struct SimulatedBell {
    watched: RefCell<Vec<(Rc<End>, u32)>>,
    waker: RefCell<Option<Waker>>,
}

impl Bell for SimulatedBell {
    type Parked = Parked;

    fn new() -> io::Result<Self> {
        Ok(Self::default())
    }

    fn watch(&self, parked: &Parked, tag: u32) -> io::Result<()> {
        self.watched
            .borrow_mut()
            .push((Rc::clone(parked.end()), tag));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
        Ok(())
    }

    fn unwatch(&self, parked: &Parked) {
        let end = parked.end();
        self.watched
            .borrow_mut()
            .retain(|(other, _)| !Rc::ptr_eq(other, end));
    }

    fn signal(parked: &Parked) -> Signal {
        parked.end().signal()
    }

    async fn rung(&self, rung: &mut Vec<Rung>) {
        stumble().await;
        poll_fn(|cx| {
            self.waker.replace(Some(cx.waker().clone()));
            let mut watched = self.watched.borrow_mut();
            watched.retain(|(end, _)| !end.is_closed());
            watched.retain(|(end, tag)| {
                end.listen(cx.waker());
                // As `net::bell`: bytes alone are seen, for all else the connection is looked at.
                match end.signal() {
                    Signal::Quiet => return true,
                    Signal::Bytes => rung.push((*tag, Some(Signal::Bytes))),
                    Signal::End | Signal::Failed => rung.push((*tag, None)),
                }
                false
            });
            if rung.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }
}
