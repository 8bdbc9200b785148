//! The operations port: the own endpoints and `/metrics` over hyper. Not the public port. Invariant: bounded connections, and
//! nobody is identified here, so what needs a token is refused.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::config::Config;
use crate::net::clock;
use crate::throttle::SharedThrottle;

/// Connections at once: scrapers, probes and an operator's browser. Others wait in the listener's queue.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may take to send a head, which is also how long it may idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `accept` rests when there is no descriptor left: it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Lines about connections that ended badly or could not be accepted: one of each a second.
static ENDED_TOLD: SharedThrottle = SharedThrottle::new(1_000);
static ACCEPT_TOLD: SharedThrottle = SharedThrottle::new(1_000);

/// Binds the operations port. `Ok(None)`: there is to be none, or the default port is taken (said in one warning, because
/// a second gateway on a host should start).
///
/// # Errors
/// The operator set the port and it cannot be bound.
pub fn bind_ops(config: &Config) -> io::Result<Option<TcpListener>> {
    let Some(ops) = config.ops else {
        return Ok(None);
    };
    match TcpListener::bind(ops.listen) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if ops.explicit => Err(error),
        Err(error) => {
            tracing::warn!(
                listen = %ops.listen, %error,
                "no operations port: it cannot be bound; set OPS_PORT to another port, or to 0 for none"
            );
            Ok(None)
        }
    }
}

/// Serves connections for ever.
pub(super) async fn serve(listener: tokio::net::TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    serve_connection(stream, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                if let Some(left_out) = ACCEPT_TOLD.pass(clock::now_ms()) {
                    let left_out = (left_out > 0).then_some(left_out);
                    tracing::warn!(%error, left_out, "the operations port cannot accept");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        router.clone().oneshot(request.map(Body::new))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served
        && let Some(left_out) = ENDED_TOLD.pass(clock::now_ms())
    {
        let left_out = (left_out > 0).then_some(left_out);
        tracing::debug!(%error, left_out, "an operations connection ended badly");
    }
}
