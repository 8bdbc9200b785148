//! What is added is what is told: every counter by its line, the text line by line, and the bounds of the tables.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test may fail loudly, and a table is as long as its cases"
)]

use std::collections::{BTreeMap, BTreeSet};

use super::TextFormat::{Classic, OpenMetrics};
use super::*;

fn gauges(state: &State) -> Gauges<'_> {
    Gauges {
        keys: 12,
        version: "1.0.0",
        start_unix_ms: 1_705_314_600_500,
        diagnostics_dropped: 4,
        state,
    }
}

fn registry(cores: usize) -> (Registry, State) {
    let rules = ["/api/v1".to_owned(), "/analyzer".to_owned()];
    let services = ["backend".to_owned(), "ai-analyzer".to_owned()];
    (Registry::new(cores, &rules, &services), State::new(2))
}

/// Reads the text as a scraper would; every line must be well-formed, every family described before its samples, and no
/// sample told twice.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut described = BTreeSet::new();
    let mut family = String::new();
    let mut lines = text.lines();
    for line in lines.by_ref() {
        if line == "# EOF" {
            break;
        }
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name, rest) = (
                words.next().unwrap(),
                words.next().unwrap(),
                words.next().unwrap(),
            );
            assert!(["HELP", "TYPE", "UNIT"].contains(&kind), "{line}");
            assert!(name.starts_with("dbpower_") && !rest.is_empty(), "{line}");
            if kind == "HELP" {
                assert!(
                    described.insert(name.to_owned()),
                    "{name} is described twice"
                );
                family = name.to_owned();
            }
            assert_eq!(name, family, "{line}");
            if kind == "UNIT" {
                assert!(name.ends_with(&format!("_{rest}")), "{line}");
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        assert!(sample.starts_with(&family), "{line} is not of {family}");
        let labels = sample.split_once('{').map_or("", |(_, labels)| labels);
        assert!(labels.is_empty() || labels.ends_with("\"}"), "{line}");
        let value: f64 = value.parse().unwrap();
        assert!(
            samples.insert(sample.to_owned(), value).is_none(),
            "{sample} is told twice"
        );
    }
    assert_eq!(lines.next(), None, "nothing after the end");
    samples
}

#[test]
fn an_untouched_registry_is_a_whole_text() {
    let (registry, state) = registry(2);
    let samples = parse(&registry.encode(&gauges(&state), OpenMetrics));
    assert_eq!(samples["dbpower_panics_total"], 0.0);
    assert_eq!(samples["dbpower_requests_active"], 0.0);
    assert_eq!(samples["dbpower_workers"], 2.0);
    assert_eq!(samples["dbpower_limit_keys"], 12.0);
    assert_eq!(
        samples["dbpower_process_start_time_seconds"],
        1_705_314_600.5
    );
    assert_eq!(
        samples["dbpower_build_info{version=\"1.0.0\",driver=\"unknown\"}"],
        1.0
    );
    assert!(
        !samples
            .keys()
            .any(|name| name.starts_with("dbpower_requests_total"))
    );
    let nothing = Registry::new(0, &[], &[]);
    parse(&nothing.encode(&gauges(&State::new(0)), OpenMetrics));
}

