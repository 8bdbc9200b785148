//! The demo services over real sockets, and the banner's lines. Not tests of the gateway: nothing stands in between here.
//! Invariant: each test has its own service on a port of the system's choice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::Value;

use super::{Kind, Login, ORGANIZATION, Running, analyzer, lines, serve};
use crate::config::Algorithm;

fn service(kind: Kind) -> Running {
    let login = Login {
        key: b"a-secret-of-at-least-thirty-two-bytes".to_vec(),
        algorithm: Algorithm::Hs256,
    };
    serve(kind, TcpListener::bind("127.0.0.1:0").unwrap(), Some(login)).unwrap()
}

/// Sends one request and reads to the connection's end: (status, head, body).
fn ask(address: SocketAddr, head: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\nX-User-ID: 7\r\nX-Forwarded-For: 1.2.3.4\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|problem| panic!("{problem}: {text}"))
}

#[test]
fn backend_answers() {
    let running = service(Kind::Backend);
    let login = r#"{"email":"a@b.c","password":"x"}"#;
    let table = [
        ("GET /health", "", 200, "\"healthy\""),
        ("GET /api/v1/projects?page=2", "", 200, "\"page=2\""),
        ("DELETE /api/v1/a/b", "abc", 200, "\"body_bytes\":3"),
        ("POST /api/v1/upload", "12345", 200, "\"received_bytes\":5"),
        (
            "POST /api/v1/auth/login",
            login,
            200,
            "\"access_token\":\"ey",
        ),
        ("POST /api/v1/auth/login", "{}", 400, "password"),
        ("POST /api/v1/auth/login", "no json", 400, "password"),
        ("GET /api/v1/bytes/0", "", 200, ""),
        ("GET /api/v1/bytes/20", "", 200, "00000000000000000000"),
        ("GET /api/v1/bytes/17179869185", "", 400, "17179869184"),
        ("GET /api/v1/bytes/-1", "", 400, "17179869184"),
        ("GET /elsewhere", "", 404, "Not Found"),
    ];
    for (request, body, status, part) in table {
        let (got, _, answer) = ask(running.address(), request, body);
        assert_eq!(got, status, "{request}: {answer}");
        assert!(answer.contains(part), "{request}: {answer}");
    }
}

#[test]
fn echo_shows_the_identity_fields_and_no_token() {
    let running = service(Kind::Backend);
    let (_, _, body) = ask(
        running.address(),
        "GET /api/v1/x HTTP/1.1\r\nAuthorization: Bearer abc\r\nX-Probe:",
        "",
    );
    let echo = json(&body);
    assert_eq!(echo["headers"]["X-User-ID"], "7");
    assert_eq!(echo["headers"]["X-Forwarded-For"], "1.2.3.4");
    assert!(!body.contains("Bearer"), "{body}");
}

#[test]
fn events_come_one_by_one() {
    let running = service(Kind::Backend);
    let mut stream = TcpStream::connect(running.address()).unwrap();
    stream
        .write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: demo\r\n\r\n")
        .unwrap();
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains("\"event\":2,") {
        let length = stream.read(&mut piece).unwrap();
        assert_ne!(length, 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..length]);
    }
    let text = String::from_utf8_lossy(&seen);
    assert!(text.contains("text/event-stream"), "{text}");
    assert!(!text.contains("\"event\":10,"), "{text}");
}

#[test]
fn a_long_download_has_its_length() {
    let running = service(Kind::Backend);
    let (status, head, body) = ask(running.address(), "GET /api/v1/bytes/100000", "");
    assert_eq!((status, body.len()), (200, 100_000));
    assert!(head.contains("content-length: 100000"), "{head}");
}

#[test]
fn a_stop_ends_a_slow_answer_too() {
    let running = service(Kind::Backend);
    let mut stream = TcpStream::connect(running.address()).unwrap();
    stream
        .write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: demo\r\n\r\n")
        .unwrap();
    let mut piece = [0; 256];
    assert_ne!(stream.read(&mut piece).unwrap(), 0);
    running.stop();
    let mut rest = Vec::new();
    // Cut off (an error) or closed: either way it is over, and not complete.
    let _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("\"event\":10,"));
}

