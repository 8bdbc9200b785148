//! The comparison as Markdown: a table per scenario, resets, what Redis adds, targets. Not the judging.

use std::fmt::Write as _;

use super::findings::{Findings, ScenarioFindings};
use super::judge::Figures;

const COLUMNS: [&str; 14] = [
    "",
    "admitted",
    "over the bound",
    "over % of C",
    "refused",
    "under %",
    "gap % of C",
    "Redis calls per request",
    "waited",
    "wait p50 ms",
    "wait p99 ms",
    "block ms",
    "lost calls",
    "load late ms",
];

/// One scenario with a heading.
pub(super) fn table(scenario: &ScenarioFindings) -> String {
    let (name, title) = (&scenario.name, &scenario.title);
    let (keys, seconds, bound) = (scenario.keys, scenario.seconds, scenario.bound);
    let requests = scenario.ways.first().map_or(0, |figures| figures.requests);
    let exact = scenario.ways.first().map_or(0, |figures| figures.exact);
    let mut text = format!("\n### {name}: {title}\n\n");
    let _ = writeln!(
        text,
        "{requests} requests of {keys} keys in {seconds:.1} s; the bound is {bound}, one exact bucket admits {exact}.\n"
    );
    let _ = writeln!(text, "| {} |", COLUMNS.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(COLUMNS.len()));
    for figures in &scenario.ways {
        let _ = writeln!(text, "| {} |", cells(figures, scenario.below).join(" | "));
    }
    text
}

fn cells(figures: &Figures, below: bool) -> [String; 14] {
    let refused = if below && figures.refused > 0 {
        format!("{} (wrongly)", figures.refused)
    } else {
        figures.refused.to_string()
    };
    let millis = |ms: f64| {
        if figures.waited > 0.0 {
            format!("{ms:.2}")
        } else {
            "–".into()
        }
    };
    [
        figures.way.clone(),
        figures.admitted.to_string(),
        figures.over.to_string(),
        format!("{:.1}", figures.over_percent),
        refused,
        format!("{:.2}", figures.under_percent),
        format!("{:.1}", figures.gap_percent),
        calls(figures),
        format!("{:.2} %", 100.0 * figures.waited),
        millis(figures.wait_p50_ms),
        millis(figures.wait_p99_ms),
        figures.block_ms.map_or("–".into(), |ms| format!("{ms:.1}")),
        format!("{:.0}", figures.lost_calls),
        format!("{:.1}", figures.late_ms),
    ]
}

impl Findings {
    /// The whole page.
    pub(super) fn page(&self) -> String {
        let machine = &self.machine;
        let (nodes, workers, seed) = (self.nodes, self.workers, self.seed);
        let mut page = "# Load test: accuracy\n\n".to_owned();
        for (name, value) in [
            ("date", machine.date.clone()),
            ("commit", machine.commit.clone()),
            (
                "processor",
                format!("{}, {} cores", machine.processor, machine.cores),
            ),
            ("load average before", machine.load_before.clone()),
            ("placement", machine.placement.clone()),
            (
                "method",
                format!("{nodes} gateways of {workers} workers, seed {seed}; loadtest/README.md"),
            ),
        ] {
            let _ = writeln!(page, "- {name}: {value}");
        }
        page.push_str(&self.summary());
        for scenario in &self.scenarios {
            page.push_str(&table(scenario));
        }
        page + &self.rest()
    }

    /// All ways and scenarios in one table: what was too much, what was refused wrongly, and what it cost.
    pub(super) fn summary(&self) -> String {
        let Some(first) = self.scenarios.first() else {
            return String::new();
        };
        let ways: Vec<&str> = first.ways.iter().map(|one| one.way.as_str()).collect();
        let mut text = format!(
            "\n### Side by side\n\nEach cell: requests over the bound / missing against one exact bucket in % / Redis calls per request.\n\n| scenario | {} |\n|{}\n",
            ways.join(" | "),
            "---|".repeat(ways.len() + 1)
        );
        for scenario in &self.scenarios {
            let cells: Vec<String> = scenario.ways.iter().map(short).collect();
            let _ = writeln!(text, "| {} | {} |", scenario.title, cells.join(" | "));
        }
        text
    }

    /// Resets, what Redis adds, and the targets.
    pub(super) fn rest(&self) -> String {
        let mut text = String::new();
        if let Some(resets) = &self.resets {
            text.push_str("\n### An administrator's reset, ms after it was sent\n\n");
            text.push_str("| | median | max |\n|---|---|---|\n");
            for (what, all) in [
                (
                    "the gateway that was asked has answered",
                    &resets.answered_ms,
                ),
                ("first admission anywhere", &resets.first_ms),
                ("admission on every node", &resets.everywhere_ms),
            ] {
                let mut all = all.clone();
                all.sort_by(f64::total_cmp);
                let middle = all.get(all.len() / 2).copied().unwrap_or(0.0);
                let most = all.last().copied().unwrap_or(0.0);
                let _ = writeln!(text, "| {what} | {middle:.1} | {most:.1} |");
            }
        }
        if !self.prices.is_empty() {
            text.push_str("\n### What Redis adds on one node, medians\n\n");
            text.push_str("| keys | requests/s | p50 off → on, ms | p99 off → on, ms | µs CPU per request off → on |\n");
            text.push_str("|---|---|---|---|---|\n");
            for price in &self.prices {
                let pair = |(on, off): (f64, f64), digits: usize| {
                    format!("{off:.digits$} → {on:.digits$}")
                };
                let (name, rate) = (&price.name, price.rate);
                let p50 = pair(price.middles(|round| round.p50_ms), 3);
                let p99 = pair(price.middles(|round| round.p99_ms), 3);
                let cpu = pair(price.middles(|round| round.cpu_us), 2);
                let rate = if rate == 0 {
                    "all it can".to_owned()
                } else {
                    rate.to_string()
                };
                let _ = writeln!(text, "| {name} | {rate} | {p50} | {p99} | {cpu} |");
            }
        }
        if !self.targets.is_empty() {
            text.push_str("\n### Targets\n\n| target | wanted | found | |\n|---|---|---|---|\n");
            for goal in &self.targets {
                let verdict = if goal.passed { "passed" } else { "**missed**" };
                let (what, wanted, found) = (&goal.what, &goal.wanted, &goal.found);
                let _ = writeln!(text, "| {what} | {wanted} | {found} | {verdict} |");
            }
        }
        text
    }
}

/// After the warm-up, and from the first request on where that is another figure.
fn calls(figures: &Figures) -> String {
    let (after, all) = (figures.redis_calls, figures.redis_calls_all);
    if (after - all).abs() < 0.000_05 {
        return format!("{after:.4}");
    }
    format!("{after:.4} ({all:.4} with the warm-up)")
}

fn short(figures: &Figures) -> String {
    let over = match figures.over {
        0 => "0".to_owned(),
        over => format!("**{over}**"),
    };
    let (under, calls) = (figures.under_percent, figures.redis_calls);
    format!("{over} / {under:.2} / {calls:.4}")
}
