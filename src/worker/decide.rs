//! From a head to what is done with it, in one synchronous step: parse, judge by `admit`, and write what goes out. Not I/O.
//! Invariant: nothing borrowed from the head outlives this step, so that the buffer can move on with the body.

use std::net::IpAddr;
use std::ops::Range;

use super::admit::{Admitted, Asking, Refused, Ticket, admit};
use super::answer::{Answer, Content, Facts, NamesUsed, OwnRequest};
use super::connection::Client;
use super::draft::Draft;
use super::handshake::Handshake;
use super::heads;
use super::proxy_hint;
use super::relay::{Body, Cut};
use super::shard::Shard;
use super::source::Source;
use super::upload::begin;
use crate::config::Snapshot;
use crate::forwarded::Contradiction;
use crate::http1::{self, Method, Name, Request, RequestBody, Scratch};
use crate::limit::IpKey;
use crate::mailbox::Caller;
use crate::metrics::{self, LimitOutcome, LimitPolicy};
use crate::net::{Buf, Reader, Stream};
use crate::reject::Reject;
use crate::tls::Proved;

/// What is done with a request. By value: a box would be an allocation per request.
pub(super) enum Decision {
    Forward(Exchange),
    Own(OwnRequest),
    Answer(Answer),
    /// The store is to be asked; the head stays where it is.
    Wait(Box<Wait>),
}

/// A request on its way to a service.
pub(super) struct Exchange {
    /// The proof that it may go there.
    pub(super) ticket: Ticket,
    /// The head as it is sent upstream, and the first bytes of the body.
    pub(super) out: Buf,
    /// Where the value of `Host` stands in it.
    pub(super) host: Range<usize>,
    pub(super) facts: Facts,
    /// What is left of the request's body.
    pub(super) body: Body,
    /// Sending it twice does no more than sending it once (RFC 9110 9.2.2).
    pub(super) idempotent: bool,
    /// The client waits for 100-continue.
    pub(super) withheld: bool,
}

/// A request that waits for the store, once or (for its organization) twice.
pub(super) struct Wait {
    pub(super) asking: Box<Asking>,
    pub(super) started_ns: u64,
    /// Of the head.
    pub(super) length: usize,
}

/// Judges the head in front of `client.inbox`, or passes the refusal on that reading it ended with.
pub(super) fn decide<S: Stream>(
    client: &mut Client<S>,
    head: Result<usize, Reject>,
    shard: &Shard<S>,
) -> Decision {
    let started_ns = S::now_ns();
    shard.count(metrics::Core::request_started);
    let snapshot = shard.snapshot();
    match head {
        Ok(length) => decide_from(client, length, started_ns, shard),
        Err(reject) => unreadable(client.peer, started_ns, reject, &snapshot, shard),
    }
}

/// As `decide`, of a readable head; again when the store was asked.
pub(super) fn decide_from<S: Stream>(
    client: &mut Client<S>,
    length: usize,
    started_ns: u64,
    shard: &Shard<S>,
) -> Decision {
    let snapshot = shard.snapshot();
    let bytes = client.inbox.filled().get(..length).unwrap_or_default();
    let mut scratch = Scratch::new();
    let mut decision = match http1::parse_request(bytes, &mut scratch) {
        Ok(request) => {
            let early = client.inbox.len() > length;
            proxy_hint::look(&request, client.peer, &snapshot, shard);
            let rules = &snapshot.rules;
            let found = Source::of(&request, client.peer, rules);
            let source = match &found {
                Ok(source) => *source,
                Err(_) => Source::of_peer(&request, client.peer, rules),
            };
            let facts = facts(&request, &source, early, started_ns, &snapshot, shard);
            match found {
                Ok(_) => judge(
                    &request,
                    (&source, client.reader.proved()),
                    facts,
                    &snapshot,
                    shard,
                ),
                Err(contradiction) => contradicted(&request, contradiction, facts, &source, shard),
            }
        }
        Err(fault) => {
            let reject = Reject::malformed(fault.status(), fault.message());
            return unreadable(client.peer, started_ns, reject, &snapshot, shard);
        }
    };
    if let Decision::Wait(wait) = &mut decision {
        wait.length = length;
        return decision;
    }
    client.inbox.consume(length);
    if let Decision::Forward(mut exchange) = decision {
        // The first bytes of the body go with the head, in one write. A fault that shows in them ends it here: the service
        // then sees nothing of the request.
        let Exchange { body, out, .. } = &mut exchange;
        decision = match begin(body, &mut client.inbox, out, &shard.buffers) {
            Ok(()) => Decision::Forward(exchange),
            Err(cut) => refused_body(exchange, cut, shard),
        };
    }
    decision
}

