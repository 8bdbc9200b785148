//! A request's head as a value. Not its body, not its route, not whether it may pass. Invariant: a `Request` exists only for a
//! head that every reader of RFC 9112 reads alike; its slices point into the head's own bytes.

use super::fault::Fault;
use super::field::{Field, Name, elements};
use super::framing::{Framing, RequestBody};
use super::hop::Connection;
use super::host;
use super::scratch::Scratch;
use super::target;
use super::websocket::Asked;

/// The methods that the gateway treats apart; the text of others is in `Request::method_text`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the method's own name")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    /// Any other token, passed on as it came.
    Other,
}

/// One request's head.
#[derive(Debug, Clone, Copy)]
pub struct Request<'s, 'b> {
    /// The method, as far as we treat it apart.
    pub method: Method,
    /// The method as it came; methods are case-sensitive.
    pub method_text: &'b str,
    /// `path?query` or `*`; an absolute-form target is already reduced to it.
    pub target: &'b str,
    /// The target before `?`, raw.
    pub path: &'b str,
    /// The target behind `?`, raw.
    pub query: Option<&'b str>,
    /// `Host`, or the authority of an absolute-form target; empty on HTTP/1.0 without either.
    pub authority: &'b str,
    /// 0 or 1.
    pub minor: u8,
    /// All field lines in their order, the consumed ones too (`Field::hop`).
    pub fields: &'s [Field<'b>],
    /// What follows the head.
    pub body: RequestBody,
    /// The client means to go on behind this request.
    pub keep_alive: bool,
    /// The client waits for a 100 before it sends the body.
    pub expect_continue: bool,
    /// A complete WebSocket handshake (RFC 6455 4.1).
    pub upgrade_websocket: bool,
    /// A WebSocket is asked for, but not as RFC 6455 4.1 has it. Other upgrades are ignored.
    pub handshake_fault: Option<Fault>,
    /// `TE: trailers` was said.
    pub te_trailers: bool,
    /// All of it, leading empty line included.
    pub head: &'b [u8],
}

/// Reads a request's head: exactly the bytes up to `head_end`.
///
/// # Errors
/// The first fault in this order: shape of the lines, method, target, fields from top to bottom, `Host`, framing.
pub fn parse_request<'s, 'b>(
    head: &'b [u8],
    scratch: &'s mut Scratch<'b>,
) -> Result<Request<'s, 'b>, Fault> {
    let text = head.strip_prefix(b"\r\n").unwrap_or(head);
    // httparse would skip any number of empty lines.
    if matches!(text.first(), Some(b'\r' | b'\n')) {
        return Err(Fault::LeadingLines);
    }
    let lines = scratch.read_request(text)?;
    let method = method(lines.method)?;
    let target = target::reduce(method, lines.target)?;
    let facts = Facts::read(lines.fields, lines.minor)?;
    facts.connection.consume(lines.fields);
    let framing = facts.framing.check()?;
    let body = match framing.length {
        _ if framing.chunked => RequestBody::Chunked,
        Some(length) => RequestBody::Length(length),
        None => RequestBody::None,
    };
    // Java's client announces a body of no bytes, which is none.
    let may_switch = lines.minor == 1
        && method == Method::Get
        && matches!(body, RequestBody::None | RequestBody::Length(0));
    let handshake = if may_switch {
        facts.websocket.complete(facts.connection.upgrade)
    } else {
        Ok(false)
    };
    Ok(Request {
        method,
        method_text: lines.method,
        target: target.text,
        path: target.path,
        query: target.query,
        authority: target.authority.unwrap_or(facts.host.unwrap_or_default()),
        minor: lines.minor,
        body,
        keep_alive: facts.connection.persists(lines.minor),
        // Without a body there is nothing to wait for: a 100 would be a stray answer.
        expect_continue: facts.expect_continue && body != RequestBody::None,
        upgrade_websocket: handshake == Ok(true),
        handshake_fault: handshake.err(),
        te_trailers: facts.te_trailers,
        fields: lines.fields,
        head,
    })
}

fn method(text: &str) -> Result<Method, Fault> {
    match text {
        "GET" => Ok(Method::Get),
        "HEAD" => Ok(Method::Head),
        "POST" => Ok(Method::Post),
        "PUT" => Ok(Method::Put),
        "DELETE" => Ok(Method::Delete),
        "OPTIONS" => Ok(Method::Options),
        "PATCH" => Ok(Method::Patch),
        // A tunnel to anywhere, and an echo of the fields that we add.
        "CONNECT" => Err(Fault::Connect),
        "TRACE" => Err(Fault::Trace),
        _ => Ok(Method::Other),
    }
}

/// What the fields of a request say of the message itself.
#[derive(Default)]
struct Facts<'b> {
    host: Option<&'b str>,
    framing: Framing,
    connection: Connection,
    websocket: Asked,
    expect_continue: bool,
    te_trailers: bool,
    has_origin: bool,
}

impl<'b> Request<'_, 'b> {
    /// The value of the first field with this name.
    #[must_use]
    pub fn value(&self, name: Name) -> Option<&'b [u8]> {
        let mut fields = self.fields.iter();
        fields
            .find(|field| field.kind == name)
            .map(|field| field.value)
    }
}

impl<'b> Facts<'b> {
    fn read(fields: &mut [Field<'b>], minor: u8) -> Result<Self, Fault> {
        let mut facts = Self::default();
        for field in &mut *fields {
            // Most fields mean nothing to the message itself: one test lets them by.
            if field.kind != Name::Other {
                facts.take(field, minor)?;
            }
        }
        if facts.host.is_none() && minor == 1 {
            return Err(Fault::HostMissing);
        }
        Ok(facts)
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds that say nothing of the message itself are many and will be more"
    )]
    fn take(&mut self, field: &mut Field<'b>, minor: u8) -> Result<(), Fault> {
        let value = field.value;
        match field.kind {
            Name::Host => self.take_host(value)?,
            Name::ContentLength => self.framing.take_length(value)?,
            Name::TransferEncoding => self.framing.take_coding(value, minor)?,
            Name::FramingMisspelt => return Err(Fault::FramingMisspelt),
            Name::Connection => self.connection.take(value)?,
            // A 1.0 client cannot wait for a 100, so its expectation goes no further (RFC 9110 10.1.1).
            Name::Expect if minor == 0 => field.hop = true,
            Name::Expect if value.eq_ignore_ascii_case(b"100-continue") => {
                self.expect_continue = true
            }
            Name::Expect => return Err(Fault::Expectation),
            Name::Te => {
                self.te_trailers |=
                    elements(value).any(|member| member.eq_ignore_ascii_case(b"trailers"))
            }
            Name::Upgrade => {
                self.websocket.upgrade |=
                    elements(value).any(|member| member.eq_ignore_ascii_case(b"websocket"))
            }
            // The gateway, a cache and the service could each judge by another one.
            Name::Origin if self.has_origin => return Err(Fault::OriginRepeated),
            Name::Origin => self.has_origin = true,
            Name::SecWebSocketKey => self.websocket.take_key(value),
            Name::SecWebSocketVersion => self.websocket.take_version(value),
            _ => {}
        }
        Ok(())
    }

    fn take_host(&mut self, value: &'b [u8]) -> Result<(), Fault> {
        if self.host.is_some() {
            return Err(Fault::HostRepeated);
        }
        if !host::is_authority(value) {
            return Err(Fault::HostInvalid);
        }
        self.host = Some(std::str::from_utf8(value).map_err(|_| Fault::HostInvalid)?);
        Ok(())
    }
}
