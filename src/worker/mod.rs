//! The hot wing: one thread per core, each with its listener, its connections, its pool and its slices of the limits. Not the
//! rules (they are pure rooms) and nothing that blocks. Invariant: a worker shares nothing with another but the tables of `lib`.

mod admit;
mod answer;
mod ask;
mod connection;
mod decide;
mod download;
mod draft;
mod endpoints;
mod failure;
mod forward;
mod handshake;
mod heads;
mod lane;
mod lease;
mod lot;
mod preamble;
mod progress;
mod proxy_hint;
mod references;
mod relay;
mod shard;
#[cfg(test)]
pub(crate) mod simulated;
mod source;
mod tls_handshake;
mod tunnel;
mod tunnels;
mod upload;
mod upstream;

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;

use connection::{Client, Served, serve};
use lot::Taken;
use shard::{Shard, TICK_MS};

pub use admit::{Admitted, Asking, Checks, Heard, Refused, Ticket, admit};
pub use heads::write_request;
pub use shard::Setup;
pub use source::Source;

use crate::metrics::{self, CloseReason};
use crate::net::{
    Accept, Bell, Buf, Driver, Edge, Incoming, PARK_AFTER_MS, Reader, Stream, Sweeping, Tcp,
    Writer, catch_panic, out_of_descriptors, run, sleep_ms, spawn,
};
use crate::reject::Reject;
use crate::throttle::SharedThrottle;

/// Shortest and longest pause of the accept loop when descriptors have run out.
const BACK_OFF_MS: std::ops::RangeInclusive<u64> = 1..=100;

/// Least time between two lines of one kind, over all workers.
const TOLD_MS: u64 = 1_000;

/// Lines about connections that could not be accepted, and about caught panics.
static ACCEPT_TOLD: SharedThrottle = SharedThrottle::new(TOLD_MS);
static PANIC_TOLD: SharedThrottle = SharedThrottle::new(TOLD_MS);

/// How long a draining worker still accepts: connections that the kernel queued would otherwise be reset.
const DRAIN_ACCEPT_MS: u64 = 100;

/// Connections beyond the bound that are told so at the same time; more are closed without a word.
const TURNED_AWAY_MAX: usize = 64;

/// Told to a client that comes while the gateway drains.
const DRAINING: &str = "The gateway is shutting down";

/// Told to a client that finds no room; complete, because it is written before anything is read.
const OVERLOADED: &str = "The gateway has too many connections";

/// Told to a client when no descriptor is left and none comes free.
const EXHAUSTED: &str = "The gateway has no file descriptor left";

/// Told to a client whose address has no room left.
const ADDRESS_FULL: &str = "Too many connections from your address (MAX_CONNECTIONS_PER_IP)";

/// Runs a worker on this thread until the gateway drains and its connections have ended.
///
/// # Errors
/// The runtime or the listener could not be set up.
pub fn work(
    driver: Driver,
    listener: TcpListener,
    edge: Option<Edge>,
    setup: Setup,
) -> std::io::Result<()> {
    run(driver, || async move {
        let incoming = Incoming::new(driver, listener, edge)?;
        let shard = Rc::new(Shard::<Tcp>::new(setup)?);
        spawn(accept_loop(Rc::clone(&incoming), Rc::clone(&shard)));
        spawn(wake_loop(Rc::clone(&shard)));
        // Dropped, too: a socket that still listened would let clients wait in its queue for as long as the drain takes.
        keep_time(&shard, move || incoming.stop()).await;
        Ok(())
    })?
}

/// The worker's clock: sweeps, settles, refreshes; ends when draining is complete. `stop` ends the accepting.
async fn keep_time<S: Stream>(shard: &Rc<Shard<S>>, stop: impl FnOnce()) {
    let mut stop = Some(stop);
    while !shard.is_draining() {
        S::sleep_ms(TICK_MS).await;
        shard.tick();
        // Idling is counted from a tick that was up to one tick old: a limit is never shorter than it says.
        let idle_ms = shard.snapshot().rules.times.idle + TICK_MS;
        while let Some(taken) = shard.lot.take_expired(shard.deadlines.now_ms(), idle_ms) {
            go_on(taken, shard);
        }
    }
    let mut drained_ms = 0;
    while drained_ms < DRAIN_ACCEPT_MS || shard.connections.get() > 0 {
        shard.sweep.end_idle();
        shard.tunnels.drain();
        let now_ms = shard.deadlines.now_ms();
        while let Some(taken) = shard.lot.take_oldest(CloseReason::Draining, now_ms) {
            go_on(taken, shard);
        }
        shard.upstreams.close();
        S::sleep_ms(TICK_MS).await;
        shard.tick();
        drained_ms += TICK_MS;
        if drained_ms >= DRAIN_ACCEPT_MS
            && let Some(stop) = stop.take()
        {
            stop();
        }
    }
    // What the last requests gave back since.
    shard.upstreams.close();
    shard.finish();
}

