//! The command line: what was asked for, and the small tasks that are not serving. Does not end the process; every task returns an
//! `Outcome` that `main` turns into output and exit code. Invariant: exit codes are 0 done, 1 failed, 2 misused, 78 misconfigured.

mod arguments;
mod healthcheck;
mod stage;
mod token;

use std::fmt::Write as _;

use crate::config::{self, Problem, Raw};

pub use arguments::{Demo, Invocation, Mint, Task, Why, command, parse};
pub use healthcheck::healthcheck;
pub use stage::{Stage, demo_service, stage};
pub use token::{mint, why};

/// Exit code of a wrong configuration: EX_CONFIG of sysexits.h, so that a supervisor can tell it from a crash and not restart.
pub const EXIT_CONFIG: i32 = 78;

/// Exit code of a task that was understood and failed.
pub const EXIT_FAILED: i32 = 1;

/// What a task leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// Exit code.
    pub code: i32,
}

impl Outcome {
    /// Success with something to print.
    pub fn done(out: String) -> Self {
        Self {
            out,
            ..Self::default()
        }
    }

    /// Failure with one line why.
    pub fn failed(why: &str) -> Self {
        Self {
            err: format!("{why}\n"),
            code: EXIT_FAILED,
            ..Self::default()
        }
    }

    /// A wrong configuration: every problem on a line of its own.
    pub fn misconfigured(problems: &[Problem]) -> Self {
        let mut err = String::new();
        for problem in problems {
            let _ = writeln!(err, "configuration: {problem}");
        }
        Self {
            err,
            code: EXIT_CONFIG,
            ..Self::default()
        }
    }
}

/// `--check-config`: problems or warnings, nothing is started.
pub fn check_config(flags: &Raw) -> Outcome {
    match config::load(flags) {
        Ok(loaded) => {
            let err = warnings(&loaded.config.warnings);
            Outcome {
                out: "configuration is valid\n".to_owned(),
                err,
                code: 0,
            }
        }
        Err(problems) => Outcome::misconfigured(&problems),
    }
}

/// `--print-config`: the effective values and their sources.
pub fn print_config(flags: &Raw) -> Outcome {
    match config::load(flags) {
        Ok(loaded) => Outcome {
            out: loaded.print(),
            err: warnings(&loaded.config.warnings),
            code: 0,
        },
        Err(problems) => Outcome::misconfigured(&problems),
    }
}

fn warnings(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "warning: {line}");
    }
    text
}
