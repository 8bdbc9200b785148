//! When a connection between two requests is parked: after a moment, and at once where its last request came after a pause. Not
//! what becomes of it then (runs park and wake thousands). Invariant: nothing here depends on a seed.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use super::run::{Stage, configured};
use super::stream::adopt;
use super::wire::{Found, Peer, link};
use super::world::{World, sleep_ms, world};

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

/// A worker and one client, who does `play` with its end of the connection and the connection's number.
fn check<F: Future<Output = ()> + 'static>(play: impl FnOnce(Peer, u64, Rc<Stage>) -> F) {
    let begun = World::begin(1);
    let stage = Rc::new(Stage::new(&configured(&[]), 10));
    let (keeping, serving) = (stage.worker.clone(), stage.worker.clone());
    begun.spawn("the worker's clock", async move {
        keeping.keep_time(|| ()).await;
    });
    let (theirs, ours) = link((4_096, 4_096), 0);
    let playing = play(Peer(theirs), ours.link, Rc::clone(&stage));
    begun.spawn("a connection", async move {
        let (reader, writer) = adopt(ours);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        serving.connection(reader, writer, address).await;
    });
    begun.spawn("the client", playing);
    let ended = begun.run();
    begun.end();
    assert_eq!(ended, Ok(()));
}

#[test]
fn who_asks_after_a_pause_is_parked_right_after_the_answer() {
    check(|peer, link, stage| async move {
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
    check(|peer, link, stage| async move {
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
