//! One connection of the generator: connects, writes a request, reads its answer, without ever waiting. Invariant: it carries at most
//! one request, whose due moment it keeps until the answer is whole.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustls::ClientConfig;

use super::answer::{Answer, Reader};
use super::record::Failure;
use super::requests::{ADDRESS_BYTES, PIECES, Requests};
use super::transport::Transport;

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// When it was due.
    pub due: u64,
    /// Which one it is, for its token.
    pub turn: u64,
    /// The client's address that it names, if it names one.
    pub address: [u8; ADDRESS_BYTES],
    written: usize,
}

/// What a look at the socket brought.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing final; an event will tell.
    Waiting,
    Answered(Sent, Answer),
    Failed(Sent, Failure),
    /// The server ended an idle connection, which it may.
    Gone,
}

#[derive(Default)]
pub(crate) struct Connection {
    transport: Option<Transport>,
    connected: bool,
    /// Its TLS handshake is told already.
    told: bool,
    reader: Reader,
    pub sent: Option<Sent>,
    /// Bytes read since it was last asked.
    pub received: usize,
    /// A TLS handshake that was done since it was last asked: whether it went on from an earlier session.
    pub resumed: Option<bool>,
}

impl Connection {
    /// Gives it a request. A new socket, which the caller must watch, is returned.
    pub(crate) fn start(
        &mut self,
        (due, turn): (u64, u64),
        requests: &Requests,
        to: SocketAddr,
        client: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Option<&TcpStream>> {
        self.sent = Some(Sent {
            due,
            turn,
            address: requests.address(turn),
            written: 0,
        });
        self.reader = Reader::default();
        if self.transport.is_some() {
            return Ok(None);
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        match connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        self.connected = false;
        self.told = false;
        let transport = Transport::new(socket, client)?;
        Ok(Some(self.transport.insert(transport).socket()))
    }

    /// Goes on as far as the socket lets it.
    pub(crate) fn proceed(&mut self, requests: &Requests, buffer: &mut [u8]) -> Progress {
        match self.attempt(requests, buffer) {
            Ok(progress) => progress,
            Err(failure) => self.fail(failure),
        }
    }

    fn attempt(&mut self, requests: &Requests, buffer: &mut [u8]) -> Result<Progress, Failure> {
        let Some(transport) = &mut self.transport else {
            return Ok(Progress::Waiting);
        };
        if !self.connected {
            let socket = transport.socket();
            match socket.peer_addr() {
                Ok(_) => self.connected = true,
                Err(_) if matches!(socket.take_error(), Ok(None)) => return Ok(Progress::Waiting),
                Err(_) => return Err(Failure::Connect),
            }
        }
        if let Some(sent) = &mut self.sent
            && !write(transport, sent, requests)?
        {
            return Ok(Progress::Waiting);
        }
        loop {
            let count = match transport.read(buffer) {
                Ok(0) => return Err(Failure::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Waiting);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(Failure::Closed),
            };
            self.received += count;
            let bytes = buffer.get(..count).unwrap_or_default();
            let drained = count < buffer.len() && transport.short_is_empty();
            match self.reader.feed(bytes) {
                Ok(Some(answer)) => return Ok(self.finish(answer)),
                Ok(None) => {}
                Err(_) => return Err(Failure::Malformed),
            }
            if drained {
                return Ok(Progress::Waiting);
            }
        }
    }

    fn finish(&mut self, answer: Answer) -> Progress {
        if !std::mem::replace(&mut self.told, true) {
            self.resumed = self.transport.as_ref().and_then(Transport::resumed);
        }
        if answer.closes {
            self.close();
        }
        match self.sent.take() {
            Some(sent) => Progress::Answered(sent, answer),
            None => {
                self.close();
                Progress::Gone
            }
        }
    }

    fn fail(&mut self, failure: Failure) -> Progress {
        self.close();
        match self.sent.take() {
            Some(sent) => Progress::Failed(sent, failure),
            None => Progress::Gone,
        }
    }

    /// Closing also takes it out of the epoll set.
    pub(crate) fn close(&mut self) {
        if let Some(mut transport) = self.transport.take() {
            transport.end();
        }
    }
}

/// Whether the whole request is written.
fn write(transport: &mut Transport, sent: &mut Sent, requests: &Requests) -> Result<bool, Failure> {
    loop {
        let mut skip = sent.written;
        let pieces = requests.pieces(sent.turn, &sent.address);
        let mut slices = [IoSlice::new(&[]); PIECES];
        let mut count = 0;
        for piece in pieces {
            let rest = piece.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(piece.len());
            if let (false, Some(slice)) = (rest.is_empty(), slices.get_mut(count)) {
                *slice = IoSlice::new(rest);
                count += 1;
            }
        }
        if count == 0 {
            return Ok(true);
        }
        match transport.write(slices.get(..count).unwrap_or_default()) {
            Ok(written) => sent.written += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Failure::Closed),
        }
    }
}
