//! What the gateway is to reach, and whether a run shows it. Not the measuring. Invariant: each figure comes from rows of one scenario,
//! which took turns, so that both sides of it had the same machine.

use super::{Report, Spread, TargetResult};
use crate::generator::QUANTILES;
use crate::measure::Round;

/// A figure and the side of its bound that it must be on.
pub(crate) struct Goal {
    pub what: &'static str,
    scenario: &'static str,
    bound: Bound,
    digits: usize,
    unit: &'static str,
    figure: Figure,
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// Told, not judged.
    None,
}

/// Rows are named as in the JSON.
enum Figure {
    /// CPU per request of the first row over that of the second.
    Cpu(&'static str, &'static str),
    /// Microseconds of CPU per request that the first row takes beyond the second.
    CpuBeyond(&'static str, &'static str),
    P99(&'static str, &'static str),
    /// What one core can do: CPU per request of the second row over that of the first.
    PerCore(&'static str, &'static str),
    /// Requests that failed, in all rounds.
    Failed(&'static str),
    /// Of all that were due, in per cent.
    FailedShare(&'static str),
    /// Handshakes that went on from a session, in per cent.
    Resumed(&'static str),
    /// Work of an endpoint that came back, beside the others'.
    Returned(&'static str),
}

use Bound::{AtLeast, AtMost};
use Figure::{Cpu, CpuBeyond, Failed, FailedShare, P99, PerCore, Resumed, Returned};

const fn goal(what: &'static str, scenario: &'static str, bound: Bound, figure: Figure) -> Goal {
    Goal {
        what,
        scenario,
        bound,
        digits: 2,
        unit: "×",
        figure,
    }
}

const fn told(of: Goal, digits: usize, unit: &'static str) -> Goal {
    Goal { digits, unit, ..of }
}

/// "The same" and "does not grow" are judged with 5 % of room.
const SAME: f64 = 1.05;
const G: &str = "gateway";
const R: &str = "relay";

static GOALS: [Goal; 26] = [
    goal(
        "CPU per request over the floor's",
        "saturation",
        AtMost(1.2),
        Cpu(G, R),
    ),
    goal(
        "CPU per request over HAProxy's",
        "saturation",
        AtMost(0.5),
        Cpu(G, "haproxy"),
    ),
    goal(
        "CPU per request over that of nginx with Lua",
        "saturation",
        AtMost(0.35),
        Cpu(G, "nginx"),
    ),
    goal(
        "CPU per request over Pingora's",
        "saturation",
        AtMost(0.33),
        Cpu(G, "pingora"),
    ),
    goal(
        "CPU per request over Envoy's",
        "saturation",
        AtMost(0.16),
        Cpu(G, "envoy"),
    ),
    goal(
        "CPU per request over FastAPI's",
        "saturation",
        Bound::None,
        Cpu(G, "fastapi"),
    ),
    goal(
        "p99 at 10,000 requests/s over the floor's",
        "rate-10000",
        AtMost(1.2),
        P99(G, R),
    ),
    goal(
        "CPU per 64 KB answer over the floor's",
        "down-64k",
        AtMost(1.15),
        Cpu(G, R),
    ),
    goal(
        "CPU per 64 KB request body over the floor's",
        "up-64k",
        AtMost(1.15),
        Cpu(G, R),
    ),
    told(
        goal(
            "an HS256 token that is not remembered adds",
            "uncached",
            AtMost(1.8),
            CpuBeyond("gateway-uncached", "gateway-cached"),
        ),
        2,
        " µs",
    ),
    goal(
        "CPU per request, access log on over off",
        "logged",
        AtMost(1.08),
        Cpu("gateway-on", "gateway-off"),
    ),
    goal(
        "CPU per request, limits in Redis over limits in memory",
        "redis",
        Bound::None,
        Cpu("gateway-redis", "gateway-memory"),
    ),
    goal(
        "CPU per request, two workers over one",
        "workers",
        AtMost(SAME),
        Cpu("gateway-two", "gateway-one"),
    ),
    goal(
        "CPU per request, 200,000 live keys over 100",
        "keys",
        AtMost(SAME),
        Cpu("gateway-200k", "gateway-100"),
    ),
    goal(
        "CPU per request, 1,000,000 live keys over 100",
        "keys",
        AtMost(SAME),
        Cpu("gateway-1m", "gateway-100"),
    ),
    goal(
        "CPU per request, 8,000 connections over 64",
        "connections",
        AtMost(SAME),
        Cpu("gateway-8000", "gateway-64"),
    ),
    goal(
        "the floor's CPU per request, 8,000 connections over 64",
        "connections",
        Bound::None,
        Cpu("relay-8000", "relay-64"),
    ),
    goal(
        "TLS: requests per second of one core over HAProxy's",
        "tls",
        AtLeast(1.0),
        PerCore(G, "haproxy"),
    ),
    goal(
        "TLS, a full handshake each: the same figure",
        "tls-full",
        Bound::None,
        PerCore(G, "haproxy"),
    ),
    goal(
        "TLS, a resumed handshake each: the same figure",
        "tls-resumed",
        Bound::None,
        PerCore(G, "haproxy"),
    ),
    told(
        goal(
            "TLS: handshakes that were resumed where they may be",
            "tls-resumed",
            AtLeast(95.0),
            Resumed(G),
        ),
        1,
        " %",
    ),
    told(
        goal(
            "TLS: handshakes that were resumed where they may not be",
            "tls-full",
            AtMost(0.0),
            Resumed(G),
        ),
        1,
        " %",
    ),
    told(
        goal(
            "failed GETs, one upstream connection in ten failing, one endpoint",
            "failing-upstream",
            Bound::None,
            FailedShare("gateway-one"),
        ),
        3,
        " %",
    ),
    told(
        goal(
            "failed GETs, one upstream connection in ten failing, two endpoints",
            "failing-upstream",
            AtMost(0.1),
            FailedShare("gateway-two"),
        ),
        3,
        " %",
    ),
    told(
        goal(
            "failed GETs, one of three endpoints dying and coming back",
            "dying-endpoint",
            AtMost(0.0),
            Failed(G),
        ),
        0,
        "",
    ),
    goal(
        "work of that endpoint afterwards over the others'",
        "dying-endpoint",
        AtLeast(0.5),
        Returned(G),
    ),
];

/// A goal in a run's light, as words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub what: &'static str,
    pub scenario: &'static str,
    pub bound: String,
    pub figure: String,
    pub word: &'static str,
}

/// All goals of which the run has the scenario.
pub(crate) fn verdicts(report: &Report) -> Vec<Verdict> {
    GOALS
        .iter()
        .filter(|goal| {
            (report.kind == "peers" || !goal.wants_peer()) && goal.rows(report).is_some()
        })
        .map(|goal| goal.verdict(report))
        .collect()
}

impl Goal {
    fn rows<'a>(&self, report: &'a Report) -> Option<&'a [TargetResult]> {
        let named = report
            .scenarios
            .iter()
            .find(|scenario| scenario.name == self.scenario)?;
        Some(&named.targets)
    }

    fn wants_peer(&self) -> bool {
        match self.figure {
            Cpu(_, other) | CpuBeyond(_, other) | P99(_, other) | PerCore(_, other) => {
                other != R && !other.starts_with("gateway") && !other.starts_with("relay")
            }
            Failed(_) | FailedShare(_) | Resumed(_) | Returned(_) => false,
        }
    }

    fn verdict(&self, report: &Report) -> Verdict {
        let found = self.rows(report).and_then(|rows| self.figure.of(rows));
        let (digits, unit) = (self.digits, self.unit);
        let (bound, met) = match (&self.bound, found) {
            (AtMost(most), found) => (
                format!("≤ {most}{unit}"),
                found.map(|found| found.middle <= *most),
            ),
            (AtLeast(least), found) => (
                format!("≥ {least}{unit}"),
                found.map(|found| found.middle >= *least),
            ),
            (Bound::None, _) => ("–".into(), None),
        };
        Verdict {
            what: self.what,
            scenario: self.scenario,
            bound,
            figure: found.map_or("–".into(), |found| {
                let Spread { low, middle, high } = found;
                format!("{middle:.digits$}{unit} ({low:.digits$}–{high:.digits$})")
            }),
            word: match (met, found) {
                (Some(true), _) => "met",
                (Some(false), _) => "missed",
                (None, Some(_)) => "told",
                (None, None) => "not measured",
            },
        }
    }
}

impl Figure {
    /// The figure of the medians, and how far apart it lies from round to round.
    fn of(&self, rows: &[TargetResult]) -> Option<Spread> {
        let cpu = |round: &Round| round.cpu_us_per_request;
        let over = |a: f64, b: f64| a / b.max(1e-9);
        match *self {
            Cpu(one, other) => paired(rows, (one, other), cpu, over),
            PerCore(one, other) => paired(rows, (other, one), cpu, over),
            CpuBeyond(one, other) => paired(rows, (one, other), cpu, |a, b| a - b),
            P99(one, other) => paired(rows, (one, other), p99, over),
            Failed(name) => {
                let failed = count(row(rows, name)?.failed());
                Some(alone(failed))
            }
            FailedShare(name) => {
                let row = row(rows, name)?;
                let done: u64 = row.rounds.iter().map(|round| round.outcome.completed).sum();
                let failed = row.failed();
                let share = 100.0 * count(failed) / count(failed + done).max(1.0);
                Some(alone(share))
            }
            Resumed(name) => Some(row(rows, name)?.spread(|round| {
                100.0 * count(round.outcome.resumed) / count(round.outcome.handshakes).max(1.0)
            })),
            Returned(name) => {
                let row = row(rows, name)?;
                Some(row.spread(|round| round.returned.unwrap_or(0.0)))
            }
        }
    }
}

fn p99(round: &Round) -> f64 {
    let place = QUANTILES.iter().position(|quantile| *quantile == 0.99);
    let found = place.and_then(|place| round.outcome.latency_us.get(place));
    found.copied().unwrap_or(0.0)
}

#[allow(clippy::cast_precision_loss, reason = "counts of seconds fit a double")]
fn count(number: u64) -> f64 {
    number as f64
}

fn alone(value: f64) -> Spread {
    Spread {
        low: value,
        middle: value,
        high: value,
    }
}

fn row<'a>(rows: &'a [TargetResult], name: &str) -> Option<&'a TargetResult> {
    rows.iter().find(|row| row.name == name)
}

