//! Feeds the bytes of a row to the parser as a connection would: in pieces, head first, then the body. Not the parser, not a
//! judge. Invariant: bytes behind a cut are never shown before it.

use dbpower_gateway::http1::{
    Decoder, Fault, HEAD_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX, RequestBody, ResponseBody, Scratch,
    Step, head_end, parse_request, parse_response,
};

/// One field: name, value, consumed here.
pub type FieldRead = (String, Vec<u8>, bool);

/// A message as we read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub method: String,
    pub target: String,
    pub authority: String,
    pub status: u16,
    pub reason: Vec<u8>,
    pub fields: Vec<FieldRead>,
    pub head_len: usize,
    pub body: Vec<u8>,
    pub trailers: Vec<u8>,
    pub keep_alive: bool,
    /// A whole WebSocket handshake.
    pub switches: bool,
    /// The status for a WebSocket handshake that is broken.
    pub handshake_status: Option<u16>,
    pub interim: usize,
    pub rest: Vec<u8>,
}

/// What reading came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    Whole(Message),
    HeadFault(Fault),
    BodyFault(Message, Fault),
    /// The input ended within a head.
    HeadShort,
    /// The input ended within a body.
    BodyShort(Message),
}

/// The input in pieces that end at `cuts` (ascending).
struct Pieces<'i> {
    bytes: &'i [u8],
    cuts: std::vec::IntoIter<usize>,
    /// Bytes visible so far.
    shown: usize,
}

impl Pieces<'_> {
    fn show_more(&mut self) -> bool {
        let before = self.shown;
        while self.shown == before && before < self.bytes.len() {
            self.shown = self.cuts.next().unwrap_or(self.bytes.len()).max(before);
        }
        self.shown > before
    }

    fn from(&self, at: usize) -> &[u8] {
        &self.bytes[at..self.shown]
    }

    /// The end of the head that begins at `start`.
    fn head(&mut self, start: usize, max: usize) -> Result<Option<usize>, Fault> {
        let mut scanned = 0;
        loop {
            if let Some(end) = head_end(self.from(start), &mut scanned, max)? {
                return Ok(Some(start + end));
            }
            if !self.show_more() {
                return Ok(None);
            }
        }
    }
}

/// Reads a request from the front of `bytes`.
pub fn request(bytes: &[u8], cuts: Vec<usize>) -> Read {
    let mut pieces = Pieces {
        bytes,
        cuts: cuts.into_iter(),
        shown: 0,
    };
    let end = match pieces.head(0, HEAD_BYTES_MAX) {
        Ok(Some(end)) => end,
        Ok(None) => return Read::HeadShort,
        Err(fault) => return Read::HeadFault(fault),
    };
    let mut scratch = Scratch::new();
    let (message, body) = match parse_request(&bytes[..end], &mut scratch) {
        Err(fault) => return Read::HeadFault(fault),
        Ok(request) => {
            assert_eq!(request.head.len(), end);
            let query = request
                .query
                .map(|query| format!("?{query}"))
                .unwrap_or_default();
            assert_eq!(format!("{}{query}", request.path), request.target);
            let message = Message {
                method: request.method_text.to_owned(),
                target: request.target.to_owned(),
                authority: request.authority.to_owned(),
                status: 0,
                reason: Vec::new(),
                fields: read_fields(request.fields),
                head_len: end,
                body: Vec::new(),
                trailers: Vec::new(),
                keep_alive: request.keep_alive,
                switches: request.upgrade_websocket,
                handshake_status: request.handshake_fault.map(Fault::status),
                interim: 0,
                rest: Vec::new(),
            };
            (message, request.body)
        }
    };
    match body {
        RequestBody::None => by_length(&mut pieces, message, end, 0),
        RequestBody::Length(length) => by_length(&mut pieces, message, end, length),
        RequestBody::Chunked => by_chunks(&mut pieces, message, end),
    }
}

/// Reads a response from an upstream that closes behind `bytes`.
pub fn response(bytes: &[u8], cuts: Vec<usize>, to_head: bool) -> Read {
    let mut pieces = Pieces {
        bytes,
        cuts: cuts.into_iter(),
        shown: 0,
    };
    let mut start = 0;
    let mut interim = 0;
    loop {
        let end = match pieces.head(start, RESPONSE_HEAD_BYTES_MAX) {
            Ok(Some(end)) => end,
            Ok(None) => return Read::HeadShort,
            Err(fault) => return Read::HeadFault(fault),
        };
        let mut scratch = Scratch::new();
        let response = match parse_response(&bytes[start..end], &mut scratch, to_head) {
            Ok(response) => response,
            Err(fault) => return Read::HeadFault(fault),
        };
        if response.status < 200 {
            interim += 1;
            start = end;
            continue;
        }
        let message = Message {
            method: String::new(),
            target: String::new(),
            authority: String::new(),
            status: response.status,
            reason: response.reason.to_vec(),
            fields: read_fields(response.fields),
            head_len: response.head.len(),
            body: Vec::new(),
            trailers: Vec::new(),
            keep_alive: response.keep_alive,
            switches: false,
            handshake_status: None,
            interim,
            rest: Vec::new(),
        };
        return match response.body {
            ResponseBody::None => by_length(&mut pieces, message, end, 0),
            ResponseBody::Length(length) => by_length(&mut pieces, message, end, length),
            ResponseBody::Chunked => by_chunks(&mut pieces, message, end),
            ResponseBody::UntilClose => Read::Whole(Message {
                body: bytes[end..].to_vec(),
                ..message
            }),
        };
    }
}

fn read_fields(fields: &[dbpower_gateway::http1::Field<'_>]) -> Vec<FieldRead> {
    let read = |field: &dbpower_gateway::http1::Field<'_>| {
        let name = String::from_utf8(field.name.to_vec()).expect("a token is ASCII");
        (name, field.value.to_vec(), field.hop)
    };
    fields.iter().map(read).collect()
}

fn by_length(pieces: &mut Pieces<'_>, mut message: Message, start: usize, length: u64) -> Read {
    let end = usize::try_from(length)
        .ok()
        .and_then(|length| start.checked_add(length));
    while end.is_none_or(|end| pieces.shown < end) {
        if !pieces.show_more() {
            message.body = pieces.from(start).to_vec();
            return Read::BodyShort(message);
        }
    }
    let end = end.unwrap_or(start);
    message.body = pieces.bytes[start..end].to_vec();
    message.rest = pieces.bytes[end..].to_vec();
    Read::Whole(message)
}

fn by_chunks(pieces: &mut Pieces<'_>, mut message: Message, start: usize) -> Read {
    let mut decoder = Decoder::new();
    let mut at = start;
    loop {
        let input = pieces.from(at);
        match decoder.step(input) {
            Err(fault) => {
                assert_eq!(decoder.step(b"0\r\n\r\n"), Err(fault), "a fault is final");
                return Read::BodyFault(message, fault);
            }
            Ok(Step::Done { consumed }) => {
                message.rest = pieces.bytes[at + consumed..].to_vec();
                message.trailers = decoder.trailers().to_vec();
                assert_eq!(decoder.step(b"0\r\n\r\n"), Ok(Step::Done { consumed: 0 }));
                return Read::Whole(message);
            }
            Ok(Step::Data { start, end }) => {
                assert!(start < end, "no empty data");
                message.body.extend_from_slice(&input[start..end]);
                at += end;
            }
            Ok(Step::NeedMore { consumed }) => {
                assert_eq!(consumed, input.len());
                at += consumed;
                if !pieces.show_more() {
                    return Read::BodyShort(message);
                }
            }
        }
    }
}
