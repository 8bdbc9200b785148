//! What one request looks like in the log: the seed's two text lines, or one JSON object. Not I/O and no clock. Invariant: a
//! request never takes more than `LINE_BYTES_MAX` bytes, whatever its peer sent.

use super::Stamp;
use super::escape::{escape_json, escape_json_name, escape_text};

/// Bytes of a path that are shown; the head may hold 8 KiB of target, which would only help to flood the log.
const PATH_BYTES_MAX: usize = 1024;

/// Bytes of any other field that are shown; request ids are at most 64, and claims at most 128 characters.
const FIELD_BYTES_MAX: usize = 128;

/// The most that one request adds to a buffer: a path twice (text) and seven other fields, each byte as up to six
/// (`\u00NN`), and the fixed words and numbers.
pub const LINE_BYTES_MAX: usize = 6 * (2 * PATH_BYTES_MAX + 7 * FIELD_BYTES_MAX) + 1024;

/// A finished request.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The method as it came; `-` when no head could be read.
    pub method: &'a [u8],
    /// The target's path without its query (which may hold secrets); `-` when no head could be read.
    pub path: &'a [u8],
    /// The token's organization, as text.
    pub org: Option<&'a str>,
    /// The token's user, as text.
    pub user: Option<&'a str>,
    /// The answer's status.
    pub status: u16,
    /// From the head to the answer's end.
    pub micros: u64,
    /// `X-Request-ID`.
    pub request_id: &'a [u8],
    /// The client's address, as text.
    pub client_ip: &'a str,
    /// The route's label.
    pub route: &'a str,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// Why the connection was closed after this request, if it was (`CloseReason`'s label).
    pub closed: Option<&'a str>,
}

/// Appends the seed's two lines: arrival with who it was, and outcome. Both are written when the request has ended, each
/// with its own time.
pub fn write_text(line: &Line<'_>, unix_ms: u64, stamp: &mut Stamp, out: &mut Vec<u8>) {
    let arrived_ms = unix_ms.saturating_sub(line.micros / 1000);
    write_subject(line, arrived_ms, stamp, out);
    if let Some(org) = line.org {
        out.extend_from_slice(b" | Org: ");
        escape_text(org.as_bytes(), FIELD_BYTES_MAX, out);
    }
    if let Some(user) = line.user {
        out.extend_from_slice(b" | User: ");
        escape_text(user.as_bytes(), FIELD_BYTES_MAX, out);
    }
    out.push(b'\n');
    write_subject(line, unix_ms, stamp, out);
    out.extend_from_slice(b" - ");
    write_number(u64::from(line.status), out);
    out.extend_from_slice(b" (");
    write_millis(line.micros, out);
    out.extend_from_slice(b"ms)\n");
}

/// `2024-01-15 10:30:00 - INFO - POST /api/v1/analyze`
fn write_subject(line: &Line<'_>, unix_ms: u64, stamp: &mut Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(stamp.text(unix_ms));
    out.extend_from_slice(b" - INFO - ");
    escape_text(line.method, FIELD_BYTES_MAX, out);
    out.push(b' ');
    escape_text(line.path, PATH_BYTES_MAX, out);
}

/// Appends one JSON object and a line end. `organization`, `user` and `closed` are left out when there is none.
pub fn write_json(line: &Line<'_>, unix_ms: u64, stamp: &mut Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    stamp.write_rfc3339(unix_ms, out);
    out.extend_from_slice(b"\",\"level\":\"INFO\",\"message\":\"request\"");
    write_field("method", line.method, out);
    out.extend_from_slice(b",\"path\":\"");
    escape_json(line.path, PATH_BYTES_MAX, out);
    out.push(b'"');
    out.extend_from_slice(b",\"status\":");
    write_number(u64::from(line.status), out);
    out.extend_from_slice(b",\"duration_ms\":");
    write_millis(line.micros, out);
    if let Some(org) = line.org {
        write_name("organization", org, out);
    }
    if let Some(user) = line.user {
        write_name("user", user, out);
    }
    write_field("client_ip", line.client_ip.as_bytes(), out);
    write_field("request_id", line.request_id, out);
    write_field("route", line.route.as_bytes(), out);
    out.extend_from_slice(b",\"bytes_in\":");
    write_number(line.bytes_in, out);
    out.extend_from_slice(b",\"bytes_out\":");
    write_number(line.bytes_out, out);
    if let Some(reason) = line.closed {
        write_field("closed", reason.as_bytes(), out);
    }
    out.extend_from_slice(b"}\n");
}

fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    begin_field(name, out);
    escape_json(value, FIELD_BYTES_MAX, out);
    out.push(b'"');
}

fn write_name(name: &str, value: &str, out: &mut Vec<u8>) {
    begin_field(name, out);
    escape_json_name(value, FIELD_BYTES_MAX, out);
    out.push(b'"');
}

fn begin_field(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
}

/// Microseconds as milliseconds with two decimals, rounded: `1234.56`.
fn write_millis(micros: u64, out: &mut Vec<u8>) {
    let hundredths = micros.saturating_add(5) / 10;
    write_number(hundredths / 100, out);
    let rest = hundredths % 100;
    out.push(b'.');
    if rest < 10 {
        out.push(b'0');
    }
    write_number(rest, out);
}

fn write_number(n: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}
