//! The gateway's reading, fed as a connection feeds it, and kept as values that can be compared. Not a reader of its own.
//! Invariant: bytes behind a cut are never shown before it.

use std::panic::Location;

use dbpower_gateway::http1::{
    Decoder, Fault, Field, HEAD_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX, RequestBody, ResponseBody,
    Scratch, Step, head_end, parse_request, parse_response,
};

use crate::strict::{self, Body};
use crate::{Read, chunks, peer, pieces};

/// One field: name, value, consumed.
type FieldRead = (Vec<u8>, Vec<u8>, bool);

/// All that a head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub authority: Vec<u8>,
    pub status: u16,
    pub reason: Vec<u8>,
    pub minor: u8,
    pub fields: Vec<FieldRead>,
    pub body: Body,
    pub keep_alive: bool,
    pub expect_continue: bool,
    pub len: usize,
}

/// What reading came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Short,
    Fault(Fault),
    Head(Head),
}

impl Verdict {
    /// A fault's kind may differ by what was seen first; its status and all the rest may not.
    #[track_caller]
    fn assert_same(&self, other: &Self, bytes: &[u8]) {
        let same = match (self, other) {
            (Self::Fault(one), Self::Fault(other)) => one.status() == other.status(),
            (one, other) => one == other,
        };
        if !same {
            differ(bytes, &format!("whole {self:?}\nsplit {other:?}"));
        }
    }
}

/// Ends the run with the input in readable form.
#[track_caller]
pub fn differ(bytes: &[u8], why: &str) -> ! {
    panic!(
        "{}\n{why}\ninput: {}",
        Location::caller(),
        bytes.escape_ascii()
    );
}

/// Which kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response { to_head: bool },
}

/// Reads a head whose bytes come in pieces that end at `cuts`.
pub fn read(bytes: &[u8], cuts: &[usize], kind: Kind) -> Verdict {
    let max = match kind {
        Kind::Request => HEAD_BYTES_MAX,
        Kind::Response { .. } => RESPONSE_HEAD_BYTES_MAX,
    };
    let mut scanned = 0;
    for shown in cuts {
        match head_end(&bytes[..*shown], &mut scanned, max) {
            Ok(Some(end)) => return parse(&bytes[..end], kind),
            Ok(None) => {}
            Err(fault) => return Verdict::Fault(fault),
        }
    }
    Verdict::Short
}

fn parse(head: &[u8], kind: Kind) -> Verdict {
    let mut scratch = Scratch::new();
    let read = match kind {
        Kind::Request => request(head, &mut scratch),
        Kind::Response { to_head } => response(head, &mut scratch, to_head),
    };
    match read {
        Ok(head) => Verdict::Head(head),
        Err(fault) => Verdict::Fault(fault),
    }
}

fn request<'b>(head: &'b [u8], scratch: &mut Scratch<'b>) -> Result<Head, Fault> {
    let request = parse_request(head, scratch)?;
    let query = request.query.map(|query| format!("?{query}"));
    assert_eq!(
        request.target,
        format!("{}{}", request.path, query.unwrap_or_default())
    );
    if request.upgrade_websocket {
        assert!(request.minor == 1);
        assert!(matches!(request.body, RequestBody::None | RequestBody::Length(0)));
    }
    Ok(Head {
        method: request.method_text.into(),
        target: request.target.into(),
        authority: request.authority.into(),
        status: 0,
        reason: Vec::new(),
        minor: request.minor,
        fields: fields(request.fields),
        body: match request.body {
            RequestBody::None => Body::None,
            RequestBody::Length(length) => Body::Length(length),
            RequestBody::Chunked => Body::Chunked,
        },
        keep_alive: request.keep_alive,
        expect_continue: request.expect_continue,
        len: request.head.len(),
    })
}

fn response<'b>(head: &'b [u8], scratch: &mut Scratch<'b>, to_head: bool) -> Result<Head, Fault> {
    let response = parse_response(head, scratch, to_head)?;
    assert!((100..=599).contains(&response.status) && response.status != 101);
    Ok(Head {
        method: Vec::new(),
        target: Vec::new(),
        authority: Vec::new(),
        status: response.status,
        reason: response.reason.into(),
        minor: response.minor,
        fields: fields(response.fields),
        body: match response.body {
            ResponseBody::None => Body::None,
            ResponseBody::Length(length) => Body::Length(length),
            ResponseBody::Chunked => Body::Chunked,
            ResponseBody::UntilClose => Body::UntilClose,
        },
        keep_alive: response.keep_alive,
        expect_continue: false,
        len: response.head.len(),
    })
}

