//! The shape of the conformance tables: bytes, the verdict on them, the RFC section behind it. Not a runner (see `tests/`).
//! Invariant: a row is complete in itself: its bytes are all that a peer sends before it waits for an answer.

mod requests_body;
mod requests_fields;
mod requests_head;
mod requests_websocket;
mod responses;
mod responses_body;

pub use responses::RESPONSES;

/// The bytes of a row: literal, or built where they are long.
#[derive(Debug, Clone, Copy)]
pub enum Input {
    /// As written in the table.
    Fixed(&'static [u8]),
    /// Made by a function.
    Built(fn() -> Vec<u8>),
}

impl Input {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Fixed(bytes) => bytes.to_vec(),
            Self::Built(build) => build(),
        }
    }
}

/// One request as bytes from a client.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Unique, in words.
    pub name: &'static str,
    /// `9112 6.3` is RFC 9112, section 6.3.
    pub section: &'static str,
    /// What the client sends.
    pub bytes: Input,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why Python's h11 reads the row otherwise by its own design, if it does.
    pub h11_differs: Option<&'static str>,
    /// Why monoio-http's head decoder reads the row otherwise by its own design, if it does.
    pub monoio_differs: Option<&'static str>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// The upstream gets it.
    Accept(Accepted),
    /// This status, the connection is closed, the upstream sees nothing.
    Refuse(u16),
    /// The head passes and the body is malformed: this status if the answer is still ours to give, and the upstream
    /// connection is broken off so that no half request looks whole.
    Break(u16),
}

/// How an accepted request reads.
#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    /// The method as it came.
    pub method: &'static str,
    /// The target, reduced to origin-form or `*`.
    pub target: &'static str,
    /// `Host`, or the authority of an absolute-form target.
    pub host: &'static str,
    /// The body without its coding.
    pub body: &'static [u8],
    /// Trailer lines that are passed on.
    pub trailers: &'static [u8],
    /// The client's connection goes on.
    pub keep_alive: bool,
    /// Names of fields that came and must not reach the upstream as the client's (lower case).
    pub consumed: &'static [&'static str],
    /// It is a whole WebSocket handshake, so that a switch is asked of the upstream, too.
    pub switches: bool,
    /// It is a broken WebSocket handshake: the gateway answers it with this status, and the upstream gets nothing.
    pub handshake_status: Option<u16>,
    /// Bytes behind this message: the next request.
    pub rest: &'static [u8],
}

impl Row {
    const fn new(
        name: &'static str,
        section: &'static str,
        bytes: &'static [u8],
        verdict: Verdict,
    ) -> Self {
        Self {
            name,
            section,
            bytes: Input::Fixed(bytes),
            verdict,
            h11_differs: None,
            monoio_differs: None,
        }
    }

    const fn accept(
        name: &'static str,
        section: &'static str,
        bytes: &'static [u8],
        method: &'static str,
        target: &'static str,
    ) -> Self {
        let accepted = Accepted {
            method,
            target,
            host: "a",
            body: b"",
            trailers: b"",
            keep_alive: true,
            consumed: &[],
            switches: false,
            handshake_status: None,
            rest: b"",
        };
        Self::new(name, section, bytes, Verdict::Accept(accepted))
    }

    const fn refuse(
        name: &'static str,
        section: &'static str,
        bytes: &'static [u8],
        status: u16,
    ) -> Self {
        Self::new(name, section, bytes, Verdict::Refuse(status))
    }

    const fn torn(name: &'static str, section: &'static str, bytes: &'static [u8]) -> Self {
        Self::new(name, section, bytes, Verdict::Break(400))
    }

    const fn built(mut self, build: fn() -> Vec<u8>) -> Self {
        self.bytes = Input::Built(build);
        self
    }

    const fn h11_differs(mut self, why: &'static str) -> Self {
        self.h11_differs = Some(why);
        self
    }

    const fn monoio_differs(mut self, why: &'static str) -> Self {
        self.monoio_differs = Some(why);
        self
    }

    const fn host(mut self, host: &'static str) -> Self {
        if let Verdict::Accept(accepted) = &mut self.verdict {
            accepted.host = host;
        }
        self
    }

    const fn body(mut self, body: &'static [u8]) -> Self {
        if let Verdict::Accept(accepted) = &mut self.verdict {
            accepted.body = body;
        }
        self
    }

