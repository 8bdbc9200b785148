//! The chunked coding, read piece by piece and written anew. Not a body store: data stays in the caller's buffer. Invariant:
//! however the input is split, the same data, trailers and fault come out, and a fault is final.

use std::sync::Arc;

use super::blame;
use super::fault::Fault;
use super::field::{Name, is_value_byte};
use super::field_set::FieldSet;
use super::framing::LENGTH_MAX;

/// Digits of a chunk size; leading zeros count, so that padding cannot hide an overflow from another reader.
const SIZE_DIGITS_MAX: u8 = 16;
/// Extension bytes of one chunk.
const EXTENSION_BYTES_MAX: u16 = 1024;
/// Extension bytes of one body: a stream of one-byte chunks with long extensions costs us more than it costs the sender.
const EXTENSION_BYTES_TOTAL_MAX: u16 = 16 * 1024;
/// Trailer bytes of one body.
const TRAILER_BYTES_MAX: usize = 8 * 1024;

// The total is counted before it is checked, so one more chunk's extension must fit its type.
const _: () = assert!(EXTENSION_BYTES_TOTAL_MAX <= u16::MAX - EXTENSION_BYTES_MAX);

/// Reads one chunked body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    digits: u8,
    extension: u16,
    extension_total: u16,
    /// The size while it is read, then the data bytes of this chunk still to come.
    left: u64,
    /// All trailer bytes read, dropped ones too.
    trailer_bytes: usize,
    /// Accepted trailer lines, then the line being read from `line_start` on. Allocates with the first trailer.
    trailers: Vec<u8>,
    line_start: usize,
    /// Further names that no trailer may have.
    dropped: Option<Arc<FieldSet>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    /// Spaces behind the size: only an extension may follow (RFC 9112 7.1.1, BWS).
    SizeSpace,
    Extension,
    /// Within `"…"`: one that is open at the line's end may go on for another reader, and our data would be his extension.
    Quoted,
    QuotedPair,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    TrailerLf,
    Done,
    Broken(Fault),
}

/// What one call of `Decoder::step` found; offsets count from the start of that call's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All input is consumed and the body goes on.
    NeedMore {
        /// Always the input's length.
        consumed: usize,
    },
    /// `input[start..end]` is data, and `end` bytes are consumed.
    Data {
        /// Where the data begins, behind the chunk's size line.
        start: usize,
        /// Where it ends, for now or with the chunk.
        end: usize,
    },
    /// The body is complete; what follows `consumed` is not part of it.
    Done {
        /// Bytes up to the end of the trailers.
        consumed: usize,
    },
}

