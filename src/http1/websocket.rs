//! WebSocket as far as a gateway must know it (RFC 6455): what a handshake is, what completes it, where frames end, and the
//! close frame. Not the messages: payloads are never read. Invariant: a boundary is told only where a frame has ended, so that
//! a frame of ours never stands inside one of theirs.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::fault::Fault;

/// Length of `Sec-WebSocket-Key`: 16 bytes in base64.
pub const KEY_BYTES: usize = 24;

/// Length of `Sec-WebSocket-Accept`: a SHA-1 in base64.
pub const ACCEPT_BYTES: usize = 28;

/// Appended to the key, so that a server that knows nothing of WebSocket cannot answer by accident (RFC 6455 1.3).
const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A control frame carries at most 125 bytes (RFC 6455 5.5), two of them the code.
const REASON_BYTES_MAX: usize = 123;

/// The parts of a handshake while a request's fields are read.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) upgrade: bool,
    versions: u8,
    version_is_13: bool,
    keys: u8,
    key_is_good: bool,
}

impl Asked {
    /// Takes one `Sec-WebSocket-Key` line.
    pub(super) fn take_key(&mut self, value: &[u8]) {
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        self.keys = self.keys.saturating_add(1);
        self.key_is_good = value.len() == KEY_BYTES
            && value
                .strip_suffix(b"==")
                .is_some_and(|key| key.iter().all(is_base64));
    }

    /// Takes one `Sec-WebSocket-Version` line.
    pub(super) fn take_version(&mut self, value: &[u8]) {
        self.versions = self.versions.saturating_add(1);
        self.version_is_13 = value == b"13";
    }

    /// Whether these are the parts of a handshake: `Ok(false)` where no WebSocket is asked for.
    ///
    /// # Errors
    /// It is asked for, but the version is not 13 alone, or there is not one good key. Two keys or versions are no handshake: two
    /// readers could each go by another one.
    pub(super) const fn complete(&self, connection_upgrade: bool) -> Result<bool, Fault> {
        if !connection_upgrade || !self.upgrade {
            return Ok(false);
        }
        if self.versions != 1 || !self.version_is_13 {
            return Err(Fault::HandshakeVersion);
        }
        if self.keys != 1 || !self.key_is_good {
            return Err(Fault::HandshakeKey);
        }
        Ok(true)
    }
}

/// The `Sec-WebSocket-Accept` that belongs to a key (RFC 6455 4.2.2). SHA-1 is the protocol's choice; nothing secret rests on it.
#[must_use]
pub fn accept(key: &[u8]) -> [u8; ACCEPT_BYTES] {
    let mut text = [0; KEY_BYTES + GUID.len()];
    for (to, from) in text.iter_mut().zip(key.iter().chain(GUID)) {
        *to = *from;
    }
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &text);
    let mut accept = [0; ACCEPT_BYTES];
    // 20 bytes are 28 characters: it fits by the two constants.
    let _ = STANDARD.encode_slice(hash.as_ref(), &mut accept);
    accept
}

/// Appends a close frame. What a client sends is masked (RFC 6455 5.3); a mask of zeros leaves the text as it is, and hides
/// nothing because this text is ours and always the same.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str, masked: bool) {
    let reason = reason.as_bytes();
    let reason = reason.get(..REASON_BYTES_MAX).unwrap_or(reason);
    let length = u8::try_from(reason.len() + 2).unwrap_or(2);
    out.extend_from_slice(&[0x88, length | if masked { 0x80 } else { 0 }]);
    if masked {
        out.extend_from_slice(&[0; 4]);
    }
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason);
}

/// Follows the frames of one direction by their lengths.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frames {
    at: At,
    close_seen: bool,
}

/// What comes next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// A frame's first byte: the boundary.
    #[default]
    Boundary,
    /// Its second byte: mask bit and length.
    Length,
    /// More bytes of the length, then the mask if there is one.
    LongLength { bytes: u8, so_far: u64, mask: u64 },
    /// That many bytes of mask and payload.
    Rest(u64),
}

impl Frames {
    /// Between two frames: here, and only here, another frame may be put.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.at == At::Boundary
    }

    /// A close frame has begun: its sender may send nothing behind it (RFC 6455 5.5.1).
    #[must_use]
    pub fn close_seen(&self) -> bool {
        self.close_seen
    }

    /// Follows all of `bytes`.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.pass_frame(rest);
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// Follows `bytes` to the end of the frame under way; how many of them that took.
    pub fn pass_frame(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            if let At::Rest(left) = self.at {
                let here = u64::try_from(bytes.len() - taken).unwrap_or(u64::MAX);
                let count = left.min(here);
                taken += usize::try_from(count).unwrap_or(bytes.len());
                self.at = rest(left - count);
            } else {
                taken += 1;
                self.at = self.head(byte);
            }
            if self.at_boundary() {
                break;
            }
        }
        taken
    }

    /// One byte of a frame's head.
    fn head(&mut self, byte: u8) -> At {
        match self.at {
            At::Boundary => {
                self.close_seen |= byte & 0x0f == 8;
                At::Length
            }
            At::Length => {
                let mask = if byte & 0x80 == 0 { 0 } else { 4 };
                let long = |bytes| At::LongLength {
                    bytes,
                    so_far: 0,
                    mask,
                };
                match byte & 0x7f {
                    126 => long(2),
                    127 => long(8),
                    length => rest(u64::from(length) + mask),
                }
            }
            At::LongLength {
                bytes,
                so_far,
                mask,
            } => {
                let so_far = so_far << 8 | u64::from(byte);
                if bytes > 1 {
                    At::LongLength {
                        bytes: bytes - 1,
                        so_far,
                        mask,
                    }
                } else {
                    // A length that cannot be is a frame that never ends: no boundary is told any more.
                    rest(so_far.saturating_add(mask))
                }
            }
            At::Rest(left) => rest(left),
        }
    }
}

const fn rest(left: u64) -> At {
    if left == 0 {
        At::Boundary
    } else {
        At::Rest(left)
    }
}

#[cfg(test)]
#[path = "tests/websocket.rs"]
mod tests;
