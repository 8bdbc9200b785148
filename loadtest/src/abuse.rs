//! What well-formed requests wait for while clients of bad will are at work: a table against the bound of 50 ms.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::attacks::{attacks, under};
use crate::idle::start_gateway;
use crate::process::{self, Output, Process, free_port};

/// What DBPower promises its clients while others misbehave.
const BOUND: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds of each attack.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Connections of the attacks that cost the gateway least; others take a share of it.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Only attacks whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// The gateway binary; built when missing.
    #[arg(long, default_value = "target/release/dbpower-gateway")]
    gateway: PathBuf,
}

/// Runs each attack against a gateway of its own and prints what others waited meanwhile.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    process::build(&options.gateway)?;
    process::raise_descriptors(options.connections + 100)?;
    println!("| attack | connections | requests | p50 ms | p99 ms | max ms | within 50 ms |");
    println!("|---|---|---|---|---|---|---|");
    let all = attacks(options.connections);
    for attack in all.iter().filter(|a| a.name.contains(&options.only)) {
        let (origin_port, port) = (free_port()?, free_port()?);
        let mut origin = Command::new(std::env::current_exe()?);
        origin.args(["origin", "--port", &origin_port.to_string()]);
        let _origin = Process::start(&origin, None, origin_port, Output::Dropped)?;
        let _gateway = start_gateway(&options.gateway, port, origin_port)?;
        let found = under(attack, port, Duration::from_secs(options.seconds))?;
        let ms = |part: f64| found.quantile(part).as_secs_f64() * 1000.0;
        let fine = if found.quantile(1.0) <= BOUND {
            "yes"
        } else {
            "no"
        };
        println!(
            "| {} | {} | {} | {:.2} | {:.2} | {:.2} | {fine} |",
            attack.name,
            attack.connections,
            found.count(),
            ms(0.5),
            ms(0.99),
            ms(1.0)
        );
    }
    Ok(())
}
