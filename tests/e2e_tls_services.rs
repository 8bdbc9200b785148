//! Services behind TLS that are not who they should be, or misbehave once they are. Not the edge (`e2e_tls`, `e2e_tls_edge`).
//! Invariant: what a service did not prove or did not finish never looks proved or whole to a client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;
mod support_tls;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rcgen::date_time_ymd;
use support::{Broken, Gateway, OK, Plan, gateway, until};
use support_tls::{Authority, Served, goodbye, service};

const PATH: &str = "/api/v1/open/x";

/// One worker, so that there is one pool.
fn plan(port: u16, trusted: &Authority) -> Plan {
    gateway()
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("GATEWAY_WORKERS", 1)
        .env("BACKEND_URL", format!("https://localhost:{port}"))
        .file("ca.pem", trusted.pem())
        .env("UPSTREAM_CA", "ca.pem")
}

fn ok(_head: &str, stream: &mut Served) -> bool {
    stream.write_all(OK.as_bytes()).is_ok()
}

fn events(gw: &Gateway, event: &str) -> f64 {
    let event = format!("event=\"{event}\"");
    let labels = ["service=\"backend\"", event.as_str()];
    gw.metric("dbpower_upstream_events_total", &labels)
}

#[test]
fn who_does_not_prove_to_be_the_service_gets_no_request() {
    let (ca, other) = (Authority::new(), Authority::new());
    let dated = |from: i32, to: i32| {
        ca.issue_as(&["localhost"], |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        })
    };
    let named = ca.issue(&["other.test"]);
    for (what, issued, reason, probed) in [
        ("a name", named, "not valid for name", "for another name"),
        (
            "an authority",
            other.issue(&["localhost"]),
            "UnknownIssuer",
            "not by an authority",
        ),
        (
            "the past",
            dated(2001, 2002),
            "certificate expired",
            "has expired",
        ),
        (
            "the future",
            dated(2090, 2091),
            "not valid yet",
            "not valid yet",
        ),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let port = service(&issued, None, move |head, stream| {
            count.fetch_add(1, Relaxed);
            ok(head, stream)
        });
        let gw = plan(port, &ca).start();
        for body in ["", "an effect"] {
            let answer = gw.post(PATH).body(body).send();
            assert_eq!(answer.status, 502, "{what}: {}", answer.text());
            let told = answer.json()["message"].as_str().unwrap().to_owned();
            assert_eq!(told, "The backend service failed the TLS handshake");
        }
        gw.log_line("why", |line| {
            line.contains("a service's TLS handshake failed")
                && line.contains(&format!("address=127.0.0.1:{port}"))
                && line.contains(reason)
        });
        // The probe asks for the same proof.
        gw.log_line("that it is ill, and why", |line| {
            line.contains("the service is unhealthy") && line.contains(probed)
        });
        assert_eq!(gw.get("/health").send().json()["backend_healthy"], false);
        assert_eq!(asked.load(Relaxed), 0, "{what}");
    }
}

#[test]
fn each_endpoint_proves_the_host_of_its_own_url() {
    let ca = Authority::new();
    for (by_name, by_address, fine) in [
        ("localhost", "127.0.0.1", true),
        ("127.0.0.1", "localhost", false),
    ] {
        let counts = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let start = |name: &str, count: &Arc<AtomicUsize>| {
            let count = Arc::clone(count);
            service(&ca.issue(&[name]), None, move |head, stream| {
                count.fetch_add(1, Relaxed);
                ok(head, stream)
            })
        };
        let one = start(by_name, &counts[0]);
        let other = start(by_address, &counts[1]);
        let urls = format!("https://localhost:{one},https://127.0.0.1:{other}");
        let gw = plan(one, &ca).env("BACKEND_URL", urls).start();
        let expected = if fine { 200 } else { 502 };
        for _ in 0..18 {
            assert_eq!(gw.get(PATH).send().status, expected);
        }
        let asked = counts.map(|count| count.load(Relaxed));
        assert!(asked.iter().all(|count| (*count > 0) == fine), "{asked:?}");
        let healthy = gw.metric(
            "dbpower_upstream_endpoints_healthy",
            &["service=\"backend\""],
        );
        assert_eq!(healthy, if fine { 2.0 } else { 0.0 }, "the probes agree");
    }
}

#[test]
fn a_service_that_wants_a_certificate_of_ours_is_told_apart() {
    let (ca, clients) = (Authority::new(), Authority::new());
    let port = service(&ca.issue(&["localhost"]), Some(&clients), ok);
    let gw = plan(port, &ca).start();
    // With TLS 1.3 the refusal comes when our side of the handshake is done.
    for _ in 0..3 {
        assert_eq!(gw.get(PATH).send().status, 502);
    }
    gw.log_line("why", |line| {
        line.contains("a service's TLS connection failed") && line.contains("CertificateRequired")
    });
    assert!(gw.wire().serves_another());
}

#[test]
fn a_service_that_does_not_speak_tls_is_told_apart_from_one_that_says_nothing() {
    let ca = Authority::new();
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let ports = [port(&mute), port(&plain)];
    let in_the_clear = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&in_the_clear);
    std::thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).unwrap_or(0);
            // A record of TLS begins with 22.
            count.fetch_add(usize::from(length > 0 && piece[0] != 22), Relaxed);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    for (port, status, told) in [
        (ports[0], 504, "could not be connected to in time"),
        (ports[1], 502, "failed the TLS handshake"),
    ] {
        let gw = plan(port, &ca).env("CONNECT_TIMEOUT", "0.4").start();
        for _ in 0..2 {
            let answer = gw.post(PATH).body("an effect").send();
            assert_eq!(answer.status, status, "{}", answer.text());
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert_eq!(message, format!("The backend service {told}"));
        }
        if status == 502 {
            gw.log_line("what mends it", |line| {
                line.contains("a service's TLS handshake failed") && line.contains("http://")
            });
        }
        assert!(gw.wire().serves_another());
    }
    assert_eq!(in_the_clear.load(Relaxed), 0);
}

