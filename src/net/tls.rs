//! One TLS connection as a value: ciphertext in, plaintext out, and back. No socket (`tls_io` moves the bytes), no step
//! of rustls (`tls_core`) and no certificate (the room `tls` builds configurations). Invariant: what leaves through
//! `outgoing` leaves in the order it was encrypted in.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::{CommonState, Error, HandshakeKind, ServerConfig};

use super::buffer::{Buf, LARGE_BYTES, Pool, SMALL_BYTES};
use super::secure::Secure;
use super::tls_core::{Core, End, RECORD_FRAME_BYTES, Side, Step, Wish};
use super::tls_io::Unshaken;
use crate::tls::{Opening, Proved, TlsError};

/// Ciphertext that may wait for the rest of its record or handshake message. A record has at most 18 KB (RFC 8446 5.2, RFC 5246
/// 6.2.3), a handshake message 64 KB (rustls); more is no honest peer.
const INCOMING_BYTES_MAX: usize = 2 * LARGE_BYTES;

/// Plaintext encrypted before it is written: as many whole records as fit a large buffer.
pub(super) const PIECE_BYTES_MAX: usize = 3 * RECORD_BYTES;

/// Plaintext of a full record (RFC 8446 5.1).
pub(super) const RECORD_BYTES: usize = 16 * 1024;

/// Waiting ciphertext with which a large buffer still has room for a read worth the while.
const FITS_LARGE: usize = LARGE_BYTES - 1024;

/// A reader with less room than this waits with a small buffer: a tunnel may wait for hours.
const WAITING_ROOM: usize = 512;

/// Its buffer.
const WAITING_BYTES: usize = 1024;

/// A client's second flight fits, without a chain of certificates: who stops in front of it should not hold more.
const FLIGHT_BYTES: usize = 2 * 1024;

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

pub(super) fn pooled(bytes: usize) -> Buf {
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

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Bytes(usize),
    Closed,
    Failed,
    /// More ciphertext is needed.
    Starved,
}

impl Session {
    /// The accepting side. Nothing of rustls is held before the client has said what it wants.
    pub(super) fn server(config: Arc<ServerConfig>) -> Rc<Self> {
        Self::new(Side::Opening(config, Opening::default()))
    }

    pub(super) fn client(secure: &Secure) -> Result<Rc<Self>, Error> {
        let config = secure.services.config();
        let connection = UnbufferedClientConnection::new(config, secure.name.clone())?;
        Ok(Self::new(Side::Client(Box::new(connection))))
    }

    fn new(side: Side) -> Rc<Self> {
        Rc::new(Self {
            core: RefCell::new(Core::new(side)),
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
    pub(super) fn advance(&self) -> Result<bool, Unshaken> {
        let core = &mut *self.core.borrow_mut();
        if !core.open()? {
            return Ok(false);
        }
        // A first flight goes out before anything has come, and a last one when all is done.
        while core.is_handshaking() || core.wants_write() {
            match core.step(Wish::Nothing, None) {
                Step::Again => {}
                Step::Starved | Step::Ready if core.is_handshaking() => return Ok(false),
                Step::Starved | Step::Ready => {}
                Step::Closed | Step::Over => return Err(Unshaken::Left),
                Step::Failed(error) => return Err(TlsError::from(&error).into()),
            }
        }
        // What a client's first flight carries behind its handshake is read later.
        core.starved = core.incoming.is_empty();
        // What a service has shown is checked and told to nobody.
        if let Side::Server(connection) = &core.side
            && let Some([first, ..]) = connection.peer_certificates()
        {
            let _ = self.proved.set(Box::new(Proved::of(first)));
        }
        self.open.set(true);
        Ok(true)
    }

    /// The handshake was a resumption.
    pub(super) fn is_resumed(&self) -> bool {
        let core = self.core.borrow();
        let kind = core.state().and_then(CommonState::handshake_kind);
        kind == Some(HandshakeKind::Resumed)
    }

    /// The peer's certificate; known when it has proved that it has the key.
    pub(super) fn proved(&self) -> Option<&Proved> {
        self.proved.get().map(Box::as_ref)
    }

    /// Why it came to a bad end, in the peer's words or ours.
    pub(super) fn fault(&self) -> Option<TlsError> {
        match &self.core.borrow().end {
            Some(End::Failed(error)) => Some(error.into()),
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

    /// A buffer for the handshake's next read.
    pub(super) fn lend_for_handshake(&self) -> Option<Buf> {
        let core = &mut *self.core.borrow_mut();
        if let Some(opening) = core.lend_opening() {
            return Some(opening);
        }
        if core.incoming.is_empty() && matches!(core.side, Side::Server(_)) {
            return Some(Buf::with_capacity(FLIGHT_BYTES));
        }
        lend(core, SMALL_BYTES)
    }

    /// A buffer for the next read, with what waits for its rest in front. `None`: too much waits already.
    pub(super) fn lend(&self, room: usize) -> Option<Buf> {
        lend(&self.core.borrow(), room)
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

/// A buffer that what waits and a read of `room` bytes fit in.
fn lend(core: &Core, room: usize) -> Option<Buf> {
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

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}
