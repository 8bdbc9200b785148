//! `healthcheck`: one GET /health to the gateway on this machine, for containers that have no curl. Not a load test and no client:
//! it reads the status line and leaves. Invariant: it ends within `LIMIT` whatever the other side does.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use super::Outcome;
use crate::config::{self, Raw};

/// Time for the whole exchange. Container platforms give a check 3 to 5 seconds before they call it hung.
const LIMIT: Duration = Duration::from_secs(2);

/// Bytes of the answer that are looked at; a status line is far shorter.
const ANSWER_BYTES_MAX: usize = 1_024;

/// Asks the gateway that the same settings would start.
pub fn healthcheck(flags: &Raw) -> Outcome {
    let listen = match config::load_listen(flags) {
        Ok(listen) => listen,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Outcome::failed(&lines.join("; "));
        }
    };
    let address = SocketAddr::new(reachable(listen.ip()), listen.port());
    // The exchange runs on a thread of its own, because only its total time matters and a socket limits single reads.
    let (report, verdict) = mpsc::channel();
    let proxy_protocol = config::load_proxy_protocol(flags);
    std::thread::spawn(move || report.send(status(address, proxy_protocol)));
    match verdict.recv_timeout(LIMIT) {
        Ok(Ok(200)) => Outcome::done(String::new()),
        Ok(Ok(status)) => Outcome::failed(&format!("unhealthy: {address} answered {status}")),
        Ok(Err(why)) => Outcome::failed(&format!("unhealthy: {address}: {why}")),
        Err(_) => Outcome::failed(&format!(
            "unhealthy: {address}: no answer within {} s",
            LIMIT.as_secs()
        )),
    }
}

/// An address that means "all of this machine's" is reached at loopback.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

fn status(address: SocketAddr, proxy_protocol: bool) -> Result<u16, String> {
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        // In one write: formatted straight into the socket it would leave in several packets.
        let header = if proxy_protocol {
            // We speak for nobody: that needs nobody's trust.
            "PROXY UNKNOWN\r\n"
        } else {
            ""
        };
        let request =
            format!("{header}GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut piece = [0; 256];
        while answer.len() < ANSWER_BYTES_MAX && !answer.contains(&b'\n') {
            match stream.read(&mut piece)? {
                0 => break,
                count => answer.extend(piece.iter().take(count)),
            }
        }
        Ok(answer)
    };
    let answer = exchange().map_err(|error: std::io::Error| error.to_string())?;
    status_of(&answer).ok_or_else(|| "the answer is not HTTP".to_owned())
}

/// The code in `HTTP/1.1 200 OK`.
fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}