/// Accepts until stopped. A failing accept backs off instead of spinning, and gives up idle connections to get descriptors.
async fn accept_loop(incoming: Rc<Incoming>, shard: Rc<Shard<Tcp>>) {
    let mut pause = *BACK_OFF_MS.start();
    loop {
        match incoming.accept().await {
            Accept::Connection(reader, writer, peer) => {
                pause = *BACK_OFF_MS.start();
                // Over TLS nothing is read into it before the handshake is done.
                let inbox = if incoming.is_tls() {
                    Buf::default()
                } else {
                    shard.buffers.small()
                };
                let client = Client {
                    reader,
                    writer,
                    inbox,
                    peer: plain_address(peer),
                    is_slow: false,
                };
                spawn(connection(client, Rc::clone(&shard)));
            }
            Accept::Stopped => return,
            Accept::Failed(error) => {
                let freed = shard.upstreams.give_up_oldest() || shard.evict_oldest_idle();
                let now_ms = shard.deadlines.now_ms();
                // One line a second: a flood of clients must not become a flood of lines.
                if let Some(left_out) = ACCEPT_TOLD.pass(now_ms) {
                    let left_out = (left_out > 0).then_some(left_out);
                    tracing::warn!(%error, freed, left_out, "a connection could not be accepted");
                }
                // It has lasted: whoever still waits in the kernel's queue is told.
                if pause == *BACK_OFF_MS.end() && out_of_descriptors(&error) {
                    tell_queue(&incoming, &shard);
                }
                sleep_ms(pause).await;
                pause = if freed {
                    *BACK_OFF_MS.start()
                } else {
                    (pause * 2).min(*BACK_OFF_MS.end())
                };
            }
        }
    }
}

/// Turns connections away that cannot even be let in.
fn tell_queue(incoming: &Incoming, shard: &Shard<Tcp>) {
    for _ in 0..TURNED_AWAY_MAX {
        let mut answer = shard.buffers.small();
        answer::write_unasked(Reject::unavailable(EXHAUSTED), shard, answer.out());
        let peer = incoming.turn_away(answer.filled());
        shard.buffers.put(answer);
        let Some(peer) = peer.map(plain_address) else {
            return;
        };
        shard.opened();
        shard.setup.presence.address_arrived(peer);
        shard.closed(CloseReason::Overload, peer);
    }
}

/// Wakes parked connections as soon as they have something to say.
async fn wake_loop<S: Stream>(shard: Rc<Shard<S>>) {
    let mut rung = Vec::new();
    loop {
        shard.lot.bell.rung(&mut rung).await;
        for (slot, signal) in rung.drain(..) {
            let now_ms = shard.deadlines.now_ms();
            if let Some(taken) = shard.lot.take_rung(slot, signal, now_ms) {
                go_on(taken, &shard);
            }
        }
    }
}

/// What was parked lives on in a task of its own, or has ended.
fn go_on<S: Stream>(taken: Taken<S>, shard: &Rc<Shard<S>>) {
    match taken {
        Taken::Ended(reason, peer) => shard.closed(reason, peer),
        Taken::Awake(parked, peer, is_slow) => match S::wake(parked) {
            Ok((reader, writer)) => {
                let inbox = shard.buffers.small();
                let client = Client {
                    reader,
                    writer,
                    inbox,
                    peer,
                    is_slow,
                };
                let shard = Rc::clone(shard);
                S::spawn(async move { live(client, &shard).await });
            }
            Err(_) => shard.closed(CloseReason::Failed, peer),
        },
    }
}

/// A newcomer's first steps: it is let in, or told why not.
async fn connection<S: Stream>(client: Client<S>, shard: Rc<Shard<S>>) {
    let over = shard.opened();
    let client = if over <= TURNED_AWAY_MAX && !shard.is_draining() {
        match introduced(client, &shard).await {
            Ok(client) => client,
            Err(reason) => return shard.closed_unknown(reason),
        }
    } else {
        client
    };
    let peer = client.peer;
    // Proxies of ours speak for many clients: counted like anybody, refused never.
    let fits =
        shard.setup.presence.address_arrived(peer) || shard.snapshot().rules.trust.covers(peer);
    if shard.is_draining() {
        refuse_newcomer(client, &shard).await;
        shard.closed(CloseReason::Draining, peer);
    } else if !fits {
        if over <= TURNED_AWAY_MAX {
            turn_away(client, ADDRESS_FULL, &shard).await;
        }
        shard.closed(CloseReason::AddressFull, peer);
    } else if over == 0 || shard.evict_oldest_idle() {
        if let Some(client) = tls_handshake::shake(client, &shard).await {
            live(client, &shard).await;
        }
    } else {
        shard.setup.presence.want_room();
        // Each of them holds a descriptor while it is told, and a flood would take those that the others need.
        if over <= TURNED_AWAY_MAX {
            turn_away(client, OVERLOADED, &shard).await;
        }
        shard.closed(CloseReason::Overload, peer);
    }
}

