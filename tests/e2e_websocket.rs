//! WebSockets through the gateway, spoken by a client and a server of another maker: messages, control frames, close
//! handshakes, and who may open one. Not broken peers (see `e2e_websocket_edges`) and not what ends a tunnel from within
//! (`e2e_websocket_ends`). Invariant: what one end says the other hears, byte for byte and in order.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;
mod support_ws;

use support::{Gateway, gateway, token, until};
use support_ws::{Server, Socket, connect, echo, message, refused, server};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::{Error, Message};

const WS: &str = "/api/v1/ws";

fn open(server: &Server) -> Gateway {
    server.behind(gateway().unlimited()).start()
}

/// A tunnel with a token in `Authorization`.
fn tunnel(gw: &Gateway) -> Socket {
    let bearer = format!("Bearer {}", token().org(1).user(7).mint());
    connect(gw, WS, &[("authorization", &bearer)]).unwrap().0
}

fn content(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

#[test]
fn messages_of_all_sizes_come_back_whole() {
    let gw = open(&echo());
    let mut socket = tunnel(&gw);
    for length in [
        0,
        1,
        125,
        126,
        510,
        512,
        513,
        65_535,
        65_536,
        1 << 20,
        16 << 20,
    ] {
        let sent = content(length);
        socket.send(Message::binary(sent.clone())).unwrap();
        let back = message(&mut socket);
        assert!(back.is_binary() && back.len() == length, "{length}");
        assert!(back.into_data() == sent, "{length}");
    }
    for text in ["", "a", "grüß dich", &"x".repeat(70_000)] {
        socket.send(Message::text(text)).unwrap();
        assert_eq!(message(&mut socket), Message::text(text));
    }
}

/// Many messages under way at once, in both directions, on several tunnels.
#[test]
fn tunnels_side_by_side_do_not_mix() {
    let gw = open(&echo());
    let tunnels = (0..8_u8).map(|n| {
        let (mut writer, stream) = {
            let socket = tunnel(&gw);
            let stream = socket.get_ref().try_clone().unwrap();
            (socket, stream)
        };
        std::thread::spawn(move || {
            let role = tungstenite::protocol::Role::Client;
            let mut reader = Socket::from_raw_socket(stream, role, None);
            let sending = std::thread::spawn(move || {
                for length in 0..400 {
                    writer.send(Message::binary(vec![n; length * 7])).unwrap();
                }
                writer
            });
            for length in 0..400 {
                let back = message(&mut reader).into_data();
                assert_eq!(
                    (back.len(), back.iter().all(|byte| *byte == n)),
                    (length * 7, true)
                );
            }
            sending.join().unwrap();
        })
    });
    let tunnels: Vec<_> = tunnels.collect();
    for tunnel in tunnels {
        tunnel.join().unwrap();
    }
}

#[test]
fn fragments_and_control_frames_between_them_pass_as_they_are() {
    let gw = open(&echo());
    let mut socket = tunnel(&gw);
    let part = |payload: &'static [u8], data, last| {
        Message::Frame(Frame::message(payload, OpCode::Data(data), last))
    };
    socket.write(part(b"one ", Data::Text, false)).unwrap();
    socket.write(Message::Ping("in between".into())).unwrap();
    socket.write(part(b"two ", Data::Continue, false)).unwrap();
    socket.write(part(b"three", Data::Continue, true)).unwrap();
    socket.flush().unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("in between".into()));
    assert_eq!(message(&mut socket), Message::text("one two three"));
}

#[test]
fn pings_of_either_side_are_answered_by_the_other() {
    let gw = open(&server(|socket| {
        socket
            .send(Message::Ping("from the service".into()))
            .unwrap();
        let pong = socket.read().unwrap();
        socket.send(Message::text(format!("{pong:?}"))).unwrap();
        let _ = socket.read();
    }));
    let mut socket = tunnel(&gw);
    assert!(socket.read().unwrap().is_ping());
    socket.flush().unwrap();
    let told = message(&mut socket).into_text().unwrap();
    assert!(told.contains("Pong"), "{told}");
}

