//! What well-formed requests wait for while clients of bad will are at work: a table against the bound of 50 ms. Beside it what they
//! wait for behind a raw TCP relay under the same attack in the same minute: so much is the machine's, the attack's and the watch's.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::attacks::{Attack, Latencies, attacks, under};
use crate::idle::start_gateway;
use crate::process::{self, Output, Process, free_port};

/// What DBPower promises its clients while others misbehave.
const BOUND: Duration = Duration::from_millis(50);

/// More connections than this the relay is spared: it keeps two descriptors and two buffers for each, and opens a second one.
const RELAYED_MAX: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds of each attack, against the gateway and against the relay.
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

/// Runs each attack against a gateway of its own, then against a relay, and prints what others waited meanwhile.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    process::build(&options.gateway)?;
    process::raise_descriptors(options.connections + 100)?;
    println!(
        "| attack | connections | requests | p50 ms | p99 ms | max ms | within 50 ms | relay p50 | p99 | max ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let all = attacks(options.connections);
    let length = Duration::from_secs(options.seconds);
    for attack in all.iter().filter(|a| a.name.contains(&options.only)) {
        let (origin_port, port) = (free_port()?, free_port()?);
        let mut origin = Command::new(std::env::current_exe()?);
        origin.args(["origin", "--port", &origin_port.to_string()]);
        let _origin = Process::start(&origin, None, origin_port, Output::Dropped)?;
        let found = {
            let _gateway = start_gateway(&options.gateway, port, origin_port)?;
            under(attack, port, length)?
        };
        let fine = if found.quantile(1.0) <= BOUND {
            "yes"
        } else {
            "no"
        };
        println!(
            "| {} | {} | {} | {} | {fine} | {} |",
            attack.name,
            attack.connections,
            found.count(),
            columns(&found),
            relayed(attack, origin_port, length)?
        );
    }
    Ok(())
}

/// The same attack with nothing but a relay in the way.
fn relayed(attack: &Attack, origin_port: u16, length: Duration) -> io::Result<String> {
    if attack.connections > RELAYED_MAX {
        return Ok("– | – | –".to_owned());
    }
    let port = free_port()?;
    let mut relay = Command::new(std::env::current_exe()?);
    relay.args(["relay", "--port", &port.to_string()]);
    relay.args(["--to", &origin_port.to_string()]);
    let _relay = Process::start(&relay, None, port, Output::Dropped)?;
    // What the gateway keeps from it may be the end of the origin.
    Ok(under(attack, port, length)
        .map_or_else(|_| "– | – | no answer".to_owned(), |found| columns(&found)))
}

fn columns(found: &Latencies) -> String {
    let ms = |part: f64| found.quantile(part).as_secs_f64() * 1000.0;
    format!("{:.2} | {:.2} | {:.2}", ms(0.5), ms(0.99), ms(1.0))
}
