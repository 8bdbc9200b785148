//! Every time limit of a worker on the simulated clock: what the client sees, why its connection ends, and that this happens not
//! before the limit and no later than two ticks after it. Not the limits' settings (`config`), nor `DRAIN_TIMEOUT`, which is the
//! process's (`gateway`). Invariant: nothing here takes real time.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::message::Head;
use super::run::{Stage, configured};
use super::stream::adopt;
use super::wire::{Connecting, Found, Peer, link};
use super::world::{World, sleep_ms, world};

/// Two ticks of the sweep: one for the age of its clock, one until it looks again.
const LATE_MS_MAX: u64 = 40;

/// What a service does.
#[derive(Debug, Clone, Copy)]
enum Service {
    /// It cannot be reached, and nobody says so.
    Unreachable,
    /// It takes everything and says nothing.
    Silent,
    /// It says this as soon as the first byte comes, and nothing more.
    Says(&'static str),
    /// It answers without end.
    Floods,
}

/// What the client gets when the limit is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// An answer, which comes then.
    Answer(u16),
    /// An answer, which came before; then the end.
    EndBehind(u16),
    /// The end and nothing else.
    End,
    /// It reads nothing; its connection is gone then.
    Nothing,
}

struct Row {
    situation: &'static str,
    limit: (&'static str, u64),
    sends: &'static str,
    service: Service,
    sees: Sees,
    reason: &'static str,
}

const fn row(
    situation: &'static str,
    limit: (&'static str, u64),
    sends: &'static str,
    service: Service,
    sees: Sees,
    reason: &'static str,
) -> Row {
    Row {
        situation,
        limit,
        sends,
        service,
        sees,
        reason,
    }
}

use Sees::{Answer, End, EndBehind, Nothing};
use Service::{Floods, Says, Silent, Unreachable};

const HANDSHAKE: (&str, u64) = ("HANDSHAKE_TIMEOUT", 10);
const HEAD: (&str, u64) = ("HEAD_TIMEOUT", 10);
const IDLE: (&str, u64) = ("IDLE_TIMEOUT", 75);
const BODY: (&str, u64) = ("BODY_TIMEOUT", 30);
const CONNECT: (&str, u64) = ("CONNECT_TIMEOUT", 2);
const RESPONSE: (&str, u64) = ("RESPONSE_TIMEOUT", 30);
const ANALYZER: (&str, u64) = ("ANALYZER_RESPONSE_TIMEOUT", 120);
const READ: (&str, u64) = ("READ_TIMEOUT", 60);
const WRITE: (&str, u64) = ("WRITE_TIMEOUT", 60);
/// Two that are an hour by default, which would be a second of ticks here. Each differs from all others.
const STREAM_IDLE: (&str, u64) = ("STREAM_IDLE_TIMEOUT", 100);
const TUNNEL_IDLE: (&str, u64) = ("TUNNEL_IDLE_TIMEOUT", 130);
/// Constants of the worker: for the rest of a body that nobody wants, and until a withheld body is asked for.
const DISCARD: (&str, u64) = ("", 1);
const CONTINUE: (&str, u64) = ("", 1);

const GET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\n\r\n";
/// The handshake of RFC 6455 1.3, and its answer.
const WEBSOCKET: &str = "GET /api/v1/open/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

// One row a line, however long: a table is read down its columns.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("a handshake that does not begin", HANDSHAKE, "", Silent, End, "tls_handshake"),
    row("a handshake that stops", HANDSHAKE, "hello", Silent, End, "tls_handshake"),
    row("a head that does not end", HEAD, "GET / HTTP/1.1\r\nHost", Silent, Answer(408), "head_timeout"),
    row("a head of one byte", HEAD, "G", Silent, Answer(408), "head_timeout"),
    row("a second head that does not end", HEAD, "GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET", Silent, Answer(408), "head_timeout"),
    row("no request at all", IDLE, "", Silent, End, "idle_timeout"),
    row("no second request", IDLE, GET, Says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), EndBehind(200), "idle_timeout"),
    row("a body that does not begin", BODY, "POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Silent, Answer(408), "body_timeout"),
    row("a body that stops", BODY, "POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc", Silent, Answer(408), "body_timeout"),
    row("a chunk that stops", BODY, "POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", Silent, Answer(408), "body_timeout"),
    row("chunks without the last", BODY, "POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", Silent, Answer(408), "body_timeout"),
    row("a service that cannot be reached", CONNECT, GET, Unreachable, Answer(504), "client_closed"),
    row("a service that does not answer", RESPONSE, GET, Silent, Answer(504), "client_closed"),
    row("a service that does not answer a POST", RESPONSE, "POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na", Silent, Answer(504), "client_closed"),
    row("an analyzer that does not answer", ANALYZER, "GET /analyzer/open/x HTTP/1.1\r\nHost: a\r\n\r\n", Silent, Answer(504), "client_closed"),
    row("an answer's head that stops", READ, GET, Says("HTTP/1.1 200 OK\r\nContent-"), Answer(504), "client_closed"),
    row("an answer that does not follow its 103", READ, GET, Says("HTTP/1.1 103 Early Hints\r\n\r\n"), Answer(504), "client_closed"),
    row("an answer's body that stops", READ, GET, Says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"), EndBehind(200), "upstream_broken"),
    row("an answer's chunk that stops", READ, GET, Says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"), EndBehind(200), "upstream_broken"),
    row("an answer until close that stops", READ, GET, Says("HTTP/1.1 200 OK\r\n\r\nabc"), EndBehind(200), "upstream_broken"),
    row("an event stream that falls silent", STREAM_IDLE, GET, Says("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"), EndBehind(200), "upstream_broken"),
    row("a tunnel in which nobody says anything", TUNNEL_IDLE, WEBSOCKET, Says(SWITCHES), EndBehind(101), "idle_timeout"),
    row("a client that does not read", WRITE, GET, Floods, Nothing, "write_timeout"),
    row("a refused body that does not come", DISCARD, "POST /api/v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Silent, EndBehind(401), "body_abandoned"),
    row("a withheld body that nobody asks for", CONTINUE, "POST /api/v1/open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", Silent, Answer(100), "client_reset"),
];

/// What was seen, and when.
#[derive(Default)]
struct Seen {
    bytes: RefCell<Vec<u8>>,
    /// Nanoseconds from the last thing that happened until the limit's end showed.
    took_ns: Cell<Option<u64>>,
}

async fn serve(service: Service, peer: Peer) {
    let mut told = false;
    while let Found::Bytes(_) = peer.read().await {
        match service {
            Service::Says(text) if !told => {
                peer.write(text.as_bytes()).await;
            }
            Service::Floods => {
                peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                    .await;
                while peer.write(&[b'x'; 60_000]).await {}
            }
            Service::Says(_) | Service::Silent | Service::Unreachable => {}
        }
        told = true;
    }
}

/// Sends, and watches what comes and when.
async fn look(row: &Row, peer: Peer, stage: &Stage, seen: &Seen) {
    peer.write(row.sends.as_bytes()).await;
    // The last moment at which anything happened before this one: an answer may be read in pieces.
    let (mut since, mut latest) = (world().now_ns(), world().now_ns());
    let took = |since: u64| {
        let took = world().now_ns() - since;
        seen.took_ns.set(seen.took_ns.get().or(Some(took)));
    };
    if row.sees == Sees::Nothing {
        sleep_ms(1).await;
        while stage.worker.connections() > 0 {
            sleep_ms(1).await;
        }
        return took(since);
    }
    let mut patience = since + 200_000_000_000;
    while let Some(Found::Bytes(bytes)) = peer.read_until(patience).await {
        if world().now_ns() > latest {
            (since, latest) = (latest, world().now_ns());
        }
        let mut all = seen.bytes.borrow_mut();
        all.extend(bytes);
        if let Sees::Answer(expected) = row.sees
            && status(&all) == Some(expected)
        {
            took(since);
        }
        // What is left of the answer comes at once; its reader then leaves in peace.
        if seen.took_ns.get().is_some() {
            patience = world().now_ns() + 1_000_000;
        }
    }
    took(latest);
}

/// The last answer's status in what came.
fn status(bytes: &[u8]) -> Option<u16> {
    let mut rest = bytes;
    let mut status = None;
    while let Some(at) = rest.windows(7).position(|seven| seven == b"HTTP/1.") {
        let head = Head::read(&rest[at..]).ok()??;
        status = head.status().ok();
        rest = &rest[at + 7..];
    }
    status
}

fn check(row: &'static Row) {
    let world = World::begin(1);
    let (name, seconds) = row.limit;
    let defaults = [
        HANDSHAKE,
        HEAD,
        IDLE,
        BODY,
        CONNECT,
        RESPONSE,
        ANALYZER,
        READ,
        WRITE,
        STREAM_IDLE,
        TUNNEL_IDLE,
    ];
    let settings = defaults.map(|(name, seconds)| (name, seconds.to_string()));
    let mut settings = settings.to_vec();
    settings.push(("PUBLIC_PATHS", "/api/v1/open/*,/analyzer/open/*".to_owned()));
    let stage = Rc::new(Stage::new(&configured(&settings), 100));
    if row.limit == HANDSHAKE {
        world.handshake_bytes.set(8);
    }
    world.listen(Rc::new(|_: SocketAddr| {
        if let Service::Unreachable = row.service {
            return Connecting::Never;
        }
        let (ours, theirs) = link((4_096, 4_096), 0);
        super::world::world().spawn("a service", serve(row.service, Peer(ours)));
        Connecting::Open(0, theirs)
    }));
    let (keeping, seen) = (stage.worker.clone(), Rc::new(Seen::default()));
    world.spawn("the worker's clock", async move {
        keeping.keep_time(|| ()).await
    });
    let (ending, looking) = (Rc::clone(&stage), Rc::clone(&seen));
    world.spawn("the client", async move {
        // Between two ticks, where a limit that is counted from a tick would show.
        sleep_ms(107).await;
        let (theirs, ours) = link((4_096, 4_096), 0);
        let (reader, writer) = adopt(ours);
        let worker = ending.worker.clone();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        super::world::world().spawn("a connection", async move {
            worker.connection(reader, writer, address).await;
        });
        sleep_ms(0).await;
        look(row, Peer(theirs), &ending, &looking).await;
        while ending.worker.connections() > 0 {
            sleep_ms(1).await;
        }
        ending.state.mark_draining();
    });
    let ended = world.run();
    world.end();
    assert_eq!(ended, Ok(()), "{}", row.situation);
    let took_ms = seen.took_ns.get().map(|ns| ns / 1_000_000);
    let limit_ms = seconds * 1_000;
    assert!(
        took_ms.is_some_and(|ms| (limit_ms..=limit_ms + LATE_MS_MAX).contains(&ms)),
        "{}: {took_ms:?} ms at {name} {limit_ms}",
        row.situation
    );
    let expected = match row.sees {
        Sees::Answer(status) | Sees::EndBehind(status) => Some(status),
        Sees::End | Sees::Nothing => None,
    };
    let bytes = seen.bytes.borrow();
    assert_eq!(
        status(&bytes),
        expected,
        "{}: {}",
        row.situation,
        bytes.escape_ascii()
    );
    let closed = format!(
        "dbpower_connections_closed_total{{reason=\"{}\"}}",
        row.reason
    );
    assert_eq!(
        stage.number(&closed),
        1,
        "{}: {}",
        row.situation,
        row.reason
    );
}

#[test]
fn each_limit_ends_what_it_is_for_and_not_before() {
    for row in ROWS {
        check(row);
    }
}