#[test]
fn requests_of_all_cores_are_one_histogram() {
    let (registry, state) = registry(3);
    for (core, route, method, status, micros) in [
        (0, ROUTE_RULES, "GET", 200, 250),
        (1, ROUTE_RULES, "GET", 204, 251),
        (2, ROUTE_RULES, "GET", 299, 60_000_001),
        (2, ROUTE_RULES + 1, "POST", 502, 1_000_000),
        (2, ROUTE_OWN, "HEAD", 302, 0),
        (1, ROUTE_NONE, "BREW", 400, 7),
        (1, 9_999, "GET", 101, 7),
        (0, ROUTE_RULES + 1, "POST", 0, 1),
    ] {
        let core = registry.core(core).unwrap();
        core.request_started();
        core.request(route, method_index(method.as_bytes()), status, micros);
    }
    registry.core(0).unwrap().request_started();
    registry.core(0).unwrap().request_started();
    registry.core(0).unwrap().request_abandoned();
    let samples = parse(&registry.encode(&gauges(&state), OpenMetrics));
    let api = "route=\"/api/v1\",method=\"GET\",status=\"2xx\"";
    for (name, value) in [
        (format!("dbpower_requests_total{{{api}}}"), 3.0),
        (
            format!("dbpower_request_duration_seconds_count{{{api}}}"),
            3.0,
        ),
        (
            format!("dbpower_request_duration_seconds_sum{{{api}}}"),
            60.000_502,
        ),
        (
            format!("dbpower_request_duration_seconds_bucket{{le=\"0.00025\",{api}}}"),
            1.0,
        ),
        (
            format!("dbpower_request_duration_seconds_bucket{{le=\"0.0005\",{api}}}"),
            2.0,
        ),
        (
            format!("dbpower_request_duration_seconds_bucket{{le=\"60.0\",{api}}}"),
            2.0,
        ),
        (
            format!("dbpower_request_duration_seconds_bucket{{le=\"+Inf\",{api}}}"),
            3.0,
        ),
        (
            "dbpower_requests_total{route=\"/analyzer\",method=\"POST\",status=\"5xx\"}".to_owned(),
            2.0,
        ),
        (
            "dbpower_requests_total{route=\"own\",method=\"HEAD\",status=\"3xx\"}".to_owned(),
            1.0,
        ),
        (
            "dbpower_requests_total{route=\"none\",method=\"other\",status=\"4xx\"}".to_owned(),
            1.0,
        ),
        (
            "dbpower_requests_total{route=\"/analyzer\",method=\"GET\",status=\"1xx\"}".to_owned(),
            1.0,
        ),
        ("dbpower_requests_active".to_owned(), 1.0),
        ("dbpower_requests_abandoned_total".to_owned(), 1.0),
    ] {
        assert_eq!(samples.get(&name), Some(&value), "{name}: {samples:#?}");
    }
    assert_eq!(
        samples
            .keys()
            .filter(|name| name.starts_with("dbpower_requests_total"))
            .count(),
        5
    );
}

#[test]
fn every_bucket_takes_what_is_not_above_its_bound() {
    for (index, bound) in DURATION_BOUNDS_US.into_iter().enumerate() {
        let (registry, state) = registry(1);
        registry.core(0).unwrap().request(0, 0, 200, bound);
        registry.core(0).unwrap().request(0, 0, 200, bound + 1);
        let text = registry.encode(&gauges(&state), OpenMetrics);
        let counts: Vec<u64> = text
            .lines()
            .filter(|line| line.starts_with("dbpower_request_duration_seconds_bucket"))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
            .collect();
        let mut expected = vec![0; index];
        expected.push(1);
        expected.resize(DURATION_BOUNDS_US.len() + 1, 2);
        assert_eq!(counts, expected, "{bound}");
    }
}

