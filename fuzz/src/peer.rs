//! monoio-http's decoders as a second opinion. Not an authority: it may refuse what we take. Invariant: it is asked only about
//! inputs whose field names are far below the 64 KiB at which it panics.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};
use monoio_codec::{Decoded, Decoder};
use monoio_http::h1::codec::decoder::{
    ChunkedBodyDecoder, RequestHeadDecoder, ResponseHeadDecoder,
};

use crate::ours::Head;

/// Whether it reads the same request, `None` if it refuses to.
pub fn request(bytes: &[u8], ours: &Head) -> Option<bool> {
    let mut rest = BytesMut::from(bytes);
    let Ok(Decoded::Some(head)) = RequestHeadDecoder.decode(&mut rest) else {
        return None;
    };
    let target = head.uri.path_and_query().map_or("*", |path| path.as_str());
    // The `http` crate writes `/` for the empty path of an absolute target, which is `*` for OPTIONS (RFC 9112 3.2.4).
    let target_is_same = target.as_bytes() == ours.target
        || (ours.target == b"*" && target == "/" && head.uri.authority().is_some());
    let authority_is_same = head
        .uri
        .authority()
        .is_none_or(|authority| authority.as_str().as_bytes() == ours.authority);
    Some(
        head.method.as_str().as_bytes() == ours.method
            && target_is_same
            && authority_is_same
            && rest.as_ref() == &bytes[ours.len..]
            && same_fields(&head.headers, ours),
    )
}

/// Whether it reads the same response, `None` if it refuses to.
pub fn response(bytes: &[u8], ours: &Head) -> Option<bool> {
    let mut rest = BytesMut::from(bytes);
    let Ok(Decoded::Some(head)) = ResponseHeadDecoder.decode(&mut rest) else {
        return None;
    };
    Some(
        head.status.as_u16() == ours.status
            && rest.as_ref() == &bytes[ours.len..]
            && same_fields(&head.headers, ours),
    )
}

/// Whether it reads the same chunks, `None` if it refuses to: it knows neither extensions nor trailers.
pub fn chunked(bytes: &[u8], ours: &[u8]) -> Option<bool> {
    let mut rest = BytesMut::from(bytes);
    let mut decoder = ChunkedBodyDecoder::default();
    let mut data = Vec::new();
    loop {
        match decoder.decode(&mut rest) {
            Ok(Decoded::Some(Some(piece))) => data.extend_from_slice(&piece),
            Ok(Decoded::Some(None)) => return Some(data == ours),
            Ok(_) | Err(_) => return None,
        }
    }
}

/// Values by name in their order; the order between names is lost in `HeaderMap`.
fn same_fields(theirs: &HeaderMap, ours: &Head) -> bool {
    theirs.len() == ours.fields.len()
        && theirs.keys().all(|name| {
            let values = ours
                .fields
                .iter()
                .filter(|field| field.0.eq_ignore_ascii_case(name.as_str().as_bytes()));
            theirs
                .get_all(name)
                .iter()
                .map(HeaderValue::as_bytes)
                .eq(values.map(|field| field.1.as_slice()))
        })
}
