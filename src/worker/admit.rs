//! The order of checks, once. Not the checks themselves (they are rooms) and no I/O. Invariant: a [`Ticket`] exists only for a
//! request that passed every check that applies to it, in this order; `forward` takes nothing else.

use std::sync::Arc;

use super::handshake;
use super::source::Source;
use crate::config::Rules;
use crate::cors;
use crate::http1::{Name, Request};
use crate::identity::{self, Identity};
use crate::limit::{self, Claim, IpKey, OrgKey, Outcome, Permit, Verdict};
use crate::metrics::{AuthFailure, LimitPolicy};
use crate::net::Clock;
use crate::presence::{InFlight, Presence};
use crate::reject::Reject;
use crate::route::Match;

/// What a request costs; weights per route may come.
const COST: u32 = 1;

/// Proof that a request may be forwarded, and where to.
#[derive(Debug)]
pub struct Ticket {
    service: usize,
    route: usize,
    identity: Option<Arc<Identity>>,
    permit: Permit,
    /// Counts the request as under way until the ticket goes, with the request, however that ends.
    _in_flight: InFlight,
}

impl Ticket {
    pub(super) fn service(&self) -> usize {
        self.service
    }

    pub(super) fn route(&self) -> usize {
        self.route
    }

    pub(super) fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    pub(super) fn has_organization(&self) -> bool {
        self.identity
            .as_ref()
            .is_some_and(|identity| identity.organization_key().is_some())
    }

    pub(super) fn permit(&self) -> &Permit {
        &self.permit
    }
}

/// A request that passed.
#[derive(Debug)]
pub enum Admitted {
    /// To be forwarded.
    Forward(Ticket),
    /// For one of the gateway's own endpoints.
    Own(Option<Arc<Identity>>, Option<Permit>),
    /// A CORS preflight: no token, no charge.
    Preflight,
    /// Its limits are not known here: the store is to be asked, and the request judged again with what it said.
    Ask(Box<Asking>),
}

/// A request that has to ask the store.
#[derive(Debug)]
pub struct Asking {
    pub(super) claim: Box<Claim>,
    /// It is under way while it waits.
    in_flight: InFlight,
}

/// What came of the limits.
enum Charged {
    Permit(Permit, InFlight),
    Ask(Box<Asking>),
}

/// What the store said to a request that had to ask.
#[derive(Debug)]
pub struct Heard {
    pub(super) asking: Box<Asking>,
    pub(super) ip: Option<Verdict>,
    pub(super) organization: Option<Verdict>,
}

/// A request that did not pass, and who it came from as far as that is known.
#[derive(Debug)]
pub struct Refused {
    pub(super) reject: Reject,
    pub(super) identity: Option<Arc<Identity>>,
    /// What refused, for the metrics.
    pub(super) limit: Option<LimitPolicy>,
    pub(super) auth: Option<AuthFailure>,
}

impl From<Reject> for Refused {
    fn from(reject: Reject) -> Self {
        Self {
            reject,
            identity: None,
            limit: None,
            auth: None,
        }
    }
}

impl From<limit::Refusal> for Refused {
    fn from(refusal: limit::Refusal) -> Self {
        let reject = Reject::limited(refusal.limit, refusal.retry_after_s);
        let policy = match refusal.policy {
            limit::Policy::Organization => LimitPolicy::Organization,
            limit::Policy::Ip => LimitPolicy::Ip,
        };
        Self {
            limit: Some(policy),
            ..Self::from(reject)
        }
    }
}

impl From<identity::Refusal> for Refused {
    fn from(refusal: identity::Refusal) -> Self {
        let reject = if refusal == identity::Refusal::Invalid(identity::Why::TooLong) {
            Reject::token_too_large()
        } else {
            Reject::unauthorized(refusal.message(), refusal.token_was_sent())
        };
        Self {
            auth: Some(auth_failure(refusal)),
            ..Self::from(reject)
        }
    }
}

