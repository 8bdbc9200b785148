//! The own endpoints' routers: one for the public port, and the same with `/metrics` for the operations port. Not a transport
//! (`inbox` and `ops` are). Invariant: each endpoint is registered once, here, with its documentation beside it.

use std::sync::{Arc, OnceLock};

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::sync::Semaphore;

use super::redis::Door;
use super::reset_gap::ResetGap;
use super::{LimitsView, answer, health, limits, openapi, pages, reset};
use crate::config::Config;
use crate::metrics::{self, Gauges, Registry, TextFormat};

/// What the endpoints read.
pub(super) struct Api {
    pub(super) config: Arc<Config>,
    pub(super) state: Arc<metrics::State>,
    pub(super) limits: Arc<dyn LimitsView>,
    /// With Redis: where levels are asked for and resets go.
    pub(super) store: Option<Door>,
    pub(super) metrics: Arc<Registry>,
    pub(super) clock_ns: fn() -> u64,
    pub(super) start_unix_ms: u64,
    pub(super) diagnostics_dropped: fn() -> u64,
    /// Turns of callers that wait for slices to settle.
    pub(super) infos: Semaphore,
    /// Memory mode: who has reset an organization of its own of late.
    pub(super) reset_gap: ResetGap,
    /// The document, written once by `routers`.
    pub(super) openapi: OnceLock<Bytes>,
}

/// Whether a port shows what helps an attacker more than a caller: the services' URLs and the version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Details(pub(super) bool);

/// The two faces of the own endpoints.
pub(super) struct Routers {
    pub(super) public: Router,
    pub(super) ops: Router,
}

/// Builds both routers and the document that describes them.
pub(super) fn routers(api: &Arc<Api>) -> Routers {
    let mut document = openapi::empty();
    let described = ApiRouter::new()
        .api_route("/health", get_with(health::health, openapi::health))
        .api_route("/livez", get_with(health::livez, openapi::livez))
        .api_route("/readyz", get_with(health::readyz, openapi::readyz))
        .api_route("/rate-limit/info", get_with(limits::info, openapi::info))
        .api_route(
            "/admin/rate-limit/reset",
            post_with(reset::reset, openapi::reset),
        )
        .api_route("/openapi.json", get_with(document_json, openapi::document))
        .api_route("/docs", get_with(docs, openapi::docs))
        .api_route("/redoc", get_with(redoc, openapi::redoc))
        .finish_api_with(&mut document, openapi::whole);
    // The document is made of our own constants; if it could not be written, the endpoint says so with a 500.
    let details = Details(api.config.health_details);
    if let Ok(text) = openapi::text(&document, details) {
        let _ = api.openapi.set(Bytes::from(text));
    }
    Routers {
        public: finish(described.clone(), api).layer(Extension(details)),
        ops: finish(described.route("/metrics", get(metrics_text)), api)
            .layer(Extension(Details(true))),
    }
}

fn finish(router: Router<Arc<Api>>, api: &Arc<Api>) -> Router {
    router
        .fallback(no_such_endpoint)
        .method_not_allowed_fallback(no_such_method)
        .with_state(Arc::clone(api))
}

async fn no_such_endpoint() -> Response {
    answer::failure(
        StatusCode::NOT_FOUND,
        "Not Found",
        "There is no such endpoint",
    )
}

/// axum adds `Allow` with the methods that there are.
async fn no_such_method() -> Response {
    answer::failure(
        StatusCode::METHOD_NOT_ALLOWED,
        "Method Not Allowed",
        "This endpoint does not take this method; Allow names those it takes",
    )
}

async fn document_json(State(api): State<Arc<Api>>) -> Response {
    match api.openapi.get() {
        Some(text) => typed("application/json", text.clone()),
        None => answer::failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal Server Error",
            "The document could not be written",
        ),
    }
}

async fn docs() -> Response {
    page(pages::docs())
}

async fn redoc() -> Response {
    page(pages::redoc())
}

fn page(page: &pages::Page) -> Response {
    let fields: [(HeaderName, &str); 2] = [
        (http::header::CONTENT_SECURITY_POLICY, &page.policy),
        (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (fields, typed("text/html; charset=utf-8", page.html.clone())).into_response()
}

async fn metrics_text(State(api): State<Arc<Api>>, fields: HeaderMap) -> Response {
    let accept = fields.get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = TextFormat::accepted(accept.unwrap_or_default());
    let gauges = Gauges {
        keys: api.limits.keys() as u64,
        version: env!("CARGO_PKG_VERSION"),
        start_unix_ms: api.start_unix_ms,
        diagnostics_dropped: (api.diagnostics_dropped)(),
        state: &api.state,
    };
    let text = api.metrics.encode(&gauges, format);
    typed(format.content_type(), Bytes::from(text))
}

fn typed(content_type: &'static str, body: Bytes) -> Response {
    ([(CONTENT_TYPE, content_type)], body).into_response()
}
