//! The conformance tables over real sockets: every row against one gateway and an upstream that records what it saw. Not the
//! parser's own run of the same rows. Invariant: what is refused never reaches the upstream, what is accepted reaches it once
//! and means the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::sync::{Arc, Mutex};

use dbpower_gateway::testing::conformance::{self, Accepted, Outcome, ResponseRow, Row, Verdict};
use support::{Broken, Gateway, Next, Upstream, Wire, gateway, until, upstream};

/// The rows' targets lie at the root, where the gateway's own endpoints are; over a socket they are moved below this path, two
/// segments under the route's prefix so that a dot segment more stays inside it.
const BELOW: &str = "/api/v1/t/t";

/// HTTP.md's bounds, which a row at the very edge would exceed once it is moved.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const TARGET_BYTES_MAX: usize = 8 * 1024;

fn open(up: &Upstream) -> Gateway {
    let plan = gateway()
        .backend(up)
        .unlimited()
        .env("REQUIRE_AUTHENTICATION", "false")
        .env("LOG_REQUESTS", "false");
    // More than twenty malformed answers follow each other: a worker that gets twenty of them would leave the service alone.
    plan.env("BREAKER_FAILURES", "0")
        .env("HEAD_TIMEOUT", "5")
        .env("BODY_TIMEOUT", "5")
        .start()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Whether anything follows the authority of an absolute target.
fn path_of(absolute: &[u8]) -> bool {
    let authority = find(absolute, b"://").map_or(0, |at| at + 3);
    absolute[authority..].iter().any(|b| b"/?".contains(b))
}

/// The row's bytes with its target moved; `None` where there is no path to move or no room for it.
fn moved(bytes: &[u8]) -> Option<Vec<u8>> {
    let line = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let target = line + find(&bytes[line..], b" ")? + 1;
    let end = target + find(&bytes[target..], b" ")?;
    let (at, path) = match &bytes[target..end] {
        [b'/', ..] => (target, BELOW.to_owned()),
        [b'*'] => return None,
        // An absolute target without a path is `*` to OPTIONS (RFC 9112 3.2.4).
        absolute if bytes[line..].starts_with(b"OPTIONS") && !path_of(absolute) => return None,
        absolute => {
            let authority = find(absolute, b"://")? + 3;
            let rest = absolute[authority..].iter().position(|b| b"/?".contains(b));
            let at = rest.map_or(end, |rest| target + authority + rest);
            // An empty path reads as `/` (RFC 9112 3.2.2).
            (
                at,
                if bytes.get(at) == Some(&b'/') {
                    BELOW.to_owned()
                } else {
                    format!("{BELOW}/")
                },
            )
        }
    };
    let head_end = find(bytes, b"\r\n\r\n").map_or(bytes.len(), |end| end + 4);
    if head_end + path.len() > HEAD_BYTES_MAX || end - target + path.len() > TARGET_BYTES_MAX {
        return None;
    }
    Some([&bytes[..at], path.as_bytes(), &bytes[at..]].concat())
}

/// Runs every row and reports all that went wrong, not the first one only.
fn all<'a, R: 'a>(
    rows: impl Iterator<Item = &'a R>,
    name: impl Fn(&R) -> &str,
    run: impl Fn(&R) -> Result<(), String>,
) {
    let mut wrong = Vec::new();
    let mut count = 0;
    for row in rows {
        count += 1;
        if let Err(what) = run(row) {
            wrong.push(format!("{}: {what}", name(row)));
        }
    }
    assert!(count > 20, "only {count} rows");
    assert!(
        wrong.is_empty(),
        "{} of {count} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

#[test]
fn every_request_row_holds_over_a_socket() {
    let up = upstream();
    let gw = open(&up);
    all(
        conformance::requests(),
        |row: &Row| row.name,
        |row| {
            up.forget();
            let bytes = row.bytes.bytes();
            let mut wire = gw.wire();
            match row.verdict {
                Verdict::Refuse(status) => refused(wire.send(&bytes), status, &up),
                Verdict::Break(status) => {
                    let bytes = moved(&bytes).ok_or("a row that cannot be moved")?;
                    torn(wire.send(bytes), status, &up)
                }
                Verdict::Accept(Accepted {
                    handshake_status: Some(status),
                    ..
                }) => {
                    let bytes = moved(&bytes).ok_or("a row that cannot be moved")?;
                    refused(wire.send(bytes), status, &up)
                }
                Verdict::Accept(accepted) => match moved(&bytes) {
                    Some(bytes) => taken(&mut wire, &bytes, &accepted, &up),
                    None => unrouted(&mut wire, &bytes, &accepted, &up),
                },
            }
        },
    );
    assert_eq!(gw.metric("dbpower_panics_total", &[]), 0.0);
}

/// The right status, the connection ends, the upstream saw nothing.
fn refused(wire: &mut Wire, status: u16, up: &Upstream) -> Result<(), String> {
    let answer = wire
        .try_answer("GET")
        .map_err(|e| format!("no answer: {e:?}"))?;
    check(answer.status == status, || {
        format!("{} in place of {status}: {}", answer.status, answer.text())
    })?;
    check(answer.says_close(), || "does not say close".to_owned())?;
    check(wire.closed(), || "the connection goes on".to_owned())?;
    check(up.requests().is_empty(), || {
        format!("the upstream saw {:?}", up.last().head.first)
    })
}

/// The answer is ours, because the upstream waits for the whole body; and it never gets one.
fn torn(wire: &mut Wire, status: u16, up: &Upstream) -> Result<(), String> {
    let answer = wire
        .try_answer("GET")
        .map_err(|e| format!("no answer: {e:?}"))?;
    check(answer.status == status, || {
        format!("{} in place of {status}: {}", answer.status, answer.text())
    })?;
    check(wire.reader().rest().is_some(), || {
        "the connection goes on".to_owned()
    })?;
    until("torn requests to end upstream", || {
        up.requests().iter().all(|seen| seen.torn || seen.complete)
    });
    let whole = up.requests().into_iter().find(|seen| seen.complete);
    check(whole.is_none(), || {
        format!("a whole request upstream: {whole:?}")
    })
}

fn taken(wire: &mut Wire, bytes: &[u8], accepted: &Accepted, up: &Upstream) -> Result<(), String> {
    let answer = wire
        .send(bytes)
        .try_answer(accepted.method)
        .map_err(|e| format!("no answer: {e:?}"))?;
    check(answer.status == 200, || {
        format!("{}: {}", answer.status, answer.text())
    })?;
    let seen = up.requests();
    check(seen.len() == 1, || {
        format!("{} requests upstream", seen.len())
    })?;
    let seen = &seen[0];
    let target = format!("{BELOW}{}", accepted.target);
    check(seen.method() == accepted.method, || {
        format!("method {:?}", seen.method())
    })?;
    check(seen.target() == target, || {
        format!("target {:?}, not {target:?}", seen.target())
    })?;
    check(seen.complete && seen.body == accepted.body, || {
        format!("body {:?}", seen.body)
    })?;
    let host = seen.field("x-forwarded-host").unwrap_or_default();
    check(host == accepted.host, || {
        format!("host {host:?}, not {:?}", accepted.host)
    })?;
    let trailers: String = seen
        .trailers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    check(trailers.as_bytes() == accepted.trailers, || {
        format!("trailers {trailers:?}")
    })?;
    for name in accepted.consumed {
        // `TE: trailers` is the one coding that passes (HTTP.md "hop-by-hop"); it is written anew.
        let trailers = *name == "te" && seen.field(name) == Some("trailers");
        let switch = *name == "upgrade" && accepted.switches;
        let leaked = !OURS.contains(name) && !trailers && !switch && seen.field(name).is_some();
        check(!leaked, || {
            format!("{name} went upstream: {:?}", seen.field(name))
        })?;
    }
    // The upstream is asked to switch by fields of ours, and only where the client has asked for it.
    let asked = ["connection", "upgrade"].map(|name| seen.field(name).unwrap_or_default());
    check(
        (asked == ["Upgrade", "websocket"]) == accepted.switches,
        || format!("asked upstream: {asked:?}"),
    )?;
    goes_on(wire, accepted)
}

/// Fields that the gateway writes itself; the client's copy is judged by `e2e_routing`.
const OURS: [&str; 5] = [
    "connection",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-request-id",
];

/// Whether what follows on the connection is the next request, or nothing.
fn goes_on(wire: &mut Wire, accepted: &Accepted) -> Result<(), String> {
    if !accepted.keep_alive {
        return check(wire.closed(), || "the connection goes on".to_owned());
    }
    if accepted.rest.len() > 2 {
        // The request behind has no route: its answer is a 404 of its own.
        let next = wire
            .try_answer("GET")
            .map_err(|e| format!("no second answer: {e:?}"))?;
        check(next.status == 404, || {
            format!("the request behind: {}", next.status)
        })?;
    }
    check(wire.serves_another(), || "the connection ends".to_owned())
}

/// Rows without a path to move (`*`), or too long to: well-formed, so that having no route is all that is wrong.
fn unrouted(
    wire: &mut Wire,
    bytes: &[u8],
    accepted: &Accepted,
    up: &Upstream,
) -> Result<(), String> {
    let answer = wire
        .send(bytes)
        .try_answer(accepted.method)
        .map_err(|e| format!("no answer: {e:?}"))?;
    check(answer.status == 404, || {
        format!("{}: {}", answer.status, answer.text())
    })?;
    check(up.requests().is_empty(), || {
        "the upstream saw it".to_owned()
    })
}

#[test]
fn every_response_row_holds_over_a_socket() {
    let current: Arc<Mutex<Vec<u8>>> = Arc::default();
    let script = current.clone();
    let up = upstream().script(move |exchange| {
        let bytes = script.lock().unwrap().clone();
        let _ = exchange.body();
        exchange.send(bytes);
        Next::Close
    });
    let gw = open(&up);
    all(
        conformance::responses(),
        |row: &ResponseRow| row.name,
        |row| {
            *current.lock().unwrap() = row.bytes.bytes();
            let method = if row.to_head { "HEAD" } else { "GET" };
            let mut wire = gw.wire();
            wire.send(format!("{method} /api/v1/x HTTP/1.1\r\nHost: a\r\n\r\n"));
            relayed(&mut wire, method, row.outcome)?;
            let left = wire.reader().unread().to_vec();
            check(left.is_empty(), || {
                format!(
                    "bytes behind the answer: {:?}",
                    support::reader::latin1(&left)
                )
            })
        },
    );
    assert_eq!(gw.metric("dbpower_panics_total", &[]), 0.0);
}

fn relayed(wire: &mut Wire, method: &str, outcome: Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Relay { status, body, .. } => {
            let answer = wire
                .try_answer(method)
                .map_err(|e| format!("no answer: {e:?}"))?;
            check(answer.status == status, || {
                format!("{} in place of {status}: {}", answer.status, answer.text())
            })?;
            check(answer.body == body, || format!("body {:?}", answer.text()))?;
            check(wire.serves_another(), || {
                "the client's connection ends".to_owned()
            })
        }
        Outcome::BadGateway => {
            let answer = wire
                .try_answer(method)
                .map_err(|e| format!("no answer: {e:?}"))?;
            check(answer.status == 502, || {
                format!("{} in place of 502: {}", answer.status, answer.text())
            })?;
            check(wire.serves_another(), || {
                "the client's connection ends".to_owned()
            })
        }
        Outcome::BrokenOff(_) => {
            let broken = wire.try_answer(method).map(|answer| answer.status);
            check(broken == Err(Broken::Truncated), || {
                format!("{broken:?} in place of a broken message")
            })
        }
    }
}

#[test]
fn rows_are_moved_as_meant() {
    let table: [(&str, Option<&str>); 6] = [
        (
            "GET /a HTTP/1.1\r\n\r\n",
            Some("GET /api/v1/t/t/a HTTP/1.1\r\n\r\n"),
        ),
        (
            "\r\nGET / HTTP/1.1\r\n\r\n",
            Some("\r\nGET /api/v1/t/t/ HTTP/1.1\r\n\r\n"),
        ),
        (
            "GET http://b/c HTTP/1.1\r\n\r\n",
            Some("GET http://b/api/v1/t/t/c HTTP/1.1\r\n\r\n"),
        ),
        (
            "GET http://b HTTP/1.1\r\n\r\n",
            Some("GET http://b/api/v1/t/t/ HTTP/1.1\r\n\r\n"),
        ),
        (
            "GET http://b?c HTTP/1.1\r\n\r\n",
            Some("GET http://b/api/v1/t/t/?c HTTP/1.1\r\n\r\n"),
        ),
        ("OPTIONS * HTTP/1.1\r\n\r\n", None),
    ];
    for (row, expected) in table {
        assert_eq!(
            moved(row.as_bytes())
                .map(|bytes| String::from_utf8(bytes).unwrap())
                .as_deref(),
            expected
        );
    }
}
