//! WebSocket peers that do not keep to the protocol, or leave: half handshakes, services that answer otherwise, bytes ahead of
//! the 101, half-closed and vanished peers, one that does not read. Scripted on raw TCP. Invariant: nothing becomes a tunnel
//! without a whole handshake, and nothing that was said before it is read as a request.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;
mod support_ws;

use std::sync::Mutex;
use std::sync::mpsc::channel;

use support::{Gateway, Next, PATIENCE, Upstream, Wire, gateway, until, upstream};
use support_ws::{ACCEPT, KEY, frame, handshake, switch};

const WS: &str = "/api/v1/open/ws";

fn open(up: &Upstream) -> Gateway {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .start()
}

/// A service that switches and sends back what it gets, until that ends; then it ends its own side.
fn raw_echo() -> Upstream {
    upstream().script(|exchange| {
        exchange.send(switch(""));
        while let Ok(byte) = exchange.reader().take(1) {
            exchange.send(byte);
        }
        exchange.finish();
        Next::Close
    })
}

/// A connection whose handshake has been answered with 101.
fn tunnel(gw: &Gateway) -> Wire {
    let mut wire = gw.wire();
    wire.send(handshake(WS, ""));
    assert_eq!(wire.head().0, 101);
    wire
}

#[test]
fn another_answer_than_101_is_an_ordinary_answer() {
    for (raw, status) in [
        (support::OK, 200),
        ("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", 403),
        (
            "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n",
            426,
        ),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            404,
        ),
    ] {
        let up = upstream().answers(raw);
        let gw = open(&up);
        let mut wire = gw.wire();
        for _ in 0..3 {
            wire.send(handshake(WS, ""));
            let answer = wire.answer();
            assert_eq!((answer.status, answer.says_close()), (status, false));
            assert_eq!(answer.field("upgrade"), None);
        }
        assert!(wire.serves_another(), "the client's connection goes on");
        assert_eq!(up.connections(), 1, "so does the service's");
    }
}

