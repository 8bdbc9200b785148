//! Reads answers as far as a generator must: the status, where the body ends, whether the connection does. A pure value: bytes in,
//! progress out. Invariant: bytes beyond an answer's end are a fault, never the start of the next one (nothing is pipelined).

use bytes::BytesMut;
use monoio_codec::{Decoded, Decoder};
use monoio_http::h1::codec::decoder::ChunkedBodyDecoder;

/// A head that is longer is not one of ours.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const FIELDS_MAX: usize = 64;

/// What a whole answer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub status: u16,
    /// The connection ends with it.
    pub closes: bool,
}

/// These bytes are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

#[derive(Default)]
enum Body {
    #[default]
    Unknown,
    Counted(usize),
    Chunked(ChunkedBodyDecoder, BytesMut),
}

/// The answer that is being read.
#[derive(Default)]
pub(crate) struct Reader {
    /// A head that came in pieces.
    partial: Vec<u8>,
    answer: Option<Answer>,
    body: Body,
}

impl Reader {
    /// Takes the next bytes; the answer, when they were its last.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
        let Some(answer) = self.answer else {
            return self.feed_head(bytes);
        };
        let done = self.feed_body(bytes)?;
        Ok(done.then_some(answer))
    }

    fn feed_head(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
        // Nearly always a head comes whole and is parsed where it lies.
        let gathered;
        let bytes = if self.partial.is_empty() {
            bytes
        } else {
            self.partial.extend_from_slice(bytes);
            gathered = std::mem::take(&mut self.partial);
            &gathered
        };
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => {
                let answer = Answer {
                    status: head.code.ok_or(Malformed)?,
                    closes: says(head.headers, "connection", "close") || head.version == Some(0),
                };
                self.answer = Some(answer);
                self.body = body(&head)?;
                let done = self.feed_body(bytes.get(length..).unwrap_or_default())?;
                Ok(done.then_some(answer))
            }
            Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => {
                self.partial = bytes.to_vec();
                Ok(None)
            }
            _ => Err(Malformed),
        }
    }

    /// Whether the body ended with these bytes.
    fn feed_body(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        match &mut self.body {
            Body::Unknown => Err(Malformed),
            Body::Counted(left) => {
                *left = left.checked_sub(bytes.len()).ok_or(Malformed)?;
                Ok(*left == 0)
            }
            Body::Chunked(decoder, unread) => {
                unread.extend_from_slice(bytes);
                loop {
                    match decoder.decode(unread) {
                        Ok(Decoded::Some(Some(_piece))) => {}
                        Ok(Decoded::Some(None)) if unread.is_empty() => return Ok(true),
                        Ok(Decoded::Some(None)) | Err(_) => return Err(Malformed),
                        Ok(_) => return Ok(false),
                    }
                }
            }
        }
    }
}

fn body(head: &httparse::Response<'_, '_>) -> Result<Body, Malformed> {
    if says(head.headers, "transfer-encoding", "chunked") {
        return Ok(Body::Chunked(
            ChunkedBodyDecoder::default(),
            BytesMut::new(),
        ));
    }
    if matches!(head.code, Some(204 | 304)) {
        return Ok(Body::Counted(0));
    }
    let length = head
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let text = length.and_then(|field| std::str::from_utf8(field.value).ok());
    let number = text.and_then(|text| text.trim().parse().ok());
    number.map(Body::Counted).ok_or(Malformed)
}

fn says(fields: &[httparse::Header<'_>], name: &str, value: &str) -> bool {
    let named = fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case(name));
    named.is_some_and(|field| field.value.eq_ignore_ascii_case(value.as_bytes()))
}
