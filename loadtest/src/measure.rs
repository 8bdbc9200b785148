//! One round: the generator against one process, with the kernel's accounts of that process read before and after. Not a judgement of
//! figures. Invariant: warm-up, connecting and the making of tokens are outside of what is accounted.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::generator::{Generator, Load, Outcome};
use crate::process::{Process, wait};

/// What one round found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    #[serde(flatten)]
    pub outcome: Outcome,
    /// CPU time of the process under test.
    pub cpu_us_per_request: f64,
    /// Share of its core that it was busy.
    pub busy: f64,
    /// Resident bytes with all connections open.
    pub memory: u64,
    /// How much an endpoint that had died worked at the end, beside what the others did on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned: Option<f64>,
}

/// A process that uses less than this share of a pause is at rest.
const QUIET_NS: u64 = 1_000_000;
const QUIET_LOOKS_MAX: u32 = 40;

/// Measures `process` under `load`, sent from `core`, while `meanwhile` happens.
#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds and counts of seconds fit a double"
)]
pub(crate) fn round(
    process: &Process,
    load: &Load,
    core: Option<usize>,
    meanwhile: impl FnOnce() -> io::Result<Option<f64>>,
) -> io::Result<Round> {
    let generator = Generator::start(load, core)?;
    let before = process.cpu_ns();
    let waiting = generator.go()?;
    let returned = meanwhile()?;
    let (outcome, generator) = waiting.outcome()?;
    let spent = process.cpu_ns().saturating_sub(before) as f64;
    let memory = process.memory();
    drop(generator);
    settle(process);
    Ok(Round {
        cpu_us_per_request: spent / 1000.0 / (outcome.completed.max(1)) as f64,
        busy: spent / 1e9 / outcome.seconds.max(1e-9),
        memory,
        outcome,
        returned,
    })
}

/// Waits until it has finished what the generator left behind, so that the next one is not disturbed.
fn settle(process: &Process) {
    let mut last = process.cpu_ns();
    for _ in 0..QUIET_LOOKS_MAX {
        wait(Duration::from_millis(25));
        let now = process.cpu_ns();
        if now.saturating_sub(last) < QUIET_NS {
            return;
        }
        last = now;
    }
}
