//! Heads that the gateway writes: the request as the service gets it, the response as the client gets it. Not the parsing.
//! Invariant: what is sent is written from parsed parts, with one framing, one `Host`, and our own fields exactly once.

use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::Range;

use super::admit::Ticket;
use super::answer::Facts;
use super::handshake;
use super::references::{self, References};
use super::relay::Body;
use super::shard::Shard;
use super::source::{Source, said};
use crate::config::{Service, Snapshot};
use crate::http1::{self, Fault, Field, FieldSet, Name, Request, ResponseBody, Scratch, write};
use crate::net::{Buf, Stream};
use crate::route::Rule;
use crate::tls::Proved;

/// `X-Request-ID: `, the prefix of every own block.
const REQUEST_ID: &[u8] = b"X-Request-ID: ";

/// Keeps an inbound identifier that is safe to log and pass on, replaces any other.
pub(super) fn write_request_id<S: Stream>(
    inbound: Option<&[u8]>,
    shard: &Shard<S>,
    out: &mut Vec<u8>,
) {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    out.extend_from_slice(REQUEST_ID);
    match inbound {
        Some(id) if (1..=64).contains(&id.len()) && id.iter().all(fine) => {
            out.extend_from_slice(id);
        }
        Some(_) | None => shard.write_request_id(out),
    }
    out.extend_from_slice(b"\r\n");
}

/// The identifier that `write_request_id` wrote first into `own`, up to `end`.
pub(super) fn request_id(own: &Buf, end: usize) -> &[u8] {
    own.filled()
        .get(REQUEST_ID.len()..end.saturating_sub(2))
        .unwrap_or_default()
}

/// The line of the identifier in an own block.
pub(super) fn first_line(own: &Buf) -> &[u8] {
    let own = own.filled();
    let end = own
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    own.get(..end).unwrap_or_default()
}

/// The request's head for its service: DESIGN "Identity", HTTP.md "hop-by-hop". `id_line` is the line of its identifier,
/// `proved` the certificate that the client has proved to own (RFC 9440). Gives the place of `Host`'s value, whose endpoint is chosen later.
/// Values only, and public, so that a fuzzer can read what a worker would send.
pub fn write_request(
    request: &Request<'_, '_>,
    ticket: &Ticket,
    source: &Source<'_>,
    (id_line, proved): (&[u8], Option<&Proved>),
    snapshot: &Snapshot,
    out: &mut Vec<u8>,
) -> Range<usize> {
    let rules = &snapshot.rules;
    let service = rules.config.services.get(ticket.service());
    let (Some(service), Some(rule)) = (service, rules.routes.rule(ticket.route())) else {
        return 0..0;
    };
    let (base, rest) = rule.upstream_target_parts(request.target);
    write::request_line(out, request.method_text, &[base], rest);
    let host = longest_host(service, request.authority);
    let host_start = out.len() + "Host: ".len();
    write::field(out, "Host", host.as_bytes());
    let tokens = handshake::carries_token(request);
    let trusted = source.account.trusted;
    write::copy_fields(out, request.head, request.fields, |field| {
        passes(field, trusted, &rules.drop_fields)
            && !(tokens && field.kind == Name::SecWebSocketProtocol)
    });
    if request.upgrade_websocket {
        handshake::write_asked(request, out);
    } else if request.te_trailers {
        out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
    }
    if let Some(identity) = ticket.identity() {
        out.extend_from_slice(identity.upstream_fields());
    }
    write_forwarding(request, rule, source, out);
    if let Some(proved) = proved {
        for part in ["Client-Cert: :", &proved.certificate, ":\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        if let Some(subject) = &proved.subject {
            write::field(out, "X-Client-Cert-Subject", subject.as_bytes());
        }
    }
    out.extend_from_slice(id_line);
    if !request.upgrade_websocket {
        write::request_body_framing(out, request.body);
    }
    out.extend_from_slice(b"\r\n");
    host_start..host_start + host.len()
}

