//! Room for the fields of one head while it is read, and the passage from httparse's lines to our fields. Not to be kept across
//! an await: it is 15 KB of stack. Invariant: every line of what passes here ended in CRLF.

use std::mem::{ManuallyDrop, MaybeUninit};

use arrayvec::ArrayVec;
use httparse::{Error, Header, Status};

use super::blame;
use super::fault::Fault;
use super::field::{Field, Name};
use super::head::{FIELDS_MAX, RESPONSE_FIELDS_MAX};

/// Uninitialised room for the fields of one head, request or response. `new` costs nothing.
pub struct Scratch<'b> {
    lines: [MaybeUninit<Header<'b>>; RESPONSE_FIELDS_MAX],
    // Fields need no drop; said so, the borrow of the bytes ends with the last use of the fields and not with the scope.
    fields: ManuallyDrop<ArrayVec<Field<'b>, RESPONSE_FIELDS_MAX>>,
}

impl Scratch<'_> {
    /// Empty room.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self {
            lines: [const { MaybeUninit::uninit() }; RESPONSE_FIELDS_MAX],
            fields: ManuallyDrop::new(ArrayVec::new_const()),
        }
    }
}

impl Default for Scratch<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Scratch<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Scratch")
            .field("fields", &self.fields.len())
            .finish_non_exhaustive()
    }
}

/// A request's first line, and its fields with `hop` set by their names only.
pub(super) struct RequestLines<'s, 'b> {
    pub(super) method: &'b str,
    pub(super) target: &'b str,
    pub(super) minor: u8,
    pub(super) fields: &'s mut [Field<'b>],
}

/// A response's first line, and its fields with `hop` set by their names only.
pub(super) struct ResponseLines<'s, 'b> {
    pub(super) status: u16,
    pub(super) minor: u8,
    pub(super) fields: &'s mut [Field<'b>],
}

impl<'b> Scratch<'b> {
    /// Splits a request's head (without a leading empty line) into its lines.
    pub(super) fn read_request(&mut self, text: &'b [u8]) -> Result<RequestLines<'_, 'b>, Fault> {
        let Self { lines, fields } = self;
        // The rest of the room is for services, which may send more fields than a stranger.
        let (lines, _) = lines.split_at_mut(FIELDS_MAX);
        let mut request = httparse::Request::new(&mut []);
        let outcome = request.parse_with_uninit_headers(text, lines);
        let (Ok(Status::Complete(_)), Some(method), Some(target), Some(minor)) =
            (outcome, request.method, request.path, request.version)
        else {
            return Err(refused(outcome, text, blame::request));
        };
        let fields =
            collect(fields, request.headers, outcome, text).ok_or_else(|| blame::request(text))?;
        Ok(RequestLines {
            method,
            target,
            minor,
            fields,
        })
    }

    /// Splits a response's head into its lines.
    pub(super) fn read_response(&mut self, text: &'b [u8]) -> Result<ResponseLines<'_, 'b>, Fault> {
        let Self { lines, fields } = self;
        let mut response = httparse::Response::new(&mut []);
        let outcome = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            text,
            lines,
        );
        let (Ok(Status::Complete(_)), Some(status), Some(minor)) =
            (outcome, response.code, response.version)
        else {
            return Err(refused(outcome, text, blame::response));
        };
        let fields = collect(fields, response.headers, outcome, text)
            .ok_or_else(|| blame::response(text))?;
        Ok(ResponseLines {
            status,
            minor,
            fields,
        })
    }
}

fn refused(outcome: httparse::Result<usize>, text: &[u8], blame: fn(&[u8]) -> Fault) -> Fault {
    // Bad line ends come first, as everywhere (see `blame`).
    if outcome == Err(Error::TooManyHeaders) {
        return blame::line_fault(text).unwrap_or(Fault::TooManyFields);
    }
    blame(text)
}

/// The fields, or `None` where httparse took a bare LF for a line end: it does so by design, we never do. Each name begins
/// right behind the CRLF of the line before, and the last line's CRLF is part of the final CRLFCRLF.
fn collect<'s, 'b>(
    fields: &'s mut ArrayVec<Field<'b>, RESPONSE_FIELDS_MAX>,
    lines: &[Header<'b>],
    outcome: httparse::Result<usize>,
    text: &'b [u8],
) -> Option<&'s mut [Field<'b>]> {
    if outcome != Ok(Status::Complete(text.len())) || !text.ends_with(b"\r\n\r\n") {
        return None;
    }
    fields.clear();
    for line in lines {
        let name = line.name.as_bytes();
        let at = name.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
        if text.get(at.wrapping_sub(2)..at) != Some(b"\r\n") {
            return None;
        }
        let kind = Name::of(name);
        let hop = kind.hop_by_hop();
        fields
            .try_push(Field {
                name,
                value: line.value,
                kind,
                hop,
            })
            .ok()?;
    }
    Some(fields.as_mut_slice())
}
