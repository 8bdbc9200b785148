//! Heads read straight from the grammar of RFC 9112 and 9110, byte by byte. Not fast, and on no other parser. Invariant: it
//! takes what the grammar takes and nothing more; the two places where it is kinder say why.

use crate::Read;

/// Name and value, as they came.
pub type Line<'b> = (&'b [u8], &'b [u8]);

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'b> {
    pub method: &'b [u8],
    /// Reduced to origin-form, or `*`.
    pub target: Vec<u8>,
    /// `Host`, or that of an absolute target.
    pub authority: &'b [u8],
    pub minor: u8,
    pub fields: Vec<Line<'b>>,
    pub body: Body,
    pub len: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'b> {
    pub status: u16,
    pub reason: &'b [u8],
    pub minor: u8,
    pub fields: Vec<Line<'b>>,
    pub body: Body,
    pub len: usize,
}

/// HTTP-message = start-line CRLF *( field-line CRLF ) CRLF, with one empty line ahead (RFC 9112 2.2).
pub fn request(bytes: &[u8]) -> Read<Request<'_>> {
    let lead = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let (start, fields, len) = match lines(bytes, lead) {
        Read::Whole(lines) => lines,
        Read::Incomplete => return Read::Incomplete,
        Read::Wrong => return Read::Wrong,
    };
    match request_of(start, fields, len) {
        Some(request) => Read::Whole(request),
        None => Read::Wrong,
    }
}

/// The same of a response; nothing may stand ahead of it.
pub fn response(bytes: &[u8], to_head: bool) -> Read<Response<'_>> {
    let (start, fields, len) = match lines(bytes, 0) {
        Read::Whole(lines) => lines,
        Read::Incomplete => return Read::Incomplete,
        Read::Wrong => return Read::Wrong,
    };
    match response_of(start, fields, len, to_head) {
        Some(response) => Read::Whole(response),
        None => Read::Wrong,
    }
}

type Lines<'b> = (&'b [u8], Vec<Line<'b>>, usize);

fn lines(bytes: &[u8], start: usize) -> Read<Lines<'_>> {
    let mut at = start;
    let mut first = None;
    let mut fields = Vec::new();
    loop {
        let line = match line(&bytes[at..]) {
            Read::Whole(line) => line,
            Read::Incomplete => return Read::Incomplete,
            Read::Wrong => return Read::Wrong,
        };
        at += line.len() + 2;
        match first {
            None if line.is_empty() => return Read::Wrong,
            None => first = Some(line),
            Some(first) if line.is_empty() => return Read::Whole((first, fields, at)),
            Some(_) => match field(line) {
                Some(field) => fields.push(field),
                None => return Read::Wrong,
            },
        }
    }
}

/// Up to CRLF; a CR or LF alone and every control but HTAB is wrong wherever it stands (RFC 9112 2.2, 9110 5.5).
pub fn line(bytes: &[u8]) -> Read<&[u8]> {
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' => {
                return match bytes.get(at + 1) {
                    None => Read::Incomplete,
                    Some(b'\n') => Read::Whole(&bytes[..at]),
                    Some(_) => Read::Wrong,
                };
            }
            0x00..=0x08 | 0x0a..=0x1f | 0x7f => return Read::Wrong,
            _ => {}
        }
    }
    Read::Incomplete
}

/// field-line = field-name ":" OWS field-value OWS; no white space ahead of the colon, no obs-fold (RFC 9112 5).
pub fn field(line: &[u8]) -> Option<Line<'_>> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    is_token(name).then(|| (name, ows_trimmed(value)))
}

fn request_of<'b>(start: &'b [u8], fields: Vec<Line<'b>>, len: usize) -> Option<Request<'b>> {
    let words: Vec<&[u8]> = start.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else {
        return None;
    };
    if !is_token(method) {
        return None;
    }
    let minor = minor(version)?;
    let hosts: Vec<&[u8]> = named(&fields, "host").collect();
    if hosts.len() > 1 || (minor == 1 && hosts.is_empty()) {
        return None;
    }
    if named(&fields, "origin").count() > 1 {
        return None;
    }
    for host in &hosts {
        is_authority(host).then_some(())?;
    }
    let host = hosts.first().copied().unwrap_or_default();
    let (target, authority) = target_of(method, target, host)?;
    let body = match framing(&fields, minor)? {
        // A request without either has no body (RFC 9112 6.3, rule 7).
        Body::UntilClose => Body::None,
        body => body,
    };
    Some(Request {
        method,
        target,
        authority,
        minor,
        fields,
        body,
        len,
    })
}

fn response_of<'b>(
    start: &'b [u8],
    fields: Vec<Line<'b>>,
    len: usize,
    to_head: bool,
) -> Option<Response<'b>> {
    let minor = minor(start.get(..8)?)?;
    let (rest, status) = match start.get(8..)? {
        [b' ', a, b, c, rest @ ..] => (rest, [*a, *b, *c]),
        _ => return None,
    };
    let reason = match rest {
        // The space is demanded (RFC 9112 4), but some servers leave it out with the phrase, and nothing else can be meant.
        [] => rest,
        [b' ', phrase @ ..] => phrase,
        _ => return None,
    };
    if !status.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = status
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let framing = framing(&fields, minor)?;
    let body = match status {
        _ if to_head => Body::None,
        100..=199 | 204 | 304 => Body::None,
        _ => framing,
    };
    Some(Response {
        status,
        reason,
        minor,
        fields,
        body,
        len,
    })
}

/// HTTP-version, of the two that are spoken.
fn minor(version: &[u8]) -> Option<u8> {
    match version {
        b"HTTP/1.0" => Some(0),
        b"HTTP/1.1" => Some(1),
        _ => None,
    }
}

