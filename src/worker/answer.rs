//! Answers that the gateway gives itself: refusals, preflights, and what the control thread answers for own endpoints. Not the
//! decision. Invariants: every answer carries the fields of DESIGN section 3; a request body that nobody wants is dropped in
//! bounded time and size before the connection is used again.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::connection::Client;
use super::relay::{Body, discard};
use super::shard::Shard;
use super::source::Source;
use crate::http1::write::{self, reason};
use crate::mailbox::{Call, Caller, OWN_BODY_BYTES_MAX, OwnCall};
use crate::metrics::{self, CloseReason};
use crate::net::{Broken, Buf, Reader, Stream, Writer, within};
use crate::reject::Reject;

use super::draft::Draft;
use super::handshake::Handshake;
use super::heads;

/// A pending body of at most this size is dropped so that the connection can be kept.
const DISCARD_BYTES_MAX: u64 = 64 * 1024;

/// And within this time.
const DISCARD_MS: u64 = 1_000;

/// How long the control thread may take for an own endpoint: it has nothing slow to do, so that more is a fault.
const OWN_ANSWER_MS: u64 = 5_000;

/// What is remembered of a request until its end.
pub(super) struct Facts {
    pub(super) started_ns: u64,
    /// Label indices for the metrics.
    pub(super) route: usize,
    pub(super) method: usize,
    /// HTTP/1.x of the client.
    pub(super) minor: u8,
    pub(super) head_request: bool,
    /// The client allows the connection to be used again.
    pub(super) keep_alive: bool,
    /// Fields that every answer to this request carries, ready to be copied; of a request that is forwarded, then the names that its client
    /// used (`names`).
    pub(super) own: Buf,
    /// Where these names stand.
    pub(super) names: NamesUsed,
    /// A WebSocket handshake, until it is answered.
    pub(super) handshake: Option<Handshake>,
    /// For the access log; `None` when it is off.
    pub(super) draft: Option<Draft>,
}

/// What the client called the gateway, for the redirects of its answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NamesUsed {
    pub(super) https: bool,
    /// End of the fields in `Facts::own`; 0: nothing stands behind them.
    fields_end: usize,
    /// End of the host, as services are told it; the request's own authority follows.
    host_end: usize,
}

impl Facts {
    /// Notes the names that the client used, behind all fields.
    pub(super) fn note_names(&mut self, source: &Source<'_>, authority: &str) {
        let https = source.https;
        let fields_end = self.own.len();
        self.own.out().extend_from_slice(source.host.as_bytes());
        let host_end = self.own.len();
        self.own.out().extend_from_slice(authority.as_bytes());
        self.names = NamesUsed {
            https,
            fields_end,
            host_end,
        };
    }

    /// The host that services are told, and the request's authority, which they may be sent as `Host`.
    pub(super) fn names_used(&self) -> (&str, &str) {
        let own = self.own.filled();
        let text = |range: std::ops::Range<usize>| {
            let part = own.get(range).unwrap_or_default();
            std::str::from_utf8(part).unwrap_or_default()
        };
        match self.names.fields_end {
            0 => ("", ""),
            fields_end => (
                text(fields_end..self.names.host_end),
                text(self.names.host_end..own.len()),
            ),
        }
    }

    fn fields(&self) -> &[u8] {
        let own = self.own.filled();
        match self.names.fields_end {
            0 => own,
            fields_end => own.get(..fields_end).unwrap_or(own),
        }
    }

    pub(super) fn micros(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.started_ns) / 1_000
    }

    /// `X-Response-Time`, with two decimals, and the fields that were prepared.
    pub(super) fn write_own(&self, now_ns: u64, out: &mut Vec<u8>) {
        let hundredths = self.micros(now_ns) / 10;
        out.extend_from_slice(b"X-Response-Time: ");
        write::number(out, hundredths / 100);
        out.push(b'.');
        let digit = |value: u64| b'0' + u8::try_from(value % 10).unwrap_or(0);
        out.extend_from_slice(&[digit(hundredths / 10), digit(hundredths)]);
        out.extend_from_slice(b"ms\r\n");
        out.extend_from_slice(self.fields());
    }

    /// Notes a body that the client got, for the counters and the log.
    fn sent<S: Stream>(&mut self, bytes: u64, shard: &Shard<S>) {
        shard.count(|core| core.bytes_out(bytes));
        if let Some(draft) = &mut self.draft {
            draft.bytes_out = bytes;
        }
    }

    /// Notes a body that was read here, likewise.
    fn received<S: Stream>(&mut self, bytes: u64, shard: &Shard<S>) {
        shard.count(|core| core.bytes_in(bytes));
        if let Some(draft) = &mut self.draft {
            draft.bytes_in = bytes;
        }
    }

    /// The `Connection` field, where the version's default does not say it.
    pub(super) fn write_connection(&self, out: &mut Vec<u8>, keep: bool) {
        if !keep {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if self.minor == 0 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
    }
}

/// An ended request.
pub(super) struct Done {
    pub(super) facts: Facts,
    /// `None`: the client left before it got an answer.
    pub(super) status: Option<u16>,
    pub(super) keep: Result<(), CloseReason>,
}

