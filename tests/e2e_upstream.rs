//! The gateway as a client of its services: pool, retries, services that misbehave or are away. Not streaming. Invariant: no
//! answer ever reaches anybody but the one who asked, and no request with effects is sent twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::time::Duration;

use support::{Answer, Broken, Gateway, Next, OK, Upstream, gateway, timed, until, upstream};

const PATH: &str = "/api/v1/open/x";
const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

/// One worker, so that there is one pool.
fn open(up: &Upstream) -> Gateway {
    let plan = gateway()
        .backend(up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*, /analyzer/*");
    plan.env("GATEWAY_WORKERS", 1).start()
}

/// A refusal by the gateway because of a service: JSON, no address in it.
fn check_fault(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(
        !message.contains("127.0.0.1") && !message.is_empty(),
        "{message}"
    );
}

#[test]
fn upstream_connections_are_reused() {
    let up = upstream();
    let gw = open(&up);
    let mut wire = gw.wire();
    for n in 0..20 {
        let ask = if n % 2 == 0 {
            gw.get(PATH)
        } else {
            gw.post(PATH).body("x")
        };
        // Alternately from one client's connection and from a new one: the pool belongs to the worker.
        let answer = if n % 3 == 0 {
            ask.send()
        } else {
            ask.on(&mut wire)
        };
        assert_eq!(answer.status, 200);
    }
    assert_eq!(up.connections(), 1);
    assert!(
        gw.metric(
            "dbpower_upstream_events_total",
            &["service=\"backend\"", "event=\"reused\""]
        ) >= 19.0
    );
}

#[test]
fn a_connection_that_the_upstream_ends_is_not_reused() {
    for raw in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ] {
        let up = upstream().answers(raw);
        let gw = open(&up);
        let mut wire = gw.wire();
        for _ in 0..4 {
            let answer = wire.send(GET).answer();
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "ok"),
                "{raw}"
            );
        }
        assert_eq!(up.connections(), 4, "{raw}");
    }
}

#[test]
fn bytes_that_come_while_a_connection_idles_never_become_an_answer() {
    let up = upstream().script(|exchange| {
        exchange.answer(OK);
        if exchange.request.target().ends_with("trap") {
            // Long after the answer, when the connection lies in the pool.
            support::pause(Duration::from_millis(100));
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        }
        Next::Keep
    });
    let gw = open(&up);
    assert_eq!(gw.get("/api/v1/open/trap").send().text(), "ok");
    support::pause(Duration::from_millis(200));
    for _ in 0..3 {
        assert_eq!(gw.get(PATH).send().text(), "ok");
    }
}

#[test]
fn a_pooled_connection_closed_in_the_meantime_is_replaced_unnoticed() {
    let up = upstream().answers_and_closes(OK);
    let gw = open(&up);
    for n in 1..6 {
        let ask = if n % 2 == 0 {
            gw.get(PATH)
        } else {
            gw.post(PATH).body("x")
        };
        assert_eq!(ask.send().status, 200);
        until("the upstream to have closed", || {
            up.closed() == n && up.end_has_arrived()
        });
    }
    assert_eq!(up.requests().len(), 5, "nothing was sent twice");
}

/// Serves the first request of a connection and hangs up on the second, as a server does whose idle limit strikes just then.
fn hangs_up_on_the_second() -> Upstream {
    let served = std::sync::Mutex::new(std::collections::HashSet::new());
    upstream().script(move |exchange| {
        if !served.lock().unwrap().insert(exchange.request.connection) {
            let _ = exchange.body();
            return Next::Close;
        }
        exchange.answer(OK)
    })
}

#[test]
fn an_idempotent_request_on_a_dying_pooled_connection_is_sent_once_more() {
    for method in ["GET", "HEAD", "OPTIONS"] {
        let up = hangs_up_on_the_second();
        let gw = open(&up);
        assert_eq!(gw.get(PATH).send().status, 200);
        assert_eq!(gw.ask(method, PATH).send().status, 200, "{method}");
        assert_eq!((up.requests().len(), up.connections()), (3, 2), "{method}");
    }
}

#[test]
fn a_request_with_effects_whose_bytes_were_read_is_not_sent_again() {
    for body in ["", "some body"] {
        let up = hangs_up_on_the_second();
        let gw = open(&up);
        assert_eq!(gw.get(PATH).send().status, 200);
        check_fault(&gw.post(PATH).body(body).send(), 502);
        let posts = up
            .requests()
            .iter()
            .filter(|seen| seen.method() == "POST")
            .count();
        assert_eq!(posts, 1, "{body:?}");
    }
}

#[test]
fn a_retry_happens_once() {
    let up = upstream().script(|exchange| {
        if exchange.request.target().ends_with("dead") {
            Next::Close
        } else {
            exchange.answer(OK)
        }
    });
    let gw = open(&up);
    assert_eq!(gw.get(PATH).send().status, 200);
    check_fault(&gw.get("/api/v1/open/dead").send(), 502);
    let tries = up
        .requests()
        .iter()
        .filter(|seen| seen.target().ends_with("dead"))
        .count();
    assert_eq!(tries, 2, "on the pooled connection and on a fresh one");
    up.forget();
    check_fault(&gw.get("/api/v1/open/dead").send(), 502);
    assert_eq!(
        up.requests().len(),
        1,
        "a fresh connection that dies is a fault, not a reason to try again"
    );
}

#[test]
fn an_answer_that_is_not_http_is_502_and_the_connection_closed() {
    for raw in [
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/3.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let up = upstream().answers(raw);
        let gw = open(&up);
        let mut wire = gw.wire();
        check_fault(&wire.send(GET).answer(), 502);
        until("the upstream connection to end", || {
            up.closed() == up.connections()
        });
        assert!(wire.serves_another(), "{raw}: the client did nothing wrong");
        check_fault(&gw.post(PATH).body("x").send(), 502);
    }
}

#[test]
fn a_response_head_may_be_64_kib() {
    let head = |size: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok",
            "a".repeat(size)
        )
    };
    let up = upstream().answers(head(60 * 1024));
    let answer = open(&up).get(PATH).send();
    assert_eq!((answer.status, answer.must("x").len()), (200, 60 * 1024));
    let up = upstream().answers(head(65 * 1024));
    check_fault(&open(&up).get(PATH).send(), 502);
    let up = upstream().answers(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(201)));
    check_fault(&open(&up).get(PATH).send(), 502);
}

#[test]
fn a_service_that_refuses_is_502_and_comes_back_by_itself() {
    let gone = upstream();
    let gw = open(&gone);
    gone.stop();
    check_fault(&gw.get(PATH).send(), 502);
    let fault = gw.post("/analyzer/x").body("x").send();
    check_fault(&fault, 502);
    assert!(gw.wire().serves_another());
    let line = gw.log_line("one WARNING with service", |line| {
        line.contains("WARNING") && line.contains("backend")
    });
    assert!(!line.is_empty());
}

#[test]
fn a_service_that_takes_no_connection_is_504() {
    let hole = support::blackhole();
    let plan = gateway()
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*")
        .env("CONNECT_TIMEOUT", "0.3");
    let gw = plan
        .env("BACKEND_URL", format!("http://127.0.0.1:{}", hole.port))
        .start();
    let (answer, took) = timed(|| gw.get(PATH).send());
    check_fault(&answer, 504);
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_service_that_does_not_answer_is_504_and_its_connection_closed() {
    let up = upstream().script(|exchange| {
        exchange.gone();
        Next::Close
    });
    let plan = gateway()
        .backend(&up)
        .analyzer(&up, "")
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*,/analyzer/*");
    let gw = plan
        .env("RESPONSE_TIMEOUT", "0.3")
        .env("ANALYZER_RESPONSE_TIMEOUT", "0.6")
        .start();
    let mut wire = gw.wire();
    for (n, ask) in [gw.get(PATH), gw.post(PATH).body("x"), gw.get("/analyzer/x")]
        .iter()
        .enumerate()
    {
        check_fault(&ask.on(&mut wire), 504);
        until("the upstream connection to end", || up.closed() == n + 1);
    }
    assert!(wire.serves_another(), "the client did nothing wrong");
    assert_eq!(up.requests().len(), 3, "a slow request is not sent again");
}

#[test]
fn the_response_time_begins_when_the_request_has_been_sent() {
    // A slow upload longer than RESPONSE_TIMEOUT is no fault of the service.
    let up = upstream();
    let plan = gateway()
        .backend(&up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*");
    let gw = plan.env("RESPONSE_TIMEOUT", "0.5").start();
    let mut wire = gw.wire();
    wire.send("POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        support::pause(Duration::from_millis(100));
        wire.send("x");
    }
    assert_eq!(wire.answer().status, 200);
}

#[test]
fn an_answer_that_stalls_is_cut_off() {
    let up = upstream().script(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        exchange.gone();
        Next::Close
    });
    let plan = gateway()
        .backend(&up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*");
    let gw = plan.env("READ_TIMEOUT", "0.3").start();
    assert_eq!(
        gw.wire().send(GET).try_answer("GET").unwrap_err(),
        Broken::Truncated
    );
    until("the upstream connection to end", || up.closed() == 1);
}

#[test]
fn many_clients_at_once_each_get_their_own_answer() {
    let up = upstream().script(|exchange| {
        let target = exchange.request.target().to_owned();
        exchange.answer(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}",
            target.len()
        ))
    });
    let plan = gateway()
        .backend(&up)
        .unlimited()
        .env("PUBLIC_PATHS", "/api/v1/open/*");
    let gw = plan.start();
    std::thread::scope(|scope| {
        for client in 0..24 {
            let gw = &gw;
            scope.spawn(move || {
                let mut wire = gw.wire();
                for n in 0..40 {
                    let target = format!("/api/v1/open/{client}/{n}");
                    let ask = if n % 3 == 0 {
                        gw.post(&target).body("x".repeat(n))
                    } else {
                        gw.get(&target)
                    };
                    if n % 10 == 9 {
                        // Leaves in the middle of an exchange: its upstream connection must not be anybody else's.
                        wire.send(ask.bytes());
                        wire = gw.wire();
                        continue;
                    }
                    let answer = ask.on(&mut wire);
                    assert_eq!((answer.status, answer.text()), (200, target));
                }
            });
        }
    });
    assert_eq!(gw.metric("dbpower_panics_total", &[]), 0.0);
}