    const fn trailers(mut self, trailers: &'static [u8]) -> Self {
        if let Verdict::Accept(accepted) = &mut self.verdict {
            accepted.trailers = trailers;
        }
        self
    }

    const fn closes(mut self) -> Self {
        if let Verdict::Accept(accepted) = &mut self.verdict {
            accepted.keep_alive = false;
        }
        self
    }

    const fn consumes(mut self, names: &'static [&'static str]) -> Self {
        if let Verdict::Accept(accepted) = &mut self.verdict {
            accepted.consumed = names;
        }
        self
    }

    const fn broken_handshake(mut self, status: u16) -> Self {
        if let Verdict::Accept(accepted) = &mut self.verdict {
            accepted.handshake_status = Some(status);
        }
        self
    }

    const fn switches(mut self) -> Self {
        if let Verdict::Accept(accepted) = &mut self.verdict {
            accepted.switches = true;
        }
        self
    }

    const fn rest(mut self, rest: &'static [u8]) -> Self {
        if let Verdict::Accept(accepted) = &mut self.verdict {
            accepted.rest = rest;
        }
        self
    }
}

/// All requests.
pub fn requests() -> impl Iterator<Item = &'static Row> {
    requests_head::ROWS
        .iter()
        .chain(requests_fields::ROWS)
        .chain(requests_websocket::ROWS)
        .chain(requests_body::LENGTH_ROWS)
        .chain(requests_body::CHUNK_ROWS)
        .chain(requests_body::STREAM_ROWS)
}

/// All responses.
pub fn responses() -> impl Iterator<Item = &'static ResponseRow> {
    RESPONSES.iter().chain(responses_body::ROWS)
}

/// One response as bytes from an upstream, which then closes.
#[derive(Debug, Clone, Copy)]
pub struct ResponseRow {
    /// Unique, in words.
    pub name: &'static str,
    /// `9112 6.3` is RFC 9112, section 6.3.
    pub section: &'static str,
    /// The request was HEAD, otherwise GET.
    pub to_head: bool,
    /// What the upstream sends before it closes.
    pub bytes: Input,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Why Python's h11 reads the row otherwise by its own design, if it does.
    pub h11_differs: Option<&'static str>,
}

/// What becomes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The client gets it.
    Relay {
        /// Of the final response.
        status: u16,
        /// Without its coding.
        body: &'static [u8],
        /// The upstream connection could serve again, had it not closed.
        reusable: bool,
        /// Interim responses ahead of it, passed on or not.
        interim: usize,
    },
    /// The client gets a 502, and none of it.
    BadGateway,
    /// The client gets the head with this status, and then a body that visibly breaks off.
    BrokenOff(u16),
}

impl ResponseRow {
    const fn new(
        name: &'static str,
        section: &'static str,
        bytes: &'static [u8],
        outcome: Outcome,
    ) -> Self {
        Self {
            name,
            section,
            to_head: false,
            bytes: Input::Fixed(bytes),
            outcome,
            h11_differs: None,
        }
    }

    const fn relay(
        name: &'static str,
        section: &'static str,
        bytes: &'static [u8],
        status: u16,
        body: &'static [u8],
    ) -> Self {
        let outcome = Outcome::Relay {
            status,
            body,
            reusable: true,
            interim: 0,
        };
        Self::new(name, section, bytes, outcome)
    }

    const fn bad(name: &'static str, section: &'static str, bytes: &'static [u8]) -> Self {
        Self::new(name, section, bytes, Outcome::BadGateway)
    }

    const fn broken(
        name: &'static str,
        section: &'static str,
        bytes: &'static [u8],
        status: u16,
    ) -> Self {
        Self::new(name, section, bytes, Outcome::BrokenOff(status))
    }

    const fn built(mut self, build: fn() -> Vec<u8>) -> Self {
        self.bytes = Input::Built(build);
        self
    }

    const fn h11_differs(mut self, why: &'static str) -> Self {
        self.h11_differs = Some(why);
        self
    }

    const fn to_head(mut self) -> Self {
        self.to_head = true;
        self
    }

    const fn once(mut self) -> Self {
        if let Outcome::Relay { reusable, .. } = &mut self.outcome {
            *reusable = false;
        }
        self
    }

    const fn after(mut self, count: usize) -> Self {
        if let Outcome::Relay { interim, .. } = &mut self.outcome {
            *interim = count;
        }
        self
    }
}
