//! How an exchange with a service can fail before its answer is out, and what its client is told. Not the exchange. Invariant:
//! a client that has left is told nothing.

use super::answer::{Answer, Content, Done, client_broke, send};
use super::connection::Client;
use super::decide::Exchange;
use super::endpoints::Asked;
use super::lease::NoUpstream;
use super::relay::Cut;
use super::shard::Shard;
use super::upstream::Upstream;
use crate::balance::Outcome;
use crate::http1::Fault;
use crate::metrics::{CloseReason, UpstreamEvent};
use crate::net::{Broken, Reader, Stream};
use crate::reject::Reject;

/// Why a service gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Not a byte of the request was taken: the pooled connection was dead.
    Unsent,
    /// Closed or reset before the first byte of an answer.
    Silent,
    /// Closed or reset in the middle of the head.
    HalfHead,
    /// `RESPONSE_TIMEOUT`.
    TimedOut,
    /// What came is no HTTP/1.1 response.
    Malformed(Fault),
    /// More interim responses than any service has use for.
    Interims,
    /// The client has left meanwhile.
    ClientLeft(Broken),
    /// The request's body went wrong; the upstream was broken off.
    Body(Cut),
    /// No connection could be had.
    NoUpstream(NoUpstream),
    /// The service is left alone for so many seconds more.
    LeftAlone(u32),
}

impl Failure {
    /// The answer to the client, or why there is nobody to answer.
    pub(super) fn reject(self, service: &str) -> Result<Reject, CloseReason> {
        let bad_gateway = |what: &str| Ok(Reject::bad_gateway(service, what));
        let timeout = |what: &str| Ok(Reject::gateway_timeout(service, what));
        match self {
            Self::ClientLeft(broken) => Err(client_broke(broken)),
            Self::Body(Cut::Ended | Cut::Source(Broken::Failed | Broken::Gone)) => {
                Err(CloseReason::ClientReset)
            }
            Self::Body(Cut::Malformed(fault)) => {
                Ok(Reject::malformed(fault.status(), fault.message()))
            }
            Self::Body(Cut::TooLarge) => Ok(Reject::too_large()),
            Self::Body(Cut::Source(_) | Cut::Sink(_)) => Ok(Reject::too_slow(
                "The request body did not arrive in time (BODY_TIMEOUT)",
            )),
            Self::Silent
            | Self::Unsent
            | Self::HalfHead
            | Self::Interims
            | Self::Malformed(_)
            | Self::NoUpstream(
                NoUpstream::Refused | NoUpstream::Untrusted | NoUpstream::Unresolved,
            ) => bad_gateway(self.what()),
            Self::TimedOut | Self::NoUpstream(NoUpstream::TimedOut) => timeout(self.what()),
            Self::NoUpstream(NoUpstream::NoDescriptor) => Ok(Reject::unavailable(
                "The gateway has no file descriptor left for this request",
            )),
            Self::LeftAlone(retry_after_s) => Ok(Reject::left_alone(service, retry_after_s)),
        }
    }