/// An answer that is known when the head has been read.
pub(super) struct Answer {
    pub(super) facts: Facts,
    pub(super) content: Content,
    /// What is left of the request's body.
    pub(super) pending: Body,
    /// Nobody has told the client to send its body (it waits for 100-continue).
    pub(super) withheld: bool,
}

/// What an answer says.
pub(super) enum Content {
    /// A refusal.
    Reject(Reject),
    /// 204 with the fields of a preflight.
    Preflight(Buf),
    /// What the control thread answered.
    Response(http::Response<Bytes>),
}

/// Sends an answer, drops what is left of the request's body, and says whether the connection goes on.
pub(super) async fn send<S: Stream>(
    client: &mut Client<S>,
    answer: Answer,
    shard: &Shard<S>,
) -> Done {
    let Answer {
        mut facts,
        content,
        mut pending,
        withheld,
    } = answer;
    let mut keep = keeps(&content, &facts, shard.is_draining());
    // A connection that closes anyway, but politely: not before its client has read the answer.
    let polite = matches!(
        keep,
        Ok(()) | Err(CloseReason::KeepAliveOff | CloseReason::Draining)
    );
    let mut nowhere = shard.buffers.small();
    if polite && pending.take(&mut client.inbox, &mut nowhere).is_err() {
        keep = Err(CloseReason::BadRequest);
    }
    shard.buffers.put(nowhere);
    let short = pending
        .length_left()
        .is_some_and(|left| left <= DISCARD_BYTES_MAX);
    if polite && !pending.is_done() && (keep.is_err() || withheld || !short) {
        keep = Err(CloseReason::BodyAbandoned);
    }
    let mut out = shard.buffers.large();
    let (status, body_bytes) = write_answer(&facts, &content, keep.is_ok(), shard, out.out());
    let deadline = shard.deadlines.after(shard.snapshot().rules.times.write);
    let count = out.len();
    let written;
    (written, out) = client.writer.write(out, count, deadline).await;
    shard.buffers.put(out);
    match written {
        Ok(()) => facts.sent(body_bytes, shard),
        Err(broken) => keep = Err(client_broke(broken)),
    }
    if keep.is_ok() && !pending.is_done() {
        let inbox = std::mem::take(&mut client.inbox);
        let until = shard.deadlines.after(DISCARD_MS);
        let complete;
        (complete, client.inbox) = discard(&mut client.reader, &mut pending, inbox, until).await;
        if !complete {
            keep = Err(CloseReason::BodyAbandoned);
        }
    }
    Done {
        facts,
        status: Some(status),
        keep,
    }
}

/// Whether the connection can go on after this answer, the body apart.
fn keeps(content: &Content, facts: &Facts, draining: bool) -> Result<(), CloseReason> {
    match content {
        Content::Reject(reject) if reject.close && reject.status == 408 => {
            Err(CloseReason::HeadTimeout)
        }
        Content::Reject(reject) if reject.close => Err(CloseReason::BadRequest),
        Content::Reject(_) | Content::Preflight(_) | Content::Response(_) if draining => {
            Err(CloseReason::Draining)
        }
        Content::Reject(_) | Content::Preflight(_) | Content::Response(_) if !facts.keep_alive => {
            Err(CloseReason::KeepAliveOff)
        }
        Content::Reject(_) | Content::Preflight(_) | Content::Response(_) => Ok(()),
    }
}

/// Why writing to a client ended a connection.
pub(super) fn client_broke(broken: Broken) -> CloseReason {
    match broken {
        Broken::TimedOut => CloseReason::WriteTimeout,
        Broken::Draining => CloseReason::Draining,
        Broken::Evicted => CloseReason::Overload,
        Broken::Gone | Broken::Parked | Broken::Failed => CloseReason::ClientReset,
    }
}

fn write_answer<S: Stream>(
    facts: &Facts,
    content: &Content,
    keep: bool,
    shard: &Shard<S>,
    out: &mut Vec<u8>,
) -> (u16, u64) {
    let mut body = Vec::new();
    let (status, content_bytes): (u16, &[u8]) = match content {
        Content::Reject(reject) => {
            reject.body(&mut body);
            (reject.status, &body)
        }
        Content::Preflight(_) => (204, b""),
        Content::Response(response) => (response.status().as_u16(), response.body()),
    };
    write::status_line(out, status, reason(status).as_bytes());
    facts.write_own(S::now_ns(), out);
    out.extend_from_slice(shard.snapshot().rules.cors.vary_line([]));
    match content {
        Content::Reject(reject) => {
            shard.write_date(out);
            out.extend_from_slice(b"Content-Type: application/json\r\n");
            reject.fields(out);
        }
        Content::Preflight(fields) => {
            shard.write_date(out);
            out.extend_from_slice(fields.filled());
        }
        Content::Response(response) => {
            for (name, value) in response.headers() {
                if name != http::header::CONTENT_LENGTH {
                    write::field(out, name.as_str(), value.as_bytes());
                }
            }
            shard.write_date(out);
        }
    }
    if status != 204 {
        // To HEAD the control thread answers without a body, and says how long it would be.
        let told = match content {
            Content::Response(response) if facts.head_request => told_length(response),
            Content::Reject(_) | Content::Preflight(_) | Content::Response(_) => None,
        };
        let length = told.unwrap_or(content_bytes.len() as u64);
        write::number_field(out, "Content-Length", length);
    }
    facts.write_connection(out, keep);
    out.extend_from_slice(b"\r\n");
    if facts.head_request {
        return (status, 0);
    }
    out.extend_from_slice(content_bytes);
    (status, content_bytes.len() as u64)
}

