//! One connection of the generator: connects, writes a request, reads its answer, without ever waiting. Invariant: it carries at most
//! one request, whose due moment it keeps until the answer is whole.

use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::Requests;
use super::answer::{Answer, Reader};
use super::record::Failure;

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// When it was due.
    pub due: u64,
    /// Which one it is, for its token.
    turn: u64,
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
    socket: Option<TcpStream>,
    connected: bool,
    reader: Reader,
    pub sent: Option<Sent>,
    /// Bytes read since it was last asked.
    pub received: usize,
}

impl Connection {
    /// Gives it a request. A new socket, which the caller must watch, is returned.
    pub(crate) fn start(
        &mut self,
        due: u64,
        turn: u64,
        address: SocketAddr,
    ) -> io::Result<Option<&TcpStream>> {
        self.sent = Some(Sent {
            due,
            turn,
            written: 0,
        });
        self.reader = Reader::default();
        if self.socket.is_some() {
            return Ok(None);
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        self.connected = false;
        Ok(Some(self.socket.insert(socket)))
    }

    /// Goes on as far as the socket lets it.
    pub(crate) fn proceed(&mut self, requests: &Requests, buffer: &mut [u8]) -> Progress {
        match self.attempt(requests, buffer) {
            Ok(progress) => progress,
            Err(failure) => self.fail(failure),
        }
    }

    fn attempt(&mut self, requests: &Requests, buffer: &mut [u8]) -> Result<Progress, Failure> {
        let Some(socket) = &mut self.socket else {
            return Ok(Progress::Waiting);
        };
        if !self.connected {
            match socket.peer_addr() {
                Ok(_) => self.connected = true,
                Err(_) if matches!(socket.take_error(), Ok(None)) => return Ok(Progress::Waiting),
                Err(_) => return Err(Failure::Connect),
            }
        }
        if let Some(sent) = &mut self.sent
            && !write(socket, sent, requests)?
        {
            return Ok(Progress::Waiting);
        }
        loop {
            let count = match socket.read(buffer) {
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
            match self.reader.feed(bytes) {
                Ok(Some(answer)) => return Ok(self.finish(answer)),
                Ok(None) => {}
                Err(_) => return Err(Failure::Malformed),
            }
            if count < buffer.len() {
                return Ok(Progress::Waiting);
            }
        }
    }

    fn finish(&mut self, answer: Answer) -> Progress {
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
        self.socket = None;
    }
}

/// Whether the whole request is written.
fn write(socket: &mut TcpStream, sent: &mut Sent, requests: &Requests) -> Result<bool, Failure> {
    loop {
        let mut skip = sent.written;
        let mut slices = [IoSlice::new(&[]); 4];
        let mut count = 0;
        for piece in requests.pieces(sent.turn) {
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
        match socket.write_vectored(slices.get(..count).unwrap_or_default()) {
            Ok(written) => sent.written += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Failure::Closed),
        }
    }
}
