//! The PROXY protocol in front of the gateway: whom it makes the client, and who may say so. Not its grammar (the room's own tests
//! have that). Invariant: a client's address is never one that an untrusted peer or a forwarding field has chosen.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(clippy::disallowed_methods, reason = "curl is a process")]

mod support;
mod support_tls;

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::time::Duration;

use support::{Gateway, Plan, Upstream, Wire, gateway, until, upstream};
use support_tls::{Authority, Secure, config};

const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

fn plan(up: &Upstream) -> Plan {
    gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("PROXY_PROTOCOL", "true")
}

/// The harness asks for readiness without a header; so this waits for the operations port's word.
fn start(plan: &Plan) -> Gateway {
    let gw = plan.spawn();
    until("the operations port", || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, gw.ops_port)).is_ok()
    });
    until("the gateway to be ready", || {
        gw.ops("/readyz").status == 200
    });
    gw
}

/// Version 2 with these addresses and an extension behind them.
fn v2(command: u8, source: Ipv4Addr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, 0x11, 0, 12 + 6]);
    header.extend(source.octets());
    header.extend([10, 0, 0, 1, 0x03, 0xe8, 0x01, 0xbb]);
    header.extend([0x04, 0, 3, 1, 2, 3]);
    header
}

fn v2_v6(source: Ipv6Addr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".to_vec();
    header.extend(source.octets());
    header.extend(Ipv6Addr::LOCALHOST.octets());
    header.extend([0x03, 0xe8, 0x01, 0xbb]);
    header
}

fn other_family(family: u8, bytes: u8) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    header.extend([family, 0, bytes]);
    header.extend(vec![b'/'; usize::from(bytes)]);
    header
}

/// Whom the service is told about.
fn client(up: &Upstream) -> String {
    up.last().field("x-forwarded-for").unwrap().to_owned()
}

fn closed_for(gw: &Gateway, reason: &str) -> f64 {
    let reason = format!("reason=\"{reason}\"");
    gw.metric("dbpower_connections_closed_total", &[&reason])
}

#[test]
fn the_header_names_the_client() {
    let up = upstream();
    let gw = start(&plan(&up));
    let line = |line: &str| line.as_bytes().to_vec();
    for (header, expected) in [
        (
            line("PROXY TCP4 192.0.2.7 10.0.0.1 1000 443\r\n"),
            "192.0.2.7",
        ),
        (
            line("PROXY TCP6 2001:db8::7 ::1 1000 443\r\n"),
            "2001:db8::7",
        ),
        (line("PROXY UNKNOWN\r\n"), "127.0.0.1"),
        (line("PROXY UNKNOWN 192.0.2.7 whatever\r\n"), "127.0.0.1"),
        (v2(0x21, Ipv4Addr::new(192, 0, 2, 8)), "192.0.2.8"),
        (v2(0x20, Ipv4Addr::new(192, 0, 2, 8)), "127.0.0.1"),
        (v2_v6("2001:db8::8".parse().unwrap()), "2001:db8::8"),
        (v2_v6("::ffff:192.0.2.9".parse().unwrap()), "192.0.2.9"),
        // No address at all, and one of UNIX sockets.
        (other_family(0x00, 0), "127.0.0.1"),
        (other_family(0x00, 9), "127.0.0.1"),
        (other_family(0x31, 216), "127.0.0.1"),
    ] {
        // In one piece with the request, and a byte at a time.
        let mut wire = gw.wire();
        wire.send([header.as_slice(), GET.as_bytes()].concat());
        assert_eq!(wire.answer().status, 200, "{header:?}");
        assert_eq!(client(&up), expected);
        let mut wire = gw.wire();
        for byte in [header.as_slice(), GET.as_bytes()].concat() {
            wire.send([byte]);
        }
        assert_eq!(wire.answer().status, 200, "{header:?}");
        assert_eq!(client(&up), expected);
    }
}

/// Version 2 with extensions of so many bytes behind the addresses.
fn v2_extended(source: Ipv4Addr, bytes: u16) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend((12 + bytes).to_be_bytes());
    header.extend(source.octets());
    header.extend([10, 0, 0, 1, 0x03, 0xe8, 0x01, 0xbb]);
    // One value of no meaning (PP2_TYPE_NOOP).
    header.push(0x04);
    header.extend((bytes - 3).to_be_bytes());
    header.resize(header.len() + usize::from(bytes) - 3, b'G');
    header
}