#[test]
fn a_close_handshake_of_either_side_reaches_the_other_and_ends_both_connections() {
    let farewell = |code, reason: &'static str| CloseFrame {
        code,
        reason: reason.into(),
    };
    for by_client in [true, false] {
        let server = server(move |socket| {
            if !by_client {
                let _ = socket.read();
                let _ = socket.close(Some(farewell(CloseCode::Again, "later")));
            }
            // To the end of the close handshake.
            while socket.read().is_ok() {}
        });
        let gw = open(&server);
        let mut socket = tunnel(&gw);
        if by_client {
            let bye = farewell(CloseCode::Library(4001), "bye");
            socket.close(Some(bye.clone())).unwrap();
            assert_eq!(socket.read().unwrap(), Message::Close(Some(bye)));
        } else {
            socket.send(Message::text("end")).unwrap();
            let later = farewell(CloseCode::Again, "later");
            assert_eq!(socket.read().unwrap(), Message::Close(Some(later)));
        }
        // The library waits for the server's end of the connection, as RFC 6455 7.1.1 wants it.
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
        drop(socket);
        until("the service's side to end", || server.ended() == 1);
        until("no tunnel to be open", || {
            gw.metric("dbpower_tunnels_active", &[]) == 0.0
        });
        gw.log_line("the tunnel's end", |line| {
            line.contains("GET /api/v1/ws - 101 (")
        });
        let closed = "dbpower_connections_closed_total";
        until("the reason to be counted", || {
            gw.metric(closed, &["upstream_closed"]) + gw.metric(closed, &["client_closed"]) == 1.0
        });
    }
}

#[test]
fn a_tunnel_is_counted_while_it_is_open_and_logged_at_its_end() {
    let server = echo();
    let gw = server
        .behind(gateway().unlimited().env("LOG_FORMAT", "json"))
        .start();
    let mut socket = tunnel(&gw);
    until("the tunnel to be counted", || {
        gw.metric("dbpower_tunnels_active", &[]) == 1.0
    });
    assert_eq!(
        gw.metric("dbpower_requests_active", &[]),
        0.0,
        "the request was answered"
    );
    socket.send(Message::binary(content(1000))).unwrap();
    message(&mut socket);
    assert!(!gw.log().contains(WS), "not before its end");
    drop(socket);
    let line = gw.log_line("the tunnel's end", |line| line.contains(WS));
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    // A masked frame of 1000 bytes is 8 longer than its payload, one that is not masked 4.
    assert_eq!(
        (&line["status"], &line["organization"], &line["user"]),
        (&101.into(), &"1".into(), &"7".into()),
        "{line}"
    );
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&1008.into(), &1004.into()),
        "{line}"
    );
    assert!(line["closed"].is_string(), "{line}");
    assert_eq!(gw.metric("dbpower_requests_total", &["1xx"]), 1.0);
}

