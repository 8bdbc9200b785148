//! Escaping of what peers chose. Not formatting. Invariant: what is written is printable ASCII without a line end, so no
//! peer can forge a line, a field of a line, or move an operator's cursor.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes that a text field must not hold by themselves: space and `|` end fields of the seed's lines, the backslash and the
/// quote begin and end escapes. Other text (messages) keeps them.
const fn ends_field(byte: u8) -> bool {
    matches!(byte, b' ' | b'|' | b'"' | b'\\')
}

/// Appends a field of a text line, at most `bytes_max` bytes of it, everything but printable ASCII as `\xNN`.
pub(super) fn escape_text(field: &[u8], bytes_max: usize, out: &mut Vec<u8>) {
    let shown = field.get(..bytes_max).unwrap_or(field);
    // Nearly every field is clean: find that out in one pass and copy it whole.
    if shown
        .iter()
        .all(|&byte| byte.is_ascii_graphic() && !ends_field(byte))
    {
        out.extend_from_slice(shown);
    } else {
        for &byte in shown {
            if byte.is_ascii_graphic() && !ends_field(byte) {
                out.push(byte);
            } else {
                out.extend_from_slice(&[b'\\', b'x', high(byte), low(byte)]);
            }
        }
    }
    if shown.len() < field.len() {
        out.extend_from_slice(b"...");
    }
}

/// Appends the inside of a JSON string, at most `bytes_max` bytes of it. Bytes above ASCII are written as the Latin-1
/// characters of the same number (RFC 9110 calls them opaque), so any input makes valid JSON.
pub(super) fn escape_json(field: &[u8], bytes_max: usize, out: &mut Vec<u8>) {
    let shown = field.get(..bytes_max).unwrap_or(field);
    for &byte in shown {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high(byte), low(byte)]),
        }
    }
    if shown.len() < field.len() {
        out.extend_from_slice(b"...");
    }
}

/// The same of a name, which is text: a character outside ASCII is written as itself, in units of UTF-16 (RFC 8259 7), and not as the
/// bytes that it is made of.
pub(super) fn escape_json_name(name: &str, bytes_max: usize, out: &mut Vec<u8>) {
    let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= bytes_max;
    let mut shown = 0;
    for (_, c) in name.char_indices().take_while(fits) {
        shown += c.len_utf8();
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            ' '..='~' => out.push(c as u8),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let [upper, lower] = unit.to_be_bytes();
                    out.extend_from_slice(b"\\u");
                    out.extend_from_slice(&[high(upper), low(upper), high(lower), low(lower)]);
                }
            }
        }
    }
    if shown < name.len() {
        out.extend_from_slice(b"...");
    }
}

fn high(byte: u8) -> u8 {
    HEX[usize::from(byte >> 4)]
}

fn low(byte: u8) -> u8 {
    HEX[usize::from(byte & 15)]
}
