//! TLS at the edge, looked at with curl, openssl and rustls: versions, names, resumption, renewal, refusals. Not client
//! certificates and not services (`e2e_tls_peers`). Invariant: what plain HTTP does, HTTP over TLS does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]
#![allow(clippy::disallowed_methods, reason = "curl and openssl are processes")]

mod support;
mod support_tls;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use rustls::HandshakeKind;
use support::{Gateway, Plan, Upstream, gateway, until, upstream};
use support_tls::{Authority, Issued, Secure, config, der};

const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn plan(up: &Upstream, pairs: &[&Issued]) -> Plan {
    let mut plan = gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*");
    let (mut certs, mut keys) = (Vec::new(), Vec::new());
    for (at, issued) in pairs.iter().enumerate() {
        let (cert, key) = (format!("{at}.crt"), format!("{at}.key"));
        plan = plan.file(&cert, &issued.cert).file(&key, &issued.key);
        certs.push(cert);
        keys.push(key);
    }
    plan.env("TLS_CERT", certs.join(","))
        .env("TLS_KEY", keys.join(","))
}

fn curl(gw: &Gateway, ca: &str, args: &[&str], target: &str) -> (bool, String) {
    let path = gw.path("curl-ca.pem");
    std::fs::write(&path, ca).unwrap();
    let out = Command::new("curl")
        .args(["-sS", "-i", "--max-time", "15", "--cacert"])
        .arg(&path)
        .args(args)
        .arg(format!("https://localhost:{}{target}", gw.port))
        .output()
        .expect("curl is installed");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    (out.status.success(), text + &err)
}

fn handshake_failures(gw: &Gateway) -> f64 {
    gw.metric(
        "dbpower_connections_closed_total",
        &["reason=\"tls_handshake\""],
    )
}

#[test]
fn curl_is_served_over_both_versions() {
    let (up, ca) = (upstream(), Authority::new());
    let gw = plan(&up, &[&ca.issue(&["localhost"])]).start();
    for args in [
        &["--tlsv1.3", "--http1.1"][..],
        &["--tls-max", "1.2"],
        &["--http2"],
        &["--http1.0"],
    ] {
        let (fine, text) = curl(&gw, &ca.pem(), args, "/api/v1/open/x");
        assert!(fine && text.contains(" 200 OK"), "{args:?}: {text}");
        assert!(text.ends_with("ok"), "{text}");
    }
    assert_eq!(up.last().field("x-forwarded-proto"), Some("https"));
    // A body each way, with many records and a length only at its end.
    let args = [
        "--data-binary",
        "@/proc/self/exe",
        "-H",
        "Transfer-Encoding: chunked",
    ];
    let (fine, text) = curl(&gw, &ca.pem(), &args, "/api/v1/open/x");
    assert!(fine && text.contains(" 200 OK"), "{text}");
    let sent = std::fs::metadata(which("curl")).unwrap().len();
    assert_eq!(up.last().body.len() as u64, sent);
    let (fine, text) = curl(&gw, &ca.pem(), &[], "/health");
    assert!(fine && text.contains("\"status\""), "{text}");
    let (fine, text) = curl(&gw, &Authority::new().pem(), &[], "/health");
    assert!(!fine, "another authority: {text}");
}

