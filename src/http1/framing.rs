//! Which body follows a head. Not the body itself (`chunked`, or a count of bytes, reads that). Invariant: a message has
//! one length by one rule; whatever could give it two is a `Fault` (RFC 9112 6.3, request smuggling).

use super::fault::Fault;
use super::field::trim;

/// The largest length taken: beyond it a signed 64-bit reader would see a negative number.
pub const LENGTH_MAX: u64 = 1 << 63;

/// What follows a request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// Neither length nor coding: nothing.
    None,
    /// That many bytes.
    Length(u64),
    /// Chunks up to the last one.
    Chunked,
}

/// What follows a response's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseBody {
    /// Nothing, whatever the fields say: an answer to HEAD, 1xx, 204, 304.
    None,
    /// That many bytes.
    Length(u64),
    /// Chunks up to the last one.
    Chunked,
    /// All that comes until the upstream closes.
    UntilClose,
}

/// The two framing fields of a head while its lines are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Framing {
    /// `Content-Length`, once it was seen.
    pub length: Option<u64>,
    /// `Transfer-Encoding: chunked` was seen.
    pub chunked: bool,
}

impl Framing {
    /// Takes a `Content-Length` line. A second one is refused even when equal: who joins them reads `5, 5`.
    pub fn take_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::LengthRepeated);
        }
        self.length = Some(decimal(value)?);
        Ok(())
    }

    /// Takes a `Transfer-Encoding` line.
    pub fn take_coding(&mut self, value: &[u8], minor: u8) -> Result<(), Fault> {
        if minor == 0 {
            return Err(Fault::CodingOnHttp10);
        }
        if self.chunked {
            return Err(Fault::CodingRepeated);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(coding_fault(value));
        }
        self.chunked = true;
        Ok(())
    }

    /// Both at once is the classic of request smuggling: CL.TE and TE.CL.
    pub fn check(self) -> Result<Self, Fault> {
        if self.chunked && self.length.is_some() {
            return Err(Fault::LengthAndCoding);
        }
        Ok(self)
    }
}

/// 1*DIGIT, nothing else: `u64::from_str` would take a sign.
fn decimal(value: &[u8]) -> Result<u64, Fault> {
    if value.is_empty() {
        return Err(Fault::LengthInvalid);
    }
    let mut sum: u64 = 0;
    let mut over = false;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return Err(Fault::LengthInvalid);
        }
        let next = sum
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(byte - b'0')));
        sum = next.unwrap_or_else(|| {
            over = true;
            0
        });
    }
    if over || sum > LENGTH_MAX {
        return Err(Fault::LengthTooLarge);
    }
    Ok(sum)
}

/// Why a coding other than plain `chunked` is refused: a list that misuses `chunked` (400) or another coding (501).
fn coding_fault(value: &[u8]) -> Fault {
    let is_chunked = |element: &[u8]| element.eq_ignore_ascii_case(b"chunked");
    let mut seen = 0_usize;
    let mut last_is_chunked = false;
    for element in value.split(|&byte| byte == b',').map(trim) {
        if element.is_empty() {
            return Fault::CodingList;
        }
        last_is_chunked = is_chunked(element);
        seen += usize::from(last_is_chunked);
    }
    if seen > 1 || (seen == 1 && !last_is_chunked) {
        Fault::CodingList
    } else {
        Fault::CodingUnsupported
    }
}
