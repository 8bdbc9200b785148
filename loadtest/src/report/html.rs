//! A run as one HTML page with its pictures inside. Not interactive. Invariant: it names nothing outside of itself.

use std::fmt::Write as _;

use super::markdown::{COLUMNS, cells, facts};
use super::svg::{Bar, Curve, bars, curves, escape};
use super::{Report, ScenarioResult, TargetResult};
use crate::generator::QUANTILES;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#1f2328}\
table{border-collapse:collapse;width:100%;font-size:13px}\
th,td{border-bottom:1px solid #d0d7de;padding:4px 8px;text-align:right;white-space:nowrap}th:first-child,td:first-child{text-align:left}\
svg{display:block;max-width:100%;height:auto;font-size:12px}h2{margin-top:2.2em}h3{margin:1.2em 0 .3em;font-size:14px}\
.legend{margin:.2em 0 0 60px;font-size:13px}code{background:#f6f8fa}";
/// The scenario whose connections are many enough to divide memory by.
const MANY: usize = 1_000;

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    let kind = escape(&report.kind);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Load test: {kind}</title>\
         <style>{STYLE}</style></head><body>\n<h1>Load test: {kind}</h1>\n<ul>\n"
    );
    for (name, value) in facts(report) {
        let _ = writeln!(page, "<li>{name}: {}</li>", escape(&value));
    }
    for absent in &report.absent {
        let (name, install) = (escape(&absent.name), escape(&absent.install));
        let _ = writeln!(
            page,
            "<li>not measured: {name}; to have it: <code>{install}</code></li>"
        );
    }
    page.push_str("</ul>\n");
    for scenario in &report.scenarios {
        section(&mut page, scenario);
    }
    page + "</body></html>\n"
}

fn section(page: &mut String, scenario: &ScenarioResult) {
    let (name, title) = (escape(&scenario.name), escape(&scenario.title));
    let _ = writeln!(page, "<h2 id=\"{name}\">{name}: {title}</h2>");
    table(page, scenario);
    let picture = |heading: &str, figure: fn(&TargetResult) -> f64, digits: usize| {
        let rows: Vec<_> = scenario
            .targets
            .iter()
            .map(|target| bar(target, figure(target), digits))
            .collect();
        format!("<h3>{heading}</h3>\n{}", bars(heading, &rows))
    };
    page.push_str(&picture(
        "CPU per request in µs",
        |target| target.cpu().middle,
        2,
    ));
    page.push_str(&picture(
        "Throughput in requests/s",
        |target| target.spread(|round| round.outcome.per_second).middle,
        0,
    ));
    if scenario.connections >= MANY {
        page.push_str(&memory(scenario));
    }
    let lines: Vec<_> = scenario.targets.iter().map(curve).collect();
    let _ = write!(
        page,
        "<h3>Latency over percentiles</h3>\n{}",
        curves("Latency over percentiles", &lines)
    );
}

fn table(page: &mut String, scenario: &ScenarioResult) {
    page.push_str("<table><thead><tr>");
    for column in COLUMNS {
        let _ = write!(page, "<th>{}</th>", escape(column));
    }
    page.push_str("</tr></thead><tbody>\n");
    for target in &scenario.targets {
        page.push_str("<tr>");
        for cell in cells(scenario, target) {
            let _ = write!(page, "<td>{}</td>", escape(&cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table>\n");
}

fn bar(target: &TargetResult, value: f64, digits: usize) -> Bar<'_> {
    Bar {
        name: &target.title,
        value,
        label: format!("{value:.digits$}"),
    }
}

fn memory(scenario: &ScenarioResult) -> String {
    let heading = "Memory per connection in KB";
    let rows: Vec<_> = scenario
        .targets
        .iter()
        .map(|target| {
            bar(
                target,
                target.memory_per_connection(scenario.connections) / 1000.0,
                1,
            )
        })
        .collect();
    format!("<h3>{heading}</h3>\n{}", bars(heading, &rows))
}

fn curve(target: &TargetResult) -> Curve<'_> {
    Curve {
        name: &target.title,
        micros: (0..QUANTILES.len())
            .map(|place| target.latency(place))
            .collect(),
    }
}
