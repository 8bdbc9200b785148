//! The steps of one TLS connection: rustls' states, and where their bytes go. Not the connection as others see it
//! (`tls`). Invariants: what is encrypted is appended to `outgoing` in its order; `incoming` is the very buffer that
//! rustls was shown last, because it remembers places in it; rustls' own state, some 10 KB, is made only when a whole
//! ClientHello is there.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error, ServerConfig};

use super::buffer::Buf;
use super::tls::{RECORD_BYTES, pooled, put};
use super::tls_io::Unshaken;
use crate::tls::{Cause, First, HELLO_BYTES_MAX, Opening, TlsError};

/// Room of a record beside its plaintext: header, explicit nonce, tag; asked for generously, rustls says when it needs
/// more.
pub(super) const RECORD_FRAME_BYTES: usize = 64;

/// Sizes of the buffer that a ClientHello is read into. Most fit the first.
const HELLO_BYTES: [usize; 3] = [2 * 1024, 6 * 1024, HELLO_BYTES_MAX];

/// A fatal alert, `decode_error`, in a record of its own (RFC 8446 6): for what is refused before rustls sees it.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// The connection's state. Boxed: less to be moved.
pub(super) enum Side {
    /// A client of whom no whole ClientHello has come.
    Opening(Arc<ServerConfig>, Opening),
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// A connection's state and its bytes.
pub(super) struct Core {
    pub(super) side: Side,
    /// Ciphertext that is not used up: empty, or the beginning of a record or message.
    pub(super) incoming: Buf,
    /// Nothing more can be had of `incoming` as it is.
    pub(super) starved: bool,
    /// Plaintext that its reader had no room for.
    pub(super) plain: Buf,
    /// Ciphertext that goes out before anything else.
    pub(super) outgoing: Buf,
    pub(super) end: Option<End>,
}

pub(super) enum End {
    /// The peer has said that nothing more comes.
    Closed,
    Failed(Error),
}

/// What is to be encrypted when the connection takes it.
#[derive(Clone, Copy)]
pub(super) enum Wish<'a> {
    Nothing,
    Send(&'a [u8]),
    Goodbye,
}

/// One step of rustls.
pub(super) enum Step {
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

impl Core {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            incoming: Buf::default(),
            starved: false,
            plain: Buf::default(),
            outgoing: Buf::default(),
            end: None,
        }
    }

    /// rustls' state, once there is one.
    pub(super) fn state(&self) -> Option<&CommonState> {
        match &self.side {
            Side::Opening(..) => None,
            Side::Server(connection) => Some(connection),
            Side::Client(connection) => Some(connection),
        }
    }

    pub(super) fn wants_write(&self) -> bool {
        self.state().is_some_and(CommonState::wants_write)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.state().is_none_or(CommonState::is_handshaking)
    }

    /// Looks at a client's first bytes; true when rustls has them.
    pub(super) fn open(&mut self) -> Result<bool, Unshaken> {
        let Side::Opening(config, opening) = &mut self.side else {
            return Ok(true);
        };
        let (cause, why) = match opening.look(self.incoming.filled()) {
            First::Incomplete => return Ok(false),
            First::Tls => {
                let connection = UnbufferedServerConnection::new(Arc::clone(config));
                let connection = connection.map_err(|error| TlsError::from(&error))?;
                self.side = Side::Server(Box::new(connection));
                return Ok(true);
            }
            First::Http { head } => return Err(Unshaken::PlainHttp { head }),
            First::ProxyHeader => (Cause::ProxyHeader, "a PROXY protocol header"),
            First::TooLong => (Cause::LongHello, "a ClientHello that is too long"),
        };
        self.outgoing.out().extend_from_slice(&ALERT);
        Err(Unshaken::Refused(TlsError::new(cause, why)))
    }

    /// The buffer for the next read of a client's first bytes: the one that they are in, for they may be few and wait
    /// for long. `None`: rustls has them.
    pub(super) fn lend_opening(&mut self) -> Option<Buf> {
        if !matches!(self.side, Side::Opening(..)) {
            return None;
        }
        let waiting = std::mem::take(&mut self.incoming);
        if waiting.room() > 0 {
            return Some(waiting);
        }
        let larger = HELLO_BYTES.into_iter().find(|size| *size > waiting.len());
        let mut buf = Buf::with_capacity(larger.unwrap_or(HELLO_BYTES_MAX));
        buf.out().extend_from_slice(waiting.filled());
        Some(buf)
    }

    /// What there was no room for, first.
    pub(super) fn pour(&mut self, into: &mut Buf) {
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
    pub(super) fn wish(&mut self, wish: Wish<'_>) -> bool {
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
    pub(super) fn step(&mut self, wish: Wish<'_>, into: Option<&mut Buf>) -> Step {
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
                while self.wants_write() {
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
            Side::Opening(..) => (0, Step::Starved),
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
