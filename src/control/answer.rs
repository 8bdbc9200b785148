//! The shapes of JSON answers of own endpoints. Not the proxy's refusals (`reject` writes those). Invariant: every failed call
//! is `{"error","message"}` with a message that says what was wrong.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

/// The body of a failed call.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Failure {
    /// The status's name.
    pub(super) error: &'static str,
    /// What was wrong.
    pub(super) message: String,
}

/// The body of a 429.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Limited {
    /// `Rate limit exceeded`.
    pub(super) error: &'static str,
    /// What to do.
    pub(super) message: String,
    /// Seconds to wait, as in `Retry-After`.
    pub(super) retry_after: u32,
}

/// An answer that no cache may keep.
pub(super) fn json(status: StatusCode, body: impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    let fields = response.headers_mut();
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A failed call.
pub(super) fn failure(
    status: StatusCode,
    error: &'static str,
    message: impl Into<String>,
) -> Response {
    let message = message.into();
    json(status, Failure { error, message })
}

/// 400: the body was not what it should be.
pub(super) fn bad_request(message: impl Into<String>) -> Response {
    failure(StatusCode::BAD_REQUEST, "Bad Request", message)
}

/// 401: nobody is identified.
pub(super) fn unauthorized(message: &str) -> Response {
    let mut response = failure(StatusCode::UNAUTHORIZED, "Unauthorized", message);
    let fields = response.headers_mut();
    fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// 429: not yet. `limit`: what `X-RateLimit-*` say, if a limit refused.
pub(super) fn limited(message: String, retry_after: u32, limit: Option<u32>) -> Response {
    let error = "Rate limit exceeded";
    let body = Limited {
        error,
        message,
        retry_after,
    };
    let mut response = json(StatusCode::TOO_MANY_REQUESTS, body);
    let fields = response.headers_mut();
    fields.insert(RETRY_AFTER, retry_after.into());
    if let Some(limit) = limit {
        put_limit(fields, limit, 0);
        fields.insert("x-ratelimit-reset", retry_after.into());
    }
    response
}

/// 503: Redis is away.
pub(super) fn store_away(message: &'static str) -> Response {
    let mut response = failure(
        StatusCode::SERVICE_UNAVAILABLE,
        "Service Unavailable",
        message,
    );
    response.headers_mut().insert(RETRY_AFTER, 1_u32.into());
    response
}

/// The fields of a request that was charged.
pub(super) fn put_limit(fields: &mut HeaderMap, limit: u32, remaining: u32) {
    fields.insert("x-ratelimit-limit", limit.into());
    fields.insert("x-ratelimit-remaining", remaining.into());
}

/// 403: somebody, but not who may do this.
pub(super) fn forbidden(message: &str) -> Response {
    failure(StatusCode::FORBIDDEN, "Forbidden", message)
}
