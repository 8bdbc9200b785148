//! `POST /admin/rate-limit/reset`. Not the limiter. Invariant: exactly one thing is named, by somebody who may reset it, and
//! the answer comes after the reset.

use std::net::IpAddr;
use std::sync::Arc;

use aide::NoApi;
use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::{
    bad_request, failure, forbidden, json, limited, put_limit, store_away, unauthorized,
};
use super::api::Api;
use super::caller::{Role, Subject};
use super::limits::{LimitInfo, SETTLE, TOKEN_NEEDED, too_many};
use super::reset_gap::GAP_MS;
use crate::identity::is_name;
use crate::limit::{Key, Reset};
use crate::mailbox::OWN_BODY_BYTES_MAX;

/// Said whenever a body names nothing, or more than one thing.
const SHAPES: &str =
    r#"send exactly one of {"organization_id": 1}, {"ip_address": "192.0.2.1"} and {"all": true}"#;

/// What a caller may send, for the documentation.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ResetRequest {
    /// One organization.
    Organization {
        /// The id: an integer or a string of 1 to 128 characters without control characters.
        organization_id: OrganizationId,
    },
    /// One client address (IPv6: its /64).
    Address {
        /// An IPv4 or IPv6 address.
        ip_address: String,
    },
    /// Every key; for `super_admin`.
    All {
        /// Must be `true`.
        all: bool,
    },
}

impl ResetRequest {
    pub(super) fn examples() -> [(&'static str, Self); 3] {
        let organization_id = OrganizationId::Number(1);
        let ip_address = "192.0.2.1".to_owned();
        [
            ("organization", Self::Organization { organization_id }),
            ("address", Self::Address { ip_address }),
            ("all", Self::All { all: true }),
        ]
    }
}

/// An organization's id.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum OrganizationId {
    /// A number.
    Number(i64),
    /// A string.
    #[expect(dead_code, reason = "only its schema is used")]
    Text(String),
}

/// The answer of a reset.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// `success`.
    pub(super) status: &'static str,
    /// What was done.
    pub(super) message: &'static str,
}

impl Done {
    pub(super) const RESET: Self = Self {
        status: "success",
        message: "Rate limits reset successfully",
    };
}

/// What is to be reset, checked.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Organization(String),
    Address(IpAddr),
    All,
}

/// `POST /admin/rate-limit/reset`. The content type is not looked at: the seed's curl lines leave it to curl's default.
pub(super) async fn reset(
    State(api): State<Arc<Api>>,
    NoApi(subject): NoApi<Option<Extension<Subject>>>,
    NoApi(body): NoApi<Body>,
) -> Response {
    let Some(Extension(subject)) = subject else {
        return unauthorized(TOKEN_NEEDED);
    };
    // Before the body is read: who may not reset learns nothing from how it is judged.
    if subject.role < Role::OrgAdmin {
        return forbidden("Admin access required");
    }
    let Ok(body) = to_bytes(body, OWN_BODY_BYTES_MAX).await else {
        return failure(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Payload Too Large",
            "The body is too long",
        );
    };
    let target = match parse(&body) {
        Ok(target) => target,
        Err(wrong) => return bad_request(wrong),
    };
    if let Err(why) = permit(&subject, &target) {
        return forbidden(why);
    }
    let Ok(_turn) = api.infos.try_acquire() else {
        return too_many();
    };
    // Nobody is charged for what cannot be done.
    if api.store.is_some() && !api.state.redis() {
        return store_away(AWAY);
    }
    let mut numbers = None;
    if subject.role == Role::OrgAdmin {
        match charge(&api, subject.address).await {
            Ok(left) => numbers = left,
            Err(refusal) => return refusal,
        }
    }
    let mut response = match make(&api, &target, subject.role).await {
        Reset::Done => json(StatusCode::OK, Done::RESET),
        Reset::TooSoon(ms) => too_soon(ms),
        Reset::Away => store_away(AWAY),
        Reset::TooLate | Reset::Unanswered => store_away(UNANSWERED),
    };
    if let Some(LimitInfo {
        limit, remaining, ..
    }) = numbers
    {
        put_limit(response.headers_mut(), limit, remaining);
    }
    response
}

/// Said while the store is away.
const AWAY: &str =
    "store_away: Redis is away, so nothing was reset; try again when /health shows it";
/// Said when the store was there a moment ago. It is told until when it may make the reset.
const UNANSWERED: &str = "store_away: Redis did not answer in time, so nothing was reset (unless its answer alone was lost); try again";