/// The four forms without authority-form, which is CONNECT's alone. Path and query are taken with all visible ASCII but `#`:
/// browsers send `{}|"<>\^` and the backquote, which RFC 3986 wants encoded, and no two readers split a target at them.
fn target_of<'b>(method: &[u8], target: &'b [u8], host: &'b [u8]) -> Option<(Vec<u8>, &'b [u8])> {
    if target.is_empty()
        || !target
            .iter()
            .all(|byte| (0x21..=0x7e).contains(byte) && *byte != b'#')
    {
        return None;
    }
    if target[0] == b'/' {
        return Some((target.to_vec(), host));
    }
    if target == b"*" {
        return (method == b"OPTIONS").then(|| (target.to_vec(), host));
    }
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme.as_bytes())
            .then(|| &target[scheme.len()..])
    })?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_authority(authority) {
        return None;
    }
    let text = match path.first() {
        Some(b'/') => path.to_vec(),
        Some(_) => [b"/", path].concat(),
        None if method == b"OPTIONS" => b"*".to_vec(),
        None => b"/".to_vec(),
    };
    Some((text, authority))
}

/// host [ ":" port ] of RFC 3986 3.2.2, without userinfo, and not empty (RFC 9110 4.2.1).
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let inside = rest[..end]
                .iter()
                .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
            if end == 0 || !inside {
                return false;
            }
            (&rest[..end], &rest[end + 1..])
        }
        _ => {
            let end = text
                .iter()
                .position(|byte| *byte == b':')
                .unwrap_or(text.len());
            let name = &text[..end];
            let is_good =
                |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
            if !name.iter().all(is_good) {
                return false;
            }
            (name, &text[end..])
        }
    };
    !host.is_empty()
        && match port {
            [] => true,
            [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
            _ => false,
        }
}

/// RFC 9112 6.3, with everything that it lets a server refuse refused. `UntilClose` stands for neither field.
fn framing(fields: &[Line<'_>], minor: u8) -> Option<Body> {
    let lengths: Vec<&[u8]> = named(fields, "content-length").collect();
    let codings: Vec<&[u8]> = named(fields, "transfer-encoding").collect();
    match (&lengths[..], &codings[..]) {
        ([], []) => Some(Body::UntilClose),
        ([], [coding]) if minor == 1 && coding.eq_ignore_ascii_case(b"chunked") => {
            Some(Body::Chunked)
        }
        ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            let text = std::str::from_utf8(length).ok()?;
            // Beyond 64 bits it is nobody's length; both readers refuse it, each in its own way.
            text.parse().ok().map(Body::Length)
        }
        _ => None,
    }
}

/// Whether the connection goes on (RFC 9112 9.3).
pub fn persists(fields: &[Line<'_>], minor: u8) -> bool {
    let says =
        |word: &str| options(fields).any(|option| option.eq_ignore_ascii_case(word.as_bytes()));
    !says("close") && (minor == 1 || says("keep-alive"))
}

/// A whole WebSocket handshake (RFC 6455 4.1, 11.3): anything less leaves `Upgrade` without meaning.
pub fn asks_websocket(request: &Request<'_>) -> bool {
    let says = |name, word: &str| {
        named(&request.fields, name)
            .flat_map(list)
            .any(|member| member.eq_ignore_ascii_case(word.as_bytes()))
    };
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let keys: Vec<&[u8]> = named(&request.fields, "sec-websocket-key").collect();
    let versions: Vec<&[u8]> = named(&request.fields, "sec-websocket-version").collect();
    let key_is_good = matches!(keys.as_slice(), [[digits @ .., b'=', b'=']]
        if digits.len() == 22 && digits.iter().all(is_digit));
    request.method == b"GET"
        && request.minor == 1
        && matches!(request.body, Body::None | Body::Length(0))
        && says("connection", "upgrade")
        && says("upgrade", "websocket")
        && key_is_good
        && versions == [b"13"]
}

/// Whether this field is for one connection only: by its definition, or because `Connection` names it (RFC 9110 7.6.1).
pub fn is_hop(fields: &[Line<'_>], name: &[u8]) -> bool {
    const HOP: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    HOP.iter()
        .any(|hop| name.eq_ignore_ascii_case(hop.as_bytes()))
        || options(fields).any(|option| name.eq_ignore_ascii_case(option))
}

/// The elements of all `Connection` fields.
pub fn options<'f>(fields: &'f [Line<'_>]) -> impl Iterator<Item = &'f [u8]> {
    named(fields, "connection").flat_map(list)
}

/// #element of RFC 9110 5.6.1.2.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(ows_trimmed)
        .filter(|element| !element.is_empty())
}

/// The values of a field.
pub fn named<'f, 'b>(fields: &'f [Line<'b>], name: &'f str) -> impl Iterator<Item = &'b [u8]> {
    fields
        .iter()
        .filter(move |field| field.0.eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| field.1)
}

/// token = 1*tchar (RFC 9110 5.6.2), as the RFC lists them.
pub fn is_token(text: &[u8]) -> bool {
    let is_tchar = |byte: &u8| {
        matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') || b"!#$%&'*+-.^_`|~".contains(byte)
    };
    !text.is_empty() && text.iter().all(is_tchar)
}

fn ows_trimmed(text: &[u8]) -> &[u8] {
    let is_ows = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(start) = text.iter().position(|byte| !is_ows(byte)) else {
        return &[];
    };
    let end = text.iter().rposition(|byte| !is_ows(byte)).unwrap_or(start);
    &text[start..=end]
}