fn fields(fields: &[Field<'_>]) -> Vec<FieldRead> {
    let read = |field: &Field<'_>| (field.name.to_vec(), field.value.to_vec(), field.hop);
    fields.iter().map(read).collect()
}

/// Everything that must hold of one request's head.
pub fn check_request(bytes: &[u8]) {
    let whole = read(bytes, &[bytes.len()], Kind::Request);
    for cuts in pieces::splits(bytes) {
        whole.assert_same(&read(bytes, &cuts, Kind::Request), bytes);
    }
    match (&whole, strict::request(bytes)) {
        (Verdict::Head(ours), Read::Whole(theirs)) => {
            let expects = theirs.minor == 1
                && theirs.body != Body::None
                && strict::named(&theirs.fields, "expect")
                    .any(|value| value.eq_ignore_ascii_case(b"100-continue"));
            let theirs = Head {
                method: theirs.method.into(),
                target: theirs.target,
                authority: theirs.authority.into(),
                status: 0,
                reason: Vec::new(),
                minor: theirs.minor,
                fields: hops(&theirs.fields, theirs.minor),
                body: theirs.body,
                keep_alive: strict::persists(&theirs.fields, theirs.minor),
                expect_continue: expects,
                len: theirs.len,
            };
            same_head(bytes, ours, &theirs);
            if peer::request(bytes, ours) == Some(false) {
                differ(bytes, &format!("monoio-http reads it otherwise: {ours:?}"));
            }
        }
        (Verdict::Head(ours), theirs) => {
            differ(bytes, &format!("accepted: {ours:?}\nstrict: {theirs:?}"));
        }
        (Verdict::Short, Read::Whole(theirs)) => {
            differ(bytes, &format!("not seen whole: {theirs:?}"));
        }
        (Verdict::Fault(fault), Read::Whole(theirs)) if !is_policy(*fault) => {
            differ(bytes, &format!("refused: {fault:?}\nstrict: {theirs:?}"));
        }
        (Verdict::Short | Verdict::Fault(_), _) => {}
    }
}

/// Everything that must hold of one response's head.
pub fn check_response(bytes: &[u8], to_head: bool) {
    let kind = Kind::Response { to_head };
    let whole = read(bytes, &[bytes.len()], kind);
    for cuts in pieces::splits(bytes) {
        whole.assert_same(&read(bytes, &cuts, kind), bytes);
    }
    match (&whole, strict::response(bytes, to_head)) {
        (Verdict::Head(ours), Read::Whole(theirs)) => {
            let silent = matches!(theirs.status, 100..=199 | 204);
            let announces = strict::named(&theirs.fields, "transfer-encoding").count() > 0
                || strict::named(&theirs.fields, "content-length")
                    .any(|value| value.iter().any(|digit| *digit != b'0'));
            let again = strict::persists(&theirs.fields, theirs.minor)
                && theirs.body != Body::UntilClose
                && !(silent && announces);
            let theirs = Head {
                method: Vec::new(),
                target: Vec::new(),
                authority: Vec::new(),
                status: theirs.status,
                reason: theirs.reason.into(),
                minor: theirs.minor,
                fields: hops(&theirs.fields, 1),
                body: theirs.body,
                keep_alive: again,
                expect_continue: false,
                len: theirs.len,
            };
            same_head(bytes, ours, &theirs);
            if peer::response(bytes, ours) == Some(false) {
                differ(bytes, &format!("monoio-http reads it otherwise: {ours:?}"));
            }
        }
        (Verdict::Head(ours), theirs) => {
            differ(bytes, &format!("accepted: {ours:?}\nstrict: {theirs:?}"));
        }
        (Verdict::Short, Read::Whole(theirs)) => {
            differ(bytes, &format!("not seen whole: {theirs:?}"));
        }
        (Verdict::Fault(fault), Read::Whole(theirs)) if !is_policy(*fault) => {
            differ(bytes, &format!("refused: {fault:?}\nstrict: {theirs:?}"));
        }
        (Verdict::Short | Verdict::Fault(_), _) => {}
    }
}

fn same_head(bytes: &[u8], ours: &Head, strict: &Head) {
    if ours != strict {
        differ(bytes, &format!("ours   {ours:?}\nstrict {strict:?}"));
    }
}

/// A 1.0 client cannot wait for a 100, so its expectation goes no further (RFC 9110 10.1.1).
fn hops(fields: &[strict::Line<'_>], minor: u8) -> Vec<FieldRead> {
    let read = |(name, value): &strict::Line<'_>| {
        let hop =
            strict::is_hop(fields, name) || (minor == 0 && name.eq_ignore_ascii_case(b"expect"));
        (name.to_vec(), value.to_vec(), hop)
    };
    fields.iter().map(read).collect()
}

/// Refusals of what the grammar allows: bounds, methods and forms that are not served, hosts that are no names. All other faults
/// say that a message is malformed, and then the strict reader must say so, too.
fn is_policy(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::HeadTooLong
            | Fault::TooManyFields
            | Fault::TargetTooLong
            | Fault::TargetPathless
            | Fault::HostInvalid
            | Fault::LengthTooLarge
            | Fault::Connect
            | Fault::Trace
            | Fault::Expectation
            | Fault::ConnectionNames
            | Fault::ConnectionOptions
            | Fault::StatusCode
            | Fault::UnaskedSwitch
    )
}

