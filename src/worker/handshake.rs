//! A WebSocket handshake on its way: what of it goes to the service, where a browser's token stands in it, and the 101 for the
//! client. Not its parsing (`http1`) and not what follows the 101 (`tunnel`). Invariant: a token that came as a subprotocol is
//! seen by nobody behind the gateway.

use std::net::SocketAddr;

use super::answer::Facts;
use super::heads;
use super::references::{self, References};
use super::shard::Shard;
use crate::http1::websocket::KEY_BYTES;
use crate::http1::{Name, Request, Response, write};
use crate::identity::{self, subprotocol};
use crate::net::Stream;

/// What is remembered of a handshake until its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handshake {
    /// What `Sec-WebSocket-Accept` must answer.
    pub(super) key: [u8; KEY_BYTES],
    /// The client offered `bearer`, which its service never heard of: the answer to that is ours.
    bearer: bool,
}

impl Handshake {
    /// `None` for every other request.
    pub(super) fn of(request: &Request<'_, '_>) -> Option<Self> {
        let key = request.value(Name::SecWebSocketKey)?;
        let key = key.try_into().ok().filter(|_| request.upgrade_websocket)?;
        let bearer = carries_token(request);
        Some(Self { key, bearer })
    }
}

/// The values of `Sec-WebSocket-Protocol`, line by line.
fn protocols<'b>(request: &Request<'_, 'b>) -> impl Iterator<Item = &'b [u8]> {
    request
        .fields
        .iter()
        .filter(|field| field.kind == Name::SecWebSocketProtocol)
        .map(|field| field.value)
}

/// Whether the subprotocols are where the token is looked for. Never beside `Authorization`: two credentials are one too many.
pub(super) fn carries_token(request: &Request<'_, '_>) -> bool {
    request.upgrade_websocket
        && request.value(Name::Authorization).is_none()
        && subprotocol::find(protocols(request)) != Err(identity::Refusal::MissingHeader)
}

/// The token of a browser's handshake; where there is none, what a request without `Authorization` is told.
pub(super) fn token<'b>(request: &Request<'_, 'b>) -> Result<&'b [u8], identity::Refusal> {
    if !request.upgrade_websocket {
        return Err(identity::Refusal::MissingHeader);
    }
    subprotocol::find(protocols(request))
}

/// The fields that ask the service to switch. They are hop-by-hop, so that ours are new ones.
pub(super) fn write_asked(request: &Request<'_, '_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    if !carries_token(request) {
        return;
    }
    let mut separator: &[u8] = b"Sec-WebSocket-Protocol: ";
    for offer in subprotocol::others(protocols(request)) {
        out.extend_from_slice(separator);
        out.extend_from_slice(offer);
        separator = b", ";
    }
    if separator == b", " {
        out.extend_from_slice(b"\r\n");
    }
}

/// The 101 as the client gets it: the service's, with the fields that every answer of ours carries.
pub(super) fn write_switch<S: Stream>(
    response: &Response<'_, '_>,
    handshake: Handshake,
    (facts, from): (&Facts, SocketAddr),
    shard: &Shard<S>,
    out: &mut Vec<u8>,
) {
    write::status_line(out, response.status, response.reason);
    let references = References::default();
    write::copy_fields(out, response.head, response.fields, |field| {
        !field.hop && heads::relays(field.kind) && !references.take(field.kind)
    });
    if references.found() {
        references::write(response, (facts, from), shard, out);
    }
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    let chosen = |name: Name| response.fields.iter().any(|field| field.kind == name);
    // A browser that offered subprotocols fails where none is chosen.
    if handshake.bearer && !chosen(Name::SecWebSocketProtocol) {
        write::field(out, "Sec-WebSocket-Protocol", subprotocol::BEARER);
    }
    if !chosen(Name::Date) {
        shard.write_date(out);
    }
    facts.write_own(S::now_ns(), out);
    out.extend_from_slice(b"\r\n");
}