#[test]
fn each_counter_has_its_own_line() {
    type Add = fn(&Core);
    let closed = "dbpower_connections_closed_total";
    let limit = "dbpower_limit_decisions_total";
    let upstream = "dbpower_upstream_events_total";
    let mut table: Vec<(String, Add)> = vec![
        (
            "dbpower_connections_opened_total".to_owned(),
            Core::connection_opened,
        ),
        ("dbpower_panics_total".to_owned(), Core::panicked),
        ("dbpower_received_bytes_total".to_owned(), |core| {
            core.bytes_in(1)
        }),
        ("dbpower_sent_bytes_total".to_owned(), |core| {
            core.bytes_out(1)
        }),
        (
            "dbpower_log_lines_dropped_total{log=\"access\"}".to_owned(),
            |core| core.log_dropped(1),
        ),
        (format!("{closed}{{reason=\"client_closed\"}}"), |core| {
            core.connection_closed(CloseReason::ClientClosed)
        }),
        (format!("{closed}{{reason=\"panic\"}}"), |core| {
            core.connection_closed(CloseReason::Panic)
        }),
        (format!("{closed}{{reason=\"failed\"}}"), |core| {
            core.connection_closed(CloseReason::Failed)
        }),
        (
            format!("{limit}{{policy=\"ip\",outcome=\"admitted\"}}"),
            |core| {
                core.limit(LimitPolicy::Ip, LimitOutcome::Admitted);
            },
        ),
        (
            format!("{limit}{{policy=\"organization\",outcome=\"refused\"}}"),
            |core| {
                core.limit(LimitPolicy::Organization, LimitOutcome::Refused);
            },
        ),
        (
            format!("{limit}{{policy=\"organization\",outcome=\"blocked\"}}"),
            |core| {
                core.limit(LimitPolicy::Organization, LimitOutcome::Blocked);
            },
        ),
        (
            "dbpower_auth_failures_total{reason=\"missing\"}".to_owned(),
            |core| core.auth_failed(AuthFailure::Missing),
        ),
        (
            "dbpower_auth_failures_total{reason=\"malformed\"}".to_owned(),
            |core| {
                core.auth_failed(AuthFailure::Malformed);
            },
        ),
        (
            format!("{upstream}{{service=\"backend\",event=\"connected\"}}"),
            |core| {
                core.upstream(0, UpstreamEvent::Connected);
            },
        ),
        (
            format!("{upstream}{{service=\"ai-analyzer\",event=\"retried\"}}"),
            |core| {
                core.upstream(1, UpstreamEvent::Retried);
            },
        ),
        (
            format!("{upstream}{{service=\"backend\",event=\"ejected\"}}"),
            |core| core.upstream(0, UpstreamEvent::Ejected),
        ),
        (
            format!("{upstream}{{service=\"backend\",event=\"breaker_refused\"}}"),
            |core| core.upstream(0, UpstreamEvent::BreakerRefused),
        ),
        (
            "dbpower_upstream_endpoints_ejected{service=\"backend\"}".to_owned(),
            |core| core.left_out(0, 1, false),
        ),
        (
            "dbpower_upstream_breakers_open{service=\"ai-analyzer\"}".to_owned(),
            |core| core.left_out(1, 0, true),
        ),
        // A service beyond the table shares the last label.
        (
            format!("{upstream}{{service=\"ai-analyzer\",event=\"broken\"}}"),
            |core| {
                core.upstream(99, UpstreamEvent::Broken);
            },
        ),
    ];
    table.push((
        "dbpower_upstream_pool_idle{service=\"backend\"}".to_owned(),
        |core| core.pool_idle(0, 1),
    ));
    for (name, add) in table {
        let (registry, state) = registry(2);
        let before = parse(&registry.encode(&gauges(&state), OpenMetrics));
        add(registry.core(0).unwrap());
        add(registry.core(1).unwrap());
        let after = parse(&registry.encode(&gauges(&state), OpenMetrics));
        for (sample, value) in &after {
            let expected = before[sample] + if *sample == name { 2.0 } else { 0.0 };
            let follows = sample == "dbpower_connections_active";
            assert!(
                follows || *value == expected,
                "{sample} after {name}: {value}"
            );
        }
        assert!(after.contains_key(&name), "{name}");
    }
}

#[test]
fn open_connections_and_panics_are_told_without_the_text() {
    let (registry, state) = registry(2);
    let core = registry.core(1).unwrap();
    core.connection_opened();
    core.connection_opened();
    core.connection_closed(CloseReason::IdleTimeout);
    core.panicked();
    assert_eq!((registry.connections_active(), registry.panics()), (1, 1));
    assert_eq!(
        parse(&registry.encode(&gauges(&state), OpenMetrics))["dbpower_connections_active"],
        1.0
    );
    assert!(registry.core(2).is_none());
}

#[test]
fn upstream_health_and_driver_come_from_the_state() {
    let (registry, state) = registry(1);
    state.put_driver(Driver::Epoll);
    state.service(1).unwrap().put_healthy(1_500_000);
    state.service(1).unwrap().put_endpoints(3, 2);
    state.mark_draining();
    let samples = parse(&registry.encode(&gauges(&state), OpenMetrics));
    assert_eq!(
        samples["dbpower_upstream_healthy{service=\"backend\"}"],
        0.0
    );
    assert_eq!(
        samples["dbpower_upstream_healthy{service=\"ai-analyzer\"}"],
        1.0
    );
    for (name, expected) in [("", 3.0), ("_healthy", 2.0)] {
        let name = format!("dbpower_upstream_endpoints{name}{{service=\"ai-analyzer\"}}");
        assert_eq!(samples[&name], expected);
    }
    assert_eq!(
        samples["dbpower_upstream_probe_latency_seconds{service=\"ai-analyzer\"}"],
        0.0015
    );
    assert_eq!(
        samples["dbpower_build_info{version=\"1.0.0\",driver=\"epoll\"}"],
        1.0
    );
    assert_eq!(samples["dbpower_draining"], 1.0);
}