fn refused_body<S: Stream>(exchange: Exchange, cut: Cut, shard: &Shard<S>) -> Decision {
    let Exchange {
        out,
        facts,
        body,
        withheld,
        ..
    } = exchange;
    shard.buffers.put(out);
    let reject = match cut {
        Cut::Malformed(fault) => Reject::malformed(fault.status(), fault.message()),
        Cut::TooLarge | Cut::Ended | Cut::Source(_) | Cut::Sink(_) => Reject::too_large(),
    };
    answer(facts, Content::Reject(reject), body, withheld)
}

/// The answer to bytes that are no request: nothing is known of it but that.
fn unreadable<S: Stream>(
    peer: IpAddr,
    started_ns: u64,
    reject: Reject,
    snapshot: &Snapshot,
    shard: &Shard<S>,
) -> Decision {
    let mut own = shard.buffers.small();
    heads::write_request_id(None, shard, own.out());
    let id_end = own.len();
    snapshot.rules.cors.fields(None, own.out());
    let draft = shard.wants_log().then(|| {
        let id = heads::request_id(&own, id_end);
        Draft::new(shard.buffers.small(), b"-", b"-", id, peer)
    });
    let facts = Facts {
        started_ns,
        route: metrics::ROUTE_NONE,
        method: metrics::method_index(b""),
        minor: 1,
        head_request: false,
        keep_alive: false,
        own,
        names: NamesUsed::default(),
        handshake: None,
        draft,
    };
    let pending = Body::of_request(RequestBody::None, None);
    answer(facts, Content::Reject(reject), pending, false)
}

/// Two accounts of one client: nobody is believed, and the peer pays for it.
fn contradicted<S: Stream>(
    request: &Request<'_, '_>,
    contradiction: Contradiction,
    facts: Facts,
    source: &Source<'_>,
    shard: &Shard<S>,
) -> Decision {
    let snapshot = shard.snapshot();
    let body = Body::of_request(request.body, snapshot.rules.config.bounds.body_bytes_max);
    let withheld = request.expect_continue && !body.is_done();
    let mut checks = shard.checks.borrow_mut();
    checks
        .limits
        .charge_ip(IpKey::from(source.peer), 1, &S::now_ns);
    shard.post_letters(&mut checks.limits);
    let reject = Reject::ambiguous(contradiction.message());
    answer(facts, Content::Reject(reject), body, withheld)
}

