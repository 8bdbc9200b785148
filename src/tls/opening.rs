//! The first bytes that a client sends to the TLS port: a ClientHello, a request in plain HTTP, or something else. Not
//! the reading of a ClientHello (rustls does that, once it is whole). Invariants: until then a connection holds nothing
//! but these bytes, of which there are at most [`HELLO_BYTES_MAX`]; a look resumes at the first record that was not whole.

/// Bytes of a ClientHello with its record headers. Browsers send 2 KB with a post-quantum key; a ticket that carries a
/// chain of client certificates adds up to 8 KB (see `tickets`).
pub const HELLO_BYTES_MAX: usize = 12 * 1024;

/// Record type and handshake type (RFC 8446 5.1, 4).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Length of a record's header, and of a handshake message's.
const RECORD_HEADER: usize = 5;
pub(super) const MESSAGE_HEADER: usize = 4;

/// Plaintext of a record (RFC 8446 5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// Letters of the longest method that is taken for one.
const METHOD_BYTES_MAX: usize = 24;

/// How a header of the PROXY protocol's version 2 begins.
pub(super) const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Not enough to tell, or a ClientHello that is not whole.
    Incomplete,
    /// A whole ClientHello, or what only TLS has an answer to.
    Tls,
    /// A request in plain HTTP; whether its method is HEAD, whose answer has no body.
    Http {
        /// The method is HEAD.
        head: bool,
    },
    /// A header of the PROXY protocol.
    ProxyHeader,
    /// A ClientHello that is too long.
    TooLong,
}

/// How far the first bytes were looked at.
#[derive(Debug, Default)]
pub struct Opening {
    /// Where the first record begins that was not whole at the last look.
    record_at: usize,
    /// Bytes of the message in the records before it, and the first of them.
    message_bytes: usize,
    message_header: [u8; MESSAGE_HEADER],
}

impl Opening {
    /// Looks at all that has come so far.
    pub fn look(&mut self, bytes: &[u8]) -> First {
        let first = match bytes.first() {
            None => return First::Incomplete,
            Some(&HANDSHAKE) => self.look_at_records(bytes),
            Some(b'\r') => look_for_proxy_v2(bytes),
            Some(_) => look_for_method(bytes),
        };
        if first == First::Incomplete && bytes.len() >= HELLO_BYTES_MAX {
            return First::TooLong;
        }
        first
    }

    fn look_at_records(&mut self, bytes: &[u8]) -> First {
        loop {
            let body_at = self.record_at + RECORD_HEADER;
            let header = bytes.get(self.record_at..body_at);
            let Some(&[kind, major, _, high, low]) = header else {
                return First::Incomplete;
            };
            let length = usize::from(high) << 8 | usize::from(low);
            if kind != HANDSHAKE || major != 3 || !(1..=RECORD_BYTES_MAX).contains(&length) {
                return First::Tls;
            }
            let end = body_at + length;
            let body = bytes.get(body_at..end.min(bytes.len()));
            let body = body.unwrap_or_default();
            let known = self.message_bytes.min(MESSAGE_HEADER);
            let mut header = self.message_header;
            for (place, byte) in header.iter_mut().skip(known).zip(body) {
                *place = *byte;
            }
            let message_bytes = self.message_bytes + body.len();
            let [kind, high, middle, low] = header;
            if message_bytes > 0 && kind != CLIENT_HELLO {
                return First::Tls;
            }
            if message_bytes >= MESSAGE_HEADER {
                let length = u32::from_be_bytes([0, high, middle, low]) as usize + MESSAGE_HEADER;
                if length > HELLO_BYTES_MAX {
                    return First::TooLong;
                }
                if message_bytes >= length {
                    return First::Tls;
                }
            }
            if end > bytes.len() {
                return First::Incomplete;
            }
            self.record_at = end;
            self.message_bytes = message_bytes;
            self.message_header = header;
        }
    }
}

fn look_for_proxy_v2(bytes: &[u8]) -> First {
    if bytes.starts_with(PROXY_V2) {
        First::ProxyHeader
    } else if PROXY_V2.starts_with(bytes) {
        First::Incomplete
    } else {
        First::Tls
    }
}

/// A request line begins with a method, which is a token, and a blank (RFC 9112 3).
fn look_for_method(bytes: &[u8]) -> First {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    match bytes.iter().position(|byte| !is_token(byte)) {
        None if bytes.len() <= METHOD_BYTES_MAX => First::Incomplete,
        Some(at @ 1..=METHOD_BYTES_MAX) if bytes.get(at) == Some(&b' ') => {
            match bytes.get(..at).unwrap_or_default() {
                b"PROXY" => First::ProxyHeader,
                method => First::Http {
                    head: method == b"HEAD",
                },
            }
        }
        _ => First::Tls,
    }
}