/// Makes the reset. Memory mode: what cores hold of a key settles first, so that what was spent until now does not count afterwards.
async fn make(api: &Api, target: &Target, role: Role) -> Reset {
    let gap_ms = if role == Role::OrgAdmin { GAP_MS } else { 0 };
    if let Some(store) = &api.store {
        return match target {
            Target::Organization(id) => store.reset(&Key::Org(id.as_str().into()), gap_ms).await,
            Target::Address(address) => store.reset(&Key::Ip(*address), gap_ms).await,
            Target::All => store.reset_all().await,
        };
    }
    if let (Target::Organization(id), true) = (target, gap_ms > 0)
        && let Err(ms) = api.reset_gap.begin(id, (api.clock_ns)())
    {
        return Reset::TooSoon(ms);
    }
    tokio::time::sleep(SETTLE).await;
    let now = (api.clock_ns)();
    match target {
        Target::Organization(id) => api.limits.reset_organization(id, now),
        Target::Address(address) => api.limits.reset_address(*address, now),
        Target::All => api.limits.reset_all(now),
    }
    Reset::Done
}

/// The reset of an organization's own administrator costs its address a token, as a request does; what is left of it.
async fn charge(api: &Api, address: IpAddr) -> Result<Option<LimitInfo>, Response> {
    if !api.config.limits.per_ip {
        return Ok(None);
    }
    let charged = match &api.store {
        Some(store) => {
            let left = store.charge(Key::Ip(address)).await;
            left.map(|left| left.map(LimitInfo::from))
        }
        None => {
            let left = api.limits.charge_address(address, (api.clock_ns)());
            left.map(Some)
        }
    };
    charged.map_err(|seconds| {
        let limit = api.limits.address(address, (api.clock_ns)()).limit;
        let message = format!("Too many requests. Please retry after {seconds} seconds.");
        limited(message, seconds, Some(limit))
    })
}

fn too_soon(ms: u64) -> Response {
    let seconds = u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX).max(1);
    let message = format!(
        "reset_too_soon: an organization's administrator may reset it once a minute; retry after {seconds} seconds"
    );
    limited(message, seconds, None)
}

fn permit(subject: &Subject, target: &Target) -> Result<(), &'static str> {
    if subject.role == Role::OrgAdmin {
        let own = subject.organization.as_ref().map(|own| own.text.as_str());
        return match target {
            Target::Organization(id) if own == Some(id) => Ok(()),
            Target::Organization(_) | Target::Address(_) | Target::All => {
                Err("An organization's administrator may reset only its own organization")
            }
        };
    }
    if *target == Target::All && subject.role < Role::SuperAdmin {
        return Err("Only super_admin may reset everything");
    }
    Ok(())
}

/// The three names a body may hold. Serde refuses a name given twice, so no reader can pick the other one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    organization_id: Option<Value>,
    ip_address: Option<Value>,
    all: Option<Value>,
}

fn parse(body: &[u8]) -> Result<Target, String> {
    let text = body.trim_ascii();
    if text.is_empty() {
        return Err(format!("The body is empty: {SHAPES}"));
    }
    // Serde would read an array as the struct's values in order.
    if !text.starts_with(b"{") {
        return Err(format!("The body is not a JSON object: {SHAPES}"));
    }
    let names: Names = serde_json::from_slice(text)
        .map_err(|wrong| format!("The body cannot be read ({wrong}): {SHAPES}"))?;
    match (names.organization_id, names.ip_address, names.all) {
        (Some(id), None, None) => organization(&id).ok_or_else(|| {
            "organization_id must be an integer or a string of 1 to 128 characters without control characters"
                .to_owned()
        }),
        (None, Some(address), None) => address
            .as_str()
            .and_then(|text| text.parse::<IpAddr>().ok())
            // The limiter keys an IPv4-mapped address as IPv4.
            .map(|address| Target::Address(address.to_canonical()))
            .ok_or_else(|| "ip_address must be a string with an IPv4 or IPv6 address".to_owned()),
        (None, None, Some(Value::Bool(true))) => Ok(Target::All),
        (None, None, Some(_)) => Err("all must be true".to_owned()),
        (None, None, None) => Err(format!("The body names nothing: {SHAPES}")),
        _ => Err(format!("The body names more than one thing: {SHAPES}")),
    }
}

fn organization(id: &Value) -> Option<Target> {
    if let Some(text) = id.as_str() {
        return is_name(text).then(|| Target::Organization(text.to_owned()));
    }
    let integer = id.is_i64() || id.is_u64();
    integer.then(|| Target::Organization(id.to_string()))
}

