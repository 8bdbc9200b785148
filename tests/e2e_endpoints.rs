//! Services with several endpoints: who is asked, what happens when one dies, and when all do. Not one endpoint's misdeeds (see
//! `e2e_upstream`). Invariant: a request that may be sent twice is never lost to the death of one endpoint, and none with effects is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;

use support::{
    Answer, Gateway, Mortal, Next, OK, Plan, Upstream, Wire, blackhole, closed_port, gateway,
    mortal, until, upstream,
};

const PATH: &str = "/api/v1/open/x";

/// One worker, so that there is one balancer.
fn plan(urls: &[String]) -> Plan {
    gateway()
        .unlimited()
        .env("BACKEND_URL", urls.join(", "))
        .env("PUBLIC_PATHS", "/api/v1/open/*,/analyzer/*")
        .env("GATEWAY_WORKERS", 1)
}

fn urls(ups: &[&Upstream]) -> Vec<String> {
    ups.iter().map(|up| up.url()).collect()
}

fn nowhere() -> String {
    format!("http://127.0.0.1:{}", closed_port())
}

fn events(gw: &Gateway, event: &str) -> f64 {
    let event = format!("event=\"{event}\"");
    gw.metric(
        "dbpower_upstream_events_total",
        &["service=\"backend\"", &event],
    )
}

fn gauge(gw: &Gateway, name: &str) -> f64 {
    gw.metric(name, &["service=\"backend\""])
}

/// A refusal with its reason, and no address in it.
fn check_refusal(answer: &Answer, status: u16, message: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["message"], message);
}

#[test]
fn all_endpoints_are_asked_and_each_request_goes_to_one() {
    let ups = [upstream(), upstream(), upstream()];
    let gw = plan(&urls(&[&ups[0], &ups[1], &ups[2]])).start();
    let mut wire = gw.wire();
    for _ in 0..60 {
        assert_eq!(gw.get(PATH).on(&mut wire).status, 200);
    }
    let counts: Vec<usize> = ups.iter().map(|up| up.requests().len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 60);
    assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
    // Each is called by the authority of its own URL.
    let host = |up: &Upstream| up.last().field("host").map(str::to_owned);
    assert!(ups.iter().all(|up| host(up) == Some(up.authority())));
    assert!(ups.iter().all(|up| up.connections() == 1), "one pool each");
}

#[test]
fn the_busier_endpoint_is_left_to_its_work() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let held = |exchange: &mut support::upstream::Exchange<'_>| {
        exchange.request.target().ends_with("/held")
    };
    let busy = upstream().script(move |exchange| {
        if held(exchange) {
            let _ = wait.lock().unwrap().recv_timeout(support::PATIENCE);
        }
        exchange.answer(OK)
    });
    let free = upstream();
    let gw = plan(&urls(&[&busy, &free])).start();
    // Sooner or later one of them hangs at `busy`.
    let mut hanging = Vec::new();
    while busy.requests().is_empty() {
        let mut wire = gw.wire();
        wire.send("GET /api/v1/open/held HTTP/1.1\r\nHost: a\r\n\r\n");
        until("the request to arrive", || {
            !busy.requests().is_empty() || free.requests().len() > hanging.len()
        });
        hanging.push(wire);
    }
    for _ in 0..20 {
        assert_eq!(gw.get(PATH).send().status, 200);
    }
    assert_eq!(busy.requests().len(), 1, "both are looked at each time");
    drop(go);
    assert_eq!(hanging.pop().unwrap().answer().status, 200);
}

#[test]
fn an_endpoint_that_refuses_costs_no_request_not_even_one_with_effects() {
    let up = upstream();
    let gw = plan(&[nowhere(), up.url()]).start();
    for n in 0..40 {
        assert_eq!(gw.post(PATH).body(format!("{n}")).send().status, 200, "{n}");
    }
    assert_eq!(up.requests().len(), 40, "and none is sent twice");
}

#[test]
fn an_endpoint_that_takes_no_connection_holds_nobody_up_for_long() {
    let (hole, up) = (blackhole(), upstream());
    let urls = [format!("http://127.0.0.1:{}", hole.port), up.url()];
    let gw = plan(&urls).env("CONNECT_TIMEOUT", 1).start();
    for n in 0..20 {
        assert_eq!(gw.post(PATH).body(format!("{n}")).send().status, 200, "{n}");
    }
    assert_eq!(up.requests().len(), 20);
}