fn paired(
    rows: &[TargetResult],
    (one, other): (&str, &str),
    figure: fn(&Round) -> f64,
    joined: fn(f64, f64) -> f64,
) -> Option<Spread> {
    let (one, other) = (row(rows, one)?, row(rows, other)?);
    let middle = joined(one.spread(figure).middle, other.spread(figure).middle);
    let each = one.rounds.iter().zip(&other.rounds);
    let each: Vec<f64> = each
        .map(|(one, other)| joined(figure(one), figure(other)))
        .collect();
    Some(Spread {
        low: each.iter().copied().fold(f64::INFINITY, f64::min),
        middle,
        high: each.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    })
}

#[cfg(test)]
mod tests {
    use super::{Cpu, CpuBeyond, Failed, FailedShare, GOALS, P99, PerCore, Resumed, Returned};
    use crate::scenario::SCENARIOS;
    use crate::target::TARGETS;

    /// A row that no scenario has would leave its goal unmeasured for ever.
    #[test]
    fn every_goal_looks_at_rows_that_a_run_has() {
        let targets: Vec<_> = TARGETS.iter().collect();
        for goal in &GOALS {
            let scenario = SCENARIOS.iter().find(|one| one.name == goal.scenario);
            let rows: Vec<_> = scenario
                .into_iter()
                .flat_map(|scenario| scenario.rows(&targets))
                .map(|(way, target)| way.row(target).0)
                .collect();
            let named = match goal.figure {
                Cpu(one, other) | CpuBeyond(one, other) | P99(one, other) | PerCore(one, other) => {
                    vec![one, other]
                }
                Failed(one) | FailedShare(one) | Resumed(one) | Returned(one) => vec![one],
            };
            for name in named {
                let there = rows.iter().any(|row| row == name);
                assert!(there, "{}: {name} is not in {rows:?}", goal.what);
            }
        }
    }
}
