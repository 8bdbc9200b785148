//! TCP as a [`Stream`]. No protocol, no retry. Invariant: a half unregisters from the sweep before its descriptor closes (the
//! field order below), and `fired` explains every operation that the sweep ended.

#![allow(
    unsafe_code,
    reason = "a descriptor is borrowed from the stream that owns it"
)]

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use monoio::io::{
    AsyncReadRent, AsyncWriteRent, CancelableAsyncReadRent, OwnedReadHalf, OwnedWriteHalf,
    Splitable,
};
use monoio::net::TcpStream;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};

use super::Buf;
use super::bell::TcpBell;
use super::clock;
use super::secure::Secure;
use super::streak::Streak;
use super::stream::{Broken, Clock, Reader, Stream, Writer};
use super::sweep::{Sweep, Watch};
use super::tls::Session;
use super::tls_io::{self, Greeting, Unshaken};
use crate::tls::{Proved, TlsError};

/// ECANCELED, which the runtime reports on both drivers.
fn is_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::CANCELED.raw_os_error())
}

/// Operations of one connection that may complete at once in a row before it stands back: pipelined cheap requests, a fast download.
const STREAK_MAX: u32 = 64;

/// TCP through the runtime.
#[derive(Debug)]
pub struct Tcp;

/// Unregisters when the last half goes.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) watch: Rc<Watch>,
    fd: RawFd,
    sweep: Rc<Sweep>,
    streak: Streak,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sweep.unregister(&self.watch);
    }
}

/// The direction from the peer.
#[derive(Debug)]
pub struct TcpReader {
    // Declared first, dropped first: see the module's invariant.
    pub(super) registration: Rc<Registration>,
    /// The connection is encrypted.
    pub(super) session: Option<Rc<Session>>,
    half: OwnedReadHalf<TcpStream>,
}

/// The direction to the peer.
#[derive(Debug)]
pub struct TcpWriter {
    // Declared before the half, which ends its direction when it is dropped: too late for a reset then.
    end: End,
    pub(super) registration: Rc<Registration>,
    finished: Cell<bool>,
    half: OwnedWriteHalf<TcpStream>,
}

/// How a connection ends that is lost.
#[derive(Debug)]
struct End {
    registration: Rc<Registration>,
    is_reset: Cell<bool>,
    session: Option<Rc<Session>>,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.is_reset.get() {
            self.registration.reset();
        } else if let Some(session) = &self.session {
            tls_io::goodbye(session, self.registration.borrow());
        }
    }
}

/// A connection between two requests. What is encrypted keeps its keys, and says goodbye when it is closed from here.
#[derive(Debug)]
pub struct TcpParked {
    fd: Option<OwnedFd>,
    session: Option<Rc<Session>>,
}

impl TcpParked {
    /// `None` only while it is being woken, when nobody else has it.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }
}

impl From<OwnedFd> for TcpParked {
    /// A plain connection.
    fn from(fd: OwnedFd) -> Self {
        Self {
            fd: Some(fd),
            session: None,
        }
    }
}

impl Drop for TcpParked {
    fn drop(&mut self) {
        if let (Some(session), Some(fd)) = (&self.session, self.fd()) {
            tls_io::goodbye(session, fd);
        }
    }
}

/// Takes a new stream over.
pub(super) fn adopt(stream: TcpStream, session: Option<Rc<Session>>) -> (TcpReader, TcpWriter) {
    // Small answers must not wait for the peer's acknowledgement (Nagle); failing to set it costs latency only.
    let _ = stream.set_nodelay(true);
    split(stream, session)
}

/// Splits an open stream and puts it under the sweep.
fn split(stream: TcpStream, session: Option<Rc<Session>>) -> (TcpReader, TcpWriter) {
    let sweep = Sweep::of_thread();
    let fd = stream.as_raw_fd();
    let registration = Rc::new(Registration {
        watch: sweep.register(fd),
        fd,
        sweep,
        streak: Streak::default(),
    });
    let (read, write) = stream.into_split();
    (
        TcpReader {
            registration: Rc::clone(&registration),
            session: session.clone(),
            half: read,
        },
        TcpWriter {
            end: End {
                registration: Rc::clone(&registration),
                is_reset: Cell::new(false),
                session,
            },
            registration,
            finished: Cell::new(false),
            half: write,
        },
    )
}

impl Clock for Tcp {
    fn now_ns() -> u64 {
        clock::now_ns()
    }

    fn unix_ms() -> u64 {
        clock::unix_ms()
    }

    async fn sleep_ms(ms: u64) {
        super::sleep_ms(ms).await;
    }
}