    /// What the service did, in words for client and log; of what was not its doing, nothing.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Silent | Self::Unsent => "closed the connection without an answer",
            Self::HalfHead => "broke off in the middle of its answer",
            Self::Interims => "sent too many interim responses",
            Self::Malformed(_) => "sent a malformed answer",
            Self::TimedOut => "did not answer in time",
            Self::NoUpstream(NoUpstream::TimedOut) => "could not be connected to in time",
            Self::NoUpstream(NoUpstream::Refused) => "refused the connection",
            Self::NoUpstream(NoUpstream::Untrusted) => "failed the TLS handshake",
            Self::NoUpstream(NoUpstream::Unresolved) => {
                "has no known address (its name does not resolve)"
            }
            Self::NoUpstream(NoUpstream::NoDescriptor)
            | Self::LeftAlone(_)
            | Self::ClientLeft(_)
            | Self::Body(_) => "",
        }
    }

    /// What it says about the endpoint. A pooled connection that is dead says nothing: every server closes idle ones.
    pub(super) fn outcome(self, reused: bool) -> Outcome {
        match self {
            Self::Silent | Self::Unsent if reused => Outcome::Nothing,
            Self::Silent
            | Self::Unsent
            | Self::HalfHead
            | Self::Interims
            | Self::Malformed(_)
            | Self::NoUpstream(
                NoUpstream::Refused
                | NoUpstream::TimedOut
                | NoUpstream::Untrusted
                | NoUpstream::Unresolved,
            ) => Outcome::Failed,
            Self::TimedOut => Outcome::Slow,
            Self::NoUpstream(NoUpstream::NoDescriptor)
            | Self::LeftAlone(_)
            | Self::ClientLeft(_)
            | Self::Body(_) => Outcome::Nothing,
        }
    }

    /// Whether a request whose connection died before the first byte of an answer may be sent once more: a pooled connection that
    /// its peer closed meanwhile, or an endpoint that went down where there is another one. Where a byte of
    /// the request may have been read, only if sending it twice does nothing twice (RFC 9110 9.2.2).
    pub(super) fn may_resend<S: Stream>(
        self,
        idempotent: bool,
        upstream: &Upstream<S>,
        asked: Asked,
        shard: &Shard<S>,
    ) -> bool {
        match self {
            Self::Unsent => true,
            Self::Silent => {
                idempotent && (upstream.reused || shard.endpoints.count(asked.service) > 1)
            }
            Self::HalfHead
            | Self::TimedOut
            | Self::Malformed(_)
            | Self::Interims
            | Self::ClientLeft(_)
            | Self::Body(_)
            | Self::NoUpstream(_)
            | Self::LeftAlone(_) => false,
        }
    }

    /// What it is counted as; connecting has counted its own failures.
    pub(super) fn event(self) -> Option<UpstreamEvent> {
        match self {
            Self::TimedOut => Some(UpstreamEvent::ResponseTimeout),
            Self::Malformed(_) | Self::Interims => Some(UpstreamEvent::Malformed),
            Self::Silent | Self::Unsent | Self::HalfHead => Some(UpstreamEvent::Broken),
            Self::ClientLeft(_) | Self::Body(_) | Self::NoUpstream(_) | Self::LeftAlone(_) => None,
        }
    }

    /// What an operator may know and a client need not.
    pub(super) fn detail(self) -> &'static str {
        if let Self::Malformed(fault) = self {
            fault.message_of_answer()
        } else {
            ""
        }
    }
}

/// Answers for a service that did not, or ends the connection of a client that left.
pub(super) async fn fail<S: Stream>(
    client: &mut Client<S>,
    exchange: Exchange,
    failure: Failure,
    shard: &Shard<S>,
) -> Done {
    let service = exchange.ticket.service();
    let early = exchange.facts.handshake.is_some() && !client.reader.is_quiet();
    let Exchange {
        out,
        mut facts,
        body: pending,
        withheld,
        ..
    } = exchange;
    shard.buffers.put(out);
    facts.keep_alive &= !early;
    if let Some(event) = failure.event() {
        shard.count(|core| core.upstream(service, event));
    }
    let snapshot = shard.snapshot();
    let name = snapshot
        .rules
        .config
        .services
        .get(service)
        .map_or("", |s| s.name.as_str());
    let reject = match failure.reject(name) {
        Ok(reject) => reject,
        Err(reason) => {
            return Done {
                facts,
                status: None,
                keep: Err(reason),
            };
        }
    };
    // That the service is left alone was said once; a line per request would say nothing more.
    if reject.status >= 500 && !matches!(failure, Failure::LeftAlone(_)) {
        shard.warn(name, &reject, failure.detail());
    }
    let answer = Answer {
        facts,
        content: Content::Reject(reject),
        pending,
        withheld,
    };
    let mut done = send(client, answer, shard).await;
    if done.keep.is_err() && matches!(failure, Failure::Body(Cut::Source(_))) {
        done.keep = Err(CloseReason::BodyTimeout);
    }
    done
}