#[test]
fn an_endpoint_that_hangs_up_is_found_out_and_left_out() {
    let bad = upstream().script(|_| Next::Close);
    let good = upstream();
    let gw = plan(&urls(&[&bad, &good])).start();
    let mut asked = 0;
    until("the bad endpoint to be left out", || {
        asked += 1;
        assert_eq!(
            gw.get(PATH).send().status,
            200,
            "sent again to the other one"
        );
        events(&gw, "ejected") > 0.0
    });
    assert!(bad.requests().len() >= 5, "five failures in a row");
    assert_eq!(good.requests().len(), asked);
    until("the gauge to show it", || {
        gauge(&gw, "dbpower_upstream_endpoints_ejected") > 0.0 || events(&gw, "ejected") > 1.0
    });
    gw.log_line("which endpoint, and why", |line| {
        line.contains("left out for a while")
            && line.contains(&bad.authority())
            && line.contains("closed the connection without an answer")
    });
    assert_eq!(events(&gw, "breaker_opened"), 0.0, "the service is well");
}

#[test]
fn a_request_with_effects_is_not_sent_to_a_second_endpoint_once_the_first_may_have_read_it() {
    let bad = || {
        upstream().script(|exchange| {
            let _ = exchange.body();
            Next::Close
        })
    };
    let (one, other) = (bad(), bad());
    let gw = plan(&urls(&[&one, &other])).start();
    for n in 1..=4 {
        let message = "The backend service closed the connection without an answer";
        check_refusal(&gw.post(PATH).body("x").send(), 502, message);
        assert_eq!(one.requests().len() + other.requests().len(), n);
    }
    let before = one.requests().len() + other.requests().len();
    assert_eq!(gw.get(PATH).send().status, 502);
    let tries = one.requests().len() + other.requests().len() - before;
    assert_eq!(tries, 2, "one that may be sent twice is, and no more");
}

#[test]
fn an_endpoint_whose_probe_fails_is_asked_when_no_other_is_there() {
    let (ill, well) = (upstream(), mortal());
    ill.probes_get(500);
    let gw = plan(&[ill.url(), well.url()]).start();
    let health = gw.get("/health").send().json();
    assert_eq!(health["backend_healthy"], true);
    assert_eq!(health["backend"], format!("{},{}", ill.url(), well.url()));
    assert_eq!(gauge(&gw, "dbpower_upstream_endpoints"), 2.0);
    assert_eq!(gauge(&gw, "dbpower_upstream_endpoints_healthy"), 1.0);
    gw.log_line("which endpoint is ill", |line| {
        line.contains("an endpoint of the service is unhealthy")
            && line.contains(&ill.authority())
            && line.contains("it answered 500")
    });
    until("the worker to know", || {
        let before = ill.requests().len();
        assert!((0..20).all(|_| gw.get(PATH).send().status == 200));
        ill.requests().len() == before
    });
    well.die();
    // Not yet known to be away: connecting fails, and the ill one answers.
    assert_eq!(gw.post(PATH).body("x").send().status, 200);
    assert_eq!(ill.last().method(), "POST");
}

#[test]
fn a_service_that_fails_again_and_again_is_left_alone_and_then_tried() {
    let service = mortal();
    let gw = plan(&[service.url()])
        .env("BREAKER_FAILURES", 5)
        .env("BREAKER_OPEN_TIME", 1)
        .start();
    assert_eq!(gw.get(PATH).send().status, 200);
    service.die();
    let refused = "The backend service refused the connection";
    for _ in 0..5 {
        check_refusal(&gw.get(PATH).send(), 502, refused);
    }
    let answer = gw.get(PATH).send();
    check_refusal(&answer, 503, "The backend service is unavailable");
    assert_eq!(answer.number("Retry-After"), 1);
    assert_eq!(answer.json()["error"], "Service Unavailable");
    let fault = gw.get("/analyzer/x").send();
    assert_eq!(fault.status, 502, "another service has its own breaker");
    until("the gauge to show it", || {
        gauge(&gw, "dbpower_upstream_breakers_open") > 0.0
    });
    assert_eq!(events(&gw, "breaker_opened"), 1.0);
    assert!(events(&gw, "breaker_refused") >= 1.0);
    service.rise();
    until("the service to be tried again", || {
        gw.get(PATH).send().status == 200
    });
    assert!((0..20).all(|_| gw.get(PATH).send().status == 200));
    gw.log_line("that it is left alone", |line| {
        line.contains("WARNING") && line.contains("left alone") && line.contains("backend")
    });
    gw.log_line("that it is back", |line| {
        line.contains("answers again") && line.contains("backend")
    });
}

