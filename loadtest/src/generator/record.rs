//! What happened in a phase: a histogram of latencies and counts by outcome. Not a judgement. Invariant: every request that was due is
//! counted once, as completed or as one kind of error, and its time is in the histogram.

use std::collections::BTreeMap;
use std::io;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Places on the latency curve that a report shows; the table takes four of them.
pub(crate) const QUANTILES: [f64; 14] = [
    0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0,
];
/// Longer than any phase.
const LATENCY_NS_MAX: u64 = 600_000_000_000;
/// Three significant figures: 0.1 % of relative error.
const FIGURES: u8 = 3;

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// No connection.
    Connect,
    /// The connection ended before the answer did.
    Closed,
    /// An answer that is not 2xx.
    Status,
    /// Bytes that are no answer, or more of them than announced.
    Malformed,
    /// Not answered, or not even sent for want of a free connection, when the grace period was over.
    Unanswered,
}

#[derive(Debug)]
pub(crate) struct Record {
    histogram: Histogram<u64>,
    start: u64,
    end: u64,
    completed: u64,
    /// Those of `completed` whose answer came before the end, which make the rate.
    in_time: u64,
    failures: BTreeMap<Failure, u64>,
    statuses: BTreeMap<u16, u64>,
    bytes_down: u64,
    handshakes: u64,
    resumed: u64,
}

/// What the generator tells of a phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub seconds: f64,
    pub completed: u64,
    pub per_second: f64,
    pub failures: BTreeMap<Failure, u64>,
    /// Which they were, of those that failed by their status. As text: keys that are numbers do not come back out of a flattened map.
    #[serde(default)]
    pub statuses: BTreeMap<String, u64>,
    pub bytes_down: u64,
    /// Microseconds at each of [`QUANTILES`].
    pub latency_us: Vec<f64>,
    /// Requests whose latency is known.
    pub recorded: u64,
    /// TLS handshakes, and those of them that went on from an earlier session.
    #[serde(default)]
    pub handshakes: u64,
    #[serde(default)]
    pub resumed: u64,
}

impl Outcome {
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

impl Record {
    pub(crate) fn new(start: u64, end: u64) -> io::Result<Self> {
        Ok(Self {
            histogram: Histogram::new_with_bounds(1, LATENCY_NS_MAX, FIGURES)
                .map_err(io::Error::other)?,
            start,
            end,
            completed: 0,
            in_time: 0,
            failures: BTreeMap::new(),
            statuses: BTreeMap::new(),
            bytes_down: 0,
            handshakes: 0,
            resumed: 0,
        })
    }

    pub(crate) fn completed(&mut self, due: u64, now: u64) {
        self.histogram.saturating_record(now.saturating_sub(due));
        self.completed += 1;
        self.in_time += u64::from(now <= self.end);
    }

    pub(crate) fn refused(&mut self, status: u16, due: u64, now: u64) {
        *self.statuses.entry(status).or_default() += 1;
        self.failed(Failure::Status, due, now);
    }

    pub(crate) fn failed(&mut self, failure: Failure, due: u64, now: u64) {
        self.histogram.saturating_record(now.saturating_sub(due));
        *self.failures.entry(failure).or_default() += 1;
    }

    /// How many took longer.
    #[cfg(test)]
    pub(crate) fn slower_than(&self, than: std::time::Duration) -> u64 {
        let nanos = u64::try_from(than.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.count_between(nanos, LATENCY_NS_MAX)
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        self.bytes_down += u64::try_from(bytes).unwrap_or(0);
    }

    pub(crate) fn handshake(&mut self, resumed: bool) {
        self.handshakes += 1;
        self.resumed += u64::from(resumed);
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "nanoseconds and counts of seconds fit a double"
    )]
    pub(crate) fn outcome(&self) -> Outcome {
        let statuses = self.statuses.iter();
        let seconds = (self.end - self.start) as f64 / 1e9;
        let micros = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Outcome {
            seconds,
            completed: self.completed,
            per_second: self.in_time as f64 / seconds.max(1e-9),
            failures: self.failures.clone(),
            statuses: statuses
                .map(|(status, count)| (status.to_string(), *count))
                .collect(),
            bytes_down: self.bytes_down,
            latency_us: QUANTILES.iter().map(|&quantile| micros(quantile)).collect(),
            recorded: self.histogram.len(),
            handshakes: self.handshakes,
            resumed: self.resumed,
        }
    }
}
