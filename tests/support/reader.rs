//! A small strict reader of HTTP/1.x messages, for both ends of the tests. Not a tolerant one: what RFC 9112 does not allow on
//! the wire is `Broken::Malformed`. Invariant: bytes behind a message stay in the buffer for the next one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::PATIENCE;

/// Why no complete message could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// The peer closed before the first byte.
    Closed,
    /// The peer closed (or reset) in the middle.
    Truncated,
    /// Bytes that are not HTTP.
    Malformed(String),
    /// Nothing came within the harness's patience.
    Hung,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A start line and its fields, values as Latin-1 so that no byte is lost.
#[derive(Debug, Clone, Default)]
pub struct Head {
    pub first: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// All values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = self
            .fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        same.map(|(_, v)| v.as_str()).collect()
    }

    /// The field's only value; a doubled field fails the test.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} stands {} times: {all:?}", all.len());
        all.first().copied()
    }

    fn parse(text: &str) -> Result<Self, Broken> {
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| Broken::Malformed(format!("field line {line:?}")))?;
            if name.is_empty()
                || !name.bytes().all(is_token_byte)
                || value.contains(['\r', '\n', '\0'])
            {
                return Err(Broken::Malformed(format!("field line {line:?}")));
            }
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
        Ok(Self { first, fields })
    }

    /// The framing that the fields announce; `otherwise` when they say nothing.
    pub fn framing(&self, otherwise: Framing) -> Result<Framing, Broken> {
        let lengths = self.all("content-length");
        let codings = self.all("transfer-encoding");
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(otherwise),
            ([one], []) if !one.is_empty() && one.bytes().all(|b| b.is_ascii_digit()) => one
                .parse()
                .map(Framing::Length)
                .map_err(|_| Broken::Malformed(format!("length {one}"))),
            ([], [one]) if one.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            _ => Err(Broken::Malformed(format!(
                "framing by {lengths:?} and {codings:?}"
            ))),
        }
    }
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Bytes as text, one character each.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

/// A socket with a buffer.
#[derive(Debug)]
pub struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes everything; false when the peer is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Ends our sending direction.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads once more; `Ok(false)` at the end of the stream.
    fn fill(&mut self) -> Result<bool, Broken> {
        let mut piece = [0; 65536];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.buffer.extend_from_slice(&piece[..n]);
                    return Ok(true);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Broken::Hung);
                }
                Err(_) => return Ok(false),
            }
        }
    }

    fn line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = self.buffer[..end].to_vec();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if !self.fill()? {
                return Err(Broken::Truncated);
            }
        }
    }

    /// Exactly these bytes more, whatever they mean.
    pub fn take(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        while self.buffer.len() < count {
            if !self.fill()? {
                return Err(Broken::Truncated);
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// The next head, its raw bytes beside it.
    pub fn head(&mut self) -> Result<(Head, Vec<u8>), Broken> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let raw: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Ok((Head::parse(&latin1(&raw[..end]))?, raw));
            }
            if !self.fill()? {
                return Err(if self.buffer.is_empty() {
                    Broken::Closed
                } else {
                    Broken::Truncated
                });
            }
        }
    }

    /// Reads a body to its end, handing every piece on as it comes; returns the trailers.
    pub fn body(
        &mut self,
        framing: Framing,
        mut piece: impl FnMut(&[u8]),
    ) -> Result<Vec<(String, String)>, Broken> {
        match framing {
            Framing::None => Ok(Vec::new()),
            Framing::Length(length) => self.pass(length, &mut piece).map(|()| Vec::new()),
            Framing::Chunked => self.chunks(&mut piece),
            Framing::UntilClose => loop {
                piece(&self.buffer);
                self.buffer.clear();
                if !self.fill()? {
                    return Ok(Vec::new());
                }
            },
        }
    }

    fn pass(&mut self, mut left: u64, piece: &mut impl FnMut(&[u8])) -> Result<(), Broken> {
        while left > 0 {
            if self.buffer.is_empty() && !self.fill()? {
                return Err(Broken::Truncated);
            }
            let now = self
                .buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            piece(&self.buffer[..now]);
            self.buffer.drain(..now);
            left -= now as u64;
        }
        Ok(())
    }

    /// One chunk; `None` for the last one.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let line = latin1(&self.line()?);
        let digits = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(digits, 16)
            .map_err(|_| Broken::Malformed(format!("chunk size {line:?}")))?;
        if size == 0 {
            return Ok(None);
        }
        let data = self.take(size)?;
        if self.take(2)? != b"\r\n" {
            return Err(Broken::Malformed("no CRLF after a chunk".to_owned()));
        }
        Ok(Some(data))
    }

    fn chunks(&mut self, piece: &mut impl FnMut(&[u8])) -> Result<Vec<(String, String)>, Broken> {
        while let Some(data) = self.chunk()? {
            piece(&data);
        }
        self.trailers()
    }

    /// The fields behind the last chunk.
    pub fn trailers(&mut self) -> Result<Vec<(String, String)>, Broken> {
        let mut text = String::from("trailers");
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Head::parse(&text).map(|head| head.fields);
            }
            text.push_str("\r\n");
            text.push_str(&latin1(&line));
        }
    }

    /// Waits for the end of the stream; what came before it is returned. `None` if it stays open.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        while self.fill().ok()? {}
        Some(std::mem::take(&mut self.buffer))
    }

    /// What has been read and not used yet.
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }
}
