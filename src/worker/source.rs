//! Where a request comes from and what its client calls the gateway, as limits, services and redirects are told it. Not the rules whom to
//! believe (`forwarded`). Invariant: one account per request, made before anything is decided by it.

use std::net::IpAddr;

use crate::config::Rules;
use crate::forwarded::{Account, Contradiction, Said};
use crate::http1::{Name, Request, is_authority};

/// The source of one request.
#[derive(Debug, Clone, Copy)]
pub struct Source<'b> {
    /// The TCP peer, or whom a PROXY protocol header named.
    pub(super) peer: IpAddr,
    /// Who the client is.
    pub(super) account: Account<'b>,
    /// The client speaks TLS: to us, or to the trusted proxy in front.
    pub(super) https: bool,
    /// `host[:port]` that the client used; empty on HTTP/1.0 without `Host`.
    pub(super) host: &'b str,
}

impl<'b> Source<'b> {
    /// Reads the account off a request of this peer.
    ///
    /// # Errors
    /// The fields of a trusted proxy contradict each other.
    pub fn of(
        request: &Request<'_, 'b>,
        peer: IpAddr,
        rules: &Rules,
    ) -> Result<Self, Contradiction> {
        let account = rules.trust.account(peer, &said(request))?;
        let source = Self {
            peer,
            account,
            https: rules.config.tls.is_some(),
            host: request.authority,
        };
        Ok(if account.trusted {
            source.as_told(request)
        } else {
            source
        })
    }

    /// Whatever else is not known of it, the peer itself is.
    pub(super) fn of_peer(request: &Request<'_, 'b>, peer: IpAddr, rules: &Rules) -> Self {
        Self {
            peer,
            account: Account::of_peer(peer),
            https: rules.config.tls.is_some(),
            host: request.authority,
        }
    }

    /// With the scheme and the name that a trusted proxy told.
    fn as_told(self, request: &Request<'_, 'b>) -> Self {
        let told = |name: Name| request.value(name).and_then(first_of_list);
        let proto = told(Name::XForwardedProto).or(self.account.proto);
        let host = told(Name::XForwardedHost).or(self.account.host);
        let host = host.filter(|host| is_authority(host));
        Self {
            https: match proto {
                Some(proto) if proto.eq_ignore_ascii_case(b"https") => true,
                Some(proto) if proto.eq_ignore_ascii_case(b"http") => false,
                // `wss` and the like say nothing that we know; without a word it is our own side that counts.
                Some(_) | None => self.https,
            },
            host: host
                .and_then(|host| std::str::from_utf8(host).ok())
                .unwrap_or(self.host),
            ..self
        }
    }
}

/// The values of the forwarding fields that tell who the client is.
pub(super) fn said<'s, 'b>(
    request: &'s Request<'_, 'b>,
) -> Said<impl DoubleEndedIterator<Item = &'b [u8]> + Clone + use<'s, 'b>> {
    let of = |name: Name| {
        request
            .fields
            .iter()
            .filter(move |field| field.kind == name)
            .map(|field| field.value)
    };
    Said {
        xff: of(Name::XForwardedFor),
        forwarded: of(Name::Forwarded),
        real_ip: of(Name::XRealIp),
    }
}

/// Proxies append to `X-Forwarded-Proto` and `-Host`, too; the first member is the client's side.
fn first_of_list(value: &[u8]) -> Option<&[u8]> {
    value
        .split(|byte| *byte == b',')
        .next()
        .map(<[u8]>::trim_ascii)
}
