//! When a connection between two requests is parked: after a moment, and at once where its last request came after a pause. Not
//! what becomes of it then (runs park and wake thousands). Invariant: nothing here depends on a seed.

use super::run::story;
use super::wire::{Found, Peer};
use super::world::{sleep_ms, world};

/// Milliseconds of silence before a request, and whether the connection is parked as soon as the answer is there.
const STEPS: [(u64, bool); 6] = [
    (0, false),
    // Shorter than it takes to be parked.
    (200, false),
    (500, true),
    (200, true),
    // It is quick again: the next is waited for.
    (20, false),
    (20, false),
];

async fn ask(peer: &Peer) -> Vec<u8> {
    peer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut answer = Vec::new();
    // The body is an object, and no field ends like one.
    while !answer.ends_with(b"}") {
        match peer.read().await {
            Found::Bytes(bytes) => answer.extend(bytes),
            Found::End | Found::Reset => {
                world().fail("no answer");
                break;
            }
        }
    }
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        world().fail(format!("not 200: {}", answer.escape_ascii()));
    }
    answer
}

#[test]
fn who_asks_after_a_pause_is_parked_right_after_the_answer() {
    story(|peer, link, stage| async move {
        for (number, (silence_ms, parked)) in STEPS.into_iter().enumerate() {
            sleep_ms(silence_ms).await;
            ask(&peer).await;
            // The worker's turn; nothing takes a millisecond here.
            sleep_ms(1).await;
            if world().sweep.is_parked(link) != parked {
                world().fail(format!("after request {number}: parked {}", !parked));
            }
        }
        stage.state.mark_draining();
    });
}

#[test]
fn what_wakes_a_parked_connection_is_answered_though_a_drain_has_begun() {
    story(|peer, link, stage| async move {
        ask(&peer).await;
        sleep_ms(500).await;
        if !world().sweep.is_parked(link) {
            world().fail("not parked");
        }
        // No tick of the worker lies between the two.
        stage.state.mark_draining();
        let answer = ask(&peer).await;
        let close = b"Connection: close";
        if !answer.windows(close.len()).any(|part| part == close) {
            world().fail(format!("goes on: {}", answer.escape_ascii()));
        }
    });
}