#[test]
fn a_101_that_does_not_complete_the_handshake_is_a_502() {
    let whole = switch("");
    let without = |line: &str| whole.replace(line, "");
    let table = [
        (
            "no accept",
            without(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n")),
        ),
        (
            "another accept",
            whole.replace(ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="),
        ),
        (
            "two accepts",
            switch(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n")),
        ),
        ("no upgrade", without("Upgrade: websocket\r\n")),
        (
            "another upgrade",
            whole.replace("Upgrade: websocket", "Upgrade: h2c"),
        ),
        ("no connection", without("Connection: Upgrade\r\n")),
        ("1.0", whole.replace("HTTP/1.1", "HTTP/1.0")),
        ("a length", switch("Content-Length: 5\r\n")),
        ("chunks", switch("Transfer-Encoding: chunked\r\n")),
        (
            "two protocols",
            switch("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n"),
        ),
    ];
    for (name, raw) in table {
        let up = upstream().answers(&raw);
        let gw = open(&up);
        let mut wire = gw.wire();
        wire.send(handshake(WS, ""));
        assert_eq!(wire.answer().status, 502, "{name}");
        assert!(wire.serves_another(), "{name}");
        until("the service's connection to end", || up.closed() == 1);
        gw.log_line(name, |line| line.contains("502") && line.contains(WS));
    }
}

/// What asks for no WebSocket is an ordinary request: nothing of the switch goes upstream, and a 101 was not asked for.
#[test]
fn an_upgrade_that_is_no_websocket_is_ignored() {
    let whole = handshake(WS, "");
    let table = [
        (
            "no connection",
            whole.replace("Connection: keep-alive, Upgrade\r\n", ""),
        ),
        ("no upgrade", whole.replace("Upgrade: websocket\r\n", "")),
        (
            "another upgrade",
            whole.replace("Upgrade: websocket", "Upgrade: h2c"),
        ),
        ("POST", whole.replace("GET ", "POST ")),
        ("1.0", whole.replace("HTTP/1.1", "HTTP/1.0")),
        (
            "a body",
            whole.replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\nhi"),
        ),
    ];
    for (name, raw) in table {
        let up = upstream();
        let gw = open(&up);
        assert_eq!(gw.wire().send(&raw).answer().status, 200, "{name}");
        let seen = up.only();
        assert_eq!(
            (seen.field("upgrade"), seen.field("connection")),
            (None, None),
            "{name}"
        );
        let up = upstream().answers(switch(""));
        let gw = open(&up);
        assert_eq!(
            gw.wire().send(&raw).answer().status,
            502,
            "{name}: the 101 was not asked for"
        );
    }
}

/// A handshake that is not whole is told so by the gateway, and charged; its service hears nothing of it.
#[test]
fn a_broken_handshake_is_refused_with_what_it_lacks() {
    let whole = handshake(WS, "");
    let key = format!("Sec-WebSocket-Key: {KEY}\r\n");
    let version = "Sec-WebSocket-Version: 13\r\n";
    let table = [
        ("no key", whole.replace(&key, ""), 400),
        ("two keys", whole.replace(&key, &format!("{key}{key}")), 400),
        (
            "a short key",
            whole.replace(KEY, "dGhlIHNhbXBsZSBub25jZQ="),
            400,
        ),
        (
            "a long key",
            whole.replace(KEY, "dGhlIHNhbXBsZSBub25jZSEhISE="),
            400,
        ),
        (
            "no base64",
            whole.replace(KEY, "dGhlIHNhbXBsZSBub25jZ!=="),
            400,
        ),
        ("version 8", whole.replace("Version: 13", "Version: 8"), 426),
        ("no version", whole.replace(version, ""), 426),
        (
            "two versions",
            whole.replace(version, &format!("{version}{version}")),
            426,
        ),
    ];
    let up = upstream();
    let gw = open(&up);
    for (name, raw, status) in table {
        let mut wire = gw.wire();
        let answer = wire.send(&raw).answer();
        assert_eq!(answer.status, status, "{name}");
        let message = answer.json()["message"].to_string();
        assert!(message.contains("Sec-WebSocket-"), "{name}: {message}");
        if status == 426 {
            assert_eq!(answer.field("sec-websocket-version"), Some("13"), "{name}");
            assert_eq!(answer.field("upgrade"), Some("websocket"), "{name}");
            assert!(answer.lists("connection", "upgrade"), "{name}");
        }
        assert!(answer.says_close() && wire.closed(), "{name}");
    }
    assert!(up.requests().is_empty());
}

#[test]
fn bytes_ahead_of_the_101_reach_the_service_only_after_it() {
    let early = frame(0x82, b"early bird");
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let (tell, told) = channel();
    let length = early.len();
    let up = upstream().script(move |exchange| {
        let wait = |gate: &Mutex<std::sync::mpsc::Receiver<()>>| {
            gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        };
        wait(&gate);
        exchange.stream().set_nonblocking(true).unwrap();
        let ahead = exchange
            .stream()
            .peek(&mut [0])
            .map_err(|error| error.kind());
        tell.send(ahead).unwrap();
        exchange.stream().set_nonblocking(false).unwrap();
        exchange.send(switch(""));
        let came = exchange.reader().take(length).unwrap();
        exchange.send(came);
        Next::Close
    });
    let gw = open(&up);
    let mut wire = gw.wire();
    wire.send([handshake(WS, "").as_bytes(), &early].concat());
    up.wait_requests(1);
    // Another request through the same worker or the other: by then the gateway would have passed the bytes on.
    for _ in 0..4 {
        assert!(gw.wire().serves_another());
    }
    go.send(()).unwrap();
    assert_eq!(
        told.recv_timeout(PATIENCE),
        Ok(Err(std::io::ErrorKind::WouldBlock))
    );
    assert_eq!(wire.head().0, 101);
    assert_eq!(wire.reader().take(length), Ok(early));
    assert_eq!(up.requests().len(), 1);
}

/// Whether they come with the handshake or a little later, whether the answer is the service's or ours: they are no request.
#[test]
fn bytes_ahead_of_an_answer_that_is_no_101_are_never_a_request() {
    let smuggled = "GET /api/v1/open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for later in [false, true] {
        for answer in [support::OK, "HTTP/1.1 101 No\r\n\r\n"] {
            let (go, gate) = channel::<()>();
            let gate = Mutex::new(gate);
            let up = upstream().script(move |exchange| {
                gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                exchange.send(answer);
                Next::Keep
            });
            let gw = open(&up);
            let mut wire = gw.wire();
            if later {
                wire.send(handshake(WS, ""));
                up.wait_requests(1);
                wire.send(smuggled);
            } else {
                wire.send(handshake(WS, "") + smuggled);
                up.wait_requests(1);
            }
            go.send(()).unwrap();
            let answer = wire.answer();
            assert!(
                matches!(answer.status, 200 | 502) && answer.says_close(),
                "{later}"
            );
            assert!(wire.closed(), "{later}");
            assert_eq!(up.only().target(), WS);
        }
    }
    // Refused by the gateway itself: the same.
    let up = upstream();
    let gw = open(&up);
    let mut wire = gw.wire();
    wire.send(handshake("/api/v1/private", "") + smuggled);
    let answer = wire.answer();
    assert_eq!((answer.status, answer.says_close()), (401, true));
    assert!(wire.closed());
    assert!(up.requests().is_empty());
}

#[test]
fn what_the_service_sends_with_its_101_reaches_the_client() {
    let greeting = frame(0x81, b"welcome");
    let raw = [switch("X-More: 1\r\n").as_bytes(), &greeting].concat();
    let up = upstream().script(move |exchange| {
        exchange.send(&raw);
        exchange.gone();
        Next::Close
    });
    let gw = open(&up);
    let mut wire = gw.wire();
    wire.send(handshake(WS, ""));
    let (status, head) = wire.head();
    assert_eq!((status, head.field("x-more")), (101, Some("1")));
    assert_eq!(wire.reader().take(greeting.len()), Ok(greeting));
}

#[test]
fn the_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    // The client ends first, and still hears all that the service has to say.
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let up = upstream().script(move |exchange| {
        exchange.send(switch(""));
        let all = exchange.reader().rest().expect("the client's end");
        gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        exchange.send(all.repeat(1000));
        Next::Close
    });
    let gw = open(&up);
    let mut wire = tunnel(&gw);
    wire.send(frame(0x82, b"last words")).finish();
    go.send(()).unwrap();
    let heard = wire.reader().rest().expect("the service's end");
    assert!(heard == frame(0x82, b"last words").repeat(1000));
    gw.log_line("its end", |line| line.contains("101 ("));
    // The service ends first, and still gets all that the client has to say.
    let (tell, told) = channel();
    let up = upstream().script(move |exchange| {
        exchange.send(switch(""));
        exchange.finish();
        tell.send(exchange.reader().rest()).unwrap();
        Next::Close
    });
    let gw = open(&up);
    let mut wire = tunnel(&gw);
    assert_eq!(wire.reader().rest(), Some(vec![]), "the service's end");
    wire.send(b"x".repeat(1_000_000));
    drop(wire);
    let said = told
        .recv_timeout(PATIENCE)
        .unwrap()
        .expect("the client's end");
    assert_eq!(said.len(), 1_000_000);
}

#[test]
fn when_one_side_vanishes_the_other_is_closed_at_once() {
    for reset in [false, true] {
        let (tell, told) = channel();
        let up = upstream().script(move |exchange| {
            exchange.send(switch(""));
            tell.send(exchange.gone()).unwrap();
            Next::Close
        });
        let gw = open(&up);
        let mut wire = tunnel(&gw);
        if reset {
            abort(wire.reader().stream());
        }
        drop(wire);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(true), "reset {reset}");
        let up = upstream().script(move |exchange| {
            exchange.send(switch(""));
            let _ = exchange.reader().take(1);
            if reset {
                abort(exchange.stream());
            }
            Next::Close
        });
        let gw = open(&up);
        let mut wire = tunnel(&gw);
        wire.send("x");
        assert!(wire.closed(), "reset {reset}");
    }
}