impl Stream for Tcp {
    type Reader = TcpReader;
    type Writer = TcpWriter;
    type Sweep = Sweep;
    type Parked = TcpParked;
    type Bell = TcpBell;

    fn sweep() -> Rc<Sweep> {
        Sweep::of_thread()
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        super::spawn(task);
    }

    async fn greet(
        reader: &mut TcpReader,
        writer: &mut TcpWriter,
        deadline_ms: u64,
    ) -> Result<Greeting, Unshaken> {
        let shaken = tls_io::shake(reader, writer, deadline_ms).await;
        if matches!(shaken, Err(Unshaken::PlainHttp { .. })) {
            // From here on it is what its client takes it for.
            reader.session = None;
            writer.end.session = None;
        }
        shaken
    }

    async fn connect(address: SocketAddr, within_ms: u64) -> io::Result<(TcpReader, TcpWriter)> {
        Ok(adopt(open(address, within_ms).await?, None))
    }

    async fn connect_secure(
        address: SocketAddr,
        secure: &Secure,
        within_ms: u64,
    ) -> io::Result<(TcpReader, TcpWriter)> {
        let deadline_ms = clock::now_ms().saturating_add(within_ms);
        let session = Session::client(secure).map_err(io::Error::other)?;
        let stream = open(address, within_ms).await?;
        let (mut reader, mut writer) = adopt(stream, Some(session));
        match tls_io::shake(&mut reader, &mut writer, deadline_ms).await {
            Ok(_) => Ok((reader, writer)),
            Err(Unshaken::Broken(Broken::TimedOut)) => Err(io::ErrorKind::TimedOut.into()),
            Err(Unshaken::Refused(why)) => Err(io::Error::new(io::ErrorKind::InvalidData, why)),
            Err(why) => {
                let why = TlsError::new(why.cause(), &why.to_string());
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            }
        }
    }

