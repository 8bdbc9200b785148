//! Two small services to stand behind the gateway: what `demo` and the compose stack run when there is nothing real yet. Not
//! part of the gateway's own way of a request: they live on threads of their own and know nothing of the wings.
//! Invariant: everything they take or give is bounded, and a stopped service ends within [`GRACE_MS_MAX`].

mod analyzer;
mod backend;
mod banner;
mod login;
mod server;
mod socket;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

pub use banner::lines;
pub use login::Login;
pub use server::{GRACE_MS_MAX, Running};

/// Organization that the demo's own tokens speak for; the banner's reset line names it.
pub const ORGANIZATION: u64 = 1;

/// User that the demo's own tokens speak for.
pub const USER: u64 = 123;

/// Which of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Stands for DBPower's backend: echo, login, a slow answer, events, a WebSocket, large bodies.
    Backend,
    /// Stands for the AI analyzer: a few pattern checks on a piece of SQL.
    Analyzer,
}

impl Kind {
    /// The name on the command line, in thread names and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Analyzer => "ai-analyzer",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Backend, Self::Analyzer]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("no demo service `{name}`: backend or ai-analyzer"))
    }
}

/// Serves `kind` on a listener that is already bound, on a thread of its own, until the returned value is stopped or dropped.
/// Without a `login` the backend's login endpoint answers 503.
pub fn serve(kind: Kind, listener: TcpListener, login: Option<Login>) -> io::Result<Running> {
    server::start(kind, listener, login)
}

/// Serves `kind` on `listen` on the calling thread; returns soon after SIGTERM or SIGINT.
pub fn run_service(kind: Kind, listen: SocketAddr, login: Option<Login>) -> io::Result<()> {
    server::run_until_signal(kind, TcpListener::bind(listen)?, login)
}

/// An error answer in the gateway's own shape, so that a reader need not tell the two apart by form.
fn refusal(status: StatusCode, message: &str) -> Response {
    let error = status.canonical_reason().unwrap_or("Error");
    (
        status,
        Json(serde_json::json!({ "error": error, "message": message })),
    )
        .into_response()
}

/// The health answer; the gateway's probes want any 2xx.
async fn health(kind: Kind) -> Response {
    Json(serde_json::json!({
        "status": "healthy",
        "service": format!("demo-{}", kind.name()),
        "demo": true,
    }))
    .into_response()
}