fn which(name: &str) -> String {
    let out = Command::new("which").arg(name).output().unwrap();
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

#[test]
fn an_answer_that_ends_with_its_connection_ends_with_a_goodbye() {
    const BYTES: usize = 3_000_000;
    let body = "x".repeat(BYTES);
    let up = upstream().answers_and_closes(format!("HTTP/1.1 200 OK\r\n\r\n{body}"));
    let ca = Authority::new();
    let gw = plan(&up, &[&ca.issue(&["localhost"])]).start();
    let args = ["--http1.0", "--limit-rate", "8M"];
    let (fine, text) = curl(&gw, &ca.pem(), &args, "/api/v1/open/x");
    assert!(fine, "{}", &text[text.len().saturating_sub(200)..]);
    assert!(text.ends_with(&body[..1000]) && text.len() > BYTES);
    // Cut short by its service it must not look whole.
    let short = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        BYTES + 1
    );
    let up = upstream().answers_and_closes(short);
    let gw = plan(&up, &[&ca.issue(&["localhost"])]).start();
    let (fine, _) = curl(&gw, &ca.pem(), &args, "/api/v1/open/x");
    assert!(!fine, "curl notices");
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let (up, ca) = (upstream(), Authority::new());
    let first = ca.issue(&["localhost"]);
    let wild = ca.issue(&["*.wild.test", "exact.test"]);
    let gw = plan(&up, &[&first, &wild]).start();
    for (name, expected) in [
        ("localhost", &first),
        ("exact.test", &wild),
        ("a.wild.test", &wild),
        ("A.WILD.test", &wild),
    ] {
        let mut secure = Secure::to(gw.port, name, &config(&ca, None));
        assert!(secure.ask(GET).contains("200 OK"), "{name}");
        assert!(secure.shown() == der(expected), "{name}");
    }
    // One label, not two; and a name that nobody knows gets the first.
    for name in ["a.b.wild.test", "unknown.test"] {
        let refused = Secure::to(gw.port, name, &config(&ca, None)).try_ask(GET);
        let why = refused.expect_err("the client's refusal").to_string();
        assert!(
            why.contains("NotValidForName") || why.contains("not valid for name"),
            "{why}"
        );
    }
    until("the clients' refusals to be counted", || {
        handshake_failures(&gw) >= 2.0
    });
}

#[test]
fn a_session_is_resumed_by_every_worker_on_both_versions() {
    let (up, ca) = (upstream(), Authority::new());
    let gw = plan(&up, &[&ca.issue(&["localhost"])]).start();
    let same = config(&ca, None);
    let kind = |secure: &Secure| secure.0.conn.handshake_kind();
    let mut first = Secure::to(gw.port, "localhost", &same);
    first.ask(GET);
    assert_eq!(kind(&first), Some(HandshakeKind::Full));
    // The kernel deals connections out by their ports: all of these to one worker would be one case in a million.
    for _ in 0..24 {
        let mut again = Secure::to(gw.port, "localhost", &same);
        assert!(again.ask(GET).contains("200 OK"));
        assert_eq!(kind(&again), Some(HandshakeKind::Resumed));
    }
    let resumed = gw.metric("dbpower_tls_handshakes_total", &["kind=\"resumed\""]);
    assert!(resumed >= 24.0, "{resumed}");
    // Five times the same session of TLS 1.2, the openssl way.
    let out = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-reconnect", "-connect"])
        .arg(format!("127.0.0.1:{}", gw.port))
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(text.matches("\nReused, TLSv1.2").count(), 5, "{text}");
}

#[test]
fn certificates_are_renewed_under_open_connections_and_bad_ones_are_not_taken() {
    let (up, ca) = (upstream(), Authority::new());
    let (old, new) = (ca.issue(&["localhost"]), ca.issue(&["localhost"]));
    let gw = plan(&up, &[&old]).start();
    let shown = || {
        let mut secure = Secure::to(gw.port, "localhost", &config(&ca, None));
        assert!(secure.ask(GET).contains("200 OK"));
        secure.shown()
    };
    let mut standing = Secure::to(gw.port, "localhost", &config(&ca, None));
    standing.ask(GET);
    // A certificate without its key, as between two copies.
    std::fs::write(gw.path("0.crt"), &new.cert).unwrap();
    gw.signal(Signal::HUP);
    gw.log_line("the refusal", |line| {
        line.contains("not renewed") && line.contains("0.key")
    });
    assert!(shown() == der(&old));
    std::fs::write(gw.path("0.key"), &new.key).unwrap();
    gw.signal(Signal::HUP);
    until("the new certificate", || shown() == der(&new));
    assert!(standing.ask(GET).contains("200 OK"), "it stands");
    // And without a signal.
    std::fs::write(gw.path("0.crt"), &old.cert).unwrap();
    std::fs::write(gw.path("0.key"), &old.key).unwrap();
    until("the old certificate", || shown() == der(&old));
    assert!(standing.ask(GET).contains("200 OK"), "it stands");
}

