//! A run as Markdown: the tables that are also printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::targets::verdicts;
use super::{Report, ScenarioResult, Spread, TargetResult};
use crate::generator::Failure;

/// Places of p50, p90, p99 and p99.9 in [`crate::generator::QUANTILES`].
pub(crate) const SHOWN: [(&str, usize); 4] = [("p50", 2), ("p90", 4), ("p99", 7), ("p99.9", 10)];

/// Column heads of a scenario's table, here and in HTML.
pub(crate) const COLUMNS: [&str; 11] = [
    "",
    "requests/s",
    "µs CPU per request (min–max)",
    "× floor",
    "core busy",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "p99.9 ms",
    "memory MB",
    "errors",
];

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    let mut page = format!("# Load test: {}\n\n", report.kind);
    for (name, value) in facts(report) {
        let _ = writeln!(page, "- {name}: {value}");
    }
    for absent in &report.absent {
        let _ = writeln!(
            page,
            "- not measured: {}; to have it: `{}`",
            absent.name, absent.install
        );
    }
    page.push_str(&targets_table(report));
    for scenario in &report.scenarios {
        page.push_str(&table(scenario));
    }
    page
}

/// Column heads of the table of targets, here and in HTML.
pub(crate) const TARGET_COLUMNS: [&str; 5] =
    ["target", "bound", "figure (round by round)", "", "scenario"];

/// What is to be reached, and whether it is; empty when the run has none of it.
pub(crate) fn targets_table(report: &Report) -> String {
    let verdicts = verdicts(report);
    if verdicts.is_empty() {
        return String::new();
    }
    let mut table = "\n## Targets\n\n".to_owned();
    let _ = writeln!(table, "| {} |", TARGET_COLUMNS.join(" | "));
    let _ = writeln!(table, "|{}", "---|".repeat(TARGET_COLUMNS.len()));
    for verdict in verdicts {
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | `{}` |",
            verdict.what, verdict.bound, verdict.figure, verdict.word, verdict.scenario
        );
    }
    table
}

/// What a reader needs to judge the figures.
pub(crate) fn facts(report: &Report) -> [(&'static str, String); 8] {
    let machine = &report.machine;
    let (rounds, seconds) = (report.rounds, report.seconds);
    [
        ("date", machine.date.clone()),
        ("commit", machine.commit.clone()),
        (
            "processor",
            format!("{}, {} cores", machine.processor, machine.cores),
        ),
        ("kernel", format!("{}, {}", machine.kernel, machine.driver)),
        ("load average before", machine.load_before.clone()),
        ("placement", machine.placement.clone()),
        (
            "method",
            if rounds == 1 {
                format!("one round of {seconds} s")
            } else {
                format!("{rounds} rounds of {seconds} s in turn; medians")
            },
        ),
        (
            "the gateway's limits",
            if report.redis {
                "shared through Redis, unless a row says otherwise".into()
            } else {
                "in memory".into()
            },
        ),
    ]
}

/// One scenario as a table with a heading.
pub(crate) fn table(scenario: &ScenarioResult) -> String {
    let (name, title) = (&scenario.name, &scenario.title);
    let mut table = format!("\n## {name}: {title}\n\n");
    let _ = writeln!(table, "| {} |", COLUMNS.join(" | "));
    let _ = writeln!(table, "|{}", "---|".repeat(COLUMNS.len()));
    for target in &scenario.targets {
        let _ = writeln!(table, "| {} |", cells(scenario, target).join(" | "));
    }
    table
}

/// One target's figures, in the order of [`COLUMNS`].
pub(crate) fn cells(scenario: &ScenarioResult, target: &TargetResult) -> Vec<String> {
    let cpu = target.cpu();
    let floor = scenario
        .targets
        .iter()
        .find(|target| target.name == "relay");
    let ratio = floor.map(|floor| cpu.middle / floor.cpu().middle.max(1e-9));
    let mut cells = vec![
        target.title.clone(),
        format!(
            "{:.0}",
            target.spread(|round| round.outcome.per_second).middle
        ),
        spread(cpu),
        ratio.map_or("–".into(), |ratio| format!("{ratio:.2}")),
        format!("{:.0} %", 100.0 * target.spread(|round| round.busy).middle),
    ];
    for (_, place) in SHOWN {
        cells.push(millis(target.latency(place)));
    }
    cells.push(format!("{:.1}", target.memory() / 1e6));
    cells.push(errors(target));
    cells
}

fn spread(of: Spread) -> String {
    let Spread { low, middle, high } = of;
    let digits = if middle < 100.0 { 2 } else { 0 };
    format!("{middle:.digits$} ({low:.digits$}–{high:.digits$})")
}

fn millis(micros: f64) -> String {
    let millis = micros / 1000.0;
    let digits = if millis < 10.0 { 2 } else { 0 };
    format!("{millis:.digits$}")
}

/// `0`, or how many of which kind in all rounds.
fn errors(target: &TargetResult) -> String {
    if target.failed() == 0 {
        return "0".into();
    }
    let mut kinds = BTreeMap::new();
    for round in &target.rounds {
        let outcome = &round.outcome;
        for (failure, count) in &outcome.failures {
            // Those of which the status is known are named by it.
            let name = format!("{failure:?}").to_lowercase();
            let known = *failure == Failure::Status && !outcome.statuses.is_empty();
            *kinds.entry(name).or_insert(0) += if known { 0 } else { *count };
        }
        for (status, count) in &outcome.statuses {
            *kinds.entry(format!("answered {status}")).or_insert(0) += count;
        }
    }
    let named: Vec<_> = kinds
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    named.join(", ")
}