#[test]
fn a_header_with_a_balancers_certificate_in_it_is_read_whole() {
    let up = upstream();
    let (encrypted, ca) = over_tls(&up);
    let (plain, tls) = (start(&plan(&up)), start(&encrypted));
    for bytes in [600, 4_096] {
        let header = v2_extended(Ipv4Addr::new(192, 0, 2, 7), bytes);
        let mut wire = plain.wire();
        wire.send([header.as_slice(), GET.as_bytes()].concat());
        assert_eq!(wire.answer().status, 200, "{bytes}");
        assert_eq!(client(&up), "192.0.2.7");
        let mut wire = plain.wire();
        for piece in [header.as_slice(), GET.as_bytes()].concat().chunks(1_000) {
            wire.send(piece);
        }
        assert_eq!(wire.answer().status, 200, "{bytes}");
        let mut secure = Secure::to(tls.port, "localhost", &config(&ca, None));
        secure.0.sock.write_all(&header).unwrap();
        assert!(secure.ask(GET).starts_with("HTTP/1.1 200 "), "{bytes}");
        assert_eq!(client(&up), "192.0.2.7");
    }
    let before = closed_for(&plain, "proxy_header");
    let mut wire = plain.wire();
    wire.send(v2_extended(Ipv4Addr::new(192, 0, 2, 7), 4_097));
    assert!(wire.closed());
    assert_eq!(closed_for(&plain, "proxy_header"), before + 1.0);
}

#[test]
fn it_holds_for_the_connection_and_all_requests_on_it() {
    let up = upstream();
    let gw = start(&plan(&up));
    let mut wire = gw.wire();
    wire.send("PROXY TCP4 192.0.2.7 10.0.0.1 1000 443\r\n");
    wire.send(GET.repeat(2));
    for _ in 0..2 {
        assert_eq!(wire.answer().status, 200);
        assert_eq!(client(&up), "192.0.2.7");
    }
    // Long enough for the connection to be parked.
    support::pause(Duration::from_millis(900));
    assert_eq!(wire.send(GET).answer().status, 200);
    assert_eq!(client(&up), "192.0.2.7");
    // A second header is no request.
    wire.send("PROXY TCP4 192.0.2.8 10.0.0.1 1000 443\r\n\r\n");
    assert_eq!(wire.answer().status, 400);
    gw.log_line("the client's own address", |line| line.contains("GET"));
}

#[test]
fn clients_behind_one_balancer_have_limits_of_their_own() {
    let up = upstream();
    let plan = plan(&up)
        .env("RATE_LIMIT_PER_IP", "true")
        .env("RATE_LIMIT_RPM", 2)
        .env("RATE_LIMIT_BURST", 0)
        .env("MAX_CONNECTIONS_PER_IP", 2);
    let gw = start(&plan);
    let ask = |address: &str| {
        let mut wire = gw.wire();
        wire.send(format!("PROXY TCP4 {address} 10.0.0.1 1000 443\r\n{GET}"));
        let status = wire.answer().status;
        (status, wire)
    };
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        let (first, _one) = ask(address);
        let (second, two) = ask(address);
        assert_eq!((first, second), (200, 200), "{address}");
        let (third, _) = ask(address);
        assert_eq!(third, 503, "a third connection of {address}");
        drop(two);
    }
    until("connections to be gone", || ask("192.0.2.1").0 == 429);
    until("connections to be gone", || ask("192.0.2.3").0 == 429);
}