#[test]
fn a_probe_finds_a_service_over_tls_healthy() {
    let ca = Authority::new();
    let gw = plan(service(&ca.issue(&["localhost"]), None, ok), &ca).start();
    until("the probe to find it healthy", || {
        gw.get("/health").send().json()["backend_healthy"] == true
    });
}

#[test]
fn a_body_that_ends_with_its_connection_is_whole_only_with_a_goodbye() {
    let ca = Authority::new();
    let port = service(&ca.issue(&["localhost"]), None, |head, stream| {
        let body = "x".repeat(300_000);
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes());
        if head.contains("/said ") {
            goodbye(stream);
        }
        // Closed with nothing unread: an end of TCP, as an attacker on the way can make one.
        false
    });
    let gw = plan(port, &ca).start();
    let answer = gw.get("/api/v1/open/said").send();
    assert_eq!((answer.status, answer.body.len()), (200, 300_000));
    let mut wire = gw.wire();
    wire.send("GET /api/v1/open/unsaid HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(wire.try_answer("GET").err(), Some(Broken::Truncated));
    // To a client whose own message ends with the connection it must not look like an end either.
    let mut wire = gw.wire();
    wire.send("GET /api/v1/open/unsaid HTTP/1.0\r\n\r\n");
    let mut all = Vec::new();
    let end = wire.reader().stream().read_to_end(&mut all);
    assert!(end.is_err(), "{} bytes and an end", all.len());
}

#[test]
fn bytes_on_an_idle_connection_become_nobodys_answer() {
    let ca = Authority::new();
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (what, treat) in [
        ("in a record", 0),
        ("half a record", 1),
        ("a goodbye", 2),
        ("an end without one", 3),
    ] {
        let port = service(&ca.issue(&["localhost"]), None, move |head, stream| {
            ok(head, stream);
            match treat {
                0 => stream.write_all(evil.as_bytes()).unwrap(),
                1 => stream.sock.write_all(&[23, 3, 3, 1]).unwrap(),
                2 => goodbye(stream),
                _ => return false,
            }
            true
        });
        let gw = plan(port, &ca).start();
        for _ in 0..4 {
            let answer = gw.post(PATH).body("an effect").send();
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "ok"),
                "{what}"
            );
            // What it sends next comes while the connection idles.
            support::pause(std::time::Duration::from_millis(50));
        }
        assert_eq!(events(&gw, "reused"), 0.0, "{what}");
    }
}

#[test]
fn new_keys_and_tickets_between_two_answers_harm_no_connection() {
    let ca = Authority::new();
    let port = service(&ca.issue(&["localhost"]), None, |_, stream| {
        let mut fine = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n");
        for _ in 0..4 {
            fine = fine.and_then(|()| stream.write_all(&[b'x'; 10_000]));
            stream.conn.refresh_traffic_keys().unwrap();
        }
        fine.and_then(|()| stream.flush()).is_ok()
    });
    let gw = plan(port, &ca).start();
    for n in 0..10 {
        let answer = gw.post(PATH).body("x".repeat(n * 5_000)).send();
        assert_eq!((answer.status, answer.body.len()), (200, 40_000));
    }
    assert_eq!(events(&gw, "reused"), 9.0, "one connection for all");
}

#[test]
fn a_service_that_floods_with_new_keys_is_broken_off() {
    let ca = Authority::new();
    let port = service(&ca.issue(&["localhost"]), None, |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok");
        for _ in 0..10_000 {
            if stream.conn.refresh_traffic_keys().is_err() || stream.flush().is_err() {
                break;
            }
        }
        // Held open until the gateway has closed it.
        let _ = stream.sock.read_to_end(&mut Vec::new());
        false
    });
    let gw = plan(port, &ca).start();
    let mut wire = gw.wire();
    wire.send(format!("GET {PATH} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(wire.try_answer("GET").err(), Some(Broken::Truncated));
    assert!(gw.wire().serves_another());
    assert_eq!(gw.metric("dbpower_panics_total", &[]), 0.0);
}

#[test]
fn a_service_that_does_not_read_or_answers_early_is_treated_as_without_tls() {
    let ca = Authority::new();
    let port = service(&ca.issue(&["localhost"]), None, |head, stream| {
        if head.contains("/early ") {
            let _ = stream.write_all(b"HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nmore");
            let _ = stream.flush();
            return false;
        }
        // Not a byte of the body is read until the gateway gives up.
        while stream.sock.peek(&mut [0; 1]).is_ok_and(|count| count > 0) {
            support::pause(std::time::Duration::from_millis(20));
        }
        false
    });
    let gw = plan(port, &ca).env("RESPONSE_TIMEOUT", "0.5").start();
    let mut wire = gw.wire();
    wire.send("POST /api/v1/open/early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nxxx");
    let answer = wire.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "more"));
    let body = vec![b'x'; 32 << 20];
    let mut wire = gw.wire();
    let length = body.len();
    wire.send(format!(
        "POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
    ));
    let mut sender = wire.reader().stream().try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&body).is_err());
    if let Ok(answer) = wire.try_answer("POST") {
        assert!(matches!(answer.status, 502 | 504), "{}", answer.status);
    }
    drop(wire);
    assert!(sending.join().unwrap(), "the client was told to stop");
    // 32 MB have not been stored on the way: what is held is bounded by the buffers.
    assert!(gw.peak_kib() < 120_000, "{} KiB", gw.peak_kib());
    assert!(gw.wire().serves_another());
}
