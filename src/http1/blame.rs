//! Says what is wrong with a head that was refused. Not on the way of a good message. Invariant: bad line ends and control
//! characters come first, so that the verdict is the same whether a head arrives whole or byte by byte.

use super::fault::Fault;
use super::field::is_token_byte;

/// Bare CR, bare LF or a control character. A CR as the last byte is not judged: what follows it is not there yet.
#[must_use]
pub(super) fn line_fault(text: &[u8]) -> Option<Fault> {
    let mut after_cr = false;
    for &byte in text {
        match (after_cr, byte) {
            (true, b'\n') => after_cr = false,
            (true, _) => return Some(Fault::BareCr),
            (false, b'\n') => return Some(Fault::BareLf),
            (false, b'\r') => after_cr = true,
            (false, b'\t' | b' '..=b'~' | 0x80..) => {}
            (false, _) => return Some(Fault::Control),
        }
    }
    None
}

/// The fault of a complete request head (without a leading empty line) that did not parse.
#[must_use]
pub(super) fn request(text: &[u8]) -> Fault {
    line_fault(text)
        .or_else(|| request_line_fault(first_line(text)))
        .or_else(|| fields_fault(text))
        .unwrap_or(Fault::RequestLine)
}

/// The fault of a complete response head that did not parse.
#[must_use]
pub(super) fn response(text: &[u8]) -> Fault {
    line_fault(text)
        .or_else(|| status_line_fault(first_line(text)))
        .or_else(|| fields_fault(text))
        .unwrap_or(Fault::StatusLine)
}

fn first_line(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == b'\r').next().unwrap_or_default()
}

fn request_line_fault(line: &[u8]) -> Option<Fault> {
    let mut parts = line.split(|&byte| byte == b' ');
    let method = parts.next().unwrap_or_default();
    let (Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next()) else {
        return Some(Fault::RequestLine);
    };
    if method.is_empty() || !method.iter().copied().all(is_token_byte) {
        return Some(Fault::Method);
    }
    if target.is_empty() {
        return Some(Fault::RequestLine);
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return Some(Fault::TargetBytes);
    }
    version_fault(version)
}

/// `HTTP/` and two digits with a dot is a version, if not one we speak; all else is noise.
fn version_fault(version: &[u8]) -> Option<Fault> {
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => None,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Some(Fault::VersionUnsupported)
        }
        _ => Some(Fault::Version),
    }
}

fn status_line_fault(line: &[u8]) -> Option<Fault> {
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    let version = parts.next().unwrap_or_default();
    let status = parts.next().unwrap_or_default();
    let well = status.len() == 3 && status.iter().all(u8::is_ascii_digit);
    version_fault(version).or_else(|| (!well).then_some(Fault::StatusLine))
}

/// The first wrong field line. Values need no look: `line_fault` has excluded all that they may not hold.
fn fields_fault(text: &[u8]) -> Option<Fault> {
    let mut lines = text.split(|&byte| byte == b'\n').skip(1);
    lines.find_map(|line| field_line_fault(line.strip_suffix(b"\r").unwrap_or(line)))
}

/// What is wrong with one field line (without its CRLF), if it is its shape.
#[must_use]
pub(super) fn field_line_fault(line: &[u8]) -> Option<Fault> {
    let first = line.first()?;
    if matches!(first, b' ' | b'\t') {
        return Some(Fault::FieldFolded);
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return Some(Fault::FieldColon);
    };
    let name = line.get(..colon).unwrap_or_default();
    match name {
        [] => Some(Fault::FieldNameEmpty),
        [.., b' ' | b'\t'] => Some(Fault::FieldNameSpace),
        _ if !name.iter().copied().all(is_token_byte) => Some(Fault::FieldName),
        _ => None,
    }
}
