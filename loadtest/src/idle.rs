//! What an idle keep-alive connection costs the gateway: resident memory before and with many of them. Not a load.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::attacks::{REQUEST, connection};
use crate::process::{self, Output, Process, free_port};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Idle connections.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Seconds to wait after the last answer.
    #[arg(long, default_value_t = 15)]
    settle: u64,
    /// The gateway binary; built when missing.
    #[arg(long, default_value = "target/release/dbpower-gateway")]
    gateway: PathBuf,
}

/// Opens all connections, then asks on all, then reads all answers, so that as many as possible are busy at once; waits; measures.
#[allow(
    clippy::disallowed_methods,
    reason = "outside the gateway: this thread serves nobody and waits for another process to settle"
)]
pub(crate) fn run(options: &Options) -> io::Result<()> {
    process::build(&options.gateway)?;
    process::raise_descriptors(options.connections + 100)?;
    let (origin_port, port) = (free_port()?, free_port()?);
    let mut origin = Command::new(std::env::current_exe()?);
    origin.args(["origin", "--port", &origin_port.to_string()]);
    let _origin = Process::start(&origin, None, origin_port, Output::Dropped)?;
    let gateway = start_gateway(&options.gateway, port, origin_port)?;
    answered(&mut asked(connection(0, port)?)?)?;
    let before = gateway.status_kib("VmRSS:")?;
    let mut held = Vec::new();
    for number in 0..options.connections {
        held.push(connection(number, port)?);
    }
    for stream in &mut held {
        stream.write_all(REQUEST)?;
    }
    for stream in &mut held {
        answered(stream)?;
    }
    let busy = gateway.status_kib("VmRSS:")?;
    std::thread::sleep(Duration::from_secs(options.settle));
    let idle = gateway.status_kib("VmRSS:")?;
    let bytes = (idle.saturating_sub(before) * 1024) / options.connections as u64;
    println!("resident before {before} KiB, after the last answer {busy} KiB, idle {idle} KiB");
    println!(
        "{bytes} bytes of user memory per idle connection ({} connections)",
        options.connections
    );
    // They are still what they seem to be.
    for stream in held.iter_mut().step_by(options.connections.div_ceil(100)) {
        stream.write_all(REQUEST)?;
        answered(stream)?;
    }
    Ok(())
}

/// A gateway without limits, tokens and log lines, in front of the origin on this port.
#[allow(
    clippy::disallowed_methods,
    reason = "outside the gateway: the one variable that chooses the driver is handed on to the process under test"
)]
pub(crate) fn start_gateway(binary: &Path, port: u16, origin: u16) -> io::Result<Process> {
    let origin = format!("http://127.0.0.1:{origin}");
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("GATEWAY_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("OPS_PORT", "0")
        .env("BACKEND_URL", &origin)
        .env("AI_ANALYZER_URL", &origin)
        .env("REQUIRE_AUTHENTICATION", "false")
        .env("REDIS_ENABLED", "false")
        .env("RATE_LIMIT_PER_IP", "false")
        .env("RATE_LIMIT_PER_ORG", "false")
        .env("IDLE_TIMEOUT", "600")
        .env("LOG_LEVEL", "ERROR")
        .env("LOG_REQUESTS", "false");
    Process::start(&command, None, port, Output::Dropped)
}

fn asked(mut stream: TcpStream) -> io::Result<TcpStream> {
    stream.write_all(REQUEST)?;
    Ok(stream)
}

/// Reads one answer of the origin, whose length is known by its field.
fn answered(stream: &mut TcpStream) -> io::Result<()> {
    let mut piece = [0_u8; 4096];
    let mut text = Vec::new();
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Err(io::Error::other("the gateway closed a connection"));
        }
        text.extend_from_slice(piece.get(..count).unwrap_or_default());
        let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(text.get(..end).unwrap_or_default()).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if text.len() >= end + 4 + length.unwrap_or(0) {
            let fine = head.starts_with("http/1.1 200");
            return fine
                .then_some(())
                .ok_or_else(|| io::Error::other(format!("no 200:\n{head}")));
        }
    }
}
