//! The binary: arguments → configuration → run → exit code; everything else is in the library. Invariant: the only place that ends
//! the process.

use std::io::Write as _;

use dbpower_gateway::cli::{self, Outcome, Task};
use dbpower_gateway::config::{self, Config, Raw};
use dbpower_gateway::gateway;

fn main() {
    let outcome = match cli::parse(std::env::args_os()) {
        Ok(invocation) => perform(invocation.task, &invocation.flags),
        // clap knows where its text belongs: help and version to standard output, misuse to standard error.
        Err(error) => {
            let _ = error.print();
            Outcome {
                code: error.exit_code(),
                ..Outcome::default()
            }
        }
    };
    finish(&outcome);
}

fn perform(task: Task, flags: &Raw) -> Outcome {
    match task {
        Task::Serve => match config::load(flags) {
            Ok(loaded) => serve(loaded.config),
            Err(problems) => Outcome::misconfigured(&problems),
        },
        Task::Demo(_) => Outcome::failed("not built yet"),
        Task::Mint(_) | Task::Why(_) => Outcome::failed("not built yet"),
        Task::Healthcheck => cli::healthcheck(flags),
        Task::CheckConfig => cli::check_config(flags),
        Task::PrintConfig => cli::print_config(flags),
    }
}

/// Runs until the gateway is told to stop.
fn serve(config: Config) -> Outcome {
    match gateway::run(config) {
        Ok(()) => Outcome::default(),
        Err(error) => Outcome::failed(&error.to_string()),
    }
}

/// Prints and ends. A reader that has gone away (`… | head -1`) is no reason to fail.
#[allow(clippy::disallowed_methods, reason = "main is where the process ends")]
fn finish(outcome: &Outcome) -> ! {
    let _ = std::io::stdout().write_all(outcome.out.as_bytes());
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().write_all(outcome.err.as_bytes());
    std::process::exit(outcome.code)
}
