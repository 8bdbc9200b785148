//! What `/openapi.json` says (OpenAPI 3.1): the words and examples; the schemas come from the types that the endpoints answer
//! with. Invariant: every endpoint of the public router is described; proxied paths belong to their services' documents.

use aide::openapi::{Example, Info, License, OpenApi, ReferenceOr, SecurityScheme};
use aide::transform::{TransformOpenApi, TransformOperation, TransformResponse};
use axum::Json;
use serde_json::{Value, json};

use super::answer::{Failure, Limited};
use super::api::Details;
use super::health::{Health, Status};
use super::limits;
use super::reset::{Done, ResetRequest};

/// The security scheme's name.
const BEARER: &str = "bearerAuth";

type Op<'t> = TransformOperation<'t>;

/// A document without paths.
pub(super) fn empty() -> OpenApi {
    OpenApi {
        info: Info {
            title: "DBPower API gateway".to_owned(),
            summary: Some("The gateway's own endpoints".to_owned()),
            description: Some(
                "Health, limits and administration of the gateway itself. Requests under `/api/v1/` and `/analyzer/` \
                 are forwarded; the services behind them have documents of their own."
                    .to_owned(),
            ),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            license: Some(License {
                name: "MIT".to_owned(),
                identifier: Some("MIT".to_owned()),
                ..License::default()
            }),
            ..Info::default()
        },
        ..OpenApi::default()
    }
}

/// The document's text; without details the gateway's version is left out of it.
pub(super) fn text(document: &OpenApi, details: Details) -> serde_json::Result<Vec<u8>> {
    let mut value = serde_json::to_value(document)?;
    if !details.0 {
        hide_version(&mut value);
    }
    serde_json::to_vec(&value)
}