/// The longest `Host` that any endpoint of the service is sent: another one then takes no more room than it.
fn longest_host<'a>(service: &'a Service, client: &'a str) -> &'a str {
    let hosts = service.endpoints.iter();
    let hosts = hosts.map(|endpoint| service.host_for(endpoint, client));
    hosts.max_by_key(|host| host.len()).unwrap_or_default()
}

/// Which of the client's fields reach a service. Identity is ours to say; forwarding fields are believed from trusted
/// proxies only, and the account that they give is written anew.
fn passes(field: &Field<'_>, trusted: bool, dropped: &FieldSet) -> bool {
    let ours = matches!(
        field.kind,
        Name::Host
            | Name::ContentLength
            | Name::TransferEncoding
            | Name::XUserId
            | Name::XOrganizationId
            | Name::XUserRole
            | Name::XRequestId
            | Name::XForwardedFor
            | Name::XForwardedPrefix
            | Name::Forwarded
            | Name::XRealIp
            | Name::ClientCert
    );
    let forwarding = matches!(
        field.kind,
        Name::XForwardedProto | Name::XForwardedHost | Name::XForwardedOther
    );
    !field.hop && !ours && (trusted || !(forwarding || dropped.contains(field.name)))
}

fn write_forwarding(
    request: &Request<'_, '_>,
    rule: &Rule,
    source: &Source<'_>,
    out: &mut Vec<u8>,
) {
    let trusted = source.account.trusted;
    let has = |name: Name| trusted && request.fields.iter().any(|f| f.kind == name && !f.hop);
    out.extend_from_slice(b"X-Forwarded-For: ");
    source.account.write_chain(source.peer, &said(request), out);
    out.extend_from_slice(b"\r\n");
    if !has(Name::XForwardedProto) {
        let scheme: &[u8] = if source.https { b"https" } else { b"http" };
        write::field(out, "X-Forwarded-Proto", scheme);
    }
    if !has(Name::XForwardedHost) && !source.host.is_empty() {
        write::field(out, "X-Forwarded-Host", source.host.as_bytes());
    }
    // A service that goes by it gets the account that everybody else gets.
    if has(Name::XRealIp) {
        out.extend_from_slice(b"X-Real-IP: ");
        // Writing to a `Vec` cannot fail.
        let _ = write!(out, "{}\r\n", source.account.client);
    }
    // The service sees paths without the prefix: this tells it under which name the client knows them.
    if rule.strip {
        write::field(out, "X-Forwarded-Prefix", rule.prefix.as_bytes());
    }
}

/// The fields of a preflight's answer.
pub(super) fn write_preflight(request: &Request<'_, '_>, snapshot: &Snapshot, out: &mut Vec<u8>) {
    let method = request
        .value(Name::AccessControlRequestMethod)
        .unwrap_or_default();
    let lists = request
        .fields
        .iter()
        .filter(|field| field.kind == Name::AccessControlRequestHeaders);
    let headers = lists.map(|field| field.value);
    let cors = &snapshot.rules.cors;
    cors.preflight(request.value(Name::Origin), method, headers, out);
}

/// What a response head says about what follows it.
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) body: Body,
    /// The upstream connection may be used again once the body has ended.
    pub(super) reusable: bool,
    /// The client's connection may be used again once the body has ended.
    pub(super) keep: bool,
    /// How long its body may pause.
    pub(super) read_ms: u64,
}

/// An interim response: what becomes of it.
pub(super) enum Head {
    /// 100: the service wants the body; written to `out`.
    Continue,
    /// Another 1xx: written to `out` when this client takes such.
    Interim,
    /// The answer, written to `out`.
    Final(ResponseHead),
}