    fn park(reader: TcpReader, mut writer: TcpWriter) -> io::Result<TcpParked> {
        let session = reader.session;
        // It does not end here.
        writer.end.session = None;
        let reunited = reader.half.reunite(writer.half);
        let stream = reunited.map_err(|_| io::Error::other("halves of two connections"))?;
        // The registrations went with what is left of the halves, while `stream` still holds the descriptor open.
        let fd = stream.into_raw_fd();
        // SAFETY: the runtime has given the descriptor up, and nobody else has it.
        let fd = Some(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(TcpParked { fd, session })
    }

    fn wake(mut parked: TcpParked) -> io::Result<(TcpReader, TcpWriter)> {
        let session = parked.session.take();
        let fd = parked.fd.take().ok_or(io::ErrorKind::NotConnected)?;
        let stream = TcpStream::from_std(std::net::TcpStream::from(fd))?;
        Ok(split(stream, session))
    }
}

/// For tests: a connection of ours that is the accepting side of TLS.
#[cfg(test)]
pub(super) async fn connect_with(
    address: SocketAddr,
    session: Option<Rc<Session>>,
) -> io::Result<(TcpReader, TcpWriter)> {
    Ok(adopt(open(address, 1_000).await?, session))
}

async fn open(address: SocketAddr, within_ms: u64) -> io::Result<TcpStream> {
    let opening = TcpStream::connect_addr(address);
    let opening = monoio::time::timeout(Duration::from_millis(within_ms), opening);
    // Boxed for the timer in it; see `sleep_ms`.
    match Box::pin(opening).await {
        Ok(stream) => stream,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

impl Registration {
    /// Dissolving the association sends RST at once; closing alone would send an ordinary end first.
    fn reset(&self) {
        let _ = rustix::net::connect_unspec(self.borrow());
    }

    pub(super) fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: a registration lives in a half, and both halves keep the stream, thus the descriptor, open.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    fn why(&self) -> Broken {
        self.watch.fired().unwrap_or(Broken::Failed)
    }
}

impl TcpReader {
    /// Appends what comes on the socket. `may_park`: an idle read may come back with nothing.
    pub(super) async fn read_raw(
        &mut self,
        buf: Buf,
        deadline_ms: u64,
        may_park: bool,
    ) -> (Result<usize, Broken>, Buf) {
        let registration = &self.registration;
        // Ahead of standing back: a deadline that the other half sets meanwhile must not be overwritten by ours.
        registration.watch.read_until(deadline_ms);
        registration.streak.take_turn(STREAK_MAX).await;
        if let Some(why) = registration.watch.fired() {
            return (Err(why), buf);
        }
        let (result, buf) = if may_park && registration.watch.is_idle() {
            let handle = registration.watch.cancel_handle();
            registration
                .streak
                .noted(self.half.cancelable_read(buf, handle))
                .await
        } else {
            registration.streak.noted(self.half.read(buf)).await
        };
        registration.watch.read_until(u64::MAX);
        let result = match result {
            Ok(0) => registration.watch.fired().map_or(Ok(0), Err),
            Ok(count) => Ok(count),
            Err(error) if is_cancelled(&error) && registration.watch.fired().is_none() => {
                Err(Broken::Parked)
            }
            Err(_) => Err(registration.why()),
        };
        (result, buf)
    }
}

impl Reader for TcpReader {
    async fn read(&mut self, buf: Buf, deadline_ms: u64) -> (Result<usize, Broken>, Buf) {
        match self.session.clone() {
            None => self.read_raw(buf, deadline_ms, true).await,
            Some(session) => tls_io::read(&session, self, buf, deadline_ms).await,
        }
    }

    fn idle(&self, idle: bool) {
        let now_ms = self.registration.sweep.now_ms();
        self.registration.watch.idle(idle.then_some(now_ms));
    }

    fn may_park(&self) -> bool {
        let fd = self.registration.borrow();
        let session = self.session.as_ref();
        session.is_none_or(|session| tls_io::may_park(session, fd))
    }

    fn proved(&self) -> Option<&Proved> {
        self.session.as_ref()?.proved()
    }

    fn fault(&self) -> Option<TlsError> {
        self.session.as_ref()?.fault()
    }

    fn interject(&self, bytes: &[u8]) -> bool {
        if let Some(session) = &self.session {
            return tls_io::interject(session, self.registration.borrow(), bytes);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = send(self.registration.borrow(), bytes, flags);
        sent.is_ok_and(|count| count == bytes.len())
    }

    fn is_quiet(&self) -> bool {
        if let Some(session) = &self.session {
            return tls_io::is_quiet(session, self.registration.borrow());
        }
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let seen = recv(self.registration.borrow(), &mut byte, flags);
        matches!(seen, Err(rustix::io::Errno::AGAIN))
    }
}

impl TcpWriter {
    /// Writes and consumes the first `count` bytes of `buf` as they are.
    pub(super) async fn write_raw(
        &mut self,
        mut buf: Buf,
        count: usize,
        deadline_ms: u64,
    ) -> (Result<(), Broken>, Buf) {
        let mut left = count.min(buf.len());
        while left > 0 {
            self.registration.streak.take_turn(STREAK_MAX).await;
            self.registration.watch.write_until(deadline_ms);
            buf.announce(left);
            let (result, written) = self.registration.streak.noted(self.half.write(buf)).await;
            buf = written;
            self.registration.watch.write_until(u64::MAX);
            match result {
                Ok(0) | Err(_) => return (Err(self.why()), buf),
                Ok(sent) => {
                    buf.consume_keeping(sent);
                    left -= sent.min(left);
                }
            }
        }
        (Ok(()), buf)
    }

    /// Why nothing more can be written.
    pub(super) fn why(&self) -> Broken {
        self.registration.why()
    }

    pub(super) fn resets_when_lost(&self) -> bool {
        self.end.is_reset.get()
    }

    /// Ends this direction of the socket; what was written arrives before.
    pub(super) fn shut_down(&self) {
        if !self.finished.replace(true) {
            // A peer that has gone already makes this fail; the connection is closed next anyway.
            let _ = shutdown(self.registration.borrow(), Shutdown::Write);
        }
    }
}

impl Writer for TcpWriter {
    type Reader = TcpReader;

    async fn write(
        &mut self,
        buf: Buf,
        count: usize,
        deadline_ms: u64,
    ) -> (Result<(), Broken>, Buf) {
        match self.end.session.clone() {
            None => self.write_raw(buf, count, deadline_ms).await,
            Some(session) => tls_io::write(&session, self, buf, count, deadline_ms).await,
        }
    }

    fn finish(&mut self) {
        if let Some(session) = &self.end.session {
            tls_io::goodbye(session, self.registration.borrow());
        }
        self.shut_down();
    }

    fn abort(&self) {
        self.registration.reset();
    }

    fn reset_when_lost(&self, on: bool) {
        self.end.is_reset.set(on);
        // The process's end closes sockets without asking us: a zero linger time makes that a reset.
        let linger = on.then_some(Duration::ZERO);
        let _ = sockopt::set_socket_linger(self.registration.borrow(), linger);
    }

    fn answer_by(&self, deadline_ms: u64) {
        self.registration.watch.read_until(deadline_ms);
    }

    fn tie(&self, upstream: &TcpReader) {
        let watch = Rc::clone(&upstream.registration.watch);
        let now_ms = self.registration.sweep.now_ms();
        self.registration.watch.tie(watch, now_ms);
    }

    fn untie(&self) {
        self.registration.watch.untie();
    }
}
