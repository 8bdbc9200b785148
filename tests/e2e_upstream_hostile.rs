//! Services that do what none should: speak before they are asked, never read, answer in the middle of a request and go on. Not the
//! ordinary faults (see `e2e_upstream`). Invariant: what they do reaches the client of that one request and nobody else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use support::{Gateway, Next, OK, Plan, gateway, token, upstream};

const PATH: &str = "/api/v1/open/x";

fn plan(port: u16) -> Plan {
    gateway()
        .unlimited()
        .env("BACKEND_URL", format!("http://127.0.0.1:{port}"))
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("GATEWAY_WORKERS", 1)
}

/// A service that treats each connection as it likes, its head unread.
fn rude(treat: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let treat = treat.clone();
            std::thread::spawn(move || treat(stream));
        }
    });
    port
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn still_serves(gw: &Gateway) {
    assert!(gw.wire().serves_another());
    assert_eq!(gw.metric("dbpower_panics_total", &[]), 0.0);
}

#[test]
fn garbage_before_the_question_is_no_answer_to_it() {
    let port = rude(|mut stream| {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n\r\n");
        read_head(&mut stream);
        let _ = stream.write_all(OK.as_bytes());
    });
    let gw = plan(port).start();
    for _ in 0..3 {
        let answer = gw.get(PATH).send();
        assert_eq!(answer.status, 502, "{}", answer.text());
        let told = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(told.contains("malformed answer"), "{told}");
    }
    still_serves(&gw);
}

#[test]
fn an_answer_before_the_question_goes_to_nobody_else() {
    // Two answers at once, to the first question and to one that nobody has asked yet.
    let port = rude(|mut stream| {
        let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        // In one write: what came a moment later could not be told from an answer to the next question.
        let _ = stream.write_all(format!("{OK}{evil}").as_bytes());
        read_head(&mut stream);
        // Open until the gateway closes it.
        let _ = stream.read(&mut [0]);
    });
    let gw = plan(port).start();
    for _ in 0..5 {
        let answer = gw.get(PATH).send();
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
    still_serves(&gw);
}

#[test]
fn a_service_that_never_reads_is_given_up() {
    let port = rude(|stream| {
        // Held open, not a byte read, until the gateway gives up.
        while stream.peek(&mut [0; 1]).is_ok_and(|count| count > 0) {
            support::pause(std::time::Duration::from_millis(20));
        }
    });
    let gw = plan(port).env("RESPONSE_TIMEOUT", "0.5").start();
    // More than all socket buffers on the way take.
    let body = vec![b'x'; 32 * 1024 * 1024];
    let mut wire = gw.wire();
    let length = body.len();
    wire.send(format!(
        "POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
    ));
    let mut sender = wire.reader().stream().try_clone().unwrap();
    let sending = std::thread::spawn(move || sender.write_all(&body).is_err());
    let answer = wire.try_answer("POST");
    if let Ok(answer) = &answer {
        assert!(
            answer.status == 504 || answer.status == 502,
            "{}",
            answer.status
        );
        assert!(answer.says_close(), "the rest of the body was not read");
    }
    drop(wire);
    assert!(sending.join().unwrap(), "the client was told to stop");
    let answer = gw.get(PATH).send();
    assert_eq!(
        answer.status, 504,
        "a short request fits, and is not answered"
    );
    still_serves(&gw);
}

#[test]
fn an_early_answer_is_whole_and_what_the_service_does_then_is_its_own_affair() {
    for after in [Next::Keep, Next::Close] {
        let up = upstream().script(move |exchange| {
            exchange.send("HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nmore");
            after
        });
        let gw = plan(up.port()).start();
        let mut wire = gw.wire();
        wire.send(format!(
            "POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nxxx"
        ));
        let answer = wire.answer();
        assert_eq!((answer.status, answer.text().as_str()), (413, "more"));
        assert_eq!(up.connections(), 1);
        // The unfinished request's connection carries no other.
        up.forget();
        let answer = gw.get(PATH).send();
        assert_eq!(answer.status, 413);
        assert_eq!(up.connections(), 2);
        still_serves(&gw);
    }
}

#[test]
fn an_answer_that_is_too_long_is_logged_with_its_own_bounds() {
    // Of an answer that is too long the log names the answer's bounds.
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(70_000));
    let up = upstream().answers(long);
    let gw = gateway().backend(&up).unlimited().start();
    assert_eq!(gw.get("/api/v1/x").bearer(&token()).send().status, 502);
    gw.log_line("the answer's bounds", |line| {
        line.contains("502") && line.contains("64 KiB")
    });
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(250));
    let up = upstream().answers(many);
    let gw = gateway().backend(&up).unlimited().start();
    assert_eq!(gw.get("/api/v1/x").bearer(&token()).send().status, 502);
    gw.log_line("the answer's bounds", |line| {
        line.contains("502") && line.contains("at most 200")
    });
}