#[cfg(test)]
mod tests {
    //! Every shape of body, and who may reset what.
    #![allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::too_many_lines,
        reason = "a test may fail loudly, and a table is as long as its cases"
    )]

    use super::super::caller::Organization;
    use super::*;

    fn org(id: &str) -> Target {
        Target::Organization(id.to_owned())
    }

    #[test]
    fn bodies_name_exactly_one_thing() {
        let long = format!(r#"{{"organization_id":"{}"}}"#, "a".repeat(129));
        let table: &[(&str, Result<Target, &str>)] = &[
            (r#"{"organization_id":1}"#, Ok(org("1"))),
            (r#" {"organization_id": "acme"} "#, Ok(org("acme"))),
            (r#"{"organization_id":-3}"#, Ok(org("-3"))),
            (
                r#"{"organization_id":18446744073709551615}"#,
                Ok(org("18446744073709551615")),
            ),
            (r#"{"organization_id":1,"ip_address":null}"#, Ok(org("1"))),
            (
                r#"{"ip_address":"192.0.2.1"}"#,
                Ok(Target::Address([192, 0, 2, 1].into())),
            ),
            (
                r#"{"ip_address":"::ffff:192.0.2.1"}"#,
                Ok(Target::Address([192, 0, 2, 1].into())),
            ),
            (
                r#"{"ip_address":"2001:db8::1"}"#,
                Ok(Target::Address("2001:db8::1".parse().unwrap())),
            ),
            (r#"{"all":true}"#, Ok(Target::All)),
            ("", Err("empty")),
            (" \r\n\t", Err("empty")),
            ("{}", Err("names nothing")),
            (r#"{"organization_id":null}"#, Err("names nothing")),
            ("[1,null,null]", Err("not a JSON object")),
            ("1", Err("not a JSON object")),
            ("null", Err("not a JSON object")),
            ("\"organization_id\"", Err("not a JSON object")),
            ("organization_id=1", Err("not a JSON object")),
            ("{", Err("EOF")),
            (r#"{"organization_id":1"#, Err("EOF")),
            (r#"{"organization_id":1}}"#, Err("trailing characters")),
            (r#"{"organization":1}"#, Err("unknown field")),
            (r#"{"organization_id":1,"x":1}"#, Err("unknown field")),
            (
                r#"{"organization_id":1,"organization_id":2}"#,
                Err("duplicate field"),
            ),
            (r#"{"organization_id":1,"all":true}"#, Err("more than one")),
            (
                r#"{"organization_id":1,"ip_address":"192.0.2.1"}"#,
                Err("more than one"),
            ),
            (r#"{"organization_id":1.5}"#, Err("organization_id must")),
            (r#"{"organization_id":1e3}"#, Err("organization_id must")),
            (
                r#"{"organization_id":18446744073709551616}"#,
                Err("organization_id must"),
            ),
            (r#"{"organization_id":true}"#, Err("organization_id must")),
            (r#"{"organization_id":[1]}"#, Err("organization_id must")),
            (r#"{"organization_id":""}"#, Err("organization_id must")),
            (r#"{"organization_id":"a\nb"}"#, Err("organization_id must")),
            (r#"{"organization_id":"é"}"#, Ok(org("é"))),
            (
                r#"{"organization_id":"\u0085"}"#,
                Err("organization_id must"),
            ),
            (&long, Err("organization_id must")),
            (r#"{"ip_address":"192.0.2.1:80"}"#, Err("ip_address must")),
            (r#"{"ip_address":"localhost"}"#, Err("ip_address must")),
            (r#"{"ip_address":"192.0.2.0/24"}"#, Err("ip_address must")),
            (r#"{"ip_address":3221225985}"#, Err("ip_address must")),
            (r#"{"all":false}"#, Err("all must")),
            (r#"{"all":1}"#, Err("all must")),
            (r#"{"all":"true"}"#, Err("all must")),
        ];
        for (body, expected) in table {
            match (parse(body.as_bytes()), expected) {
                (Ok(got), Ok(want)) => assert_eq!(got, *want, "{body}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{body}: {got}"),
                (got, want) => panic!("{body}: {got:?}, not {want:?}"),
            }
        }
        assert!(parse(b"{\"organization_id\":\"\xff\"}").is_err());
    }

    #[test]
    fn roles_reach_as_far_as_they_should() {
        let address = Target::Address([192, 0, 2, 1].into());
        for (role, own, other, ip, all) in [
            (Role::OrgAdmin, true, false, false, false),
            (Role::Admin, true, true, true, false),
            (Role::SuperAdmin, true, true, true, true),
        ] {
            let subject = Subject {
                address: [192, 0, 2, 9].into(),
                organization: Some(Organization {
                    text: "1".to_owned(),
                    value: 1.into(),
                }),
                role,
            };
            assert_eq!(permit(&subject, &org("1")).is_ok(), own, "{role:?} own");
            assert_eq!(permit(&subject, &org("2")).is_ok(), other, "{role:?} other");
            assert_eq!(permit(&subject, &address).is_ok(), ip, "{role:?} address");
            assert_eq!(permit(&subject, &Target::All).is_ok(), all, "{role:?} all");
        }
        let stray = Subject {
            address: [192, 0, 2, 9].into(),
            organization: None,
            role: Role::OrgAdmin,
        };
        assert!(
            permit(&stray, &org("1")).is_err(),
            "no organization of its own"
        );
    }
}
