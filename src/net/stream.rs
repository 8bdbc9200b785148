//! The one generic parameter of the worker: a connection that can be read, written and opened, real or simulated. Not a
//! protocol. Invariant: every operation that waits has a deadline; after any `Broken` the connection is only good for closing
//! (a timed-out read leaves the write half usable for one last answer, and `Parked` is no end at all).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::Buf;
use super::secure::Secure;
use super::tls_io::{Greeting, Unshaken};
use crate::tls::{Proved, TlsError};

/// Why an operation did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Its deadline passed.
    TimedOut,
    /// The process drains and this connection was idle.
    Draining,
    /// The client of this exchange has left.
    Gone,
    /// The idle connection was given up for a newer one.
    Evicted,
    /// It has been idle for a moment: nothing was read, nothing is wrong, and the buffer is wanted back.
    Parked,
    /// The peer reset the connection or it failed otherwise.
    Failed,
}

/// Where time comes from: the system, or a simulation. Functions and not values: the real ones cost no argument.
pub trait Clock {
    /// Nanoseconds on the monotonic clock.
    fn now_ns() -> u64;

    /// Milliseconds since the Unix epoch, for tokens and log lines.
    fn unix_ms() -> u64;

    /// Waits.
    fn sleep_ms(ms: u64) -> impl Future<Output = ()>;
}

/// A thread's table of all connections of one kind, which ends what is overdue.
pub trait Sweeping {
    /// Ends what is overdue and what is tied to a client that has left. Called every tick.
    fn tick(&self, now_ms: u64);

    /// Ends every connection that is between two requests.
    fn end_idle(&self);

    /// Ends the connection that has been idle for longest; false when none is.
    fn evict_oldest_idle(&self) -> bool;
}

/// A connection whose two directions are used at once, and the time that its deadlines are measured in.
pub trait Stream: Clock + Sized + 'static {
    /// The direction from the peer.
    type Reader: Reader;
    /// The direction to the peer.
    type Writer: Writer<Reader = Self::Reader>;
    /// What enforces the deadlines.
    type Sweep: Sweeping;

    /// A connection between two requests: a few bytes and nothing on the heap, because there may be ten thousands of it.
    type Parked: 'static;
    /// Tells which parked connections have something to say.
    type Bell: Bell<Parked = Self::Parked>;

    /// This thread's table.
    fn sweep() -> Rc<Self::Sweep>;

    /// Runs a task of its own on this thread.
    fn spawn(task: impl Future<Output = ()> + 'static);

    /// What stands between accepting a connection and its first byte: TLS's handshake, where there is TLS.
    fn greet(
        _reader: &mut Self::Reader,
        _writer: &mut Self::Writer,
        _deadline_ms: u64,
    ) -> impl Future<Output = Result<Greeting, Unshaken>> {
        std::future::ready(Ok(Greeting::Plain))
    }

    /// Opens a connection over TLS; an error of the kind `InvalidData` holds the [`TlsError`] that says why the
    /// handshake failed.
    fn connect_secure(
        _address: SocketAddr,
        _secure: &Secure,
        _within_ms: u64,
    ) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer)>> {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Opens a connection; the error kind `TimedOut` says that `within_ms` passed.
    fn connect(
        address: SocketAddr,
        within_ms: u64,
    ) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer)>>;

    /// Gives both halves of one connection up for as long as it idles. No operation may be in flight on them.
    fn park(reader: Self::Reader, writer: Self::Writer) -> io::Result<Self::Parked>;

    /// Makes it a connection again.
    fn wake(parked: Self::Parked) -> io::Result<(Self::Reader, Self::Writer)>;
}

/// What a parked connection does, as far as one look shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Nothing has come.
    Quiet,
    /// Bytes wait to be read.
    Bytes,
    /// The peer has ended it.
    End,
    /// The peer has reset it, or it failed otherwise.
    Failed,
}

/// A parked connection that has something to say, by its tag; and what, where the bell has seen it without a look of its own.
pub type Rung = (u32, Option<Signal>);

/// Watches parked connections, all of a worker's at once. Dropping a parked connection takes it from the bell.
pub trait Bell: Sized + 'static {
    /// What is watched.
    type Parked;

    /// A bell that nothing hangs on.
    fn new() -> io::Result<Self>;

    /// From now on `rung` tells `tag`, once, when anything comes on this connection or has come already.
    fn watch(&self, parked: &Self::Parked, tag: u32) -> io::Result<()>;

    /// No longer, of one that has not rung.
    fn unwatch(&self, parked: &Self::Parked);

    /// Looks at one connection without waiting.
    fn signal(parked: &Self::Parked) -> Signal;

    /// Waits until something comes on any of them and appends these to `rung`, without waiting between the look and the return:
    /// whoever is told takes them out before anything else runs. They are not watched any more.
    fn rung(&self, rung: &mut Vec<Rung>) -> impl Future<Output = ()>;
}

/// The direction from the peer.
pub trait Reader: 'static {
    /// Appends what comes to `buf`, at least one byte; 0 is the peer's end. `deadline_ms` is on the monotonic clock.
    fn read(
        &mut self,
        buf: Buf,
        deadline_ms: u64,
    ) -> impl Future<Output = (Result<usize, Broken>, Buf)>;

    /// Says that the connection is between two requests (true) or busy: an idle one may be ended by draining and overload,
    /// and a read on it may come back as [`Broken::Parked`].
    fn idle(&self, idle: bool);

    /// Nothing of the peer's is held below this, so that what comes next shows on the connection itself.
    fn may_park(&self) -> bool {
        true
    }

    /// The certificate that the peer has proved to own.
    fn proved(&self) -> Option<&Proved> {
        None
    }

    /// Why what came could not be understood, where a layer below the messages says so: TLS.
    fn fault(&self) -> Option<TlsError> {
        None
    }

    /// Sends a few bytes the other way at once, between the writer's messages; false when they did not fit.
    fn interject(&self, bytes: &[u8]) -> bool;

    /// No byte and no end is waiting: the only state in which a pooled connection may be used again.
    fn is_quiet(&self) -> bool;
}

/// The direction to the peer.
pub trait Writer: 'static {
    /// The other direction of the same kind of connection.
    type Reader: Reader;

    /// Writes and consumes the first `count` bytes of `buf`.
    fn write(
        &mut self,
        buf: Buf,
        count: usize,
        deadline_ms: u64,
    ) -> impl Future<Output = (Result<(), Broken>, Buf)>;

    /// Ends this direction; the peer sees it after all that was written.
    fn finish(&mut self);

    /// Breaks the connection so that the peer cannot take what it got for complete (a reset, not an end).
    fn abort(&self);

    /// While true, losing this connection for whatever reason (also the process's end) is a reset and not an end: for a
    /// message whose end is the connection's.
    fn reset_when_lost(&self, on: bool);

    /// Sets the deadline of the read that is in flight in the other direction.
    fn answer_by(&self, deadline_ms: u64);

    /// From now on: when this connection's peer leaves, `upstream` is broken off with [`Broken::Gone`].
    fn tie(&self, upstream: &Self::Reader);

    /// Ends the tie.
    fn untie(&self);
}
