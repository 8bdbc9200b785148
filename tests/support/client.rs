//! The client's end: raw bytes out, strictly read answers in, and a small builder for plain requests. Not an HTTP library:
//! it never retries, redirects or repairs. Invariant: what a test does not write is not sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use serde_json::Value;

use super::reader::{Broken, Framing, Head, Reader, latin1};
use super::token::Token;

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: Head,
    /// The head's exact bytes.
    pub raw: Vec<u8>,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Status of each 1xx that came before.
    pub interim: Vec<u16>,
}

impl Answer {
    /// The field's value; fails the test when it stands twice.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The field's value, which must be there.
    pub fn must(&self, name: &str) -> &str {
        self.field(name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", latin1(&self.raw)))
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.head.all(name)
    }

    /// The field as a number.
    pub fn number(&self, name: &str) -> u64 {
        self.must(name)
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {}", self.must(name)))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e} in {} {:?}", self.status, self.text()))
    }

    /// Whether a list-valued field has this member.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        let mut members = self.head.all(name).into_iter().flat_map(|v| v.split(','));
        members.any(|m| m.trim().eq_ignore_ascii_case(member))
    }

    /// Whether the answer says that the connection ends with it.
    pub fn says_close(&self) -> bool {
        self.lists("connection", "close")
    }
}

/// One connection to the gateway.
#[derive(Debug)]
pub struct Wire {
    reader: Reader,
}

impl Wire {
    /// Connects to a port on loopback.
    pub fn to(port: u16) -> Self {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream =
            TcpStream::connect_timeout(&at, super::PATIENCE).expect("the port accepts connections");
        Self {
            reader: Reader::new(stream),
        }
    }

    /// Connects as another client: every 127.x.y.z is an address of this host.
    pub fn from(source: [u8; 4], port: u16) -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&fd, &SocketAddr::from((source, 0))).expect("a loopback address");
        connect(&fd, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
            .expect("the port accepts connections");
        Self {
            reader: Reader::new(TcpStream::from(fd)),
        }
    }

    /// Sends bytes exactly; a peer that is gone already shows when reading.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.reader.send(bytes);
        self
    }

    /// Like `send`, and says whether the kernel still took them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader.send(bytes)
    }

    /// Ends the sending direction (half-close).
    pub fn finish(&mut self) -> &mut Self {
        self.reader.finish();
        self
    }

    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// The next head whatever its status, with its exact bytes.
    pub fn head(&mut self) -> (u16, Head) {
        let (head, raw) = self
            .reader
            .head()
            .unwrap_or_else(|e| panic!("no head: {e:?}"));
        (
            status(&head).unwrap_or_else(|e| panic!("{e:?} in {:?}", latin1(&raw))),
            head,
        )
    }

    /// The answer to a GET, POST, …
    pub fn answer(&mut self) -> Answer {
        self.try_answer("GET")
            .unwrap_or_else(|e| panic!("no answer: {e:?}, unread {:?}", self.leftover()))
    }

    /// The answer to a request of this method.
    pub fn answer_to(&mut self, method: &str) -> Answer {
        self.try_answer(method)
            .unwrap_or_else(|e| panic!("no answer: {e:?}, unread {:?}", self.leftover()))
    }

    fn leftover(&self) -> String {
        latin1(self.reader.unread())
    }

    /// The next final answer, or how it was broken.
    pub fn try_answer(&mut self, method: &str) -> Result<Answer, Broken> {
        let mut body = Vec::new();
        let mut answer = self.try_answer_into(method, |piece| body.extend_from_slice(piece))?;
        answer.body = body;
        Ok(answer)
    }

    /// The same with the body handed on in pieces.
    pub fn try_answer_into(
        &mut self,
        method: &str,
        piece: impl FnMut(&[u8]),
    ) -> Result<Answer, Broken> {
        let mut interim = Vec::new();
        loop {
            let (head, raw) = self.reader.head()?;
            let status = status(&head)?;
            if (100..200).contains(&status) {
                interim.push(status);
                continue;
            }
            let bodiless = method == "HEAD" || status == 204 || status == 304;
            let framing = if bodiless {
                Framing::None
            } else {
                head.framing(Framing::UntilClose)?
            };
            let trailers = self.reader.body(framing, piece)?;
            return Ok(Answer {
                status,
                head,
                raw,
                framing,
                body: Vec::new(),
                trailers,
                interim,
            });
        }
    }

    /// Whether the peer ends the connection, with nothing more said.
    pub fn closed(&mut self) -> bool {
        self.reader.rest().is_some_and(|rest| rest.is_empty())
    }

    /// Whether the connection serves another request.
    pub fn serves_another(&mut self) -> bool {
        self.send("GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n");
        self.try_answer("GET")
            .is_ok_and(|answer| answer.status == 200)
    }
}

fn status(head: &Head) -> Result<u16, Broken> {
    let bad = || Broken::Malformed(format!("status line {:?}", head.first));
    let rest = head
        .first
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| head.first.strip_prefix("HTTP/1.0 "))
        .ok_or_else(bad)?;
    let (code, _reason) = rest.split_once(' ').ok_or_else(bad)?;
    if code.len() != 3 {
        return Err(bad());
    }
    code.parse().map_err(|_| bad())
}

/// A plain request, sent on a connection of its own.
#[derive(Debug, Clone)]
pub struct Ask {
    port: u16,
    source: Option<[u8; 4]>,
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Ask {
    pub fn new(port: u16, method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self {
            port,
            source: None,
            method,
            target,
            fields: Vec::new(),
            body: None,
        }
    }

    /// With a valid or not so valid token.
    pub fn bearer(self, token: &Token) -> Self {
        self.bearer_text(&token.mint())
    }

    pub fn bearer_text(self, text: &str) -> Self {
        self.field("Authorization", &format!("Bearer {text}"))
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub fn json(self, value: &Value) -> Self {
        self.field("Content-Type", "application/json")
            .body(value.to_string())
    }

    /// Sent from another loopback address.
    pub fn from(mut self, source: [u8; 4]) -> Self {
        self.source = Some(source);
        self
    }

    /// The bytes that go over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: gateway.test\r\n",
            self.method, self.target
        );
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        // One byte per character, as the reader does it, so that a test may write obs-text.
        let mut bytes: Vec<u8> = text
            .chars()
            .map(|c| u8::try_from(c).expect("Latin-1 only"))
            .collect();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends it and reads the answer.
    pub fn send(&self) -> Answer {
        let mut wire = match self.source {
            Some(source) => Wire::from(source, self.port),
            None => Wire::to(self.port),
        };
        wire.send(self.bytes()).answer_to(&self.method)
    }

    /// Sends it on a connection that stays with the caller.
    pub fn on(&self, wire: &mut Wire) -> Answer {
        wire.send(self.bytes()).answer_to(&self.method)
    }
}

/// The address a test's clients have unless told otherwise.
pub const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
