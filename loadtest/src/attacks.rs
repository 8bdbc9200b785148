//! Clients that mean no good, as data: what each sends first, what it goes on with, and how it ends. Not the gateway's part: whether it
//! still answers others is measured beside it. Shared with the end-to-end test of the same, so that both try the same.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

/// Connections of one source address: far fewer than it has ports.
const PER_SOURCE: usize = 5_000;

/// A well-formed request that needs no token (`PUBLIC_PATHS` of the gateway under test).
pub(crate) const REQUEST: &[u8] = b"GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";

/// How a connection ends after its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It stays, and is opened anew only when the gateway closes it.
    Stays,
    /// The same, and what the gateway says is read.
    StaysAndReads,
    /// It is closed and opened anew.
    Closes,
    /// The same with a reset.
    Resets,
}

/// One way of being a nuisance.
#[derive(Debug, Clone)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// Connections at once.
    pub(crate) connections: usize,
    opening: Vec<u8>,
    /// What every round adds.
    each: Vec<u8>,
    every: Duration,
    end: End,
}

fn attack(name: &'static str, connections: usize, opening: impl AsRef<[u8]>) -> Attack {
    Attack {
        name,
        connections,
        opening: opening.as_ref().to_vec(),
        each: Vec::new(),
        every: Duration::from_millis(50),
        end: End::Stays,
    }
}

impl Attack {
    fn each(self, bytes: impl AsRef<[u8]>, every_ms: u64) -> Self {
        Self {
            each: bytes.as_ref().to_vec(),
            every: Duration::from_millis(every_ms),
            ..self
        }
    }

    fn end(self, end: End) -> Self {
        Self { end, ..self }
    }
}

/// All of them; `many` is the number of those that cost the gateway least.
pub(crate) fn attacks(many: usize) -> Vec<Attack> {
    let some = many / 10;
    let few = (many / 100).max(10);
    let post =
        |framing: &str| format!("POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
    let fields: String = (0..900).map(|n| format!("X-{n}: {n:012}\r\n")).collect();
    let bomb = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let chunked = post("Transfer-Encoding: chunked");
    let cheap = "GET /none HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20);
    vec![
        attack("nobody at work", 0, ""),
        attack("silent connections", many, ""),
        attack("idle keep-alive connections", many, REQUEST).end(End::StaysAndReads),
        attack("idle ones that wake together", many / 4, "")
            .each(REQUEST, 700)
            .end(End::StaysAndReads),
        attack("slow heads", some, "GET / HTTP/1.1\r\nHost: a\r\nX: ").each("a", 50),
        attack("slow bodies", some / 2, post("Content-Length: 1000000")).each("a", 50),
        attack("slow readers", few, "").each(REQUEST.repeat(20), 20),
        attack("header bombs", few, bomb).end(End::Closes),
        attack("endless heads", few, "GET / HTTP/1.1\r\nHost: a\r\n")
            .each("X-Y: z\r\n".repeat(50), 5),
        attack("endless chunk extensions", few, format!("{chunked}1;")).each([b'a'; 512], 5),
        attack("endless tiny chunks", few, chunked).each("1\r\na\r\n".repeat(50), 20),
        attack("connection churn", few, REQUEST)
            .each("", 10)
            .end(End::Closes),
        attack("connections reset at once", few, "")
            .each("", 5)
            .end(End::Resets),
        attack(
            "TLS hellos",
            few,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        )
        .each("", 10)
        .end(End::Closes),
        attack("pipelined requests", few, "")
            .each(cheap, 5)
            .end(End::StaysAndReads),
    ]
}

/// A connection from an address that has ports left.
pub(crate) fn connection(number: usize, port: u16) -> io::Result<TcpStream> {
    let host = u8::try_from(number / PER_SOURCE + 1).map_err(io::Error::other)?;
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&fd, &SocketAddr::from((Ipv4Addr::new(127, 0, 1, host), 0)))?;
    connect(&fd, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

fn opened(attack: &Attack, number: usize, port: u16) -> Option<TcpStream> {
    let mut stream = connection(number, port).ok()?;
    stream.set_nonblocking(true).ok()?;
    // What does not go out at once is lost, which suits a nuisance.
    let _ = stream.write(&attack.opening);
    Some(stream)
}

/// One round on one connection; false when the gateway has ended it.
fn round(attack: &Attack, stream: &mut TcpStream) -> bool {
    let alive = |done: io::Result<usize>| match done {
        Ok(count) => count > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    if attack.end == End::StaysAndReads {
        let mut piece = [0_u8; 16 * 1024];
        if !alive(stream.read(&mut piece)) {
            return false;
        }
    }
    attack.each.is_empty() || alive(stream.write(&attack.each))
}

/// Goes on until `stop`; `ready` says when all connections stand.
#[allow(
    clippy::disallowed_methods,
    reason = "outside the gateway: this thread is a nuisance and nothing else"
)]
pub(crate) fn wage(attack: &Attack, port: u16, ready: &AtomicBool, stop: &AtomicBool) {
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        for number in 0..attack.connections {
            if streams.len() <= number {
                streams.push(opened(attack, number, port));
            }
            let Some(place) = streams.get_mut(number) else {
                continue;
            };
            let lives = place.as_mut().is_some_and(|stream| round(attack, stream));
            if attack.end == End::Resets
                && let Some(stream) = place.as_ref()
            {
                let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
            }
            if !lives || matches!(attack.end, End::Closes | End::Resets) {
                *place = None;
                *place = opened(attack, number, port);
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
        ready.store(true, Ordering::Relaxed);
        thread::sleep(
            attack
                .every
                .saturating_sub(begun.elapsed())
                .max(Duration::from_millis(1)),
        );
    }
}

/// How long well-formed requests took, each on a connection of its own.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// The share `part` of all is not above this.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into some thousand numbers"
        )]
        let at = (self.0.len().saturating_sub(1) as f64 * part) as usize;
        self.0.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// Asks every 10 ms for so long, while `attack` goes on.
///
/// # Errors
/// A well-formed request was not answered 200.
#[allow(
    clippy::disallowed_methods,
    reason = "outside the gateway: this thread is a client with a watch"
)]
pub(crate) fn under(attack: &Attack, port: u16, length: Duration) -> io::Result<Latencies> {
    let (ready, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| wage(attack, port, &ready, &stop));
        let patience = Instant::now() + Duration::from_secs(20);
        while !ready.load(Ordering::Relaxed) && Instant::now() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        let (mut found, begun) = (Vec::new(), Instant::now());
        let asked = loop {
            if begun.elapsed() >= length {
                break Ok(());
            }
            let start = Instant::now();
            if let Err(error) = ask(port) {
                break Err(error);
            }
            found.push(start.elapsed());
            thread::sleep(Duration::from_millis(10));
        };
        stop.store(true, Ordering::Relaxed);
        found.sort_unstable();
        asked.map(|()| Latencies(found))
    })
}

fn ask(port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(REQUEST)?;
    let mut piece = [0_u8; 4096];
    let count = stream.read(&mut piece)?;
    let told = piece.get(..count).unwrap_or_default();
    if told.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    let told = String::from_utf8_lossy(told).into_owned();
    Err(io::Error::other(format!("no 200 but {told:?}")))
}
