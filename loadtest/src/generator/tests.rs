//! The generator against a server that stalls once, closes, answers nonsense: what happened must show. No time is asserted, only counts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::Load;
use super::answer::{Answer, Malformed, Reader};
use super::drive::Drive;
use super::record::{Failure, Record};
use super::requests::Requests;
use super::schedule::Schedule;
use super::transport::{SERVER_NAME, Secure};
use crate::process::wait;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const STALL: Duration = Duration::from_millis(400);

/// A server that answers the request of number `turn` with what `answer` gives; `None` closes.
fn server(answer: impl Fn(u64) -> Option<&'static str> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, turn) = (Arc::new(answer), Arc::new(AtomicU64::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, turn) = (Arc::clone(&answer), Arc::clone(&turn));
            thread::spawn(move || serve(stream.unwrap(), &*answer, &turn));
        }
    });
    address
}

fn serve(
    mut stream: impl Read + Write,
    answer: &dyn Fn(u64) -> Option<&'static str>,
    turn: &AtomicU64,
) {
    let (mut unread, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count) = stream.read(&mut buffer) {
        unread.extend_from_slice(&buffer[..count]);
        if count == 0 {
            return;
        }
        if !unread.ends_with(b"\r\n\r\n") {
            continue;
        }
        unread.clear();
        let Some(text) = answer(turn.fetch_add(1, Ordering::Relaxed)) else {
            return;
        };
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn load(address: SocketAddr, rate: Option<u32>, connections: usize) -> Load {
    Load {
        address,
        rate,
        connections,
        keep_alive: true,
        warm_seconds: 0.0,
        seconds: 1.0,
        target: "/".into(),
        upload_bytes: 0,
        keys: 3,
        first_key: 1,
        users: 0,
        addresses: 0,
        fill: false,
        secure: None,
    }
}

fn run(load: &Load) -> Record {
    let requests = Requests::new(load).unwrap();
    Drive::new(load, &requests)
        .unwrap()
        .phase(load.seconds)
        .unwrap()
}

/// Of 200 requests a second some 80 are due during the stall, on a connection that is not free. A closed loop would record one slow
/// request. Machines that are slow themselves can only add to the slow ones.
#[test]
fn a_stall_shows_in_the_latency_of_all_requests_that_were_due_meanwhile() {
    let address = server(|turn| {
        if turn == 50 {
            wait(STALL);
        }
        Some(OK)
    });
    let record = run(&load(address, Some(200), 1));
    let outcome = record.outcome();
    assert_eq!((outcome.completed, outcome.failed()), (200, 0));
    assert_eq!(outcome.recorded, 200);
    let slow = record.slower_than(STALL / 4);
    assert!(slow >= 50, "only {slow} requests were slow");
}

#[test]
fn a_request_that_is_never_answered_is_counted_with_its_time() {
    let address = server(|turn| {
        if turn == 5 {
            wait(Duration::from_secs(30));
        }
        Some(OK)
    });
    let record = run(&Load {
        seconds: 0.2,
        ..load(address, Some(100), 1)
    });
    let outcome = record.outcome();
    assert_eq!(outcome.recorded, 20);
    assert_eq!(outcome.completed, 5);
    assert_eq!(outcome.failures.get(&Failure::Unanswered), Some(&15));
}

#[test]
fn each_failure_has_its_name() {
    let table: [(&str, Option<&'static str>, Failure); 5] = [
        ("closed", None, Failure::Closed),
        (
            "500",
            Some("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
            Failure::Status,
        ),
        (
            "429",
            Some("HTTP/1.1 429 No\r\nContent-Length: 2\r\n\r\nno"),
            Failure::Status,
        ),
        (
            "nonsense",
            Some("SSH-2.0-server\r\n\r\n"),
            Failure::Malformed,
        ),
        (
            "too long",
            Some("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok"),
            Failure::Malformed,
        ),
    ];
    for (name, bad, failure) in table {
        let address = server(move |turn| if turn % 2 == 0 { Some(OK) } else { bad });
        let outcome = run(&load(address, Some(50), 2)).outcome();
        assert_eq!(outcome.recorded, 50, "{name}");
        assert_eq!(outcome.completed, 25, "{name}");
        assert_eq!(
            outcome.failures.get(&failure),
            Some(&25),
            "{name}: {:?}",
            outcome.failures
        );
        let told: u64 = outcome.statuses.values().sum();
        assert_eq!(told == 25, failure == Failure::Status, "{name}");
    }
}

#[test]
fn nobody_listening_is_a_failure_of_all() {
    let address = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let outcome = run(&Load {
        seconds: 0.1,
        ..load(address, Some(100), 2)
    })
    .outcome();
    assert_eq!((outcome.completed, outcome.recorded), (0, 10));
}

#[test]
fn a_connection_for_each_request_is_one() {
    let turns = Arc::new(AtomicU64::new(0));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::clone(&turns);
    thread::spawn(move || {
        for stream in listener.incoming() {
            accepted.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || serve(stream.unwrap(), &|_| Some(OK), &AtomicU64::new(0)));
        }
    });
    let outcome = run(&Load {
        keep_alive: false,
        ..load(address, Some(40), 4)
    })
    .outcome();
    assert_eq!((outcome.completed, outcome.failed()), (40, 0));
    assert_eq!(turns.load(Ordering::Relaxed), 40);
}

#[test]
fn what_is_due_does_not_depend_on_when_one_asks() {
    for (rate, nanos) in [
        (7, 3_000_000_000),
        (10_000, 500_000_000),
        (1, 2_000_000_000),
    ] {
        let (mut late, mut patient) = (
            Schedule::new(5, nanos, Some(rate)),
            Schedule::new(5, nanos, Some(rate)),
        );
        let mut asked_late = Vec::new();
        while let Some(due) = late.take(u64::MAX) {
            asked_late.push(due);
        }
        let mut asked_in_time = Vec::new();
        while let Some(due) = patient.next_due(0) {
            assert_eq!(patient.take(due.saturating_sub(1)), None);
            asked_in_time.extend(patient.take(due));
        }
        assert_eq!(asked_late, asked_in_time);
        assert_eq!(
            asked_late.len() as u64,
            u64::from(rate) * nanos / 1_000_000_000
        );
    }
}

/// Each answer whole, then byte by byte.
#[test]
fn answers_end_where_they_say() {
    let answer = |status, closes| Ok(Some(Answer { status, closes }));
    let table = [
        (OK, answer(200, false)),
        ("HTTP/1.1 204 No\r\n\r\n", answer(204, false)),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: Close\r\n\r\n",
            answer(200, true),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            answer(200, false),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", Ok(None)),
        ("HTTP/1.1 200 OK\r\n\r\n", Err(Malformed)),
    ];
    for (text, expected) in table {
        assert_eq!(
            Reader::default().feed(text.as_bytes()),
            expected,
            "{text:?}"
        );
        let mut reader = Reader::default();
        let mut last = Ok(None);
        for byte in text.as_bytes() {
            assert_eq!(last, Ok(None), "{text:?} ended early");
            last = reader.feed(&[*byte]);
        }
        assert_eq!(last, expected, "{text:?}");
    }
}

/// A server of TLS 1.3 with a certificate of its own, which is returned; two tickets with each handshake.
fn secure_server() -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let (config, listener) = (
        Arc::new(config),
        TcpListener::bind(("127.0.0.1", 0)).unwrap(),
    );
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let stream = rustls::StreamOwned::new(session, stream.unwrap());
            thread::spawn(move || serve(stream, &|_| Some(OK), &AtomicU64::new(0)));
        }
    });
    (address, made.cert.pem())
}