fn auth_failure(refusal: identity::Refusal) -> AuthFailure {
    use identity::Why;
    match refusal {
        identity::Refusal::MissingHeader => AuthFailure::Missing,
        identity::Refusal::BadHeaderFormat => AuthFailure::Format,
        identity::Refusal::Expired => AuthFailure::Expired,
        identity::Refusal::Invalid(Why::Signature) => AuthFailure::Signature,
        identity::Refusal::Invalid(Why::Algorithm) => AuthFailure::Algorithm,
        identity::Refusal::Invalid(Why::TooLong | Why::Malformed) => AuthFailure::Malformed,
        identity::Refusal::Invalid(_) => AuthFailure::Claims,
    }
}

/// What the checks of one core keep.
#[derive(Debug)]
pub struct Checks {
    /// Limits.
    pub limits: limit::Core,
    /// Verified tokens.
    pub tokens: identity::Cache,
    /// For the request that is judged next: it has asked.
    pub heard: Option<Heard>,
    /// Who is here, over all workers.
    pub presence: Arc<Presence>,
}

/// DESIGN section 3, "A request's way": each step's refusal is final. `C` is read afresh for the peek and for the charge: a slice's tokens end
/// at a moment, and a tick's time is too old for that.
///
/// # Errors
/// The request goes no further, and this is its answer.
pub fn admit<C: Clock>(
    request: &Request<'_, '_>,
    source: &Source<'_>,
    rules: &Rules,
    checks: &mut Checks,
) -> Result<Admitted, Refused> {
    let ip = IpKey::from(source.account.client);
    let heard = checks.heard.take();
    let found = rules
        .routes
        .find(request.path)
        .map_err(|why| Reject::ambiguous(why.message()))?;
    if cors::is_preflight(
        request.method_text.as_bytes(),
        request.value(Name::Origin),
        request.value(Name::AccessControlRequestMethod),
    ) {
        return Ok(Admitted::Preflight);
    }
    let is_exempt = matches!(found, Match::Own(own) if own.is_exempt());
    if let Some(hosts) = &rules.allowed_hosts
        && !is_exempt
        && !hosts.allow(source.host)
    {
        return Err(Reject::wrong_host().into());
    }
    match found {
        Match::Own(own) if own.is_exempt() => Ok(Admitted::Own(None, None)),
        Match::Own(own) if !own.is_public() => {
            let identity = identify_caller::<C>(request, ip, rules, checks)?;
            Ok(Admitted::Own(Some(identity), None))
        }
        Match::Own(_) => {
            if heard.is_none() {
                checks.limits.peek_ip(ip, COST, &C::now_ns)?;
            }
            match charge::<C>(None, ip, checks, heard)? {
                Outcome::Permit(permit) => Ok(Admitted::Own(None, Some(permit))),
                Outcome::Ask(claim) => Ok(Admitted::Ask(Box::new(Asking {
                    claim,
                    in_flight: InFlight::default(),
                }))),
            }
        }
        Match::Upstream(hit) => {
            let (identity, outcome) = check::<C>(request, ip, hit.public, rules, checks, heard)?;
            let (permit, in_flight) = match outcome {
                Charged::Permit(permit, in_flight) => (permit, in_flight),
                Charged::Ask(asking) => return Ok(Admitted::Ask(asking)),
            };
            let (service, route) = (hit.rule.service, hit.index);
            Ok(Admitted::Forward(Ticket {
                service,
                route,
                identity,
                permit,
                _in_flight: in_flight,
            }))
        }
        Match::None => {
            let (identity, outcome) = check::<C>(request, ip, false, rules, checks, heard)?;
            if let Charged::Ask(asking) = outcome {
                return Ok(Admitted::Ask(asking));
            }
            Err(Refused {
                identity,
                ..Refused::from(Reject::not_found())
            })
        }
    }
}