/// The head and body of a refusal that answers no request: its connection finds no room, or nothing was read. Nobody
/// records it as a request. The length of its body.
pub(super) fn write_unasked<S: Stream>(
    reject: Reject,
    shard: &Shard<S>,
    out: &mut Vec<u8>,
) -> usize {
    let mut own = shard.buffers.small();
    heads::write_request_id(None, shard, own.out());
    shard.snapshot().rules.cors.fields(None, own.out());
    let facts = Facts {
        started_ns: S::now_ns(),
        route: metrics::ROUTE_NONE,
        method: metrics::method_index(b""),
        minor: 1,
        head_request: false,
        keep_alive: false,
        own,
        names: NamesUsed::default(),
        draft: None,
        handshake: None,
    };
    let (_, body) = write_answer(&facts, &Content::Reject(reject), false, shard, out);
    shard.buffers.put(facts.own);
    usize::try_from(body).unwrap_or(0)
}

fn told_length(response: &http::Response<Bytes>) -> Option<u64> {
    response
        .headers()
        .get(http::header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// A request for an own endpoint, its body still to come.
pub(super) struct OwnRequest {
    pub(super) facts: Facts,
    pub(super) head: http::Request<()>,
    pub(super) caller: Caller,
    pub(super) body: Body,
    pub(super) withheld: bool,
}

/// Reads the body, asks the control thread and sends its answer.
pub(super) async fn own<S: Stream>(
    client: &mut Client<S>,
    request: OwnRequest,
    shard: &Shard<S>,
) -> Done {
    let OwnRequest {
        mut facts,
        head,
        caller,
        mut body,
        withheld,
    } = request;
    let gathered = gather(client, &mut body, withheld, shard).await;
    let content = match gathered {
        Ok(bytes) => ask(head, caller, bytes, shard).await,
        Err(reject) => Content::Reject(reject),
    };
    facts.received(body.moved(), shard);
    let answer = Answer {
        facts,
        content,
        pending: body,
        withheld: false,
    };
    send(client, answer, shard).await
}

/// The body of an own endpoint is small and taken whole, up to its bound.
async fn gather<S: Stream>(
    client: &mut Client<S>,
    body: &mut Body,
    withheld: bool,
    shard: &Shard<S>,
) -> Result<Bytes, Reject> {
    if body.is_done() {
        return Ok(Bytes::new());
    }
    let mut gathered = Buf::with_capacity(OWN_BODY_BYTES_MAX + 1024);
    if withheld {
        client.reader.interject(super::upload::CONTINUE);
    }
    loop {
        if body.take(&mut client.inbox, &mut gathered).is_err() {
            let what = "The request body's chunked framing is malformed";
            return Err(Reject::malformed(400, what));
        }
        if gathered.len() > OWN_BODY_BYTES_MAX || (gathered.room() < 64 && !body.is_done()) {
            return Err(Reject {
                close: true,
                ..Reject::too_large()
            });
        }
        if body.is_done() {
            return Ok(Bytes::copy_from_slice(gathered.filled()));
        }
        client.inbox.compact();
        let deadline = shard.deadlines.after(shard.snapshot().rules.times.body);
        let inbox = std::mem::take(&mut client.inbox);
        let read;
        (read, client.inbox) = client.reader.read(inbox, deadline).await;
        if !matches!(read, Ok(count) if count > 0) {
            let what = "The request body did not arrive in time (BODY_TIMEOUT)";
            return Err(Reject::too_slow(what));
        }
    }
}

async fn ask<S: Stream>(
    head: http::Request<()>,
    caller: Caller,
    body: Bytes,
    shard: &Shard<S>,
) -> Content {
    let (mut parts, ()) = head.into_parts();
    parts.extensions.insert(caller);
    let request = http::Request::from_parts(parts, body);
    let (reply, answered) = oneshot::channel();
    let call = Call::Own(Box::new(OwnCall { request, reply }));
    if shard.setup.outbox.try_send(call).is_err() {
        return Content::Reject(Reject::unavailable("The gateway is overloaded"));
    }
    match within(S::sleep_ms(OWN_ANSWER_MS), answered).await {
        Some(Ok(response)) => Content::Response(response),
        Some(Err(_)) => Content::Reject(Reject::internal(
            "The gateway could not answer this request",
        )),
        None => Content::Reject(Reject::unavailable(
            "The gateway did not answer this request in time",
        )),
    }
}