/// (keep-alive, may resume, connections): handshakes, and how many of them were resumed. Each connection's first finds no ticket.
#[test]
fn a_handshake_is_resumed_where_that_is_asked_for_and_nowhere_else() {
    let (address, authority) = secure_server();
    for ((keep_alive, resume, connections), expected) in [
        ((true, true, 1), (1, 0)),
        ((false, false, 1), (40, 0)),
        ((false, true, 1), (40, 39)),
        ((false, true, 20), (40, 20)),
    ] {
        let secure = Secure {
            authority: authority.clone(),
            resume,
        };
        let outcome = run(&Load {
            keep_alive,
            secure: Some(secure),
            ..load(address, Some(40), connections)
        })
        .outcome();
        assert_eq!((outcome.completed, outcome.failed()), (40, 0));
        let found = (outcome.handshakes, outcome.resumed);
        assert_eq!(found, expected, "keep-alive {keep_alive}, resume {resume}");
    }
}

#[test]
fn a_certificate_that_is_not_believed_fails_all() {
    let ((address, _), (_, other)) = (secure_server(), secure_server());
    let outcome = run(&Load {
        seconds: 0.1,
        secure: Some(Secure {
            authority: other,
            resume: false,
        }),
        ..load(address, Some(100), 2)
    })
    .outcome();
    assert_eq!((outcome.completed, outcome.recorded), (0, 10));
}

fn sent(requests: &Requests, turn: u64) -> String {
    let address = requests.address(turn);
    String::from_utf8(requests.pieces(turn, &address).concat()).unwrap()
}

#[test]
fn every_address_is_named_once_and_then_any_of_them_at_random() {
    let addresses = 20_000;
    let requests = Requests::new(&Load {
        addresses,
        ..load(([127, 0, 0, 1], 1).into(), None, 1)
    })
    .unwrap();
    let named = |turn| {
        let text = String::from_utf8(requests.address(turn).to_vec()).unwrap();
        text.parse::<Ipv4Addr>().unwrap()
    };
    let first: HashSet<_> = (1..=addresses).map(named).collect();
    assert_eq!(first.len() as u64, addresses);
    let later: Vec<_> = (addresses + 1..=2 * addresses).map(named).collect();
    assert!(later.iter().all(|address| first.contains(address)));
    // Of n at random 1 - 1/e are met; in order it would be all.
    let met = later.iter().collect::<HashSet<_>>().len() as u64;
    assert!((addresses / 2..addresses * 3 / 4).contains(&met), "{met}");
    assert!(sent(&requests, 3).contains(&format!("\r\nX-Forwarded-For: {}\r\n", named(3))));
}

#[test]
fn users_have_a_token_each_and_nobody_names_an_address_unasked() {
    let requests = Requests::new(&Load {
        users: 50,
        ..load(([127, 0, 0, 1], 1).into(), None, 1)
    })
    .unwrap();
    let all: HashSet<_> = (1..=50).map(|turn| sent(&requests, turn)).collect();
    assert_eq!(all.len(), 50);
    assert!(all.iter().all(|text| !text.contains("X-Forwarded-For")));
}
