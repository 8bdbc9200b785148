//! TLS between a session and its socket: the handshake, and what reading and writing mean over it. No cryptography (`tls`).
//! Invariants: one write is in flight at a time, and whoever writes sends everything that was encrypted before; a session is never
//! borrowed over an `.await`; an end of the socket without the peer's close_notify is a failure where it could cut something off.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::stream::Broken;
use super::tcp::{TcpReader, TcpWriter};
use super::tls::{PIECE_BYTES_MAX, Session, Taken, put};
use super::{Buf, clock};
use crate::tls::{Cause, TlsError};

/// How long a refused client is still read from, so that it gets the alert and not a reset.
const LINGER_MS: u64 = 1_000;

/// Bytes read and dropped meanwhile.
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// Between two looks whether a full socket takes bytes again.
const LOOK_MS: u64 = 5;

/// How a connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// Without TLS.
    Plain,
    /// With a full handshake.
    Full,
    /// With keys of an earlier connection.
    Resumed,
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unshaken {
    /// The peer left before it said anything: a port scan, a balancer's check.
    Silent,
    /// The peer left in the middle.
    Left,
    /// The deadline passed, or the connection was broken off.
    Broken(Broken),
    /// One side did not accept the other; which and why.
    Refused(TlsError),
    /// The client speaks plain HTTP. Nothing was answered.
    PlainHttp {
        /// Its method is HEAD.
        head: bool,
    },
}

impl Unshaken {
    /// What kind of failure it is.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Silent | Self::Left => Cause::Left,
            Self::Broken(_) => Cause::BrokenOff,
            Self::Refused(error) => error.cause,
            Self::PlainHttp { .. } => Cause::PlainHttp,
        }
    }
}

impl From<TlsError> for Unshaken {
    fn from(error: TlsError) -> Self {
        Self::Refused(error)
    }
}

impl fmt::Display for Unshaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => write!(f, "the peer left without a word"),
            Self::Left => write!(f, "the peer left in the middle"),
            Self::Broken(Broken::TimedOut) => write!(f, "it took too long"),
            Self::Broken(_) => write!(f, "the connection broke"),
            Self::Refused(why) => write!(f, "{why}"),
            Self::PlainHttp { .. } => write!(f, "a request in plain HTTP"),
        }
    }
}

/// The handshake. Nothing for a plain connection.
pub(super) async fn shake(
    reader: &mut TcpReader,
    writer: &mut TcpWriter,
    deadline_ms: u64,
) -> Result<Greeting, Unshaken> {
    let Some(session) = reader.session.clone() else {
        return Ok(Greeting::Plain);
    };
    let watch = Rc::clone(&reader.registration.watch);
    // Who takes its time here is the first to be given up for others, and not waited for by a drain.
    watch.idle(Some(clock::now_ms()));
    let shaken = exchange(&session, reader, writer, deadline_ms).await;
    watch.idle(None);
    if matches!(shaken, Err(Unshaken::Refused(_))) {
        writer.shut_down();
        let deadline = deadline_ms.min(clock::now_ms() + LINGER_MS);
        let _ = drop_all(reader, Buf::with_capacity(4096), deadline).await;
    }
    shaken
}

async fn exchange(
    session: &Rc<Session>,
    reader: &mut TcpReader,
    writer: &mut TcpWriter,
    deadline_ms: u64,
) -> Result<Greeting, Unshaken> {
    let mut heard = false;
    loop {
        let advanced = session.advance();
        // A refusal has something to say as well.
        let flushed = flush(session, writer, deadline_ms).await;
        let done = advanced?;
        flushed.map_err(|(broken, _)| Unshaken::Broken(broken))?;
        if done {
            return Ok(if session.is_resumed() {
                Greeting::Resumed
            } else {
                Greeting::Full
            });
        }
        let Some(fresh) = session.lend_for_handshake() else {
            let why = "a message that is too long";
            return Err(TlsError::new(Cause::Other, why).into());
        };
        let (read, fresh) = reader.read_raw(fresh, deadline_ms, false).await;
        match read {
            Ok(0) if heard => return Err(Unshaken::Left),
            Ok(0) => return Err(Unshaken::Silent),
            Ok(_) => session.feed(fresh),
            Err(Broken::Failed) if !heard => return Err(Unshaken::Silent),
            Err(broken) => return Err(Unshaken::Broken(broken)),
        }
        heard = true;
    }
}

/// Appends plaintext to `buf`.
pub(super) async fn read(
    session: &Rc<Session>,
    reader: &mut TcpReader,
    mut buf: Buf,
    deadline_ms: u64,
) -> (Result<usize, Broken>, Buf) {
    if !session.is_open() {
        // What a proxy says of its client goes before TLS.
        return reader.read_raw(buf, deadline_ms, false).await;
    }
    loop {
        if session.reading.get() {
            return drop_all(reader, buf, deadline_ms).await;
        }
        let taken = session.take(&mut buf);
        send_now(session, reader.registration.borrow());
        match taken {
            Taken::Bytes(count) => return (Ok(count), buf),
            Taken::Closed => return (Ok(0), buf),
            Taken::Failed => return (Err(Broken::Failed), buf),
            Taken::Starved => {}
        }
        let Some(fresh) = session.lend(buf.room()) else {
            return (Err(Broken::Failed), buf);
        };
        let drained = session.is_drained();
        session.reading.set(true);
        let (result, fresh) = reader.read_raw(fresh, deadline_ms, drained).await;
        session.reading.set(false);
        if let Ok(1..) = result {
            session.feed(fresh);
            continue;
        }
        put(fresh);
        return match result {
            // Between two requests nothing can be cut off, and many clients leave like this.
            Ok(_) if drained && reader.registration.watch.is_idle() => (Ok(0), buf),
            Ok(_) => (Err(Broken::Failed), buf),
            Err(broken) => (Err(broken), buf),
        };
    }
}