/// Reads the response head in front of `inbox`, which the endpoint at `from` sent, and writes the client's into `out`.
pub(super) fn write_response<S: Stream>(
    (inbox, length, from): (&mut Buf, usize, SocketAddr),
    facts: &Facts,
    closing: bool,
    shard: &Shard<S>,
    out: &mut Vec<u8>,
) -> Result<Head, Fault> {
    let mut scratch = Scratch::new();
    let bytes = inbox.filled().get(..length).unwrap_or_default();
    let response = match &facts.handshake {
        None => http1::parse_response(bytes, &mut scratch, facts.head_request)?,
        Some(asked) => http1::parse_handshake_response(bytes, &mut scratch, &asked.key)?,
    };
    if let (101, Some(asked)) = (response.status, facts.handshake) {
        handshake::write_switch(&response, asked, (facts, from), shard, out);
        let head = ResponseHead {
            status: 101,
            body: Body::of_response(ResponseBody::None, facts.minor),
            reusable: false,
            keep: true,
            read_ms: 0,
        };
        inbox.consume(length);
        return Ok(Head::Final(head));
    }
    if response.status < 200 {
        // RFC 9110 15.2: a 1.0 client knows no interim responses; 102 and unknown ones help nobody.
        if facts.minor >= 1 && matches!(response.status, 100 | 103) {
            write::status_line(out, response.status, response.reason);
            write::copy_fields(out, response.head, response.fields, |field| {
                !field.hop && relays(field.kind)
            });
            out.extend_from_slice(b"\r\n");
        }
        let asks = response.status == 100 && facts.minor >= 1;
        inbox.consume(length);
        return Ok(if asks { Head::Continue } else { Head::Interim });
    }
    let until_close = response.body == ResponseBody::UntilClose
        || (response.body == ResponseBody::Chunked && facts.minor == 0);
    let ends_with_close = until_close && facts.minor == 0;
    let keep = facts.keep_alive && !closing && !ends_with_close;
    let snapshot = shard.snapshot();
    write::status_line(out, response.status, response.reason);
    let references = References::default();
    write::copy_fields(out, response.head, response.fields, |field| {
        !field.hop && relays(field.kind) && !references.take(field.kind)
    });
    if references.found() {
        references::write(&response, (facts, from), shard, out);
    }
    let vary = response
        .fields
        .iter()
        .filter(|field| field.kind == Name::Vary);
    out.extend_from_slice(snapshot.rules.cors.vary_line(vary.map(|field| field.value)));
    if !response.fields.iter().any(|field| field.kind == Name::Date) {
        shard.write_date(out);
    }
    facts.write_own(S::now_ns(), out);
    write_framing(&response, facts.minor, out);
    facts.write_connection(out, keep);
    out.extend_from_slice(b"\r\n");
    let body = Body::of_response(response.body, facts.minor);
    let reusable = response.keep_alive && response.body != ResponseBody::UntilClose;
    let head = ResponseHead {
        status: response.status,
        body,
        reusable,
        keep,
        read_ms: if streams_events(&response) {
            snapshot.rules.times.stream_idle
        } else {
            snapshot.rules.times.read
        },
    };
    inbox.consume(length);
    Ok(Head::Final(head))
}

/// Server-sent events: silence is their nature, so that they have a limit of their own.
fn streams_events(response: &http1::Response<'_, '_>) -> bool {
    let mut fields = response.fields.iter();
    let kind = fields.find(|field| field.kind == Name::ContentType);
    kind.and_then(|field| field.value.split(|byte| *byte == b';').next())
        .is_some_and(|kind| http1::field::trim(kind).eq_ignore_ascii_case(b"text/event-stream"))
}

/// Which of a service's fields reach the client; the others are ours to write, exactly once.
pub(super) fn relays(name: Name) -> bool {
    !matches!(
        name,
        Name::ContentLength
            | Name::TransferEncoding
            | Name::FramingMisspelt
            | Name::AccessControlRequestMethod
            | Name::AccessControlRequestHeaders
            | Name::AccessControlOther
            | Name::XRequestId
            | Name::XResponseTime
            | Name::XRateLimit
    )
}

fn write_framing(response: &http1::Response<'_, '_>, client_minor: u8, out: &mut Vec<u8>) {
    match response.body {
        ResponseBody::None => {
            // HEAD and 304 tell the length that a GET would have had.
            if let Some(length) = response.content_length {
                write::number_field(out, "Content-Length", length);
            }
        }
        ResponseBody::Length(length) => write::number_field(out, "Content-Length", length),
        ResponseBody::Chunked | ResponseBody::UntilClose if client_minor >= 1 => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        ResponseBody::Chunked | ResponseBody::UntilClose => {}
    }
}
