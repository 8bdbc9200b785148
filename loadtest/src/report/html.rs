//! A run as one HTML page with its pictures inside. Not interactive. Invariant: it names nothing outside of itself.

use std::fmt::Write as _;

use super::markdown::{COLUMNS, TARGET_COLUMNS, cells, facts};
use super::svg::{Bar, COLOURS, Curve, bars, curves, escape};
use super::targets::verdicts;
use super::{Report, ScenarioResult, TargetResult};
use crate::generator::QUANTILES;
use crate::target::TARGETS;

/// Colours by role, light and dark; `--c0` and so on are those of the rows.
const STYLE: &str = "\
:root{color-scheme:light dark;--page:#fff;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--panel:#f6f8fa;--good:#1a7f37;--bad:#cf222e;\
--c0:#0969da;--c1:#818b98;--c2:#1a7f37;--c3:#cf222e;--c4:#8250df;--c5:#bf8700;--c6:#d4448a;--c7:#0a7ea4}\
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#30363d;--panel:#161b22;--good:#3fb950;--bad:#ff7b72;\
--c0:#58a6ff;--c1:#8b949e;--c2:#3fb950;--c3:#ff7b72;--c4:#bc8cff;--c5:#e3b341;--c6:#f778ba;--c7:#56d4dd}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:1240px;margin:2em auto;padding:0 1.2em;background:var(--page);color:var(--ink)}\
h1{margin-bottom:.3em}h2{margin:2.4em 0 .5em;padding-top:.6em;border-top:1px solid var(--line);font-size:19px}\
h3{margin:.2em 0 .4em;font-size:14px}h2 small{color:var(--soft);font-weight:400;font-size:15px}\
a{color:var(--c0)}nav{margin:1em 0;line-height:1.9}nav a{margin-right:1em;white-space:nowrap}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15em 1.2em;margin:1em 0}dt{color:var(--soft)}dd{margin:0}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}\
th,td{border-bottom:1px solid var(--line);padding:5px 8px;text-align:right;white-space:nowrap}th{color:var(--soft);font-weight:600;vertical-align:bottom}\
th,td:first-child,td:last-child{white-space:normal}td:first-child{min-width:11em}\
th:first-child,td:first-child{text-align:left}.met{color:var(--good);font-weight:600}.missed{color:var(--bad);font-weight:600}\
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,500px),1fr));gap:16px;margin-top:14px;align-items:start}\
.stack{display:grid;gap:16px;min-width:0}\
.picture{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:12px 14px;min-width:0}\
svg{display:block;width:100%;height:auto;font-size:13px}svg text{fill:var(--ink)}svg .axis{fill:var(--soft)}svg .grid{stroke:var(--line)}\
.legend{margin:.3em 0 0;font-size:13px}.legend span{white-space:nowrap;margin-right:1em}\
code{background:var(--panel);border:1px solid var(--line);border-radius:4px;padding:0 4px}";
/// The load whose connections are many enough to divide memory by.
const MANY: usize = 1_000;

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    let kind = escape(&report.kind);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Load test: {kind}</title><style>{STYLE}</style></head><body>\n<h1>Load test: {kind}</h1>\n<dl>\n"
    );
    for (name, value) in facts(report) {
        let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    for absent in &report.absent {
        let (name, install) = (escape(&absent.name), escape(&absent.install));
        let _ = writeln!(
            page,
            "<dt>not measured</dt><dd>{name}; to have it: <code>{install}</code></dd>"
        );
    }
    page.push_str("</dl>\n<nav>");
    for scenario in &report.scenarios {
        let name = escape(&scenario.name);
        let _ = write!(page, "<a href=\"#{name}\">{name}</a> ");
    }
    page.push_str("</nav>\n");
    targets(&mut page, report);
    for scenario in &report.scenarios {
        section(&mut page, scenario);
    }
    page + "</body></html>\n"
}

