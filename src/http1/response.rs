//! An upstream's response head as a value. Not its body. Invariant: a response whose end could be read in two ways is a
//! `Fault`, because its rest would be given to the next client as an answer.

use super::fault::Fault;
use super::field::{Field, Name, elements};
use super::framing::{Framing, ResponseBody};
use super::hop::Connection;
use super::scratch::Scratch;
use super::websocket;

/// One response's head.
#[derive(Debug, Clone, Copy)]
pub struct Response<'s, 'b> {
    /// 100–599; 101 only from `parse_handshake_response`.
    pub status: u16,
    /// The reason phrase as it came, maybe empty.
    pub reason: &'b [u8],
    /// 0 or 1.
    pub minor: u8,
    /// All field lines in their order, the consumed ones too (`Field::hop`).
    pub fields: &'s [Field<'b>],
    /// What follows the head.
    pub body: ResponseBody,
    /// `Content-Length` as a number, also where no body follows: it passes unchanged for HEAD and 304.
    pub content_length: Option<u64>,
    /// The upstream's connection may serve again behind this response, as far as the head says.
    pub keep_alive: bool,
    /// All of it.
    pub head: &'b [u8],
}

/// Reads a response's head: exactly the bytes up to `head_end`. 1xx are responses of their own; the final one follows.
///
/// # Errors
/// The first fault: shape of the lines, status, fields from top to bottom, framing. All are a 502 to the client.
pub fn parse_response<'s, 'b>(
    head: &'b [u8],
    scratch: &'s mut Scratch<'b>,
    to_head_request: bool,
) -> Result<Response<'s, 'b>, Fault> {
    parse(head, scratch, to_head_request, false)
}

/// Reads the answer to a WebSocket handshake with this `Sec-WebSocket-Key`: a 101 that completes it (RFC 6455 4.1), or any
/// other response.
///
/// # Errors
/// As `parse_response`; [`Fault::Switch`] for a 101 with something missing, wrong or left over.
pub fn parse_handshake_response<'s, 'b>(
    head: &'b [u8],
    scratch: &'s mut Scratch<'b>,
    key: &[u8],
) -> Result<Response<'s, 'b>, Fault> {
    let response = parse(head, scratch, false, true)?;
    if response.status == 101 && !completes(&response, key) {
        return Err(Fault::Switch);
    }
    Ok(response)
}

/// The attack: a service (or a cache before it) that did not mean to switch, and a client that speaks to it all the same in
/// bytes that we no longer look at.
fn completes(response: &Response<'_, '_>, key: &[u8]) -> bool {
    let has = |name: Name, member: &[u8]| {
        let mut lines = response.fields.iter().filter(|field| field.kind == name);
        lines.any(|field| elements(field.value).any(|found| found.eq_ignore_ascii_case(member)))
    };
    let count = |name: Name| response.fields.iter().filter(|f| f.kind == name).count();
    let accept = websocket::accept(key);
    // A body of a 101 would be read as frames (RFC 9112 6.1 and 6.3: it has none).
    let announces_body = response.content_length.is_some_and(|length| length > 0)
        || count(Name::TransferEncoding) > 0;
    response.minor == 1
        && !announces_body
        && has(Name::Upgrade, b"websocket")
        && has(Name::Connection, b"upgrade")
        && count(Name::SecWebSocketAccept) == 1
        && count(Name::SecWebSocketProtocol) <= 1
        && response
            .fields
            .iter()
            .any(|field| field.kind == Name::SecWebSocketAccept && field.value == accept)
}

fn parse<'s, 'b>(
    head: &'b [u8],
    scratch: &'s mut Scratch<'b>,
    to_head_request: bool,
    switch_asked: bool,
) -> Result<Response<'s, 'b>, Fault> {
    // A server sends no empty lines ahead: such bytes belong to no answer.
    if matches!(head.first(), Some(b'\r' | b'\n')) {
        return Err(Fault::LeadingLines);
    }
    let lines = scratch.read_response(head)?;
    match lines.status {
        101 if !switch_asked => return Err(Fault::UnaskedSwitch),
        100..=599 => {}
        _ => return Err(Fault::StatusCode),
    }
    let (framing, connection) = read_fields(lines.fields, lines.minor)?;
    connection.consume(lines.fields);
    let body = body(lines.status, framing, to_head_request);
    // 1xx and 204 have no body by definition; one that announces it may send it, and nobody would read it as that.
    let bodiless_announces = matches!(lines.status, 100..=199 | 204)
        && (framing.chunked || framing.length.is_some_and(|length| length > 0));
    Ok(Response {
        status: lines.status,
        reason: reason(head),
        minor: lines.minor,
        body,
        content_length: framing.length,
        keep_alive: connection.persists(lines.minor)
            && body != ResponseBody::UntilClose
            && !bodiless_announces,
        fields: lines.fields,
        head,
    })
}

fn body(status: u16, framing: Framing, to_head_request: bool) -> ResponseBody {
    match framing.length {
        _ if to_head_request || matches!(status, 100..=199 | 204 | 304) => ResponseBody::None,
        _ if framing.chunked => ResponseBody::Chunked,
        Some(length) => ResponseBody::Length(length),
        None => ResponseBody::UntilClose,
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "three names frame a response, all others do not"
)]
fn read_fields(fields: &[Field<'_>], minor: u8) -> Result<(Framing, Connection), Fault> {
    let mut framing = Framing::default();
    let mut connection = Connection::default();
    for field in fields {
        match field.kind {
            Name::ContentLength => framing.take_length(field.value)?,
            Name::TransferEncoding => framing.take_coding(field.value, minor)?,
            Name::Connection => connection.take(field.value)?,
            _ => {}
        }
    }
    Ok((framing.check()?, connection))
}

/// Behind `HTTP/1.x NNN ` up to the line's end; httparse leaves out a phrase with obs-text, which may pass. Line first: an
/// upstream that also leaves out the last space must not have its line end taken for a phrase.
fn reason(head: &[u8]) -> &[u8] {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    line.get(13..).unwrap_or_default()
}
