//! The bounds of a head and the resumable search for its end. Not its meaning (`request`, `response`). Invariant: no byte is
//! searched more than twice however it arrives, and a head that can only be refused is refused before its end is there.

use std::sync::LazyLock;

use memchr::memmem;

use super::blame;
use super::fault::Fault;

pub use super::request::{Method, Request, parse_request};
pub use super::scratch::Scratch;

/// A request's head, leading empty line and last CRLF included.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A request target as it came.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Fields of a request.
pub const FIELDS_MAX: usize = 100;
/// A response's head.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Fields of a response.
pub const RESPONSE_FIELDS_MAX: usize = 200;

// A target of full length must leave room for a request line and fields around it; one scratch serves both directions.
const _: () = assert!(TARGET_BYTES_MAX * 2 <= HEAD_BYTES_MAX);
const _: () = assert!(FIELDS_MAX <= RESPONSE_FIELDS_MAX);

/// A handshake record of any version of TLS (RFC 8446 5.1).
const TLS_HELLO: &[u8] = b"\x16\x03";

/// LF and the empty line behind it. A CR ahead in the needle would make each line's end a candidate; so only the head's is.
static EMPTY_LINE: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(b"\n\r\n"));

/// The offset after the head's last CRLF, `None` while more bytes are needed. At most one empty line before the head is
/// part of its length (RFC 9112 2.2). `scanned` is the caller's to keep between reads of one head; it starts at 0.
///
/// # Errors
/// A proof that no further byte can mend the head: a bare line end, a control character, too many bytes.
pub fn head_end(buf: &[u8], scanned: &mut usize, max: usize) -> Result<Option<usize>, Fault> {
    // What a browser sends to https:// is told apart from rubbish: it is the commonest mistake with a plain port.
    if buf.starts_with(TLS_HELLO) {
        return Err(Fault::TlsHello);
    }
    if buf == b"\x16" {
        // Either that or rubbish: the next byte tells.
        return Ok(None);
    }
    let lead = leading_line(buf)?;
    // The end may have begun in what was searched before: three of its four bytes.
    let from = scanned.saturating_sub(3).max(lead);
    let fresh = buf.get(from..).unwrap_or_default();
    if let Some(at) = EMPTY_LINE.find(fresh) {
        let end = from + at + 3;
        if end <= max
            && buf
                .get(..end)
                .is_some_and(|head| head.ends_with(b"\r\n\r\n"))
        {
            return Ok(Some(end));
        }
    }
    // No end within the bound: only now are the bytes looked at one by one, and each once.
    let visible = buf.get(..max).unwrap_or(buf);
    let unread = visible.get(*scanned..).unwrap_or_default();
    if let Some(fault) = blame::line_fault(unread) {
        return Err(fault);
    }
    // A CR at the edge is judged when its neighbour is there.
    *scanned = visible.len() - usize::from(visible.ends_with(b"\r"));
    if buf.len() >= max {
        return Err(too_long(visible));
    }
    Ok(None)
}

/// Which part of a head without an end is too long: the target (414) or the whole (431).
#[must_use]
pub fn too_long(buf: &[u8]) -> Fault {
    let text = buf.strip_prefix(b"\r\n").unwrap_or(buf);
    let line = text.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let target = line.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    if target.len() > TARGET_BYTES_MAX {
        Fault::TargetTooLong
    } else {
        Fault::HeadTooLong
    }
}

/// The length of the one empty line that may precede a request: clients of old sent it behind a POST's body.
fn leading_line(buf: &[u8]) -> Result<usize, Fault> {
    match buf {
        [b'\r', b'\n', b'\r', b'\n', ..] => Err(Fault::LeadingLines),
        [b'\r', b'\n', ..] => Ok(2),
        _ => Ok(0),
    }
}
