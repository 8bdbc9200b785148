//! Carries a demo service over HTTP/1.1: thread, listener, connections, stop. Not a place for what is answered (that is
//! `backend` and `analyzer`). Invariant: never more than [`CONNECTIONS_MAX`] connections, each with a deadline for its head.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;

use super::{Kind, Login, analyzer, backend, health};

/// Connections served at once; further ones wait in the listen queue.
const CONNECTIONS_MAX: u32 = 4096;

/// How long a head may take. Above the gateway's pool, which must be the one to end an idle connection.
const HEAD_MS_MAX: u64 = 120_000;

/// How long answers under way may go on after a stop. Short: in a container the gateway is drained first.
pub const GRACE_MS_MAX: u64 = 1_000;

/// Pause after a failed accept (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE_MS: u64 = 20;

/// A demo service on its own thread; dropping it stops the service.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: Option<watch::Sender<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Where the service listens, with the port that the system chose when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the service and waits for its thread, at most [`GRACE_MS_MAX`] and a little.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // The receiver sees a dropped sender as the wish to stop.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A service that panicked is gone all the same; its message is on stderr.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

pub(super) fn start(
    kind: Kind,
    listener: TcpListener,
    login: Option<Login>,
) -> io::Result<Running> {
    let address = listener.local_addr()?;
    let runtime = runtime()?;
    let (stop, stopped) = watch::channel(false);
    let listener = adopt(&runtime, listener)?;
    let router = router(kind, login);
    let thread = std::thread::Builder::new()
        .name(format!("demo-{}", kind.name()))
        .spawn(move || runtime.block_on(accept_until(listener, router, stopped)))?;
    Ok(Running {
        address,
        stop: Some(stop),
        thread: Some(thread),
    })
}

pub(super) fn run_until_signal(
    kind: Kind,
    listener: TcpListener,
    login: Option<Login>,
) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let runtime = runtime()?;
    let listener = adopt(&runtime, listener)?;
    let router = router(kind, login);
    runtime.block_on(async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(accept_until(listener, router, stopped));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        drop(stop);
        serving.await.map_err(io::Error::other)
    })
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
}

fn adopt(
    runtime: &tokio::runtime::Runtime,
    listener: TcpListener,
) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    let _context = runtime.enter();
    tokio::net::TcpListener::from_std(listener)
}

fn router(kind: Kind, login: Option<Login>) -> Router {
    let router = match kind {
        Kind::Backend => backend::router(login),
        Kind::Analyzer => analyzer::router(),
    };
    // The gateway's `healthcheck` is also the container check of these services, whichever of the three it asks for.
    ["/health", "/livez", "/readyz"]
        .into_iter()
        .fold(router, |router, path| {
            router.route(path, get(move || health(kind)))
        })
}

/// The accept loop: a permit first, so that the bound holds before the connection exists.
async fn accept_until(
    listener: tokio::net::TcpListener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, permit)) => {
                tokio::spawn(converse(stream, router.clone(), stopped.clone(), permit));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await,
        }
    }
    // All permits back means all connections ended; what has not by then is cut off with the runtime.
    let grace = Duration::from_millis(GRACE_MS_MAX);
    let _ = tokio::time::timeout(grace, permits.acquire_many(CONNECTIONS_MAX)).await;
}

async fn accept(
    listener: &tokio::net::TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

/// One connection until its end; a stop lets the answer under way finish and no further one begin.
async fn converse(
    stream: tokio::net::TcpStream,
    router: Router,
    mut stopped: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(
                router
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never| match never {}),
            )
        }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(HEAD_MS_MAX))
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    // An error here is a peer that left or spoke nonsense; a demo has nobody to tell.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
    drop(permit);
}