/// Wherever it stands: in the document's own description and in examples.
fn hide_version(value: &mut Value) {
    match value {
        Value::String(text) if text == env!("CARGO_PKG_VERSION") => "hidden".clone_into(text),
        Value::Array(values) => values.iter_mut().for_each(hide_version),
        Value::Object(members) => members.values_mut().for_each(hide_version),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What concerns no single endpoint.
pub(super) fn whole(api: TransformOpenApi<'_>) -> TransformOpenApi<'_> {
    api.security_scheme(
        BEARER,
        SecurityScheme::Http {
            scheme: "bearer".to_owned(),
            bearer_format: Some("JWT".to_owned()),
            description: Some("`Authorization: Bearer <token>`".to_owned()),
            extensions: Default::default(),
        },
    )
}

pub(super) fn health(op: Op<'_>) -> Op<'_> {
    op.id("health")
        .tag("health")
        .summary("Health of the gateway and its upstreams")
        .description(
            "Answers at once from background probes. `degraded` is still 200: the gateway serves.",
        )
        .response_with::<200, Json<Health>, _>(|r| {
            shown(r.description("Serving"), health_example("healthy"))
        })
        .response_with::<503, Json<Health>, _>(|r| {
            shown(r.description("Shutting down"), health_example("degraded"))
        })
}

fn health_example(status: &str) -> serde_json::Value {
    json!({
        "status": status, "service": "dbpower-api-gateway", "version": env!("CARGO_PKG_VERSION"),
        "backend": "http://backend:8000", "ai_analyzer": "http://ai-analyzer:8001", "redis": true,
        "backend_healthy": true, "ai_analyzer_healthy": true, "driver": "io_uring", "limits": "shared",
    })
}

pub(super) fn livez(op: Op<'_>) -> Op<'_> {
    op.id("livez")
        .tag("health")
        .summary("Is the process alive?")
        .response_with::<200, Json<Status>, _>(|r| {
            shown(r.description("Alive"), json!({"status": "alive"}))
        })
}

pub(super) fn readyz(op: Op<'_>) -> Op<'_> {
    op.id("readyz")
        .tag("health")
        .summary("Should it be sent requests?")
        .response_with::<200, Json<Status>, _>(|r| {
            shown(r.description("Ready"), json!({"status": "ready"}))
        })
        .response_with::<503, Json<Status>, _>(|r| {
            shown(
                r.description("Starting or draining"),
                json!({"status": "draining"}),
            )
        })
}

pub(super) fn info(op: Op<'_>) -> Op<'_> {
    let op = op
        .id("rateLimitInfo")
        .tag("limits")
        .summary("The caller's own limits")
        .description("Takes no token of the limit. A part that is not limited is left out.")
        .response_with::<200, Json<limits::Info>, _>(|r| {
            let example = json!({
                "organization": {"id": 1, "current_count": 45, "limit": 100, "remaining": 55},
                "ip": {"address": "192.168.1.1", "current_count": 10, "limit": 100, "remaining": 90},
            });
            shown(r.description("What is used and left"), example)
        });
    secured(op)
}

pub(super) fn reset(op: Op<'_>) -> Op<'_> {
    let op = op
        .id("rateLimitReset")
        .tag("limits")
        .summary("Fill a bucket and lift its block")
        .description(
            "For administrators: `org_admin` its own organization, `admin` any organization or address, `super_admin` \
             also everything. In effect before the answer.",
        )
        .input::<Json<ResetRequest>>()
        .with(reset_examples)
        .response_with::<200, Json<Done>, _>(|r| {
            shown(
                r.description("Done"),
                json!({"status": "success", "message": "Rate limits reset successfully"}),
            )
        })
        .response_with::<400, Json<Failure>, _>(|r| {
            failed(r, "The body is not one of the three shapes", "Bad Request", "all must be true")
        })
        .response_with::<403, Json<Failure>, _>(|r| {
            failed(r, "Not an administrator of this", "Forbidden", "Admin access required")
        })
        .response_with::<503, Json<Failure>, _>(|r| {
            failed(r, "Redis is away: nothing was reset", "Service Unavailable", "store_away: …")
        });
    secured(op).response_with::<429, Json<Limited>, _>(|r| {
        let example = json!({
            "error": "Rate limit exceeded", "message": "reset_too_soon: …", "retry_after": 45,
        });
        let meaning = "An invalid token from a blocked address; `org_admin`: a second reset within a minute, or its address \
                       has no token left for it (with `Retry-After`)";
        shown(r.description(meaning), example)
    })
}

fn reset_examples(mut op: Op<'_>) -> Op<'_> {
    if let Some(ReferenceOr::Item(body)) = &mut op.inner_mut().request_body {
        body.required = true;
        for content in body.content.values_mut() {
            for (name, request) in ResetRequest::examples() {
                let example = Example {
                    value: serde_json::to_value(request).ok(),
                    ..Example::default()
                };
                let example = ReferenceOr::Item(example);
                content.examples.insert(name.to_owned(), example);
            }
        }
    }
    op
}

pub(super) fn document(op: Op<'_>) -> Op<'_> {
    op.id("openapi")
        .tag("documentation")
        .summary("This document")
        .response_with::<200, Json<serde_json::Value>, _>(|r| r.description("OpenAPI 3.1"))
}

pub(super) fn docs(op: Op<'_>) -> Op<'_> {
    op.id("docs")
        .tag("documentation")
        .summary("This document in Swagger UI")
        .response_with::<200, axum::response::Html<String>, _>(|r| r.description("A page"))
}

pub(super) fn redoc(op: Op<'_>) -> Op<'_> {
    op.id("redoc")
        .tag("documentation")
        .summary("This document in Redoc")
        .response_with::<200, axum::response::Html<String>, _>(|r| r.description("A page"))
}

/// A token is needed; a bad one is refused, and charged to the client's address.
fn secured(op: Op<'_>) -> Op<'_> {
    op.security_requirement(BEARER)
        .response_with::<401, Json<Failure>, _>(|r| {
            failed(
                r,
                "No valid token (with `WWW-Authenticate: Bearer`)",
                "Unauthorized",
                "Token has expired",
            )
        })
        .response_with::<429, Json<Limited>, _>(|r| {
            let example = json!({
                "error": "Rate limit exceeded", "message": "Too many requests. Please retry after 45 seconds.",
                "retry_after": 45,
            });
            let meaning = "An invalid token from a blocked address (with `Retry-After` and `X-RateLimit-*`)";
            shown(r.description(meaning), example)
        })
}

fn failed<'t>(
    response: TransformResponse<'t, Failure>,
    meaning: &str,
    error: &str,
    message: &str,
) -> TransformResponse<'t, Failure> {
    shown(
        response.description(meaning),
        json!({"error": error, "message": message}),
    )
}

/// Puts an example beside a response's schema.
fn shown<T>(
    mut response: TransformResponse<'_, T>,
    example: serde_json::Value,
) -> TransformResponse<'_, T> {
    for content in response.inner().content.values_mut() {
        content.example = Some(example.clone());
    }
    response
}