#[test]
fn without_a_header_there_is_no_service() {
    let up = upstream();
    let gw = start(&plan(&up));
    let before = closed_for(&gw, "proxy_header");
    for bytes in [
        GET.to_owned(),
        "GET /health HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!("PROXY TCP4 192.0.2.7 10.0.0.1 1000\r\n{GET}"),
        format!("PROXY TCP5 192.0.2.7 10.0.0.1 1000 443\r\n{GET}"),
        format!("PROXY {}\r\n{GET}", "x".repeat(200)),
        format!("\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c{GET}"),
    ] {
        let mut wire = gw.wire();
        wire.send(&bytes);
        assert!(is_closed_silently(&mut wire), "{bytes:?}");
    }
    // A length of 65,535 is refused before any of it is read.
    let mut wire = gw.wire();
    wire.send(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff");
    assert!(is_closed_silently(&mut wire));
    until("all to be counted", || {
        closed_for(&gw, "proxy_header") - before >= 7.0
    });
    assert!(up.requests().is_empty());
    gw.log_line("why, once in a while", |line| {
        line.contains("WARNING") && line.contains("PROXY protocol header")
    });
    let told = gw.log().matches("closed for its PROXY").count();
    assert!((1..7).contains(&told), "{told} lines");
}

/// The peer ends the connection, by a reset where bytes of ours lie unread, and says nothing.
fn is_closed_silently(wire: &mut Wire) -> bool {
    let rest = wire.reader().rest();
    rest.is_none_or(|rest| rest.is_empty()) && !is_open(wire)
}

fn is_open(wire: &mut Wire) -> bool {
    let stream = wire.reader().stream();
    stream.set_nonblocking(true).unwrap();
    let waits = matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    waits
}

#[test]
fn a_header_that_does_not_come_or_stops_is_not_waited_for() {
    let up = upstream();
    let gw = start(&plan(&up).env("HEAD_TIMEOUT", "0.3"));
    let before = closed_for(&gw, "head_timeout");
    for begun in [
        "",
        "P",
        "PROXY TCP4 192.0.2.7 10.0",
        "\r\n\r\n\0\r\nQUIT\n\x21",
    ] {
        let mut wire = gw.wire();
        wire.send(begun);
        assert!(is_closed_silently(&mut wire), "{begun:?}");
    }
    until("all to be counted", || {
        closed_for(&gw, "head_timeout") - before >= 4.0
    });
    // A balancer that looks whether the port is open.
    let before = closed_for(&gw, "client_closed");
    drop(gw.wire());
    until("it to be counted", || {
        closed_for(&gw, "client_closed") > before
    });
}

#[test]
fn only_a_trusted_peer_may_name_a_client() {
    let up = upstream();
    let gw = start(&plan(&up).env("TRUSTED_PROXIES", "127.0.0.2"));
    let ask = |source: [u8; 4], header: &str| {
        let mut wire = gw.wire_from(source);
        wire.send(format!("{header}{GET}"));
        wire
    };
    let named = "PROXY TCP4 192.0.2.7 10.0.0.1 1000 443\r\n";
    assert_eq!(ask([127, 0, 0, 2], named).answer().status, 200);
    assert_eq!(client(&up), "192.0.2.7");
    up.forget();
    let mut untrusted = ask([127, 0, 0, 3], named);
    assert!(is_closed_silently(&mut untrusted));
    assert!(up.requests().is_empty());
    gw.log_line("why", |line| {
        line.contains("its sender is not in TRUSTED_PROXIES")
    });
    // Who speaks for nobody needs no trust.
    let answer = ask([127, 0, 0, 3], "PROXY UNKNOWN\r\n").answer();
    assert_eq!(answer.status, 200);
    assert_eq!(client(&up), "127.0.0.3");
}

#[test]
fn forwarding_fields_of_the_client_that_was_named_are_not_believed() {
    let up = upstream();
    let gw = start(&plan(&up).env("TRUSTED_PROXIES", "127.0.0.1, 192.0.2.100"));
    let fields = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\
                  X-Real-IP: 6.6.6.6\r\nTrue-Client-IP: 6.6.6.6\r\n";
    let ask = |address: &str, fields: &str| {
        let mut wire = gw.wire();
        wire.send(format!(
            "PROXY TCP4 {address} 10.0.0.1 1000 443\r\nGET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n{fields}\r\n"
        ));
        assert_eq!(wire.answer().status, 200);
        up.last()
    };
    let seen = ask("192.0.2.7", fields);
    assert_eq!(seen.field("x-forwarded-for"), Some("192.0.2.7"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    for name in ["forwarded", "x-real-ip", "true-client-ip"] {
        assert_eq!(seen.field(name), None, "{name}");
    }
    // A trusted proxy behind the balancer is believed as ever.
    let seen = ask("192.0.2.100", "X-Forwarded-For: 203.0.113.9\r\n");
    let chain = "203.0.113.9, 192.0.2.100";
    assert_eq!(seen.field("x-forwarded-for"), Some(chain));
}

#[test]
fn a_gateway_without_the_setting_takes_a_header_for_a_bad_request() {
    let up = upstream();
    let gw = plan(&up).env("PROXY_PROTOCOL", "false").start();
    let mut wire = gw.wire();
    wire.send(format!("PROXY TCP4 192.0.2.7 10.0.0.1 1000 443\r\n{GET}"));
    assert_eq!(wire.answer().status, 400);
    assert!(up.requests().is_empty());
}

#[test]
fn the_healthcheck_command_speaks_it_as_well() {
    let up = upstream();
    for trusted in ["", "10.0.0.0/8"] {
        let plan = plan(&up).env("TRUSTED_PROXIES", trusted);
        let gw = start(&plan);
        let check = plan
            .env("GATEWAY_PORT", gw.port)
            .env("OPS_PORT", 0)
            .arg("healthcheck")
            .run();
        assert_eq!(check.code(), Some(0), "{}", check.stderr);
    }
}

/// A gateway with both, and the authority that its clients trust.
fn over_tls(up: &Upstream) -> (Plan, Authority) {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let plan = plan(up)
        .file("own.crt", &issued.cert)
        .file("own.key", &issued.key)
        .env("TLS_CERT", "own.crt")
        .env("TLS_KEY", "own.key");
    (plan, authority)
}

#[test]
fn it_comes_in_the_clear_before_tls() {
    let up = upstream();
    let (plan, authority) = over_tls(&up);
    let gw = start(&plan.env("TRUSTED_PROXIES", "127.0.0.1"));
    let spoofed = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\
                   X_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\r\n";
    for header in [
        b"PROXY TCP4 192.0.2.8 10.0.0.1 1000 443\r\n".to_vec(),
        v2(0x21, Ipv4Addr::new(192, 0, 2, 8)),
    ] {
        let mut secure = Secure::to(gw.port, "localhost", &config(&authority, None));
        // In one segment with TLS's first message.
        let mut first = header.clone();
        secure.0.conn.write_tls(&mut first).unwrap();
        secure.0.sock.write_all(&first).unwrap();
        for request in [GET, spoofed] {
            assert!(secure.ask(request).starts_with("HTTP/1.1 200 "));
            assert_eq!(client(&up), "192.0.2.8");
            assert_eq!(up.last().field("x-forwarded-proto"), Some("https"));
            assert_eq!(up.last().field("forwarded"), None);
        }
        // A byte at a time, TLS as well.
        let mut secure = Secure::to(gw.port, "localhost", &config(&authority, None));
        let mut first = header;
        secure.0.conn.write_tls(&mut first).unwrap();
        secure.0.sock.set_nodelay(true).unwrap();
        for byte in first {
            secure.0.sock.write_all(&[byte]).unwrap();
        }
        assert!(secure.ask(GET).starts_with("HTTP/1.1 200 "));
        assert_eq!(client(&up), "192.0.2.8");
    }
    // Inside of TLS it is no request; without it there is no handshake.
    let mut secure = Secure::to(gw.port, "localhost", &config(&authority, None));
    secure.0.sock.write_all(b"PROXY UNKNOWN\r\n").unwrap();
    let inside = format!("PROXY TCP4 192.0.2.9 10.0.0.1 1000 443\r\n{GET}");
    assert!(secure.ask(&inside).starts_with("HTTP/1.1 400 "));
    let mut bare = Secure::to(gw.port, "localhost", &config(&authority, None));
    assert!(bare.try_ask(GET).is_err());
    assert_eq!(client(&up), "192.0.2.8");
}

#[test]
fn curl_speaks_it_over_tls() {
    let up = upstream();
    let (plan, authority) = over_tls(&up);
    let gw = start(&plan);
    let path = gw.path("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    let out = std::process::Command::new("curl")
        .args(["-sS", "--max-time", "15", "--haproxy-protocol", "--cacert"])
        .arg(&path)
        .arg(format!("https://localhost:{}/api/v1/open/x", gw.port))
        .output()
        .expect("curl is installed");
    let why = String::from_utf8_lossy(&out.stderr);
    assert_eq!(String::from_utf8_lossy(&out.stdout), "ok", "{why}");
    // curl names itself.
    assert_eq!(client(&up), "127.0.0.1");
}

#[test]
fn whoever_believes_everybody_is_told_so_at_start() {
    let up = upstream();
    let gw = start(&plan(&up));
    gw.log_line("the open door", |line| {
        line.contains("WARNING") && line.contains("PROXY_PROTOCOL=true without TRUSTED_PROXIES")
    });
}