#[test]
fn analyzer_answers_below_any_base_path() {
    let running = service(Kind::Analyzer);
    let sql = r#"{"sql_query":"SELECT * FROM orders","database_type":"postgresql"}"#;
    let table = [
        ("GET /health", "", 200, "healthy"),
        ("GET /readyz", "", 200, "healthy"),
        ("POST /analyze", sql, 200, "select-star"),
        ("POST /api/v1/analyze", sql, 200, "unbounded-select"),
        (
            "POST /analyze",
            r#"{"sql":"SELECT 1"}"#,
            200,
            "\"findings\":[]",
        ),
        (
            "POST /analyze",
            sql,
            200,
            "\"database_type\":\"postgresql\"",
        ),
        ("POST /analyze", "SELECT 1", 400, "sql_query"),
        ("GET /analyze", "", 405, "POST"),
        ("POST /elsewhere", sql, 404, "no such path"),
    ];
    for (request, body, status, part) in table {
        let (got, _, answer) = ask(running.address(), request, body);
        assert_eq!(got, status, "{request}: {answer}");
        assert!(answer.contains(part), "{request}: {answer}");
    }
}

#[test]
fn analyze_table() {
    let table: [(&str, &[&str]); 13] = [
        ("", &[]),
        ("SELECT id FROM t WHERE a = 1", &[]),
        ("select * from t limit 5", &["select-star"]),
        ("SELECT count(*) FROM t WHERE a = 1", &[]),
        ("SELECT a FROM t", &["unbounded-select"]),
        ("SELECT 1", &[]),
        ("SELECT a FROM t WHERE b LIKE '%x'", &["leading-wildcard"]),
        ("SELECT a FROM t WHERE b LIKE 'x%'", &[]),
        ("DELETE FROM t", &["write-without-where"]),
        ("UPDATE t SET a = 'where'", &["write-without-where"]),
        ("DELETE FROM t WHERE a = 1 -- DELETE FROM t", &[]),
        ("/* SELECT * FROM t */ UPDATE t SET a = 1 WHERE b", &[]),
        (
            "DELETE FROM a; DELETE FROM b; 'open",
            &["write-without-where"],
        ),
    ];
    for (sql, rules) in table {
        let found: Vec<&str> = analyzer::analyze(sql)
            .iter()
            .map(|finding| finding.rule)
            .collect();
        assert_eq!(found, rules, "{sql}");
    }
}

#[test]
fn kinds_are_read_by_name() {
    assert_eq!("backend".parse(), Ok(Kind::Backend));
    assert_eq!("ai-analyzer".parse(), Ok(Kind::Analyzer));
    assert!("redis".parse::<Kind>().unwrap_err().contains("ai-analyzer"));
}

#[test]
fn a_websocket_greets_and_says_back_what_it_hears() {
    use tungstenite::Message;
    let running = service(Kind::Backend);
    let stream = TcpStream::connect(running.address()).unwrap();
    let url = format!("ws://{}/api/v1/ws", running.address());
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    assert!(
        socket
            .read()
            .unwrap()
            .to_text()
            .unwrap()
            .contains("Welcome")
    );
    for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let message = Message::binary(vec![7; length]);
        socket.send(message.clone()).unwrap();
        assert!(socket.read().unwrap() == message, "{length}");
    }
    socket.send(Message::Ping("a".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("a".into()));
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    // More than it takes.
    let stream = TcpStream::connect(running.address()).unwrap();
    let url = format!("ws://{}/api/v1/ws", running.address());
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    socket.read().unwrap();
    let _ = socket.send(Message::binary(vec![7; (1 << 20) + 1]));
    assert!(socket.read().map_or(true, |message| message.is_close()));
    let (status, _, body) = ask(running.address(), "GET /api/v1/ws", "");
    assert_eq!(status, 426, "{body}");
}

#[test]
fn banner_lines_are_complete() {
    let gateway: SocketAddr = "0.0.0.0:8000".parse().unwrap();
    let ops: SocketAddr = "127.0.0.1:9090".parse().unwrap();
    let banner = lines(gateway, Some(ops), "USER.TOKEN", "ADMIN.TOKEN");
    assert!(!banner.contains("0.0.0.0"), "{banner}");
    let commands: Vec<&str> = banner
        .lines()
        .filter(|line| line.contains("curl"))
        .collect();
    assert_eq!(commands.len(), 11);
    for command in commands {
        assert!(command.contains("http://127.0.0.1:8000/"), "{command}");
        let syntax = std::process::Command::new("sh")
            .args(["-n", "-c", command])
            .status();
        assert!(syntax.unwrap().success(), "{command}");
    }
    for part in [
        "http://127.0.0.1:9090/metrics",
        "http://127.0.0.1:8000/docs",
        "ADMIN.TOKEN",
        r#"{"sql_query":"SELECT * FROM orders","database_type":"postgresql"}"#,
        "/rate-limit/info",
        &format!("\"organization_id\":{ORGANIZATION}"),
        "\"ip_address\":\"127.0.0.1\"",
    ] {
        assert!(banner.contains(part), "{part}\n{banner}");
    }
    assert!(lines("[::]:80".parse().unwrap(), None, "u", "a").contains("http://[::1]:80/health"));
}
