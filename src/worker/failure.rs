//! How an exchange with a service can fail before its answer is out, and what its client is told. Not the exchange. Invariant:
//! a client that has left is told nothing.

use super::answer::client_broke;
use super::relay::Cut;
use super::upstream::NoUpstream;
use crate::http1::Fault;
use crate::metrics::{CloseReason, UpstreamEvent};
use crate::net::Broken;
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
            Self::Silent | Self::Unsent => bad_gateway("closed the connection without an answer"),
            Self::HalfHead => bad_gateway("broke off in the middle of its answer"),
            Self::Interims => bad_gateway("sent too many interim responses"),
            Self::Malformed(_) => bad_gateway("sent a malformed answer"),
            Self::TimedOut => timeout("did not answer in time"),
            Self::NoUpstream(NoUpstream::TimedOut) => timeout("could not be connected to in time"),
            Self::NoUpstream(NoUpstream::NoDescriptor) => Ok(Reject::unavailable(
                "The gateway has no file descriptor left for this request",
            )),
            Self::NoUpstream(NoUpstream::Refused) => bad_gateway("refused the connection"),
            Self::NoUpstream(NoUpstream::Unresolved) => {
                bad_gateway("has no known address (its name does not resolve)")
            }
        }
    }

    /// What it is counted as; connecting has counted its own failures.
    pub(super) fn event(self) -> Option<UpstreamEvent> {
        match self {
            Self::TimedOut => Some(UpstreamEvent::ResponseTimeout),
            Self::Malformed(_) | Self::Interims => Some(UpstreamEvent::Malformed),
            Self::Silent | Self::Unsent | Self::HalfHead => Some(UpstreamEvent::Broken),
            Self::ClientLeft(_) | Self::Body(_) | Self::NoUpstream(_) => None,
        }
    }

    /// What an operator may know and a client need not.
    pub(super) fn detail(self) -> &'static str {
        if let Self::Malformed(fault) = self {
            fault.message()
        } else {
            ""
        }
    }
}
