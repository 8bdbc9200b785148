//! Simulated connections as the worker sees them: the twin of `net::tcp` over `wire`. Not the peers. Invariant: every operation
//! that can wait on a real socket can wait here, and ends for the same reasons.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use super::bell::{Parked, SimulatedBell};
use super::sweep::{Sweep, Watch};
use super::wire::{Connecting, End, Found};
use super::world::{sleep_ms, stumble, world};
use crate::net::{Broken, Buf, Clock, Greeting, Reader, Stream, Unshaken, Writer};

/// Connections of a simulated run.
pub(super) struct Simulated;

/// Unregisters when the last half goes, and closes unless the connection is parked.
struct Held(Rc<Watch>, Cell<bool>);

impl Drop for Held {
    fn drop(&mut self) {
        world().sweep.unregister(&self.0);
        if !self.1.get() {
            self.0.end.close();
        }
    }
}

pub(super) struct SimulatedReader(Rc<Held>);

pub(super) struct SimulatedWriter {
    held: Rc<Held>,
    reset_when_lost: Cell<bool>,
}

impl Drop for SimulatedWriter {
    fn drop(&mut self) {
        if self.held.1.get() {
            return;
        }
        if self.reset_when_lost.get() {
            self.held.0.end.abort();
        }
        self.held.0.end.finish();
    }
}

/// Puts an open connection under the sweep.
pub(super) fn adopt(end: Rc<End>) -> (SimulatedReader, SimulatedWriter) {
    let watch = Watch::new(end);
    world().sweep.register(&watch);
    let held = Rc::new(Held(watch, Cell::new(false)));
    let writer = SimulatedWriter {
        held: Rc::clone(&held),
        reset_when_lost: Cell::new(false),
    };
    (SimulatedReader(held), writer)
}

impl Clock for Simulated {
    fn now_ns() -> u64 {
        world().now_ns()
    }

    fn unix_ms() -> u64 {
        world().unix_ms()
    }

    async fn sleep_ms(ms: u64) {
        sleep_ms(ms).await;
    }
}

impl Stream for Simulated {
    type Reader = SimulatedReader;
    type Writer = SimulatedWriter;
    type Sweep = Sweep;
    type Parked = Parked;
    type Bell = SimulatedBell;

    fn sweep() -> Rc<Sweep> {
        Rc::clone(&world().sweep)
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        world().spawn("a task of the worker", task);
    }

    fn park(reader: SimulatedReader, _writer: SimulatedWriter) -> io::Result<Parked> {
        reader.0.1.set(true);
        Ok(Parked::new(Rc::clone(&reader.0.0.end)))
    }

    fn wake(parked: Parked) -> io::Result<(SimulatedReader, SimulatedWriter)> {
        Ok(adopt(parked.wake()))
    }

    async fn greet(
        reader: &mut SimulatedReader,
        _writer: &mut SimulatedWriter,
        deadline_ms: u64,
    ) -> Result<Greeting, Unshaken> {
        let mut left = world().handshake_bytes.get();
        while left > 0 {
            let read = reader.read(Buf::with_capacity(left), deadline_ms).await.0;
            match read.map_err(Unshaken::Broken)? {
                0 => return Err(Unshaken::Left),
                count => left -= count.min(left),
            }
        }
        Ok(Greeting::Plain)
    }

    async fn connect(
        address: SocketAddr,
        within_ms: u64,
    ) -> io::Result<(SimulatedReader, SimulatedWriter)> {
        let late = || Err(io::ErrorKind::TimedOut.into());
        match world().connect(address) {
            Connecting::Refused(ms) => {
                sleep_ms(ms).await;
                Err(io::ErrorKind::ConnectionRefused.into())
            }
            Connecting::Open(ms, end) if ms <= within_ms => {
                sleep_ms(ms).await;
                Ok(adopt(end))
            }
            Connecting::Open(_, end) => {
                sleep_ms(within_ms).await;
                end.close();
                late()
            }
            Connecting::Never => {
                sleep_ms(within_ms).await;
                late()
            }
        }
    }
}

impl Reader for SimulatedReader {
    async fn read(&mut self, mut buf: Buf, deadline_ms: u64) -> (Result<usize, Broken>, Buf) {
        let watch = &self.0.0;
        watch.read_until.set(deadline_ms);
        stumble().await;
        if let Some(why) = watch.fired.get() {
            return (Err(why), buf);
        }
        let room = buf.room();
        if room == 0 {
            return (Ok(0), buf);
        }
        watch.cancelled.set(false);
        let cancelable = watch.idle_since.get() != u64::MAX;
        let found = poll_fn(|cx| {
            if let Poll::Ready(found) = watch.end.poll_read(cx, room) {
                return Poll::Ready(Some(found));
            }
            if watch.cancelled.get() {
                return Poll::Ready(None);
            }
            if cancelable {
                watch.armed.replace(Some(cx.waker().clone()));
            }
            Poll::Pending
        });
        let found = found.await;
        watch.armed.take();
        watch.read_until.set(u64::MAX);
        let result = match found {
            None => Err(Broken::Parked),
            Some(Found::Bytes(bytes)) => {
                buf.out().extend_from_slice(&bytes);
                Ok(bytes.len())
            }
            Some(Found::End) => watch.fired.get().map_or(Ok(0), Err),
            Some(Found::Reset) => Err(watch.fired.get().unwrap_or(Broken::Failed)),
        };
        (result, buf)
    }

    fn idle(&self, idle: bool) {
        let since = if idle {
            world().sweep.now_ms()
        } else {
            u64::MAX
        };
        self.0.0.idle_since.set(since);
    }

    fn interject(&self, bytes: &[u8]) -> bool {
        self.0.0.end.write_now(&[bytes])
    }

    fn is_quiet(&self) -> bool {
        self.0.0.end.is_quiet()
    }
}

impl Writer for SimulatedWriter {
    type Reader = SimulatedReader;

    async fn write(
        &mut self,
        mut buf: Buf,
        count: usize,
        deadline_ms: u64,
    ) -> (Result<(), Broken>, Buf) {
        let watch = &self.held.0;
        let mut left = count.min(buf.len());
        while left > 0 {
            stumble().await;
            watch.write_until.set(deadline_ms);
            let piece = buf.filled().get(..left).unwrap_or_default();
            let written = poll_fn(|cx| watch.end.poll_write(cx, piece)).await;
            watch.write_until.set(u64::MAX);
            match written {
                Err(()) => return (Err(watch.fired.get().unwrap_or(Broken::Failed)), buf),
                Ok(sent) => {
                    buf.consume_keeping(sent);
                    left -= sent;
                }
            }
        }
        (Ok(()), buf)
    }

    fn finish(&mut self) {
        self.held.0.end.finish();
    }

    fn abort(&self) {
        self.held.0.end.abort();
    }

    fn reset_when_lost(&self, on: bool) {
        self.reset_when_lost.set(on);
    }

    fn answer_by(&self, deadline_ms: u64) {
        self.held.0.read_until.set(deadline_ms);
    }

    fn tie(&self, upstream: &SimulatedReader) {
        let watch = &self.held.0;
        watch.tied.replace(Some(Rc::clone(&upstream.0.0)));
        watch.tied_since.set(world().sweep.now_ms());
    }

    fn untie(&self) {
        self.held.0.untie();
    }
}