/// Something waits to be read.
fn is_answered(wire: &mut Wire) -> bool {
    let stream = wire.reader().stream();
    stream.set_nonblocking(true).unwrap();
    let seen = stream.peek(&mut [0]).is_ok();
    stream.set_nonblocking(false).unwrap();
    seen
}

#[test]
fn one_request_at_a_time_tries_a_service_that_was_left_alone() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let up = upstream().script(move |exchange| {
        if exchange.request.target().ends_with("/dead") {
            return Next::Close;
        }
        let _ = wait.lock().unwrap().recv_timeout(support::PATIENCE);
        exchange.answer(OK)
    });
    let gw = plan(&[up.url()])
        .env("BREAKER_FAILURES", 3)
        .env("BREAKER_OPEN_TIME", 4)
        .start();
    for _ in 0..3 {
        assert_eq!(gw.get("/api/v1/open/dead").send().status, 502);
    }
    up.forget();
    let mut trial = gw.wire();
    until("one to pass", || {
        trial = gw.wire();
        trial.send("GET /api/v1/open/held HTTP/1.1\r\nHost: a\r\n\r\n");
        until("it to pass or be refused", || {
            !up.requests().is_empty() || is_answered(&mut trial)
        });
        !up.requests().is_empty()
    });
    for _ in 0..3 {
        assert_eq!(gw.get(PATH).send().status, 503, "while it is under way");
    }
    go.send(()).unwrap();
    assert_eq!(trial.answer().status, 200);
    drop(go);
    assert_eq!(gw.get(PATH).send().status, 200);
    assert_eq!(up.requests().len(), 2);
}

#[test]
fn what_does_not_count_as_failure() {
    let up = upstream().script(|exchange| match exchange.request.target() {
        "/api/v1/open/500" => exchange.answer("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"),
        "/api/v1/open/503" => exchange.answer("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno"),
        "/api/v1/open/slow" => {
            exchange.gone();
            Next::Close
        }
        _ => exchange.answer(OK),
    });
    let gw = plan(&[up.url()])
        .env("BREAKER_FAILURES", 3)
        .env("RESPONSE_TIMEOUT", "0.1")
        .start();
    for (target, status) in [("500", 500), ("503", 503), ("slow", 504)] {
        for _ in 0..5 {
            let answer = gw.get(&format!("/api/v1/open/{target}")).send();
            assert_eq!(answer.status, status, "{target}");
        }
    }
    assert_eq!(events(&gw, "breaker_opened"), 0.0);
    // And off is off.
    let off = plan(&[nowhere()]).env("BREAKER_FAILURES", 0).start();
    for _ in 0..50 {
        assert_eq!(off.get(PATH).send().status, 502);
    }
}

/// Idempotent requests from several clients, none of which may fail, while `meanwhile` goes on; `asked` counts them.
fn load(gw: &Gateway, clients: usize, each: usize, meanwhile: impl FnOnce(&AtomicUsize)) {
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..clients {
            let asked = &asked;
            scope.spawn(move || {
                let mut wire = gw.wire();
                for n in 0..each {
                    let method = ["GET", "PUT", "DELETE", "OPTIONS"][n % 4];
                    let answer = gw.ask(method, PATH).on(&mut wire);
                    assert_eq!(answer.status, 200, "client {client}, request {n}, {method}");
                    asked.fetch_add(1, Relaxed);
                }
            });
        }
        meanwhile(&asked);
    });
    assert_eq!(asked.load(Relaxed), clients * each);
}

#[test]
fn one_of_three_endpoints_dies_and_returns_under_load_and_no_request_fails() {
    let services: Vec<Mortal> = (0..3).map(|_| mortal()).collect();
    let urls: Vec<String> = services.iter().map(Mortal::url).collect();
    let gw = plan(&urls).env("GATEWAY_WORKERS", 2).start();
    load(&gw, 6, 400, |asked| {
        let reached = |count: usize| until("requests", || asked.load(Relaxed) >= count);
        for (round, service) in services.iter().cycle().take(6).enumerate() {
            reached(round * 350 + 150);
            service.die();
            reached(round * 350 + 350);
            service.rise();
        }
    });
    // Each of them is asked again, when its time is over and its probe content.
    for service in &services {
        let before = service.served();
        until("the endpoint to be asked again", || {
            assert_eq!(gw.get(PATH).send().status, 200);
            service.served() > before
        });
    }
    assert_eq!(gw.metric("dbpower_panics_total", &[]), 0.0);
}
