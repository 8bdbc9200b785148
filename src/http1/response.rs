//! An upstream's response head as a value. Not its body. Invariant: a response whose end could be read in two ways is a
//! `Fault`, because its rest would be given to the next client as an answer.

use super::fault::Fault;
use super::field::{Field, Name};
use super::framing::{Framing, ResponseBody};
use super::hop::Connection;
use super::scratch::Scratch;

/// One response's head.
#[derive(Debug, Clone, Copy)]
pub struct Response<'s, 'b> {
    /// 100–599, never 101.
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
    /// Bytes of the head.
    pub head_len: usize,
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
    // A server sends no empty lines ahead: such bytes belong to no answer.
    if matches!(head.first(), Some(b'\r' | b'\n')) {
        return Err(Fault::LeadingLines);
    }
    let lines = scratch.read_response(head)?;
    match lines.status {
        101 => return Err(Fault::UnaskedSwitch),
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
        head_len: head.len(),
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
