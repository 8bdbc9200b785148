//! One TLS connection as a value: ciphertext in, plaintext out, and back. No socket (`tls_io` moves the bytes) and no certificate
//! (the room `tls` builds configurations). Invariants: what leaves through `outgoing` leaves in the order it was encrypted in;
//! `incoming` is the very buffer that rustls was shown last, because it remembers places in it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error, HandshakeKind, ServerConfig};

use super::buffer::{Buf, LARGE_BYTES, Pool, SMALL_BYTES};
use super::secure::Secure;
use crate::tls::Proved;

/// Ciphertext that may wait for the rest of its record or handshake message. A record has at most 18 KB (RFC 8446 5.2, RFC 5246
/// 6.2.3), a handshake message 64 KB (rustls); more is no honest peer.
const INCOMING_BYTES_MAX: usize = 2 * LARGE_BYTES;

/// Plaintext encrypted before it is written: as many whole records as fit a large buffer.
pub(super) const PIECE_BYTES_MAX: usize = 3 * RECORD_BYTES;

/// Plaintext of a full record (RFC 8446 5.1).
const RECORD_BYTES: usize = 16 * 1024;

/// Room of a record beside its plaintext: header, explicit nonce, tag; asked for generously, rustls says when it needs more.
const RECORD_FRAME_BYTES: usize = 64;

/// Waiting ciphertext with which a large buffer still has room for a read worth the while.
const FITS_LARGE: usize = LARGE_BYTES - 1024;

/// A reader with less room than this waits with a small buffer: a tunnel may wait for hours.
const WAITING_ROOM: usize = 512;

/// Its buffer.
const WAITING_BYTES: usize = 1024;

const _: () = assert!(PIECE_BYTES_MAX + 4 * RECORD_FRAME_BYTES <= LARGE_BYTES);
const _: () = assert!(RECORD_BYTES + 4 * RECORD_FRAME_BYTES <= SMALL_BYTES);

thread_local! {
    /// Ciphertext has buffers of its own kind only while it is under way.
    static POOL: Pool = Pool::default();
}

/// Gives buffers back that a crowd has left behind.
pub(super) fn shrink() {
    POOL.with(Pool::shrink);
}

fn pooled(bytes: usize) -> Buf {
    if bytes <= WAITING_BYTES {
        Buf::with_capacity(WAITING_BYTES)
    } else if bytes <= SMALL_BYTES {
        POOL.with(Pool::small)
    } else if bytes <= LARGE_BYTES {
        POOL.with(Pool::large)
    } else {
        Buf::with_capacity(INCOMING_BYTES_MAX)
    }
}

pub(super) fn put(buf: Buf) {
    POOL.with(|pool| pool.put(buf));
}

/// Both halves of a connection share it.
pub(super) struct Session {
    core: RefCell<Core>,
    /// A write is in flight: what is encrypted meanwhile waits. Stays true when it was dropped: nothing may follow half a record.
    pub(super) writing: Cell<bool>,
    /// A read is in flight. Stays true when it was dropped, with bytes that nothing after them can be decrypted without.
    pub(super) reading: Cell<bool>,
    /// The handshake is done.
    open: Cell<bool>,
    proved: OnceCell<Box<Proved>>,
}

/// Boxed: less to be moved.
enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

struct Core {
    side: Side,
    /// Ciphertext that is not used up: empty, or the beginning of a record or message.
    incoming: Buf,
    /// Nothing more can be had of `incoming` as it is.
    starved: bool,
    /// Plaintext that its reader had no room for.
    plain: Buf,
    /// Ciphertext that goes out before anything else.
    outgoing: Buf,
    end: Option<End>,
}

enum End {
    /// The peer has said that nothing more comes.
    Closed,
    Failed(Error),
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Bytes(usize),
    Closed,
    Failed,
    /// More ciphertext is needed.
    Starved,
}

/// What is to be encrypted when the connection takes it.
#[derive(Clone, Copy)]
enum Wish<'a> {
    Nothing,
    Send(&'a [u8]),
    Goodbye,
}