#[test]
fn a_failed_handshake_is_said_once_and_counted_and_a_slow_one_ends() {
    let (up, ca) = (upstream(), Authority::new());
    let gw = plan(&up, &[&ca.issue(&["localhost"])])
        .env("HANDSHAKE_TIMEOUT", "0.3")
        .start();
    let before = handshake_failures(&gw);
    let mut other = TcpStream::connect(("127.0.0.1", gw.port)).unwrap();
    other.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = other.read_to_end(&mut answer);
    assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, _]), "{answer:?}");
    gw.log_line("why", |line| {
        line.contains("TLS handshake failed") && line.contains("corrupt")
    });
    let mut slow = TcpStream::connect(("127.0.0.1", gw.port)).unwrap();
    slow.write_all(&[22, 3, 1]).unwrap();
    assert!(matches!(slow.read(&mut [0]), Ok(0) | Err(_)));
    gw.log_line("why", |line| line.contains("took too long"));
    until("both to be counted", || {
        handshake_failures(&gw) >= before + 2.0
    });
    // Who says nothing at all is no failure.
    let silent = TcpStream::connect(("127.0.0.1", gw.port)).unwrap();
    silent.shutdown(Shutdown::Both).unwrap();
    let mut well = Secure::to(gw.port, "localhost", &config(&ca, None));
    assert!(well.ask(GET).contains("200 OK"));
    let lines = gw.log();
    assert_eq!(lines.matches("TLS handshake failed").count(), 2, "{lines}");
}

/// What a client gets that says this and ends its side.
fn said_plainly(gw: &Gateway, bytes: &str) -> String {
    let mut plain = TcpStream::connect(("127.0.0.1", gw.port)).unwrap();
    plain.write_all(bytes.as_bytes()).unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn plain_http_on_the_tls_port_is_told_what_is_spoken_there() {
    let (up, ca) = (upstream(), Authority::new());
    let gw = plan(&up, &[&ca.issue(&["localhost"])]).start();
    let body = "x".repeat(300_000);
    let upload = format!(
        "POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for request in [
        GET,
        "GET / HTTP/1.0\r\n\r\n",
        "get /",
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        &upload,
    ] {
        let answer = said_plainly(&gw, request);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains("\r\nConnection: close"), "{head}");
        let told = body.contains("\"message\":\"This port speaks HTTPS");
        assert_eq!(told, !request.starts_with("HEAD"), "{answer}");
        assert_eq!(body.is_empty(), !told, "{answer}");
    }
    let out = Command::new("curl")
        .args(["-sS", "-i", "--max-time", "15"])
        .arg(format!("http://localhost:{}/api/v1/open/x", gw.port))
        .output()
        .expect("curl is installed");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("HTTPS"), "{text}");
    gw.log_line("why", |line| {
        line.contains("a TLS handshake failed") && line.contains("plain HTTP")
    });
    assert!(up.requests().is_empty(), "nobody was asked");
    assert!(handshake_failures(&gw) >= 9.0);
    let mut well = Secure::to(gw.port, "localhost", &config(&ca, None));
    assert!(well.ask(GET).contains("200 OK"));
}

#[test]
fn a_parked_connection_goes_on_and_a_drain_ends_it_with_a_goodbye() {
    let (up, ca) = (upstream(), Authority::new());
    let mut gw = plan(&up, &[&ca.issue(&["localhost"])]).start();
    let mut secure = Secure::to(gw.port, "localhost", &config(&ca, None));
    for _ in 0..2 {
        assert!(secure.ask(GET).contains("200 OK"));
        support::pause(std::time::Duration::from_millis(600));
    }
    gw.signal(Signal::TERM);
    assert_eq!(secure.0.read(&mut [0]).ok(), Some(0), "close_notify came");
    assert_eq!(gw.wait_exit().code(), Some(0));
}