/// Steps 2 to 4: the IP's peek, identity, what the organization has under way, both limits.
fn check<C: Clock>(
    request: &Request<'_, '_>,
    ip: IpKey,
    public: bool,
    rules: &Rules,
    checks: &mut Checks,
    heard: Option<Heard>,
) -> Result<(Option<Arc<Identity>>, Charged), Refused> {
    if heard.is_none() {
        checks.limits.peek_ip(ip, COST, &C::now_ns)?;
    }
    let required = rules.config.auth.required;
    let identity = match (public, required) {
        (true, _) => None,
        (false, true) => match identify::<C>(request, rules, checks) {
            Ok(identity) => Some(identity),
            Err(refusal) => {
                checks.limits.charge_ip(ip, COST, &C::now_ns);
                return Err(refusal.into());
            }
        },
        (false, false) => identify::<C>(request, rules, checks).ok(),
    };
    let organization = identity.as_deref().and_then(Identity::organization_key);
    // Before the tokens are taken: a refused request takes none. Whoever has asked the store has begun already.
    let (heard, begun) = heard.map_or((None, None), |mut heard| {
        let begun = std::mem::take(&mut heard.asking.in_flight);
        (Some(heard), Some(begun))
    });
    let begins = match (begun, organization) {
        (Some(begun), _) => Ok(begun),
        (None, Some(id)) => checks.presence.organization_begins(id),
        (None, None) => Ok(InFlight::default()),
    };
    let Ok(in_flight) = begins else {
        let what = "Your organization has too many requests under way (MAX_IN_FLIGHT_PER_ORG)";
        return Err(Refused {
            identity,
            ..Refused::from(Reject::unavailable(what))
        });
    };
    let organization = organization.map(OrgKey::new);
    match charge::<C>(organization, ip, checks, heard) {
        Ok(Outcome::Permit(permit)) => Ok((identity, Charged::Permit(permit, in_flight))),
        Ok(Outcome::Ask(claim)) => {
            let asking = Box::new(Asking { claim, in_flight });
            Ok((identity, Charged::Ask(asking)))
        }
        Err(refusal) => Err(Refused {
            identity,
            ..Refused::from(refusal)
        }),
    }
}

/// Both limits, or what is left to do of them after the store was asked.
fn charge<C: Clock>(
    organization: Option<OrgKey<'_>>,
    ip: IpKey,
    checks: &mut Checks,
    heard: Option<Heard>,
) -> Result<Outcome, limit::Refusal> {
    let limits = &mut checks.limits;
    match heard {
        Some(Heard {
            asking,
            ip,
            organization,
        }) => limits.conclude(asking.claim, ip, organization, &C::now_ns),
        None => limits.request(organization, Some(ip), COST, &C::now_ns),
    }
}

/// `/rate-limit/info` and `/admin/*`: a valid token is neither limited nor charged, so that an admin behind a blocked address
/// can reset it; an invalid one is charged, and refused from a blocked address.
fn identify_caller<C: Clock>(
    request: &Request<'_, '_>,
    ip: IpKey,
    rules: &Rules,
    checks: &mut Checks,
) -> Result<Arc<Identity>, Refused> {
    match identify::<C>(request, rules, checks) {
        Ok(identity) => Ok(identity),
        Err(refusal) => {
            checks.limits.peek_ip(ip, COST, &C::now_ns)?;
            checks.limits.charge_ip(ip, COST, &C::now_ns);
            Err(refusal.into())
        }
    }
}

fn identify<C: Clock>(
    request: &Request<'_, '_>,
    rules: &Rules,
    checks: &mut Checks,
) -> Result<Arc<Identity>, identity::Refusal> {
    let fields = request
        .fields
        .iter()
        .filter(|field| field.kind == Name::Authorization);
    let token = match identity::bearer(fields.map(|field| field.value)) {
        Err(identity::Refusal::MissingHeader) => handshake::token(request)?,
        found => found?,
    };
    // Without a secret no token can be genuine; such a gateway runs only with authentication off.
    let verifier = rules.verifier.as_ref();
    let verifier = verifier.ok_or(identity::Refusal::Invalid(identity::Why::Signature))?;
    checks.tokens.identify(verifier, token, C::unix_ms())
}