/// One step of rustls.
enum Step {
    /// Something was done; there may be more.
    Again,
    /// It waits for the peer.
    Starved,
    /// It may encrypt, and has done what was wished.
    Ready,
    /// The peer has ended its side.
    Closed,
    /// Both have.
    Over,
    Failed(Error),
}

impl Session {
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Rc<Self>, Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Self::new(Side::Server(Box::new(connection))))
    }

    pub(super) fn client(secure: &Secure) -> Result<Rc<Self>, Error> {
        let config = Arc::clone(&secure.config);
        let connection = UnbufferedClientConnection::new(config, secure.name.clone())?;
        Ok(Self::new(Side::Client(Box::new(connection))))
    }

    fn new(side: Side) -> Rc<Self> {
        Rc::new(Self {
            core: RefCell::new(Core {
                side,
                incoming: Buf::default(),
                starved: false,
                plain: Buf::default(),
                outgoing: Buf::default(),
                end: None,
            }),
            writing: Cell::new(false),
            reading: Cell::new(false),
            open: Cell::new(false),
            proved: OnceCell::new(),
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Goes on with the handshake as far as the ciphertext reaches; true when it is done.
    pub(super) fn advance(&self) -> Result<bool, Error> {
        let core = &mut *self.core.borrow_mut();
        // A first flight goes out before anything has come, and a last one when all is done.
        while core.state().is_handshaking() || core.state().wants_write() {
            match core.step(Wish::Nothing, None) {
                Step::Again => {}
                Step::Starved | Step::Ready if core.state().is_handshaking() => return Ok(false),
                Step::Starved | Step::Ready => {}
                Step::Closed | Step::Over => {
                    return Err(Error::General("closed in the handshake".to_owned()));
                }
                Step::Failed(error) => return Err(error),
            }
        }
        // What a client's first flight carries behind its handshake is read later.
        core.starved = core.incoming.is_empty();
        // What a service has shown is checked and told to nobody.
        if let (Side::Server(_), Some([first, ..])) = (&core.side, core.state().peer_certificates())
        {
            let _ = self.proved.set(Box::new(Proved::of(first)));
        }
        self.open.set(true);
        Ok(true)
    }

    /// The handshake was a resumption.
    pub(super) fn is_resumed(&self) -> bool {
        self.core.borrow().state().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The peer's certificate; known when it has proved that it has the key.
    pub(super) fn proved(&self) -> Option<&Proved> {
        self.proved.get().map(Box::as_ref)
    }

    /// Why it came to a bad end, in the peer's words or ours.
    pub(super) fn fault(&self) -> Option<String> {
        match &self.core.borrow().end {
            Some(End::Failed(error)) => Some(error.to_string()),
            Some(End::Closed) | None => None,
        }
    }

    /// Moves plaintext into `into`, as far as there is room.
    pub(super) fn take(&self, into: &mut Buf) -> Taken {
        let core = &mut *self.core.borrow_mut();
        let before = into.len();
        core.pour(into);
        while core.plain.is_empty() && into.room() > 0 && !core.starved && core.end.is_none() {
            if matches!(core.step(Wish::Nothing, Some(into)), Step::Ready) {
                core.starved = true;
            }
        }
        match (into.len() - before, &core.end) {
            (0, None) => Taken::Starved,
            (0, Some(End::Closed)) => Taken::Closed,
            (0, Some(End::Failed(_))) => Taken::Failed,
            (count, _) => Taken::Bytes(count),
        }
    }

    /// Decrypts what has come, whoever may want it; true when that was nothing for a reader.
    pub(super) fn is_silent(&self) -> bool {
        let core = &mut *self.core.borrow_mut();
        while !core.starved && core.end.is_none() {
            if matches!(core.step(Wish::Nothing, None), Step::Ready) {
                core.starved = true;
            }
        }
        core.plain.is_empty() && core.incoming.is_empty() && core.end.is_none()
    }

    /// Nothing of the peer's is held here.
    pub(super) fn is_drained(&self) -> bool {
        let core = self.core.borrow();
        core.plain.is_empty() && core.incoming.is_empty()
    }

    /// A buffer for the next read, with what waits for its rest in front. `None`: too much waits already.
    pub(super) fn lend(&self, room: usize) -> Option<Buf> {
        let core = self.core.borrow();
        let waiting = core.incoming.filled();
        let bytes = match waiting.len() {
            0 if room <= WAITING_ROOM => WAITING_BYTES,
            0..RECORD_BYTES if room <= SMALL_BYTES => SMALL_BYTES,
            0..=FITS_LARGE => LARGE_BYTES,
            INCOMING_BYTES_MAX.. => return None,
            _ => INCOMING_BYTES_MAX,
        };
        let mut buf = pooled(bytes);
        buf.out().extend_from_slice(waiting);
        Some(buf)
    }

    /// Takes a lent buffer back after a read that brought something.
    pub(super) fn feed(&self, buf: Buf) {
        let core = &mut *self.core.borrow_mut();
        put(std::mem::replace(&mut core.incoming, buf));
        core.starved = false;
    }

    /// Encrypts; false when the connection takes nothing more.
    pub(super) fn encrypt(&self, plain: &[u8]) -> bool {
        plain.is_empty() || self.core.borrow_mut().wish(Wish::Send(plain))
    }

    /// Encrypts our end of the connection, once.
    pub(super) fn goodbye(&self) {
        if self.open.get() {
            self.core.borrow_mut().wish(Wish::Goodbye);
        }
    }

    /// What must go out next.
    pub(super) fn outgoing(&self) -> Option<Buf> {
        let outgoing = &mut self.core.borrow_mut().outgoing;
        (!outgoing.is_empty()).then(|| std::mem::take(outgoing))
    }

    /// Gives back what could not be sent of it; nothing was encrypted meanwhile.
    pub(super) fn put_back(&self, outgoing: Buf) {
        self.core.borrow_mut().outgoing = outgoing;
    }
}

impl Core {
    fn state(&self) -> &CommonState {
        match &self.side {
            Side::Server(connection) => connection,
            Side::Client(connection) => connection,
        }
    }

    /// What there was no room for, first.
    fn pour(&mut self, into: &mut Buf) {
        let count = self.plain.len().min(into.room());
        let filled = self.plain.filled();
        into.out()
            .extend_from_slice(filled.get(..count).unwrap_or(filled));
        self.plain.consume(count);
        if count > 0 && self.plain.is_empty() {
            put(std::mem::take(&mut self.plain));
        }
    }

    /// Steps until the wish is done.
    fn wish(&mut self, wish: Wish<'_>) -> bool {
        if matches!(self.end, Some(End::Failed(_))) {
            return false;
        }
        loop {
            match self.step(wish, None) {
                // The peer's end is not ours.
                Step::Again | Step::Closed => {}
                Step::Ready => return true,
                Step::Over | Step::Starved | Step::Failed(_) => return false,
            }
        }
    }

    /// One step; plaintext goes into `into`, as far as there is room.
    fn step(&mut self, wish: Wish<'_>, into: Option<&mut Buf>) -> Step {
        let (discard, step) = self.process(wish, into);
        self.incoming.consume(discard);
        if discard > 0 && self.incoming.is_empty() {
            put(std::mem::take(&mut self.incoming));
        }
        match &step {
            Step::Starved => self.starved = true,
            Step::Closed | Step::Over => self.end = Some(End::Closed),
            Step::Failed(error) => {
                self.end = Some(End::Failed(error.clone()));
                // What the peer is told of it: exactly so many steps as there are messages; one more would fail again.
                while self.state().wants_write() {
                    let _ = self.process(Wish::Nothing, None);
                }
            }
            Step::Again | Step::Ready => {}
        }
        step
    }

    /// How many bytes of `incoming` are used up, and what came of them.
    fn process(&mut self, wish: Wish<'_>, into: Option<&mut Buf>) -> (usize, Step) {
        let mut io = Io {
            wish,
            into,
            plain: &mut self.plain,
            outgoing: &mut self.outgoing,
        };
        let incoming = self.incoming.filled_mut();
        match &mut self.side {
            Side::Server(connection) => io.handle(connection.process_tls_records(incoming)),
            Side::Client(connection) => io.handle(connection.process_tls_records(incoming)),
        }
    }
}

/// Where a step's bytes go.
struct Io<'a, 'b> {
    wish: Wish<'a>,
    into: Option<&'a mut Buf>,
    plain: &'b mut Buf,
    outgoing: &'b mut Buf,
}

impl Io<'_, '_> {
    fn handle<Data>(&mut self, status: UnbufferedStatus<'_, '_, Data>) -> (usize, Step) {
        let mut discard = status.discard;
        let state = match status.state {
            Ok(state) => state,
            Err(error) => return (discard, Step::Failed(error)),
        };
        let step = match state {
            ConnectionState::ReadTraffic(mut traffic) => loop {
                match traffic.next_record() {
                    None => break Step::Again,
                    Some(Ok(record)) => {
                        discard += record.discard;
                        self.deliver(record.payload);
                    }
                    Some(Err(error)) => break Step::Failed(error),
                }
            },
            ConnectionState::EncodeTlsData(mut data) => {
                let size = match data.encode(&mut []) {
                    Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        required_size
                    }
                    Ok(_) | Err(EncodeError::AlreadyEncoded) => 0,
                };
                self.append(size, |room| data.encode(room).ok());
                Step::Again
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                Step::Again
            }
            ConnectionState::WriteTraffic(mut traffic) => match self.wish {
                Wish::Nothing => Step::Ready,
                Wish::Send(plain) => {
                    let records = plain.len() / RECORD_BYTES + 3;
                    let size = plain.len() + records * RECORD_FRAME_BYTES;
                    self.encrypt(size, |room| traffic.encrypt(plain, room))
                }
                Wish::Goodbye => self.encrypt(4 * RECORD_FRAME_BYTES, |room| {
                    traffic.queue_close_notify(room)
                }),
            },
            ConnectionState::BlockedHandshake => Step::Starved,
            ConnectionState::PeerClosed => Step::Closed,
            ConnectionState::Closed => Step::Over,
            // Never offered, so never taken: what is said before the handshake is done can be replayed.
            ConnectionState::ReadEarlyData(_) => Step::Failed(Error::HandshakeNotComplete),
            _ => Step::Failed(Error::General("unknown state".to_owned())),
        };
        (discard, step)
    }

    fn deliver(&mut self, payload: &[u8]) {
        let room = self.into.as_ref().map_or(0, |into| into.room());
        // Nothing overtakes what is held already.
        let count = if self.plain.is_empty() { room } else { 0 }.min(payload.len());
        let (now, later) = payload.split_at(count);
        if let Some(into) = &mut self.into {
            into.out().extend_from_slice(now);
        }
        if !later.is_empty() {
            if self.plain.is_empty() {
                *self.plain = pooled(later.len());
            }
            self.plain.out().extend_from_slice(later);
        }
    }

    fn encrypt(
        &mut self,
        size: usize,
        mut with: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
    ) -> Step {
        let mut needed = None;
        let mut exhausted = false;
        let mut attempt = |io: &mut Self, size| {
            io.append(size, |room| match with(room) {
                Ok(count) => Some(count),
                Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                    needed = Some(required_size);
                    None
                }
                Err(EncryptError::EncryptExhausted) => {
                    exhausted = true;
                    None
                }
            });
            needed.take()
        };
        if let Some(required) = attempt(self, size) {
            attempt(self, required);
        }
        if exhausted {
            Step::Failed(Error::EncryptError)
        } else {
            Step::Ready
        }
    }

    /// Appends to `outgoing` what `write` writes into so much room.
    fn append(&mut self, size: usize, write: impl FnOnce(&mut [u8]) -> Option<usize>) {
        if self.outgoing.is_empty() {
            let spent = std::mem::replace(self.outgoing, pooled(size));
            put(spent);
        }
        let out = self.outgoing.out();
        let before = out.len();
        out.resize(before + size, 0);
        let count = out.get_mut(before..).and_then(write).unwrap_or(0);
        out.truncate(before + count);
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}
