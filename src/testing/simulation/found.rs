//! What the simulation has found, each as a story of its own that does not depend on a seed. Not the search. Invariant: each of
//! these failed before its cause was mended.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use super::run::{Stage, configured};
use super::stream::adopt;
use super::wire::{Found, Peer, link};
use super::world::{World, sleep_ms, world};

/// Bytes of a body that come when the answer is out already must not turn the answer's end into a reset.
#[test]
fn a_last_answer_outlives_the_body_that_comes_behind_it() {
    let world = World::begin(1);
    let stage = Rc::new(Stage::new(&configured(&[]), 10));
    let keeping = stage.worker.clone();
    world.spawn("the worker's clock", async move {
        keeping.keep_time(|| ()).await;
    });
    let playing = Rc::clone(&stage);
    world.spawn("the client", async move {
        sleep_ms(100).await;
        let (theirs, ours) = link((4_096, 4_096), 0);
        let (reader, writer) = adopt(ours);
        let worker = playing.worker.clone();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        super::world::world().spawn("a connection", async move {
            worker.connection(reader, writer, address).await;
        });
        late_body(Peer(theirs)).await;
        playing.state.mark_draining();
    });
    let ended = world.run();
    world.end();
    assert_eq!(ended, Ok(()));
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
