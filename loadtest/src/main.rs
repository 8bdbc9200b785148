//! The load-test harness: without a subcommand it measures the gateway in every scenario. Not part of the gateway. README.md beside it
//! tells the method.

mod abuse;
mod accuracy;
mod attacks;
mod generator;
mod idle;
mod instructions;
mod measure;
mod origin;
mod process;
mod relay;
mod report;
mod scenario;
mod session;
mod target;

use clap::{Parser, Subcommand};
use dbpower_gateway::net;

#[derive(Debug, Parser)]
#[command(about = "Load tests of the DBPower gateway, on loopback only")]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: session::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The same scenarios against every gateway that is installed here, in turn.
    Peers(session::Options),
    /// CPU time per request at saturation against a raw TCP relay alone, in one run.
    Floor(session::Options),
    /// What others wait for while clients of bad will are at work.
    Abuse(abuse::Options),
    /// Whether limits hold over several gateways on one Redis, at which price, and what other ways of doing it let through.
    Accuracy(accuracy::Options),
    /// Memory of idle keep-alive connections.
    Idle(idle::Options),
    /// Which gateways are installed, and how to install the others.
    List,
    /// The in-memory path of a request, for callgrind.sh to count.
    Instructions(instructions::Options),
    /// Writes Markdown and HTML from a report's JSON again.
    Render(report::Render),
    /// An HTTP origin (started by the others).
    #[command(hide = true)]
    Origin {
        /// Port on 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// Every tenth connection is closed without an answer, the others after some.
        #[arg(long)]
        failing: bool,
    },
    /// A TCP relay without any parsing (started by the others).
    #[command(hide = true)]
    Relay {
        /// Port on 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// Port on 127.0.0.1 to relay to.
        #[arg(long)]
        to: u16,
    },
    /// The load generator (started by the others): reads what to send from standard input.
    #[command(hide = true)]
    Load,
    /// Another program, on one core and for no longer than its parent lives (started by the others).
    #[command(hide = true)]
    Exec(process::Exec),
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        None => session::gateway(&arguments.options),
        Some(Command::Peers(options)) => session::peers(&options),
        Some(Command::Floor(options)) => session::floor(&options),
        Some(Command::Abuse(options)) => abuse::run(&options),
        Some(Command::Accuracy(options)) => accuracy::run(&options),
        Some(Command::Idle(options)) => idle::run(&options),
        Some(Command::List) => session::list(),
        Some(Command::Instructions(options)) => instructions::run(&options),
        Some(Command::Render(options)) => report::render(&options),
        Some(Command::Origin { port, failing }) => {
            net::run(net::detect(), || origin::serve(port, failing))?
        }
        Some(Command::Relay { port, to }) => net::run(net::detect(), || relay::serve(port, to))?,
        Some(Command::Load) => generator::run(),
        Some(Command::Exec(options)) => process::exec(&options),
    }
}