fn targets(page: &mut String, report: &Report) {
    let verdicts = verdicts(report);
    if verdicts.is_empty() {
        return;
    }
    page.push_str("<h2 id=\"targets\">Targets</h2>\n");
    let rows = verdicts.iter().map(|verdict| {
        let word = verdict.word;
        let (what, bound, figure) = (verdict.what, &verdict.bound, &verdict.figure);
        let (what, bound, figure) = (escape(what), escape(bound), escape(figure));
        let scenario = escape(verdict.scenario);
        format!(
            "<td>{what}</td><td>{bound}</td><td>{figure}</td><td class=\"{word}\">{word}</td><td><a href=\"#{scenario}\">{scenario}</a></td>"
        )
    });
    tabulate(page, &TARGET_COLUMNS, rows);
}

fn section(page: &mut String, scenario: &ScenarioResult) {
    let (name, title) = (escape(&scenario.name), escape(&scenario.title));
    let _ = writeln!(page, "<h2 id=\"{name}\">{name} <small>{title}</small></h2>");
    let rows = scenario.targets.iter().map(|target| {
        let cells = cells(scenario, target);
        cells
            .iter()
            .map(|cell| format!("<td>{}</td>", escape(cell)))
            .collect()
    });
    tabulate(page, &COLUMNS, rows);
    page.push_str("<div class=\"pictures\"><div class=\"stack\">\n");
    page.push_str(&picture(scenario, "CPU per request in µs", 2, |target| {
        target.cpu().middle
    }));
    page.push_str(&picture(
        scenario,
        "Throughput in requests/s",
        0,
        |target| target.spread(|round| round.outcome.per_second).middle,
    ));
    if scenario.connections >= MANY {
        let heading = "Memory per connection in KB";
        page.push_str(&picture(scenario, heading, 1, |target| {
            target.memory_per_connection() / 1000.0
        }));
    }
    let rows = scenario.targets.iter().enumerate();
    let lines: Vec<_> = rows.map(|(index, target)| curve(index, target)).collect();
    let heading = "Latency over percentiles";
    let drawn = curves(heading, &lines);
    let _ = write!(
        page,
        "</div><div class=\"picture\"><h3>{heading}</h3>\n{drawn}</div></div>\n"
    );
}

fn picture(
    scenario: &ScenarioResult,
    heading: &str,
    digits: usize,
    figure: fn(&TargetResult) -> f64,
) -> String {
    let rows: Vec<_> = scenario
        .targets
        .iter()
        .enumerate()
        .map(|(index, target)| bar(index, target, figure(target), digits))
        .collect();
    let drawn = bars(heading, &rows);
    format!("<div class=\"picture\"><h3>{heading}</h3>\n{drawn}</div>\n")
}

fn tabulate(page: &mut String, columns: &[&str], rows: impl Iterator<Item = String>) {
    page.push_str("<div class=\"wide\"><table><thead><tr>");
    for column in columns {
        let _ = write!(page, "<th>{}</th>", escape(column));
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in rows {
        let _ = writeln!(page, "<tr>{row}</tr>");
    }
    page.push_str("</tbody></table></div>\n");
}

/// A target has its colour in all pictures; further rows of one take theirs from the other end.
fn colour(index: usize, row: &TargetResult) -> usize {
    let place = TARGETS.iter().position(|target| target.name == row.name);
    let other = if index == 0 {
        0
    } else {
        COLOURS.saturating_sub(index)
    };
    place.unwrap_or(other)
}

fn bar(index: usize, target: &TargetResult, value: f64, digits: usize) -> Bar<'_> {
    Bar {
        colour: colour(index, target),
        name: &target.title,
        value,
        label: format!("{value:.digits$}"),
    }
}

fn curve(index: usize, target: &TargetResult) -> Curve<'_> {
    Curve {
        colour: colour(index, target),
        name: &target.title,
        micros: (0..QUANTILES.len())
            .map(|place| target.latency(place))
            .collect(),
    }
}
