//! `/health`, `/livez`, `/readyz`: what the process knows of itself. Nothing is asked of anybody here (`probe` did that
//! before), so they answer at once. Invariant: `/livez` looks at nothing, so it never restarts a gateway for its upstream's
//! fault.

use std::sync::Arc;

use aide::NoApi;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::json;
use super::api::{Api, Details};
use crate::config::Service;

/// The seed's eight fields in the seed's order, and the driver.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Health {
    /// `healthy` when every upstream service answered its last probe, otherwise `degraded`.
    pub(super) status: &'static str,
    /// Always `dbpower-api-gateway`.
    pub(super) service: &'static str,
    /// The gateway's version; left out on the public port with `HEALTH_DETAILS=false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<&'static str>,
    /// URL of the backend, several with commas between; left out as the version is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backend: Option<String>,
    /// URL of the AI analyzer, several with commas between; left out as the version is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ai_analyzer: Option<String>,
    /// Redis is connected.
    pub(super) redis: bool,
    /// An endpoint of the backend answered its last probe 2xx in time.
    pub(super) backend_healthy: bool,
    /// An endpoint of the analyzer answered its last probe 2xx in time.
    pub(super) ai_analyzer_healthy: bool,
    /// What the workers run on: `io_uring` or `epoll`.
    pub(super) driver: &'static str,
    /// Where limits are held: `memory`, `shared` (Redis), or, while Redis is away, what is done then: `share`, `closed` or `open`.
    pub(super) limits: &'static str,
}

/// A state by name.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Status {
    /// `alive`, `ready`, `starting` or `draining`.
    pub(super) status: &'static str,
}

/// `GET /health`.
pub(super) async fn health(
    State(api): State<Arc<Api>>,
    NoApi(Extension(Details(details))): NoApi<Extension<Details>>,
) -> Response {
    let state = &api.state;
    let draining = state.draining();
    let url = |index: usize| {
        let service = api.config.services.get(index);
        details.then(|| service.map(Service::urls).unwrap_or_default())
    };
    let body = Health {
        status: if state.all_healthy() && !draining {
            "healthy"
        } else {
            "degraded"
        },
        service: "dbpower-api-gateway",
        version: details.then_some(env!("CARGO_PKG_VERSION")),
        backend: url(0),
        ai_analyzer: url(1),
        redis: state.redis(),
        backend_healthy: state.healthy(0),
        ai_analyzer_healthy: state.healthy(1),
        driver: state.driver().label(),
        limits: match (api.config.redis.enabled, state.redis()) {
            (false, _) => "memory",
            (true, true) => "shared",
            (true, false) => api.config.limits.on_outage.label(),
        },
    };
    // A degraded gateway still serves: 503 would make a balancer drop it for an upstream's fault.
    json(served(!draining), body)
}

/// `GET /livez`.
pub(super) async fn livez() -> Response {
    json(StatusCode::OK, Status { status: "alive" })
}

/// `GET /readyz`.
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Response {
    let (ready, status) = if api.state.draining() {
        (false, "draining")
    } else if api.state.started() {
        (true, "ready")
    } else {
        (false, "starting")
    };
    json(served(ready), Status { status })
}

fn served(yes: bool) -> StatusCode {
    if yes {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
