//! The demo backend: shows what the gateway sends on, and answers in the ways that are hard for a proxy (late, endless, large).
//! Not an example of a real service. Invariant: no body is held in memory whole but the login's, which is small.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use serde_json::{Map, Value, json};
use tokio::time::{Interval, MissedTickBehavior};

use super::{Login, refusal, socket};

/// How late the slow answer is.
const SLOW_MS: u64 = 2_000;
/// Time between two events, and their number.
const EVENT_MS: u64 = 500;
const EVENTS_MAX: u32 = 10;
/// Largest download and upload: above what a test of streaming wants, below what fills a night.
const BYTES_MAX: u64 = 16 << 30;
/// A request body that brings nothing for this long is given up.
const BODY_PAUSE_MS_MAX: u64 = 30_000;
/// Largest login body.
const LOGIN_BYTES_MAX: usize = 16 * 1024;
/// Longest name that goes into a token.
const NAME_CHARS_MAX: usize = 128;
/// Piece of a download: one page of zeros for all of them.
static PIECE: [u8; 16 * 1024] = [b'0'; 16 * 1024];

/// Fields that the gateway sets itself; the echo shows them as received, and no other (a token is never echoed).
const SHOWN: [&str; 8] = [
    "X-User-ID",
    "X-Organization-ID",
    "X-User-Role",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
    "X-Request-ID",
];

pub(super) fn router(login: Option<Login>) -> Router {
    Router::new()
        .route("/api/v1/auth/login", post(sign_in))
        .route("/api/v1/slow", get(slow))
        .route("/api/v1/events", get(events))
        .route("/api/v1/ws", any(socket::talk))
        .route("/api/v1/bytes/{n}", get(download))
        .route("/api/v1/upload", post(upload))
        .route("/api/v1/{*rest}", any(echo))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "The demo backend has no such path") })
        .with_state(Arc::new(login))
}

async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    match count(body).await {
        Ok(body_bytes) => Json(json!({
            "service": "demo-backend",
            "method": head.method.as_str(),
            "path": head.uri.path(),
            "query": head.uri.query(),
            "headers": shown(&head.headers),
            "body_bytes": body_bytes,
        }))
        .into_response(),
        Err(refused) => refused,
    }
}

async fn upload(request: Request) -> Response {
    match count(request.into_body()).await {
        Ok(received) => {
            Json(json!({ "service": "demo-backend", "received_bytes": received })).into_response()
        }
        Err(refused) => refused,
    }
}

/// Any name and password get a token: the demo shows the gateway's side of a login, not a user directory.
async fn sign_in(State(login): State<Arc<Option<Login>>>, request: Request) -> Response {
    let Some(login) = login.as_ref() else {
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "This demo backend was started without a signing secret",
        );
    };
    let Ok(body) = axum::body::to_bytes(request.into_body(), LOGIN_BYTES_MAX).await else {
        return refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            "A login is at most 16 KiB of JSON",
        );
    };
    let fields = serde_json::from_slice::<Value>(&body).unwrap_or(Value::Null);
    let name = ["email", "username"]
        .iter()
        .find_map(|key| fields.get(key)?.as_str())
        .filter(|name| (1..=NAME_CHARS_MAX).contains(&name.len()));
    let (Some(name), Some(_)) = (name, fields.get("password").and_then(Value::as_str)) else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "Send {\"email\": \"…\", \"password\": \"…\"}",
        );
    };
    match login.token(name) {
        Some((token, lifetime)) => {
            Json(json!({ "access_token": token, "token_type": "bearer", "expires_in": lifetime }))
                .into_response()
        }
        None => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The token could not be signed",
        ),
    }
}

async fn slow() -> Response {
    tokio::time::sleep(Duration::from_millis(SLOW_MS)).await;
    Json(json!({ "service": "demo-backend", "waited_ms": SLOW_MS })).into_response()
}

async fn events() -> Response {
    let mut interval = tokio::time::interval(Duration::from_millis(EVENT_MS));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let fields = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (fields, Body::new(Events { interval, sent: 0 })).into_response()
}

async fn download(Path(wanted): Path<String>) -> Response {
    match wanted.parse::<u64>() {
        Ok(left) if left <= BYTES_MAX => (
            [(header::CONTENT_TYPE, "application/octet-stream")],
            Body::new(Zeros { left }),
        )
            .into_response(),
        _ => refusal(
            StatusCode::BAD_REQUEST,
            "The number of bytes is 0 to 17179869184",
        ),
    }
}

/// Reads a body to its end piece by piece and forgets it; the answer says how long it was.
async fn count(mut body: Body) -> Result<u64, Response> {
    let mut total = 0_u64;
    let pause = Duration::from_millis(BODY_PAUSE_MS_MAX);
    loop {
        let frame = match tokio::time::timeout(pause, body.frame()).await {
            Err(_) => {
                return Err(refusal(
                    StatusCode::REQUEST_TIMEOUT,
                    "The body stopped coming",
                ));
            }
            Ok(None) => return Ok(total),
            Ok(Some(Err(_))) => return Err(refusal(StatusCode::BAD_REQUEST, "The body broke off")),
            Ok(Some(Ok(frame))) => frame,
        };
        total += frame.data_ref().map_or(0, |piece| piece.len() as u64);
        if total > BYTES_MAX {
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "At most 16 GiB"));
        }
    }
}

/// The fields of [`SHOWN`] that came; one that came twice shows as a list, because that is a fault worth seeing.
fn shown(headers: &HeaderMap) -> Map<String, Value> {
    let mut found = Map::new();
    for name in SHOWN {
        let values: Vec<Value> = headers
            .get_all(name)
            .iter()
            .map(|value| Value::from(String::from_utf8_lossy(value.as_bytes())))
            .collect();
        match values.as_slice() {
            [] => {}
            [one] => {
                found.insert(name.to_owned(), one.clone());
            }
            _ => {
                found.insert(name.to_owned(), Value::Array(values));
            }
        }
    }
    found
}

/// Server-sent events, one per tick, the first at once.
struct Events {
    interval: Interval,
    sent: u32,
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.sent == EVENTS_MAX {
            return Poll::Ready(None);
        }
        ready!(self.interval.poll_tick(context));
        self.sent += 1;
        let number = self.sent;
        let event = format!(
            "id: {number}\nevent: tick\ndata: {{\"event\":{number},\"of\":{EVENTS_MAX}}}\n\n"
        );
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))))
    }
}

/// `left` times the digit zero; its exact size hint becomes the Content-Length.
struct Zeros {
    left: u64,
}

impl hyper::body::Body for Zeros {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = usize::try_from(self.left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
        self.left -= piece as u64;
        let data = Bytes::from_static(PIECE.get(..piece).unwrap_or(&PIECE));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
