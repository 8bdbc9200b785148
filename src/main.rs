//! The binary: arguments → configuration → run → exit code; everything else is in the library. Invariant: the only place that ends
//! the process.

use std::io::Write as _;

use dbpower_gateway::cli::{self, Outcome, Stage, Task};
use dbpower_gateway::config::{self, Config, Raw};
use dbpower_gateway::gateway::{self, StartError};
use dbpower_gateway::net::clock;

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
        Task::Demo(asked) => cli::demo_service(&asked, flags).unwrap_or_else(|| demo(flags)),
        Task::Mint(mint) => cli::mint(&mint, flags, clock::unix_ms()),
        Task::Why(why) => cli::why(&why, flags, clock::unix_ms()),
        Task::Healthcheck => cli::healthcheck(flags),
        Task::CheckConfig => cli::check_config(flags),
        Task::PrintConfig => cli::print_config(flags),
    }
}

/// Runs until the gateway is told to stop.
fn serve(config: Config) -> Outcome {
    match gateway::run(config) {
        Ok(()) => Outcome::default(),
        Err(StartError::Config(what)) => Outcome {
            code: cli::EXIT_CONFIG,
            ..Outcome::failed(&format!("configuration: {what}"))
        },
        Err(error) => Outcome::failed(&error.to_string()),
    }
}

/// The same in front of services of its own, with lines to paste printed first.
fn demo(flags: &Raw) -> Outcome {
    match cli::stage(flags, clock::unix_ms()) {
        Ok(Stage {
            config,
            banner,
            services,
        }) => {
            let _ = std::io::stdout().write_all(banner.as_bytes());
            let outcome = serve(config);
            drop(services);
            outcome
        }
        Err(outcome) => outcome,
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