#[test]
fn the_service_sees_who_calls_and_the_answer_carries_our_fields() {
    let server = echo();
    let gw = server.behind(gateway()).start();
    let bearer = format!("Bearer {}", token().org(1).user(7).mint());
    let fields = [
        ("authorization", bearer.as_str()),
        ("x-request-id", "my-id"),
        ("x-user-id", "forged"),
        ("origin", "https://app.example.com"),
        ("sec-websocket-protocol", "superchat, chat"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("te", "trailers"),
    ];
    let (_socket, response) = connect(&gw, "/api/v1/ws?room=1", &fields).unwrap();
    let seen = &server.handshakes()[0];
    let sent = |name: &str| {
        let all: Vec<_> = seen.headers().get_all(name).iter().collect();
        assert!(all.len() < 2, "{name}: {all:?}");
        all.first().map_or("", |value| value.to_str().unwrap())
    };
    assert_eq!(seen.uri(), "/api/v1/ws?room=1");
    for (name, value) in [
        ("x-user-id", "7"),
        ("x-organization-id", "1"),
        ("x-request-id", "my-id"),
        ("authorization", &bearer),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "superchat, chat"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("x-forwarded-for", "127.0.0.1"),
        ("te", ""),
    ] {
        assert_eq!(sent(name), value, "{name}");
    }
    let told = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    for (name, value) in [
        ("x-request-id", "my-id"),
        ("sec-websocket-protocol", "chat"),
        ("access-control-allow-origin", "*"),
        ("x-ratelimit-remaining", "99"),
    ] {
        assert_eq!(told(name), value, "{name}");
    }
    assert!(told("x-response-time").ends_with("ms") && !told("date").is_empty());
    for name in ["content-length", "transfer-encoding"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
}

/// `new WebSocket(url, ["bearer", token, …])`: a browser can say its token in no other place.
#[test]
fn a_browser_offers_its_token_as_a_subprotocol() {
    let jwt = token().org(1).user(7).mint();
    for (offer, upstream, answered) in [
        (format!("bearer, {jwt}"), None, "bearer"),
        (format!("bearer, {jwt}, chat"), Some("chat"), "chat"),
        (format!("v2, bearer,{jwt}"), Some("v2"), "bearer"),
        ("v2".to_owned(), None, ""),
    ] {
        let server = echo();
        let gw = open(&server);
        let outcome = connect(&gw, WS, &[("sec-websocket-protocol", &offer)]);
        if answered.is_empty() {
            assert_eq!(refused(outcome), 401);
            assert!(server.handshakes().is_empty());
            continue;
        }
        let (mut socket, response) = outcome.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], answered);
        let seen = &server.handshakes()[0];
        let sent = seen.headers().get("sec-websocket-protocol");
        assert_eq!(sent.map(|value| value.to_str().unwrap()), upstream);
        assert_eq!(seen.headers()["x-user-id"], "7");
        assert!(!format!("{:?}", seen.headers()).contains(&jwt));
        socket.send(Message::text("hello")).unwrap();
        assert_eq!(message(&mut socket), Message::text("hello"));
        assert!(!gw.log().contains(&jwt), "a token is never logged");
    }
}

#[test]
fn whoever_may_not_pass_is_refused_before_the_service_sees_anything() {
    let server = echo();
    let gw = open(&server);
    let good = token().org(1).mint();
    let forged = token().forged().mint();
    let expired = token().expires_in(-10).mint();
    let offers = |jwt: &str| format!("bearer, {jwt}");
    let table = [
        vec![],
        vec![("authorization", format!("Bearer {forged}"))],
        vec![("authorization", format!("Bearer {expired}"))],
        vec![("sec-websocket-protocol", offers(&forged))],
        vec![("sec-websocket-protocol", offers(&expired))],
        vec![("sec-websocket-protocol", "bearer".to_owned())],
        vec![(
            "sec-websocket-protocol",
            format!("{}, {}", offers(&good), offers(&good)),
        )],
        // `Authorization` decides where there is one, good or not.
        vec![
            ("authorization", format!("Bearer {forged}")),
            ("sec-websocket-protocol", offers(&good)),
        ],
    ];
    for fields in table {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(refused(connect(&gw, WS, &fields)), 401, "{fields:?}");
    }
    // An ordinary request cannot say its token there.
    let answer = gw
        .get(WS)
        .field("Sec-WebSocket-Protocol", &offers(&good))
        .send();
    assert_eq!(answer.status, 401);
    assert!(server.handshakes().is_empty());
}

#[test]
fn without_authentication_a_browsers_offer_is_still_answered() {
    let jwt = token().forged().mint();
    let plan = gateway().unlimited();
    for plan in [
        plan.clone().env("REQUIRE_AUTHENTICATION", "false"),
        plan.env("PUBLIC_PATHS", WS),
    ] {
        let server = echo();
        let gw = server.behind(plan).start();
        let offer = format!("bearer, {jwt}");
        let (mut socket, response) =
            connect(&gw, WS, &[("sec-websocket-protocol", &offer)]).unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "bearer");
        socket.send(Message::text("hello")).unwrap();
        assert_eq!(message(&mut socket), Message::text("hello"));
        let seen = format!("{:?}", server.handshakes()[0].headers());
        assert!(
            !seen.contains(&jwt) && !seen.contains("x-user-id"),
            "{seen}"
        );
        let (_socket, response) = connect(&gw, WS, &[]).unwrap();
        assert!(!response.headers().contains_key("sec-websocket-protocol"));
    }
}
