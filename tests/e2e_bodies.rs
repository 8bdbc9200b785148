//! Large bodies and memory: a gigabyte each way, and peers that do not read. Not the content of bodies (see `e2e_streaming`).
//! Invariant: memory is measured against a warm-up of the same kind, so that only growth with size counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use support::{Broken, Exchange, Framing, Gateway, Next, Upstream, gateway, until, upstream};

const MIB: u64 = 1 << 20;
const WARM_UP: u64 = 64 * MIB;
const LARGE: u64 = 1024 * MIB;
const GROWTH_KIB_MAX: u64 = 8 * 1024;
const PIECE: usize = 1 << 16;

fn open(up: &Upstream) -> Gateway {
    let plan = gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*");
    plan.env("MAX_BODY_BYTES", 0).start()
}

/// How much the process's peak grew between a small transfer and a large one of the same kind.
fn growth_kib(gw: &Gateway, transfer: impl Fn(u64)) -> u64 {
    transfer(WARM_UP);
    let before = gw.peak_kib();
    transfer(LARGE);
    gw.peak_kib() - before
}

/// Writes a body of this size; chunked when asked to.
fn pour(size: u64, chunked: bool, mut send: impl FnMut(&[u8]) -> bool) {
    let mut piece = vec![b'x'; PIECE];
    if chunked {
        let head = format!("{PIECE:x}\r\n");
        piece.splice(0..0, head.bytes());
        piece.extend_from_slice(b"\r\n");
    }
    for _ in 0..size / PIECE as u64 {
        assert!(send(&piece), "the gateway takes the whole body");
    }
    if chunked {
        assert!(send(b"0\r\n\r\n"));
    }
}

fn framing(size: u64, chunked: bool) -> String {
    if chunked {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {size}")
    }
}

#[test]
fn a_gigabyte_up_does_not_move_memory() {
    let up = upstream().script(|exchange| {
        let count = exchange.swallow().unwrap().to_string();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{count}",
            count.len()
        ));
        Next::Keep
    });
    let gw = open(&up);
    for chunked in [false, true] {
        let growth = growth_kib(&gw, |size| {
            let mut wire = gw.wire();
            let framing = framing(size, chunked);
            wire.send(format!(
                "PUT /api/v1/open/x HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"
            ));
            pour(size, chunked, |piece| wire.try_send(piece));
            assert_eq!(wire.answer().text(), size.to_string());
        });
        assert!(growth < GROWTH_KIB_MAX, "chunked {chunked}: {growth} KiB");
    }
}

#[test]
fn a_gigabyte_down_does_not_move_memory() {
    let up = upstream().script(|exchange| {
        let asked = exchange.request.target().to_owned();
        let chunked = asked.contains("chunked");
        let size: u64 = asked.rsplit('/').next().unwrap().parse().unwrap();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\n{}\r\n\r\n",
            framing(size, chunked)
        ));
        pour(size, chunked, |piece| exchange.send(piece));
        Next::Keep
    });
    let gw = open(&up);
    for kind in ["length", "chunked"] {
        let growth = growth_kib(&gw, |size| {
            let mut wire = gw.wire();
            wire.send(format!(
                "GET /api/v1/open/{kind}/{size} HTTP/1.1\r\nHost: a\r\n\r\n"
            ));
            let mut count = 0;
            let answer = wire
                .try_answer_into("GET", |piece| count += piece.len() as u64)
                .unwrap();
            assert_eq!((answer.status, count), (200, size));
            assert_eq!(answer.framing == Framing::Chunked, kind == "chunked");
        });
        assert!(growth < GROWTH_KIB_MAX, "{kind}: {growth} KiB");
    }
}

/// Waits until a counter has stood still for half a second, and says where.
fn stalled(count: &AtomicU64) -> u64 {
    let mut last = u64::MAX;
    until("the writer to be held back", || {
        let before = std::mem::replace(&mut last, count.load(Ordering::Relaxed));
        support::pause(Duration::from_millis(500));
        last > 0 && last == before
    });
    last
}

/// More than all kernel buffers between two ends of two loopback connections.
const MORE_THAN_BUFFERS: u64 = 256 * MIB;

#[test]
fn a_client_that_does_not_read_holds_the_upstream_back() {
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    let up = upstream().script(move |exchange: &mut Exchange<'_>| {
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {MORE_THAN_BUFFERS}\r\n\r\n"
        ));
        pour(MORE_THAN_BUFFERS, false, |piece| {
            count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            exchange.send(piece)
        });
        Next::Keep
    });
    let gw = open(&up);
    let before = gw.rss_kib();
    let mut wire = gw.wire();
    wire.send("GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n");
    let held_at = stalled(&written);
    assert!(
        held_at < MORE_THAN_BUFFERS / 2,
        "{} MiB were taken from the upstream",
        held_at / MIB
    );
    assert!(gw.rss_kib() < before + GROWTH_KIB_MAX);
    assert!(gw.wire().serves_another(), "nobody else is held back");
    let mut read = 0;
    wire.try_answer_into("GET", |piece| read += piece.len() as u64)
        .unwrap();
    assert_eq!(read, MORE_THAN_BUFFERS, "and nothing is lost");
}

#[test]
fn an_upstream_that_does_not_read_holds_the_client_back() {
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let up = upstream().script(move |exchange| {
        let _ = wait.lock().unwrap().recv_timeout(support::PATIENCE);
        let count = exchange.swallow().unwrap().to_string();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{count}",
            count.len()
        ));
        Next::Keep
    });
    let gw = open(&up);
    let before = gw.rss_kib();
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    let mut wire = gw.wire();
    wire.send(format!(
        "PUT /api/v1/open/x HTTP/1.1\r\nHost: a\r\nContent-Length: {MORE_THAN_BUFFERS}\r\n\r\n"
    ));
    let client = std::thread::spawn(move || -> Result<String, Broken> {
        pour(MORE_THAN_BUFFERS, false, |piece| {
            count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            wire.try_send(piece)
        });
        wire.try_answer("PUT").map(|answer| answer.text())
    });
    let held_at = stalled(&sent);
    assert!(
        held_at < MORE_THAN_BUFFERS / 2,
        "{} MiB were taken from the client",
        held_at / MIB
    );
    assert!(gw.rss_kib() < before + GROWTH_KIB_MAX);
    drop(go);
    assert_eq!(client.join().unwrap(), Ok(MORE_THAN_BUFFERS.to_string()));
}
