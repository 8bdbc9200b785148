//! The one form in which heads are written. Not what is written (callers choose the fields). Invariant: everything is appended,
//! and nothing is allocated while the buffer has room.

use std::ops::Range;

use super::field::Field;
use super::framing::{RequestBody, ResponseBody};

/// `METHOD prefix…target HTTP/1.1`. The prefix is the service URL's own path, in parts so that nobody joins them first.
pub fn request_line(out: &mut Vec<u8>, method: &str, prefix: &[&str], target: &str) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    for part in prefix {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 status reason`; the version is ours, whatever the upstream speaks (RFC 9110 2.5).
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// `name: value`.
#[inline]
pub fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    line(out, name.as_bytes(), value);
}

/// `name: number`.
pub fn number_field(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    number(out, value);
    out.extend_from_slice(b"\r\n");
}

/// The fields of `head` that `keep` wants, names as they came, order kept. Lines that stand together there in the form that we write
/// are copied together.
#[inline]
pub fn copy_fields(
    out: &mut Vec<u8>,
    head: &[u8],
    fields: &[Field<'_>],
    keep: impl Fn(&Field<'_>) -> bool,
) {
    out.reserve(head.len());
    let mut run = 0..0;
    for field in fields {
        if !keep(field) {
            continue;
        }
        let place = place(head, field);
        if let Some(place) = &place
            && place.start == run.end
        {
            run.end = place.end;
            continue;
        }
        out.extend_from_slice(head.get(run).unwrap_or_default());
        run = place.unwrap_or_else(|| {
            line(out, field.name, field.value);
            0..0
        });
    }
    out.extend_from_slice(head.get(run).unwrap_or_default());
}

/// Where a field's line lies in its head, CRLF included; `None` for one that is not written `name: value`.
fn place(head: &[u8], field: &Field<'_>) -> Option<Range<usize>> {
    let at = |part: &[u8]| part.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
    let (name, value) = (at(field.name), at(field.value));
    let (name_end, end) = (
        name.wrapping_add(field.name.len()),
        value.wrapping_add(field.value.len()),
    );
    let is_ours = value == name_end.wrapping_add(2)
        && head.get(name_end..value) == Some(b": ")
        && head.get(end..end.wrapping_add(2)) == Some(b"\r\n");
    is_ours.then_some(name..end + 2)
}

/// The one framing field of a request.
pub fn request_body_framing(out: &mut Vec<u8>, body: RequestBody) {
    match body {
        RequestBody::None => {}
        RequestBody::Length(length) => number_field(out, "Content-Length", length),
        RequestBody::Chunked => field(out, "Transfer-Encoding", b"chunked"),
    }
}

/// The one framing field of a response to a 1.1 client; a body until close has none.
pub fn response_body_framing(out: &mut Vec<u8>, body: ResponseBody) {
    match body {
        ResponseBody::None | ResponseBody::UntilClose => {}
        ResponseBody::Length(length) => number_field(out, "Content-Length", length),
        ResponseBody::Chunked => field(out, "Transfer-Encoding", b"chunked"),
    }
}

/// The empty line behind the fields.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Decimal digits.
pub fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[inline]
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The usual phrase for a status that the gateway itself answers with; empty for others, which RFC 9112 4 allows.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
