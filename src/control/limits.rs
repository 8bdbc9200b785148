//! `/rate-limit/info`, and what the cold wing wants of the limiter. Not the limiter, nor its reset (`reset`). Invariant: asking
//! takes no token, and a part whose limit is off or does not apply is left out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aide::NoApi;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::answer::{failure, json, unauthorized};
use super::api::Api;
use super::caller::Subject;
use super::redis::Door;
use crate::limit::Key;

/// How long a core may keep what it took from its slice to itself (LIMITS.md section 5): a count that is read after this is
/// exact. Longer than the 20 ms of a slice by one tick of a worker.
pub(super) const SETTLE: Duration = Duration::from_millis(25);

/// Callers (of resets, too) that may wait for slices to settle at once. The endpoints are never limited, so this is what keeps one client from
/// filling the control thread with waiting tasks; below `CALLS_MAX`, so that health is answered all the same.
pub(super) const INFOS_MAX: usize = 512;

const _: () = assert!(INFOS_MAX < crate::mailbox::CALLS_MAX);

/// What the limiter says about one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitInfo {
    /// Tokens used: C - floor(tokens).
    pub current_count: u32,
    /// L.
    pub limit: u32,
    /// clamp(floor(tokens) - B, 0, L).
    pub remaining: u32,
}

/// The limiter as the cold wing sees it. Organizations are named by the text of their id; addresses come in canonical form
/// (no IPv4-mapped IPv6), and the limiter keys IPv6 by its /64.
pub trait LimitsView: Send + Sync {
    /// The bucket of an organization.
    fn organization(&self, id: &str, now_ns: u64) -> LimitInfo;
    /// The bucket of an address.
    fn address(&self, address: IpAddr, now_ns: u64) -> LimitInfo;
    /// Fills an organization's bucket and lifts its block; in effect when it returns.
    fn reset_organization(&self, id: &str, now_ns: u64);
    /// Fills an address's bucket and lifts its block; in effect when it returns.
    fn reset_address(&self, address: IpAddr, now_ns: u64);
    /// Fills every bucket.
    fn reset_all(&self, now_ns: u64);
    /// Takes a token of an address, as a request would; gives its numbers after that.
    ///
    /// # Errors
    /// Seconds to wait, if it is blocked or has none.
    fn charge_address(&self, address: IpAddr, now_ns: u64) -> Result<LimitInfo, u32>;
    /// Keys held now.
    fn keys(&self) -> usize;
}

/// The answer of `/rate-limit/info`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Info {
    /// Left out when the token names no organization, or `RATE_LIMIT_PER_ORG` is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) organization: Option<OrganizationInfo>,
    /// Left out when `RATE_LIMIT_PER_IP` is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<AddressInfo>,
}

/// The organization's part.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OrganizationInfo {
    /// The id as it stood in the token: a number or a string.
    pub(super) id: Value,
    /// Requests counted against the limit now.
    pub(super) current_count: u32,
    /// Requests per minute.
    pub(super) limit: u32,
    /// Requests left before the burst allowance is used.
    pub(super) remaining: u32,
}

/// The client address's part.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AddressInfo {
    /// The client's address as the gateway sees it.
    pub(super) address: String,
    /// Requests counted against the limit now.
    pub(super) current_count: u32,
    /// Requests per minute.
    pub(super) limit: u32,
    /// Requests left before the burst allowance is used.
    pub(super) remaining: u32,
}

/// `GET /rate-limit/info`.
pub(super) async fn info(
    State(api): State<Arc<Api>>,
    NoApi(subject): NoApi<Option<Extension<Subject>>>,
) -> Response {
    let Some(Extension(subject)) = subject else {
        return unauthorized(TOKEN_NEEDED);
    };
    let Ok(_turn) = api.infos.try_acquire() else {
        return too_many();
    };
    let per = &api.config.limits;
    let id = subject.organization.filter(|_| per.per_org);
    let (of_id, of_address) = match &api.store {
        None => {
            tokio::time::sleep(SETTLE).await;
            let now = (api.clock_ns)();
            let of_id = id.as_ref().map(|id| api.limits.organization(&id.text, now));
            (
                of_id,
                per.per_ip.then(|| api.limits.address(subject.address, now)),
            )
        }
        // Both at once: each waits for the other nodes' reports.
        Some(store) => tokio::join!(
            level(
                store,
                id.as_ref().map(|id| Key::Org(id.text.as_str().into()))
            ),
            level(store, per.per_ip.then_some(Key::Ip(subject.address))),
        ),
    };
    let organization = id.zip(of_id).map(|(id, info)| OrganizationInfo {
        id: id.value,
        current_count: info.current_count,
        limit: info.limit,
        remaining: info.remaining,
    });
    let ip = of_address.map(|info| AddressInfo {
        address: subject.address.to_string(),
        current_count: info.current_count,
        limit: info.limit,
        remaining: info.remaining,
    });
    json(StatusCode::OK, Info { organization, ip })
}

/// 503: all turns to wait for slices are taken.
pub(super) fn too_many() -> Response {
    failure(
        StatusCode::SERVICE_UNAVAILABLE,
        "Service Unavailable",
        "Too many callers ask for limits or resets at once",
    )
}

/// A key's level over all nodes.
async fn level(store: &Door, key: Option<Key>) -> Option<LimitInfo> {
    store.info(key?).await.map(LimitInfo::from)
}

impl From<crate::limit::Info> for LimitInfo {
    fn from(info: crate::limit::Info) -> Self {
        Self {
            current_count: info.current_count,
            limit: info.limit,
            remaining: info.remaining,
        }
    }
}

/// Said to callers without a verified token: on the public port only when authentication is not required, on the operations
/// port always, for it identifies nobody.
pub(super) const TOKEN_NEEDED: &str = "This endpoint needs a valid token, on the public port";
