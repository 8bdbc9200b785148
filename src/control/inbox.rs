//! Serves the workers' calls. Not the endpoints. Invariant: each call is a task of its own, so one that waits holds up no
//! other, and there are never more than `CALLS_MAX` of them; beyond, calls stay in the mailbox until it is full (503).

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::sync::{Semaphore, mpsc};
use tower::ServiceExt;

use super::answer;
use super::caller::Subject;
use crate::mailbox::{CALLS_MAX, Call, Caller, Inbox, OwnCall};

/// Serves calls until the workers have gone. `again` takes the services whose names are to be looked up again.
pub(super) async fn serve(mut inbox: Inbox, router: Router, again: mpsc::Sender<usize>) {
    let turns = Arc::new(Semaphore::new(CALLS_MAX));
    while let Some(call) = inbox.recv().await {
        match call {
            // A full queue holds a wish for every service already.
            Call::Resolve(service) => drop(again.try_send(service)),
            Call::Own(own) => {
                let Ok(turn) = Arc::clone(&turns).acquire_owned().await else {
                    return;
                };
                let router = router.clone();
                tokio::spawn(async move {
                    answer_call(router, *own).await;
                    drop(turn);
                });
            }
        }
    }
}

async fn answer_call(router: Router, call: OwnCall) {
    let OwnCall { request, reply } = call;
    // A client that has left by now is answered nothing; the worker has dropped its end.
    let _ = reply.send(answer_one(router, request).await);
}

/// Asks the router and reads its answer whole: own endpoints answer from memory.
pub(super) async fn answer_one(router: Router, request: Request<Bytes>) -> Response<Bytes> {
    let mut request = request.map(Body::from);
    let caller = request.extensions_mut().remove::<Caller>();
    if let Some(subject) = caller.as_ref().and_then(Subject::of) {
        request.extensions_mut().insert(subject);
    }
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    // Without a bound, for the body is our own and not a peer's.
    match to_bytes(body, usize::MAX).await {
        Ok(body) => Response::from_parts(parts, body),
        Err(_) => {
            let failed = answer::failure(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal Server Error",
                "The answer could not be read",
            );
            failed.map(|_| Bytes::new())
        }
    }
}