impl Decoder {
    /// At the start of a body.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Size,
            digits: 0,
            extension: 0,
            extension_total: 0,
            left: 0,
            trailer_bytes: 0,
            trailers: Vec::new(),
            line_start: 0,
            dropped: None,
        }
    }

    /// Trailers of these names are dropped, too: as fields of a head they would be.
    pub fn drop_trailers(&mut self, names: &Arc<FieldSet>) {
        self.dropped = Some(Arc::clone(names));
    }

    /// Reads on, up to the next piece of data, the body's end or the input's.
    ///
    /// # Errors
    /// A malformed chunk. What went before it must not look whole to anyone: the upstream connection is broken off.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Fault> {
        if self.state == State::Done {
            return Ok(Step::Done { consumed: 0 });
        }
        for (at, &byte) in input.iter().enumerate() {
            if self.state == State::Data {
                return Ok(self.data(at, input.len()));
            }
            let next = self.next(byte);
            self.state = next.unwrap_or_else(State::Broken);
            if next? == State::Done {
                return Ok(Step::Done { consumed: at + 1 });
            }
        }
        Ok(Step::NeedMore {
            consumed: input.len(),
        })
    }

    /// The accepted trailer lines, each with its CRLF; framing, routing and credential fields are not among them. Empty
    /// before `Step::Done`.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        if self.state == State::Done {
            &self.trailers
        } else {
            &[]
        }
    }

    fn data(&mut self, start: usize, input_len: usize) -> Step {
        let present = input_len - start;
        let taken = usize::try_from(self.left).map_or(present, |left| left.min(present));
        self.left -= taken as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        Step::Data {
            start,
            end: start + taken,
        }
    }

    fn next(&mut self, byte: u8) -> Result<State, Fault> {
        match (self.state, byte) {
            (State::Size, _) => self.size(byte),
            (State::SizeSpace, b' ' | b'\t') => self.extension_byte(State::SizeSpace),
            (State::SizeSpace, b';') => self.extension_byte(State::Extension),
            (State::SizeSpace, _) => Err(Fault::ChunkSize),
            (State::Extension | State::Quoted | State::QuotedPair, _) => self.extension(byte),
            (State::SizeLf, b'\n') => self.size_done(),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size),
            (State::SizeLf | State::DataCr | State::DataLf, _) => Err(Fault::ChunkEnd),
            (State::Trailer | State::TrailerLf, _) => self.trailer(byte),
            (State::Broken(fault), _) => Err(fault),
            // `step` takes data in slices and never comes here with it.
            (State::Data | State::Done, _) => Ok(self.state),
        }
    }

    fn size(&mut self, byte: u8) -> Result<State, Fault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.digits == 0 => return Err(Fault::ChunkSize),
            b'\r' => return Ok(State::SizeLf),
            b'\n' => return Err(Fault::ChunkEnd),
            b';' => return self.extension_byte(State::Extension),
            b' ' | b'\t' => return self.extension_byte(State::SizeSpace),
            _ => return Err(Fault::ChunkSize),
        };
        if self.digits == SIZE_DIGITS_MAX {
            return Err(Fault::ChunkTooLarge);
        }
        self.digits += 1;
        // 16 digits are 64 bits: nothing is shifted out.
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size)
    }

    fn extension_byte(&mut self, state: State) -> Result<State, Fault> {
        self.extension += 1;
        self.extension_total += 1;
        if self.extension > EXTENSION_BYTES_MAX || self.extension_total > EXTENSION_BYTES_TOTAL_MAX
        {
            return Err(Fault::ChunkExtensionTooLong);
        }
        Ok(state)
    }

    fn extension(&mut self, byte: u8) -> Result<State, Fault> {
        match (self.state, byte) {
            (State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Extension, b'\n') => Err(Fault::ChunkEnd),
            _ if !is_value_byte(byte) => Err(Fault::ChunkExtension),
            (State::Extension, b'"') => self.extension_byte(State::Quoted),
            (State::Quoted, b'"') => self.extension_byte(State::Extension),
            (State::Quoted, b'\\') => self.extension_byte(State::QuotedPair),
            (State::QuotedPair, _) => self.extension_byte(State::Quoted),
            (state, _) => self.extension_byte(state),
        }
    }

    fn size_done(&mut self) -> Result<State, Fault> {
        self.digits = 0;
        self.extension = 0;
        match self.left {
            0 => Ok(State::Trailer),
            1..=LENGTH_MAX => Ok(State::Data),
            _ => Err(Fault::ChunkTooLarge),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Fault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(Fault::TrailersTooLong);
        }
        match (self.state, byte) {
            (State::TrailerLf, b'\n') => self.trailer_line(),
            (State::TrailerLf, _) => Err(Fault::BareCr),
            (_, b'\r') => Ok(State::TrailerLf),
            (_, b'\n') => Err(Fault::BareLf),
            _ if !is_value_byte(byte) => Err(Fault::Control),
            _ => {
                self.trailers.push(byte);
                Ok(State::Trailer)
            }
        }
    }

    /// Keeps or drops the line that has just ended; an empty one ends the body.
    fn trailer_line(&mut self) -> Result<State, Fault> {
        let line = self.trailers.get(self.line_start..).unwrap_or_default();
        if line.is_empty() {
            return Ok(State::Done);
        }
        if let Some(fault) = blame::field_line_fault(line) {
            return Err(fault);
        }
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let is_dropped = |names: &Arc<FieldSet>| names.contains(name);
        if may_trail(name) && !self.dropped.as_ref().is_some_and(is_dropped) {
            self.trailers.extend_from_slice(b"\r\n");
        } else {
            self.trailers.truncate(self.line_start);
        }
        self.line_start = self.trailers.len();
        Ok(State::Trailer)
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a field may come behind the body (RFC 9110 6.5.1): not if it frames, routes, authenticates, controls or describes
/// the content, for all that was decided when the head was read. Every name that we act on is such a one.
fn may_trail(name: &[u8]) -> bool {
    const NEVER: [&[u8]; 16] = [
        b"content-type",
        b"content-encoding",
        b"content-range",
        b"content-location",
        b"content-disposition",
        b"cache-control",
        b"max-forwards",
        b"range",
        b"location",
        b"www-authenticate",
        b"authentication-info",
        b"proxy-authentication-info",
        b"age",
        b"expires",
        b"pragma",
        b"x-http-method-override",
    ];
    Name::of(name) == Name::Other
        && !name
            .get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"if-"))
        && !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never))
}

/// A chunk's size line; the data and a CRLF follow. A size of 0 would end the body: `write_last` does that.
pub fn write_chunk_head(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = (len >> (place * 4)) & 0xf;
        out.extend(HEX.get(digit));
    }
    out.extend_from_slice(b"\r\n");
}

/// The last chunk, the trailer lines (each with its CRLF) and the end of the body.
pub fn write_last(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

const HEX: &[u8; 16] = b"0123456789abcdef";
