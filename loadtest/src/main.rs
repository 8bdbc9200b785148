//! The load-test harness: `floor` compares the gateway with a raw TCP relay on the same runtime. Not part of the gateway.

mod abuse;
mod attacks;
mod floor;
mod idle;
mod origin;
mod process;
mod relay;
mod ring;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Load tests of the DBPower gateway, on loopback only")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// CPU time per request of the gateway (JWT, both limits, log off) against a raw TCP relay, in one run.
    Floor(floor::Options),
    /// What others wait for while clients of bad will are at work.
    Abuse(abuse::Options),
    /// Memory of idle keep-alive connections.
    Idle(idle::Options),
    /// A keep-alive HTTP origin that answers 1 KB (started by the others).
    Origin {
        /// Port on 127.0.0.1.
        #[arg(long)]
        port: u16,
    },
    /// A TCP relay without any parsing (started by the others).
    Relay {
        /// Port on 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// Port on 127.0.0.1 to relay to.
        #[arg(long)]
        to: u16,
    },
}

fn main() -> std::io::Result<()> {
    match Arguments::parse().command {
        Command::Floor(options) => floor::run(&options),
        Command::Abuse(options) => abuse::run(&options),
        Command::Idle(options) => idle::run(&options),
        Command::Origin { port } => ring::run(|| origin::serve(port)),
        Command::Relay { port, to } => ring::run(|| relay::serve(port, to)),
    }
}
