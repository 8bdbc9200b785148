//! What the simulation has found, each as a story of its own that does not depend on a seed. Not the search. Invariant: each of
//! these failed before its cause was mended.

use super::run::story;
use super::wire::{Found, Peer};
use super::world::{sleep_ms, world};

/// Bytes of a body that come when the answer is out already must not turn the answer's end into a reset.
#[test]
fn a_last_answer_outlives_the_body_that_comes_behind_it() {
    let stage = story(|peer, _, stage| async move {
        sleep_ms(100).await;
        late_body(peer).await;
        stage.state.mark_draining();
    });
    let closed = "dbpower_connections_closed_total{reason=\"body_abandoned\"}";
    assert_eq!(stage.number(closed), 1);
}

async fn late_body(peer: Peer) {
    let head =
        b"POST /api/v1/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
    peer.write(head).await;
    sleep_ms(50).await;
    peer.write(b"abcde").await;
    sleep_ms(50).await;
    let mut answer = Vec::new();
    loop {
        match peer.read().await {
            Found::Bytes(bytes) => answer.extend(bytes),
            Found::End => break,
            Found::Reset => return world().fail("the answer's end is a reset"),
        }
    }
    if !answer.starts_with(b"HTTP/1.1 401 ") {
        world().fail(format!("not refused: {}", answer.escape_ascii()));
    }
}