#[test]
fn tables_do_not_grow_with_the_configuration() {
    let many: Vec<String> = (0..1000).map(|n| format!("/r{n}")).collect();
    let registry = Registry::new(1, &many, &many);
    let core = registry.core(0).unwrap();
    for index in 0..1000 {
        core.request(ROUTE_RULES + index, 0, 200, 1);
        core.upstream(index, UpstreamEvent::Connected);
    }
    let samples = parse(&registry.encode(&gauges(&State::new(0)), OpenMetrics));
    let last = format!(
        "dbpower_requests_total{{route=\"/r{}\",method=\"GET\",status=\"2xx\"}}",
        ROUTES_MAX - ROUTE_RULES - 1
    );
    assert_eq!(
        samples[&last],
        (1000 - (ROUTES_MAX - ROUTE_RULES) + 1) as f64
    );
    let total: f64 = samples
        .iter()
        .filter(|(name, _)| name.starts_with("dbpower_requests_total"))
        .map(|s| s.1)
        .sum();
    assert_eq!(total, 1000.0);
}

#[test]
fn labels_from_the_configuration_cannot_break_the_text() {
    let odd = "/a\"b\\c\nd".to_owned();
    let registry = Registry::new(1, std::slice::from_ref(&odd), std::slice::from_ref(&odd));
    registry.core(0).unwrap().request(ROUTE_RULES, 0, 200, 1);
    let text = registry.encode(&gauges(&State::new(1)), OpenMetrics);
    assert!(text.contains("route=\"/a\\\"b\\\\c\\nd\""), "{text}");
    parse(&text);
}

#[test]
fn a_reader_sees_whole_numbers_while_a_worker_adds() {
    let (registry, _) = registry(1);
    std::thread::scope(|scope| {
        let core = registry.core(0).unwrap();
        let writer = scope.spawn(move || (0..100_000).for_each(|_| core.panicked()));
        let mut last = 0;
        while !writer.is_finished() {
            let now = registry.panics();
            assert!(now >= last, "a counter never goes back");
            last = now;
        }
    });
    assert_eq!(registry.panics(), 100_000);
}

#[test]
fn labels_are_distinct() {
    let reasons: BTreeSet<&str> = CloseReason::ALL
        .iter()
        .map(|reason| reason.label())
        .collect();
    assert_eq!(reasons.len(), CloseReason::ALL.len());
    for (index, reason) in CloseReason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, index, "the order is the label index");
    }
    assert_eq!(
        AuthFailure::LABELS.len(),
        AuthFailure::Malformed as usize + 1
    );
    assert_eq!(
        UpstreamEvent::LABELS.len(),
        UpstreamEvent::BreakerRefused as usize + 1
    );
    for (index, method) in METHODS.iter().enumerate() {
        assert_eq!(method_index(method.as_bytes()), index);
    }
    assert_eq!(method_index(b"get"), METHODS.len() - 1);
}

#[test]
fn the_older_text_has_the_same_samples_under_the_names_it_wants() {
    let (registry, state) = registry(1);
    registry.core(0).unwrap().request(ROUTE_RULES, 0, 200, 300);
    let samples = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    let open = registry.encode(&gauges(&state), OpenMetrics);
    let classic = registry.encode(&gauges(&state), Classic);
    assert_eq!(samples(&classic), samples(&open));
    let mut family = ("", "");
    for line in classic.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            family = kind.split_once(' ').unwrap();
            assert!(
                ["counter", "gauge", "histogram"].contains(&family.1),
                "{line}"
            );
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.contains(' '), "{line}");
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            let base = match family.1 {
                "histogram" => name.rsplit_once('_').unwrap().0,
                _ => name,
            };
            assert_eq!(base, family.0, "{line}");
        }
    }
    for (accept, format) in [
        ("", Classic),
        ("*/*", Classic),
        ("text/plain", Classic),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            OpenMetrics,
        ),
    ] {
        assert_eq!(TextFormat::accepted(accept), format);
    }
}
