//! From what was seen of each request to a row of the table. Pure values. Invariant: one judge for all ways.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::bucket::Limit;
use super::checker::{Span, exact, excess, gap};
use super::scenarios::Scenario;
use super::{Seen, Verdict};

/// What a way did in a scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub way: String,
    pub requests: u64,
    pub admitted: u64,
    pub refused: u64,
    /// Neither 200 nor 429.
    pub failed: u64,
    /// How late the load was at most, in ms: where this is tens of ms, the machine was busy with other things.
    pub late_ms: f64,
    /// What one exact bucket per key admits of the same arrivals.
    pub exact: u64,
    /// Requests beyond C + L*t/W in the worst interval, added up over the keys; 0: the bound holds.
    pub over: u64,
    /// The worst key's, in percent of C.
    pub over_percent: f64,
    /// Admissions missing against the exact buckets, in percent of theirs.
    pub under_percent: f64,
    /// The most that an exact bucket still held at a refusal, in percent of C.
    pub gap_percent: f64,
    /// Per request, after the warm-up.
    pub redis_calls: f64,
    /// Per request, from the first one on.
    pub redis_calls_all: f64,
    /// The same as Redis counts them.
    pub redis_calls_counted: f64,
    /// Share of the requests, after the warm-up.
    pub waited: f64,
    /// Those of them that waited for a call of the script.
    pub waited_for_calls: f64,
    /// Calls that Redis did not answer in time, in all.
    pub lost_calls: f64,
    pub wait_p50_ms: f64,
    pub wait_p99_ms: f64,
    /// From the first refusal's answer until the last admission's sending, of one key that gets blocked.
    pub block_ms: Option<f64>,
}

#[derive(Default)]
struct OfKey {
    admitted: Vec<Span>,
    refused: Vec<Span>,
    due: Vec<u64>,
}

/// Everything but Redis and the waits, which each way counts itself.
pub(super) fn judge(way: &str, seen: &[Seen], scenario: &Scenario) -> Figures {
    let limit = scenario.limit;
    let mut keys: HashMap<u32, OfKey> = HashMap::new();
    let mut figures = Figures {
        way: way.into(),
        requests: count(seen.len()),
        ..Figures::default()
    };
    for one in seen {
        let late = one.sent.saturating_sub(one.arrival.at);
        figures.late_ms = figures.late_ms.max(late as f64 / 1e6);
        let key = keys.entry(one.arrival.key).or_default();
        key.due.push(one.arrival.at);
        let span = Span {
            sent: one.sent,
            answered: one.answered,
        };
        match one.verdict {
            Verdict::Admitted => key.admitted.push(span),
            Verdict::Refused => key.refused.push(span),
            Verdict::Failed => figures.failed += 1,
        }
    }
    let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    let capacity = u64::from(limit.capacity());
    let mut missing = 0;
    for key in keys.values_mut() {
        key.due.sort_unstable();
        let admitted = count(key.admitted.len());
        let exact = exact(&key.due, limit);
        let over = excess(&key.admitted, &limit);
        let gap = gap(&key.admitted, &key.refused, limit);
        figures.admitted += admitted;
        figures.refused += count(key.refused.len());
        figures.exact += exact;
        figures.over += over;
        figures.over_percent = figures.over_percent.max(percent(over, capacity));
        figures.gap_percent = figures.gap_percent.max(percent(gap, capacity));
        missing += exact.saturating_sub(admitted);
    }
    figures.under_percent = percent(missing, figures.exact);
    figures.block_ms = (keys.len() == 1).then(|| block_ms(seen, &limit)).flatten();
    figures
}

/// How long after the first refusal somebody still admits; 0: nobody does.
fn block_ms(seen: &[Seen], limit: &Limit) -> Option<f64> {
    let of = |verdict| seen.iter().filter(move |one| one.verdict == verdict);
    let known = of(Verdict::Refused).map(|one| one.answered).min()?;
    let last = of(Verdict::Admitted).map(|one| one.sent).max()?;
    (limit.block_s > 0).then(|| last.saturating_sub(known) as f64 / 1e6)
}

/// The value below which this part of them lies.
pub(super) fn quantile(sorted: &[u64], part: f64) -> u64 {
    let last = count(sorted.len().saturating_sub(1));
    let mut place = 0;
    while place < last && (place as f64) < part * last as f64 {
        place += 1;
    }
    let place = usize::try_from(place).unwrap_or(0);
    sorted.get(place).copied().unwrap_or(0)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
