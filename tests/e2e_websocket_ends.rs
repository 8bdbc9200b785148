//! What ends a tunnel from within the gateway: its token's end, shutting down, silence. Not the peers' own ends (see
//! `e2e_websocket` and `e2e_websocket_edges`). Invariant: a close frame is sent between two frames and nowhere else; where there
//! is no such place, the connection just ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;
mod support_ws;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::Signal;
use support::{Gateway, Next, PATIENCE, Plan, Upstream, Wire, gateway, token, until, upstream};
use support_ws::{close, connect, echo, frame, handshake, message, switch};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

const WS: &str = "/api/v1/ws";
const EXPIRED: &str = "Token has expired";
const DRAINING: &str = "The gateway is shutting down";

fn plan(up: &Upstream) -> Plan {
    gateway().backend(up).unlimited()
}

/// A tunnel of a token that lives for so long.
fn tunnel(gw: &Gateway, seconds: i64) -> Wire {
    tunnel_to(gw, WS, seconds)
}

fn tunnel_to(gw: &Gateway, target: &str, seconds: i64) -> Wire {
    let bearer = token().expires_in(seconds).mint();
    let mut wire = gw.wire();
    wire.send(handshake(
        target,
        &format!("Authorization: Bearer {bearer}\r\n"),
    ));
    assert_eq!(wire.head().0, 101);
    wire
}

/// A service that switches, sends these bytes, and hands on all that comes until the gateway closes.
fn says(first: Vec<u8>) -> (Upstream, Receiver<Option<Vec<u8>>>) {
    let (tell, told) = channel();
    let up = upstream().script(move |exchange| {
        exchange.send(switch(""));
        exchange.send(&first);
        tell.send(exchange.reader().rest()).unwrap();
        Next::Close
    });
    (up, told)
}

/// The close frame that a service gets from its client: masked, here with zeros.
fn masked_close(code: u16, reason: &str) -> Vec<u8> {
    let mut frame = close(code, reason);
    frame[1] |= 0x80;
    frame.splice(2..2, [0; 4]);
    frame
}

fn ends(gw: &Gateway, reason: &str, count: f64) {
    until("the reason to be counted", || {
        gw.metric("dbpower_connections_closed_total", &[reason]) == count
    });
}

#[test]
fn at_the_tokens_end_both_sides_are_told_between_two_frames() {
    let whole = [frame(0x82, b"one"), frame(0x01, b"half a message")].concat();
    let (up, told) = says(whole.clone());
    let gw = plan(&up).start();
    let mut wire = tunnel(&gw, 3);
    wire.send(frame(0x81, b"before"));
    let heard = wire.reader().rest().expect("the end");
    assert_eq!(heard, [whole, close(1008, EXPIRED)].concat());
    let said = told.recv_timeout(PATIENCE).unwrap().expect("the end");
    let expected = [frame(0x81, b"before"), masked_close(1008, EXPIRED)].concat();
    assert_eq!(said, expected);
    ends(&gw, "token_expired", 1.0);
    gw.log_line("the tunnel's end", |line| {
        line.contains("GET /api/v1/ws - 101 (")
    });
}

/// In the middle of a frame of either side that does not go on: no close frame there, and the connection ends all the same.
#[test]
fn in_the_middle_of_a_frame_the_connection_just_ends() {
    let half = frame(0x82, b"never finished")[..5].to_vec();
    let (up, told) = says(half.clone());
    let gw = plan(&up).start();
    let mut wire = tunnel(&gw, 3);
    wire.send(&half);
    assert_eq!(wire.reader().rest(), Some(half.clone()));
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Some(half));
    ends(&gw, "token_expired", 1.0);
}

/// One direction stands in the middle of a frame, the other between two: each gets what it can.
#[test]
fn each_direction_has_its_own_boundary() {
    let half = frame(0x82, b"never finished")[..5].to_vec();
    let (up, told) = says(half.clone());
    let gw = plan(&up).start();
    let mut wire = tunnel(&gw, 3);
    assert_eq!(wire.reader().rest(), Some(half));
    let said = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(said, Some(masked_close(1008, EXPIRED)));
}

/// A frame under way when its tunnel must end is finished, and nothing behind it passes. A quiet tunnel of the same worker says
/// when that time has come.
#[test]
fn a_frame_under_way_is_finished_first() {
    let long = frame(0x82, &vec![7; 300_000]);
    let (begin, rest) = long.split_at(100_000);
    let (begin, rest) = (begin.to_vec(), [rest, &frame(0x82, b"too late")].concat());
    let (go, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let up = upstream().script(move |exchange| {
        exchange.send(switch(""));
        if exchange.request.target() == WS {
            exchange.send(&begin);
            gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            exchange.send(&rest);
        }
        exchange.gone();
        Next::Close
    });
    let gw = plan(&up).env("GATEWAY_WORKERS", "1").start();
    let mut wire = tunnel(&gw, 3600);
    assert!(wire.reader().take(100_000).unwrap() == long[..100_000]);
    let mut quiet = tunnel_to(&gw, "/api/v1/quiet", 3600);
    gw.signal(Signal::TERM);
    assert_eq!(quiet.reader().rest(), Some(close(1001, DRAINING)));
    go.send(()).unwrap();
    let heard = wire.reader().rest().expect("the end");
    let (rest, end) = heard
        .split_at_checked(long.len() - 100_000)
        .expect("the frame's end");
    assert!(rest == &long[100_000..]);
    assert_eq!(end, close(1001, DRAINING));
}

#[test]
fn behind_a_close_frame_nothing_is_sent() {
    let bye = close(1000, "");
    let (up, told) = says(bye.clone());
    let gw = plan(&up).start();
    let mut wire = tunnel(&gw, 3);
    assert_eq!(wire.reader().rest(), Some(bye));
    let said = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        said,
        Some(masked_close(1008, EXPIRED)),
        "it said nothing yet"
    );
}

