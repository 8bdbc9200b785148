//! The first bytes that a client sends to the TLS port: a ClientHello, a request in plain HTTP, or something else. Not the reading of a
//! ClientHello (rustls does that, once it is whole). Invariants: until it is whole, a connection holds nothing but these bytes, of
//! which there are at most [`HELLO_BYTES_MAX`]; none is looked at more often than its record comes in pieces.

/// Bytes of a ClientHello with its record headers. Browsers send 2 KB with a post-quantum key; a ticket that carries a chain of
/// client certificates adds up to 8 KB (see `tickets`).
pub const HELLO_BYTES_MAX: usize = 12 * 1024;

/// Record type and handshake type (RFC 8446 5.1, 4).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Length of a record's header, and of a handshake message's.
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;

/// Plaintext of a record (RFC 8446 5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// Letters of the longest method that is taken for one.
const METHOD_BYTES_MAX: usize = 24;

/// How a header of the PROXY protocol's version 2 begins.
const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A message in records of so many bytes.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |piece: &[u8]| {
            let [high, low] = u16::try_from(piece.len()).unwrap_or(0).to_be_bytes();
            [&[22, 3, 1, high, low], piece].concat()
        };
        message.chunks(size).flat_map(record).collect()
    }

    fn hello(length: usize) -> Vec<u8> {
        let [_, high, middle, low] = u32::try_from(length).unwrap_or(0).to_be_bytes();
        [&[1, high, middle, low][..], &vec![7; length]].concat()
    }

    #[test]
    fn first_bytes_are_told_apart() {
        let http = First::Http { head: false };
        let table: [(&[u8], First); 26] = [
            (b"", First::Incomplete),
            (b"G", First::Incomplete),
            (b"GET", First::Incomplete),
            (b"GET ", http),
            (b"GET / HTTP/1.1\r\n", http),
            (b"HEAD / HTTP/1.1\r\n", First::Http { head: true }),
            (b"CONNECT a:443 HTTP/1.1\r\n", http),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http),
            (b"M-SEARCH * HTTP/1.1\r\n", http),
            (b"get / HTTP/1.1\r\n", http),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", First::ProxyHeader),
            (PROXY_V2, First::ProxyHeader),
            (b"\r\n\r\n", First::Incomplete),
            (b"\r\n\r\n\r\n", First::Tls),
            (b"\r\nGET / HTTP/1.1\r\n", First::Tls),
            (b"SSH-2.0-OpenSSH_9.2\r\n", First::Tls),
            (b"ABCDEFGHIJKLMNOPQRSTUVWX", First::Incomplete),
            (b"ABCDEFGHIJKLMNOPQRSTUVWX ", http),
            (b"ABCDEFGHIJKLMNOPQRSTUVWXY", First::Tls),
            (b" / HTTP/1.1\r\n", First::Tls),
            (b"\x80\x2e\x01\x03\x01", First::Tls),
            (b"\0", First::Tls),
            (b"\x16", First::Incomplete),
            (b"\x16\x02\x00\x00\x10", First::Tls),
            (b"\x16\x03\x01\x00\x00", First::Tls),
            (b"\x16\x03\x01\x00\x10\x02", First::Tls),
        ];
        for (bytes, expected) in table {
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!(Opening::default().look(bytes), expected, "{shown:?}");
        }
    }

    #[test]
    fn a_hello_is_whole_with_its_last_byte_however_it_comes() {
        for (length, size) in [
            (0, 1),
            (1, 1),
            (300, 1),
            (300, 7),
            (2_000, 16_384),
            (9_000, 5_000),
        ] {
            let bytes = records(&hello(length), size);
            for step in [1, 3, 1_000] {
                let mut opening = Opening::default();
                for end in (1..bytes.len()).step_by(step) {
                    assert_eq!(
                        opening.look(&bytes[..end]),
                        First::Incomplete,
                        "{length} {end}"
                    );
                }
                assert_eq!(opening.look(&bytes), First::Tls, "{length} {size} {step}");
            }
        }
    }

    #[test]
    fn a_hello_is_bounded_as_it_says_and_as_it_comes() {
        let longest = HELLO_BYTES_MAX - MESSAGE_HEADER;
        let begin = |length: usize| records(&hello(length)[..10], 10);
        assert_eq!(Opening::default().look(&begin(longest)), First::Incomplete);
        assert_eq!(Opening::default().look(&begin(longest + 1)), First::TooLong);
        assert_eq!(Opening::default().look(&begin(0xff_ffff)), First::TooLong);
        // A byte a record: five more of each, which have to be held as well.
        let bytes = records(&hello(10_000), 1);
        let mut opening = Opening::default();
        assert_eq!(
            opening.look(&bytes[..HELLO_BYTES_MAX - 1]),
            First::Incomplete
        );
        assert_eq!(opening.look(&bytes[..HELLO_BYTES_MAX]), First::TooLong);
    }
}