/// With `PROXY_PROTOCOL` a connection says first whose it is.
async fn introduced<S: Stream>(
    client: Client<S>,
    shard: &Shard<S>,
) -> Result<Client<S>, CloseReason> {
    if !shard.snapshot().rules.config.proxy_protocol {
        return Ok(client);
    }
    let introduced = catch_panic(preamble::introduce(client, shard)).await;
    introduced.unwrap_or_else(|| Err(panicked(shard, &Cell::new(false))))
}

/// Serves a connection until it ends, which is counted, or is parked. A panic ends it and nothing else.
async fn live<S: Stream>(mut client: Client<S>, shard: &Shard<S>) {
    let peer = client.peer;
    let asked = Cell::new(false);
    loop {
        let reason = match catch_panic(serve(client, shard, &asked)).await {
            // One that cannot be parked is served on: it costs memory and nothing else.
            Some(Served::Idle(idle)) => match park(idle, shard) {
                Ok(Some(back)) => {
                    client = back;
                    continue;
                }
                Ok(None) => return,
                Err(_) => CloseReason::Failed,
            },
            Some(Served::Switched(client, tunnel)) => {
                let ended = catch_panic(tunnel::tunnel(client, tunnel, shard)).await;
                ended.unwrap_or_else(|| panicked(shard, &asked))
            }
            Some(Served::Ended(reason)) => reason,
            None => panicked(shard, &asked),
        };
        return shard.closed(reason, peer);
    }
}

/// A request that was under way has ended without an answer.
fn panicked<S: Stream>(shard: &Shard<S>, asked: &Cell<bool>) -> CloseReason {
    shard.count(metrics::Core::panicked);
    if asked.get() {
        shard.count(metrics::Core::request_abandoned);
    }
    if let Some(left_out) = PANIC_TOLD.pass(shard.deadlines.now_ms()) {
        let left_out = (left_out > 0).then_some(left_out);
        tracing::error!(
            left_out,
            "a panic was caught around one connection; please report it"
        );
    }
    CloseReason::Panic
}

/// Everything that an idle connection can do without is given back: its task, its buffer, its place in the sweep.
fn park<S: Stream>(client: Client<S>, shard: &Shard<S>) -> std::io::Result<Option<Client<S>>> {
    let Client {
        reader,
        writer,
        inbox,
        peer,
        is_slow,
    } = client;
    shard.buffers.put(inbox);
    let parked = S::park(reader, writer)?;
    let idle_ms = if is_slow { 0 } else { PARK_AFTER_MS };
    let idle_since_ms = shard.deadlines.now_ms().saturating_sub(idle_ms);
    let Some(parked) = shard.lot.park(parked, peer, idle_since_ms) else {
        return Ok(None);
    };
    let (reader, writer) = S::wake(parked)?;
    Ok(Some(Client {
        reader,
        writer,
        inbox: shard.buffers.small(),
        peer,
        is_slow: false,
    }))
}

/// Whoever has asked already, or does so before the next sweep of idle connections, is told why not.
async fn refuse_newcomer<S: Stream>(mut client: Client<S>, shard: &Shard<S>) {
    let inbox = std::mem::take(&mut client.inbox);
    client.reader.idle(true);
    let read;
    (read, client.inbox) = client.reader.read(inbox, shard.deadlines.after(0)).await;
    client.reader.idle(false);
    client.inbox.clear();
    if matches!(read, Ok(count) if count > 0) {
        turn_away(client, DRAINING, shard).await;
    }
}

/// A 503 as any other answer has it, but without a request: nothing was read.
async fn turn_away<S: Stream>(mut client: Client<S>, why: &'static str, shard: &Shard<S>) {
    let mut out = std::mem::take(&mut client.inbox);
    out.clear();
    answer::write_unasked(Reject::unavailable(why), shard, out.out());
    let count = out.len();
    let deadline = shard.deadlines.after(1_000);
    let (_, out) = client.writer.write(out, count, deadline).await;
    client.inbox = out;
    client.linger(CloseReason::Overload, shard).await;
    shard.buffers.put(client.inbox);
}

/// An IPv4 client on an IPv6 socket is an IPv4 client.
fn plain_address(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}