fn judge<S: Stream>(
    request: &Request<'_, '_>,
    (source, proved): (&Source<'_>, Option<&Proved>),
    mut facts: Facts,
    snapshot: &Snapshot,
    shard: &Shard<S>,
) -> Decision {
    let rules = &snapshot.rules;
    let mut body = Body::of_request(request.body, rules.config.bounds.body_bytes_max);
    body.drop_trailers(&rules.drop_fields);
    let withheld = request.expect_continue && !body.is_done();
    if let (RequestBody::Length(length), Some(max)) =
        (request.body, rules.config.bounds.body_bytes_max)
        && length > max
    {
        return answer(facts, Content::Reject(Reject::too_large()), body, withheld);
    }
    let (judged, blocked) = {
        let mut checks = shard.checks.borrow_mut();
        let cached = checks.limits.counters().cached_refusal;
        let judged = admit::<S>(request, source, rules, &mut checks);
        shard.post_letters(&mut checks.limits);
        (judged, checks.limits.counters().cached_refusal > cached)
    };
    shard.count_verdict(&judged, blocked);
    match judged {
        Ok(Admitted::Forward(ticket)) => forwarded(
            request,
            (source, proved),
            ticket,
            (facts, body, withheld),
            shard,
        ),
        Ok(Admitted::Own(identity, permit)) => {
            facts.route = metrics::ROUTE_OWN;
            if let Some(draft) = &mut facts.draft {
                draft.identify(identity.as_ref());
            }
            if let Some(permit) = permit {
                permit.write_fields(facts.own.out());
            }
            let caller = Caller {
                address: source.account.client,
                identity,
                public: true,
            };
            own(request, caller, facts, body.unframed(), withheld)
        }
        Ok(Admitted::Ask(asking)) => wait(asking, facts, shard),
        Ok(Admitted::Preflight) => {
            // The identifier's line stays; a preflight's own fields replace the ordinary ones.
            facts.own.truncate(heads::first_line(&facts.own).len());
            let mut fields = shard.buffers.small();
            heads::write_preflight(request, snapshot, fields.out());
            answer(facts, Content::Preflight(fields), body, withheld)
        }
        Err(Refused {
            reject, identity, ..
        }) => {
            if let Some(draft) = &mut facts.draft {
                draft.identify(identity.as_ref());
            }
            answer(facts, Content::Reject(reject), body, withheld)
        }
    }
}

/// An admitted request as it goes to its service; a handshake that is none goes nowhere.
fn forwarded<S: Stream>(
    request: &Request<'_, '_>,
    (source, proved): (&Source<'_>, Option<&Proved>),
    ticket: Ticket,
    (mut facts, body, withheld): (Facts, Body, bool),
    shard: &Shard<S>,
) -> Decision {
    let snapshot = shard.snapshot();
    facts.route = metrics::ROUTE_RULES + ticket.route();
    if let Some(draft) = &mut facts.draft {
        draft.identify(ticket.identity());
    }
    ticket.permit().write_fields(facts.own.out());
    if let Some(fault) = request.handshake_fault {
        let reject = Reject::malformed(fault.status(), fault.message());
        return answer(facts, Content::Reject(reject), body, withheld);
    }
    let mut out = shard.buffers.small();
    let lines = (heads::first_line(&facts.own), proved);
    let host = heads::write_request(request, &ticket, source, lines, &snapshot, out.out());
    facts.note_names(source, request.authority);
    let idempotent = !matches!(request.method, Method::Post | Method::Patch | Method::Other);
    Decision::Forward(Exchange {
        ticket,
        out,
        host,
        facts,
        body,
        idempotent,
        withheld,
    })
}

/// Nothing is kept of a request that is judged again but when it came.
fn wait<S: Stream>(asking: Box<Asking>, facts: Facts, shard: &Shard<S>) -> Decision {
    let started_ns = facts.started_ns;
    shard.discard(facts);
    Decision::Wait(Box::new(Wait {
        asking,
        started_ns,
        length: 0,
    }))
}

fn answer(facts: Facts, content: Content, pending: Body, withheld: bool) -> Decision {
    Decision::Answer(Answer {
        facts,
        content,
        pending,
        withheld,
    })
}

fn own(
    request: &Request<'_, '_>,
    caller: Caller,
    facts: Facts,
    body: Body,
    withheld: bool,
) -> Decision {
    let mut head = http::Request::builder()
        .method(request.method_text)
        .uri(request.target);
    for field in request.fields.iter().filter(|field| !field.hop) {
        head = head.header(field.name, field.value);
    }
    match head.body(()) {
        Ok(head) => Decision::Own(OwnRequest {
            facts,
            head,
            caller,
            body,
            withheld,
        }),
        // Our head rules are stricter than the http crate's, but for a target with unusual characters.
        Err(_) => {
            let reject = Reject::ambiguous("The target is not a valid URI for this endpoint");
            answer(facts, Content::Reject(reject), body, withheld)
        }
    }
}

/// What is kept of a request until its end; `early`: bytes came with its head that are not its body.
fn facts<S: Stream>(
    request: &Request<'_, '_>,
    source: &Source<'_>,
    early: bool,
    started_ns: u64,
    snapshot: &Snapshot,
    shard: &Shard<S>,
) -> Facts {
    let handshake = Handshake::of(request);
    let mut own = shard.buffers.small();
    heads::write_request_id(request.value(Name::XRequestId), shard, own.out());
    let id_end = own.len();
    snapshot
        .rules
        .cors
        .fields(request.value(Name::Origin), own.out());
    let draft = shard.wants_log().then(|| {
        let id = heads::request_id(&own, id_end);
        let method = request.method_text.as_bytes();
        Draft::new(
            shard.buffers.small(),
            method,
            request.path.as_bytes(),
            id,
            source.account.client,
        )
    });
    Facts {
        started_ns,
        route: metrics::ROUTE_NONE,
        method: metrics::method_index(request.method_text.as_bytes()),
        minor: request.minor,
        head_request: request.method == Method::Head,
        // What a client says before its 101 is meant for a tunnel: it is never read as a request.
        keep_alive: request.keep_alive && !(early && handshake.is_some()),
        own,
        names: NamesUsed::default(),
        handshake,
        draft,
    }
}

impl<S: Stream> Shard<S> {
    /// Counts what `admit` found, by policy and reason; `blocked`: a block that stood already refused it.
    fn count_verdict(&self, judged: &Result<Admitted, Refused>, blocked: bool) {
        self.count(|core| match judged {
            Ok(Admitted::Forward(ticket)) => {
                let limits = self.snapshot().rules.config.limits;
                if limits.per_ip {
                    core.limit(LimitPolicy::Ip, LimitOutcome::Admitted);
                }
                if limits.per_org && ticket.has_organization() {
                    core.limit(LimitPolicy::Organization, LimitOutcome::Admitted);
                }
            }
            Ok(Admitted::Own(..) | Admitted::Preflight | Admitted::Ask(_)) => {}
            Err(refused) => {
                if let Some(policy) = refused.limit {
                    let outcome = if blocked {
                        LimitOutcome::Blocked
                    } else {
                        LimitOutcome::Refused
                    };
                    core.limit(policy, outcome);
                }
                if let Some(reason) = refused.auth {
                    core.auth_failed(reason);
                }
            }
        });
    }
}