/// The connection ends with a reset instead of an end.
fn abort(stream: &std::net::TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO)).unwrap();
}

/// Each side in turn sends without end to one that does not read: the gateway holds a buffer of it, and the sender is stopped.
#[test]
fn a_peer_that_does_not_read_costs_a_buffer() {
    for client_sends in [true, false] {
        let (tell, told) = channel();
        let (done, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let up = upstream().script(move |exchange| {
            exchange.send(switch(""));
            let taken = if client_sends {
                0
            } else {
                flood(exchange.stream())
            };
            tell.send(taken).unwrap();
            gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            Next::Close
        });
        let gw = open(&up);
        let mut wire = tunnel(&gw);
        let before = gw.peak_kib();
        let taken = if client_sends {
            flood(wire.reader().stream())
        } else {
            told.recv_timeout(PATIENCE).unwrap()
        };
        assert!(taken < FLOOD, "the sender was stopped");
        let grown = gw.peak_kib() - before;
        // Far above a buffer, for the program's own pages count, and far below what was waiting to be sent.
        assert!(grown < 16 * 1024, "{grown} KiB for one tunnel");
        assert!(gw.wire().serves_another(), "others are served meanwhile");
        done.send(()).unwrap();
    }
}

/// More than all sockets on the way can hold.
const FLOOD: usize = 256 << 20;

/// Sends until the peer has taken nothing for a while; how much it took.
fn flood(stream: &std::net::TcpStream) -> usize {
    use std::io::Write as _;
    stream
        .set_write_timeout(Some(std::time::Duration::from_millis(700)))
        .unwrap();
    let mut stream = stream;
    let piece = frame(0x82, &vec![0; 65_536]);
    let mut taken = 0;
    while taken < FLOOD {
        match stream.write(&piece) {
            Ok(count) => taken += count,
            Err(_) => break,
        }
    }
    taken
}

#[test]
fn a_raw_echo_comes_back_byte_by_byte() {
    let gw = open(&raw_echo());
    let mut wire = tunnel(&gw);
    for byte in frame(0x82, b"hello") {
        wire.send([byte]);
        assert_eq!(wire.reader().take(1), Ok(vec![byte]));
    }
    wire.finish();
    assert!(wire.closed());
}

/// Every tunnel has carried a long message each way, and is quiet now: what it was lent for that has gone back.
#[test]
fn quiet_tunnels_cost_little() {
    let message = frame(0x82, &[7; 60_000]);
    let length = message.len();
    let up = upstream().script(move |exchange| {
        exchange.send(switch(""));
        let came = exchange.reader().take(length).unwrap();
        exchange.send(came);
        exchange.gone();
        Next::Close
    });
    let gw = open(&up);
    let talk = || {
        let mut wire = tunnel(&gw);
        wire.send(&message);
        assert!(wire.reader().take(length).unwrap() == message);
        wire
    };
    // The pools and the allocator's arenas have their size after these.
    let mut tunnels: Vec<Wire> = (0..100).map(|_| talk()).collect();
    let before = gw.rss_kib();
    tunnels.extend((0..300).map(|_| talk()));
    let grown = gw.rss_kib().saturating_sub(before);
    println!("{grown} KiB for 300 quiet tunnels");
    assert!(grown < 300 * 16, "{grown} KiB for 300 quiet tunnels");
}