/// What the decoder made of a chunked body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchunked {
    pub data: Vec<u8>,
    pub trailers: Vec<u8>,
    pub end: Result<Option<usize>, Fault>,
    /// Lengths of the pieces of data.
    pub runs: Vec<usize>,
}

/// Decodes a body whose bytes come in pieces that end at `cuts`.
pub fn unchunk(bytes: &[u8], cuts: &[usize]) -> Unchunked {
    let mut decoder = Decoder::new();
    let mut read = Unchunked {
        data: Vec::new(),
        trailers: Vec::new(),
        end: Ok(None),
        runs: Vec::new(),
    };
    let mut at = 0;
    for shown in cuts {
        loop {
            let input = &bytes[at..*shown];
            assert!(decoder.trailers().is_empty(), "trailers ahead of the end");
            match decoder.step(input) {
                Ok(Step::NeedMore { consumed }) => {
                    assert_eq!(consumed, input.len());
                    at += consumed;
                    break;
                }
                Ok(Step::Data { start, end }) => {
                    assert!(start < end, "no empty data");
                    read.data.extend_from_slice(&input[start..end]);
                    read.runs.push(end - start);
                    at += end;
                }
                Ok(Step::Done { consumed }) => {
                    read.end = Ok(Some(at + consumed));
                    read.trailers = decoder.trailers().to_vec();
                    assert_eq!(decoder.step(b"1\r\n"), Ok(Step::Done { consumed: 0 }));
                    return read;
                }
                Err(fault) => {
                    assert_eq!(decoder.step(b"0\r\n\r\n"), Err(fault), "a fault is final");
                    assert!(decoder.trailers().is_empty(), "trailers of a broken body");
                    read.end = Err(fault);
                    return read;
                }
            }
        }
    }
    read
}

/// Everything that must hold of one chunked body.
pub fn check_chunked(bytes: &[u8]) {
    let whole = unchunk(bytes, &[bytes.len()]);
    assert!(whole.data.len() <= bytes.len());
    for cuts in pieces::splits(bytes) {
        let split = unchunk(bytes, &cuts);
        let same = (&whole.data, &whole.trailers, &whole.end)
            == (&split.data, &split.trailers, &split.end);
        if !same {
            differ(bytes, &format!("whole {whole:?}\nsplit {split:?}"));
        }
    }
    match (&whole.end, chunks::chunked(bytes)) {
        (Ok(Some(len)), Read::Whole(theirs)) => {
            if *len != theirs.len || whole.data != theirs.data {
                differ(bytes, &format!("ours {whole:?}\nstrict {theirs:?}"));
            }
            check_trailers(bytes, &whole.trailers, &theirs.trailers);
            rewritten(bytes, &whole);
            if peer::chunked(bytes, &whole.data) == Some(false) {
                differ(bytes, &format!("monoio-http reads it otherwise: {whole:?}"));
            }
        }
        (Ok(None), Read::Incomplete) | (Err(_), Read::Wrong) => {}
        (
            Err(Fault::ChunkTooLarge | Fault::ChunkExtensionTooLong | Fault::TrailersTooLong),
            Read::Whole(_) | Read::Incomplete,
        ) => {}
        (_, theirs) => differ(bytes, &format!("ours {whole:?}\nstrict {theirs:?}")),
    }
}

/// Those kept are lines that came, whole and in order, none of them forbidden; those dropped name something that we act on.
fn check_trailers(bytes: &[u8], kept: &[u8], came: &[Vec<u8>]) {
    let mut came = came.iter();
    assert!(kept.is_empty() || kept.ends_with(b"\r\n"));
    for line in kept.split(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\r") else {
            continue;
        };
        if chunks::is_forbidden_trailer(line) {
            differ(bytes, &format!("kept: {}", line.escape_ascii()));
        }
        if !came.any(|other| other == line) {
            differ(bytes, &format!("never came: {}", line.escape_ascii()));
        }
    }
}

/// Written anew as the relay writes it, the body reads the same.
fn rewritten(bytes: &[u8], whole: &Unchunked) {
    use dbpower_gateway::http1::chunked::{write_chunk_head, write_last};
    let mut out = Vec::new();
    let mut rest = &whole.data[..];
    for run in &whole.runs {
        let (piece, behind) = rest.split_at(*run);
        write_chunk_head(&mut out, piece.len());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
        rest = behind;
    }
    write_last(&mut out, &whole.trailers);
    match chunks::chunked(&out) {
        Read::Whole(again) if again.len == out.len() && again.data == whole.data => {}
        again => differ(bytes, &format!("written anew it reads {again:?}")),
    }
}