/// After a read was dropped in flight nothing that comes can be understood: it is dropped, too, to the end.
async fn drop_all(
    reader: &mut TcpReader,
    mut buf: Buf,
    deadline_ms: u64,
) -> (Result<usize, Broken>, Buf) {
    let mut dropped = 0;
    let kept = buf.len();
    while dropped < LINGER_BYTES_MAX {
        let read;
        (read, buf) = reader.read_raw(buf, deadline_ms, false).await;
        buf.truncate(kept);
        match read {
            Ok(count) if count > 0 => dropped += count,
            end @ (Ok(_) | Err(_)) => return (end, buf),
        }
    }
    (Err(Broken::Failed), buf)
}

/// Writes and consumes the first `count` bytes of `buf`.
pub(super) async fn write(
    session: &Rc<Session>,
    writer: &mut TcpWriter,
    mut buf: Buf,
    count: usize,
    deadline_ms: u64,
) -> (Result<(), Broken>, Buf) {
    let mut left = count.min(buf.len());
    if !session.is_open() {
        return (Err(Broken::Failed), buf);
    }
    while left > 0 {
        let piece = left.min(PIECE_BYTES_MAX);
        let plain = buf.filled().get(..piece).unwrap_or_default();
        if session.writing.get() || !session.encrypt(plain) {
            return (Err(writer.why()), buf);
        }
        let flushed = flush(session, writer, deadline_ms).await;
        // Half a record is more than nothing: such a request is not sent again as if the service had not seen it.
        if !matches!(flushed, Err((_, false))) {
            buf.consume_keeping(piece);
        }
        if let Err((broken, _)) = flushed {
            return (Err(broken), buf);
        }
        left -= piece;
    }
    if writer.resets_when_lost() {
        // The end of this message will be our close_notify, which must find room then.
        let room = wait_for_room(writer.registration.borrow(), deadline_ms).await;
        return (room, buf);
    }
    (Ok(()), buf)
}

/// Writes all that was encrypted. An error says whether anything of it went out.
async fn flush(
    session: &Rc<Session>,
    writer: &mut TcpWriter,
    deadline_ms: u64,
) -> Result<(), (Broken, bool)> {
    while let Some(outgoing) = session.outgoing() {
        let count = outgoing.len();
        session.writing.set(true);
        let (written, outgoing) = writer.write_raw(outgoing, count, deadline_ms).await;
        session.writing.set(false);
        let left = outgoing.len();
        put(outgoing);
        if let Err(broken) = written {
            // What is missing on the wire makes everything after it unreadable.
            session.writing.set(true);
            return Err((broken, left < count));
        }
    }
    Ok(())
}

async fn wait_for_room(fd: BorrowedFd<'_>, deadline_ms: u64) -> Result<(), Broken> {
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    loop {
        let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        if !matches!(poll(&mut polled, Some(&at_once)), Ok(0)) {
            return Ok(());
        }
        if clock::now_ms() >= deadline_ms {
            return Err(Broken::TimedOut);
        }
        super::sleep_ms(LOOK_MS).await;
    }
}

/// Sends what was encrypted beside the writer's messages, as far as the socket takes it now; the writer sends the rest. True: there is
/// none.
fn send_now(session: &Session, fd: BorrowedFd<'_>) -> bool {
    if session.writing.get() {
        return false;
    }
    while let Some(mut outgoing) = session.outgoing() {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match send(fd, outgoing.filled(), flags) {
            Ok(count) if count == outgoing.len() => put(outgoing),
            Ok(count) => {
                outgoing.consume_keeping(count);
                session.put_back(outgoing);
                return false;
            }
            Err(_) => {
                session.put_back(outgoing);
                return false;
            }
        }
    }
    true
}

/// A few bytes between the writer's messages; false when the connection takes none.
pub(super) fn interject(session: &Session, fd: BorrowedFd<'_>, bytes: &[u8]) -> bool {
    let taken = session.encrypt(bytes);
    send_now(session, fd);
    taken
}

/// Our end. It is not waited for: a peer that does not read finds its message complete without it, except where
/// [`wait_for_room`] has made sure that it fits.
pub(super) fn goodbye(session: &Session, fd: BorrowedFd<'_>) {
    if !session.writing.get() {
        session.goodbye();
        send_now(session, fd);
    }
}

/// Whether nothing that has come waits here for a reader, and nothing for the socket.
pub(super) fn may_park(session: &Session, fd: BorrowedFd<'_>) -> bool {
    !session.reading.get() && session.is_open() && session.is_silent() && send_now(session, fd)
}

/// Whether nothing has come that a reader would get. Tickets and key updates are none of its business.
pub(super) fn is_quiet(session: &Session, fd: BorrowedFd<'_>) -> bool {
    if session.reading.get() || !session.is_open() {
        return false;
    }
    while session.is_silent() {
        let Some(mut fresh) = session.lend(0) else {
            return false;
        };
        let flags = RecvFlags::DONTWAIT;
        let received = recv(fd, rustix::buffer::spare_capacity(fresh.out()), flags);
        match received {
            Ok((_, 1..)) => session.feed(fresh),
            end => {
                put(fresh);
                return matches!(end, Err(rustix::io::Errno::AGAIN));
            }
        }
    }
    false
}