#[test]
fn a_drain_tells_all_tunnels_at_once_and_does_not_wait_for_them() {
    let server = echo();
    let mut gw = server
        .behind(gateway().unlimited().env("DRAIN_TIMEOUT", "60"))
        .start();
    let bearer = format!("Bearer {}", token().mint());
    let open = || connect(&gw, WS, &[("authorization", &bearer)]).unwrap().0;
    let mut sockets: Vec<_> = (0..20).map(|_| open()).collect();
    for socket in &mut sockets {
        socket.send(Message::text("hello")).unwrap();
        assert_eq!(message(socket), Message::text("hello"));
    }
    gw.signal(Signal::TERM);
    for socket in &mut sockets {
        let Message::Close(Some(goodbye)) = message(socket) else {
            panic!("no close frame");
        };
        assert_eq!(
            (goodbye.code, goodbye.reason.as_str()),
            (CloseCode::Away, DRAINING)
        );
        // The library answers it, and the gateway has waited for that: no reset.
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    }
    let (status, took) = support::timed(|| gw.wait_exit());
    assert_eq!(status.code(), Some(0), "{took:?}");
    until("the service to have seen all ends", || server.ended() == 20);
}

/// One whose peers do not even read: it ends with the drain all the same.
#[test]
fn a_drain_does_not_wait_for_a_tunnel_that_stands_still() {
    let up = upstream().script(|exchange| {
        exchange.send(switch(""));
        let _ = exchange
            .stream()
            .set_write_timeout(Some(Duration::from_millis(300)));
        while exchange.send(vec![0; 1 << 20]) {}
        support::pause(PATIENCE);
        Next::Close
    });
    let mut gw = plan(&up).env("DRAIN_TIMEOUT", "60").start();
    let _wire = tunnel(&gw, 3600);
    gw.signal(Signal::TERM);
    assert_eq!(gw.wait_exit().code(), Some(0));
}

#[test]
fn silence_ends_a_tunnel_and_a_byte_either_way_keeps_it() {
    let (up, told) = says(Vec::new());
    let gw = plan(&up).env("TUNNEL_IDLE_TIMEOUT", "0.5").start();
    let mut wire = tunnel(&gw, 3600);
    assert!(wire.closed());
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Some(vec![]));
    ends(&gw, "idle_timeout", 1.0);
    // Three times the limit, with bytes in one direction only: the silent one does not end it.
    for client_speaks in [true, false] {
        let (tell, told) = channel();
        let up = upstream().script(move |exchange| {
            exchange.send(switch(""));
            for _ in 0..15 {
                if client_speaks {
                    tell.send(exchange.reader().take(1).is_ok()).unwrap();
                } else {
                    support::pause(Duration::from_millis(100));
                    exchange.send("x");
                }
            }
            Next::Close
        });
        let gw = plan(&up).env("TUNNEL_IDLE_TIMEOUT", "0.5").start();
        let mut wire = tunnel(&gw, 3600);
        for n in 0..15 {
            if client_speaks {
                support::pause(Duration::from_millis(100));
                wire.send("x");
                assert_eq!(told.recv_timeout(PATIENCE), Ok(true), "{n}");
            } else {
                assert_eq!(wire.reader().take(1), Ok(b"x".to_vec()), "{n}");
            }
        }
        assert!(wire.closed());
        drop(wire);
        ends(&gw, "upstream_closed", 1.0);
    }
}

/// A client that has gone and a service that does not notice: after `READ_TIMEOUT`, not after an hour.
#[test]
fn half_a_tunnel_does_not_last() {
    for client_ends in [true, false] {
        let (tell, told) = channel();
        let (done, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let up = upstream().script(move |exchange| {
            exchange.send(switch(""));
            if !client_ends {
                exchange.finish();
            }
            tell.send(exchange.reader().rest()).unwrap();
            gate.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            Next::Close
        });
        let gw = plan(&up).env("READ_TIMEOUT", "0.4").start();
        let mut wire = tunnel(&gw, 3600);
        if client_ends {
            wire.finish();
        }
        assert!(wire.closed());
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Some(vec![]));
        ends(&gw, "idle_timeout", 1.0);
        done.send(()).unwrap();
    }
}
