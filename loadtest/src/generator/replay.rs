//! Sends arrivals that were drawn beforehand, each to its node and with its key's token, whatever the answers do (open loop), and keeps
//! of each when it was sent, when its answer was read, and what that said. Invariant: `sent` is read before a request's first byte is
//! written and `answered` after its answer's last byte, so what the server did lies between them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use dbpower_gateway::net::clock::now_ns;

use super::connection::{Connection, Progress};
use super::ready::Ready;
use super::{Load, Requests};
use crate::accuracy::{Arrival, Seen, Verdict};

/// Connections to each node: enough for all that may wait for the store at once.
const CONNECTIONS: usize = 48;
/// How long answers are waited for after the last arrival.
const GRACE_NS: u64 = 2_000_000_000;
const WAIT_NS_MAX: u64 = 50_000_000;
const READ_BYTES: usize = 64 * 1024;

/// A request under way on a connection.
#[derive(Debug, Clone, Copy)]
struct Current {
    arrival: Arrival,
    sent: u64,
}

struct Replay<'a> {
    requests: &'a Requests,
    addresses: &'a [SocketAddr],
    ready: Ready,
    /// Those of the first node, then those of the second, and so on.
    connections: Vec<Connection>,
    current: Vec<Option<Current>>,
    free: Vec<VecDeque<usize>>,
    /// Due, and no connection is free.
    late: Vec<VecDeque<Arrival>>,
    start: u64,
    seen: Vec<Seen>,
    buffer: Vec<u8>,
}

/// The requests of `keys` organizations, the first one being `first_key`.
pub(crate) fn requests_of(keys: u32, first_key: u64) -> io::Result<Requests> {
    Requests::new(&Load {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        rate: None,
        connections: 0,
        keep_alive: true,
        warm_seconds: 0.0,
        seconds: 0.0,
        target: "/api/v1/bytes/64".into(),
        upload_bytes: 0,
        keys: u64::from(keys),
        first_key,
        users: 0,
        addresses: 0,
        fill: false,
        secure: None,
    })
}

/// Sends `arrivals` to `addresses` from `start` (ns on the clock) on.
pub(crate) fn replay(
    arrivals: &[Arrival],
    addresses: &[SocketAddr],
    requests: &Requests,
    start: u64,
) -> io::Result<Vec<Seen>> {
    let count = addresses.len() * CONNECTIONS;
    let of_node = |node: usize| (node * CONNECTIONS..(node + 1) * CONNECTIONS).collect();
    let mut replay = Replay {
        requests,
        addresses,
        ready: Ready::new()?,
        connections: (0..count).map(|_| Connection::default()).collect(),
        current: vec![None; count],
        free: (0..addresses.len()).map(of_node).collect(),
        late: vec![VecDeque::new(); addresses.len()],
        start,
        seen: Vec::with_capacity(arrivals.len()),
        buffer: vec![0; READ_BYTES],
    };
    replay.run(arrivals)?;
    Ok(replay.seen)
}

impl Replay<'_> {
    fn run(&mut self, arrivals: &[Arrival]) -> io::Result<()> {
        let end = self.start + arrivals.last().map_or(0, |last| last.at) + GRACE_NS;
        let mut coming = arrivals.iter().copied().peekable();
        while self.seen.len() < arrivals.len() {
            let now = now_ns();
            if now > end {
                break;
            }
            while let Some(arrival) = coming.next_if(|next| self.start + next.at <= now) {
                self.late[arrival.node].push_back(arrival);
            }
            self.send_late()?;
            let due = coming.peek().map(|next| self.start + next.at);
            let pause = due.map_or(WAIT_NS_MAX, |due| due.saturating_sub(now_ns()));
            self.look(pause.min(WAIT_NS_MAX))?;
        }
        self.give_up();
        Ok(())
    }

    fn send_late(&mut self) -> io::Result<()> {
        for node in 0..self.addresses.len() {
            while let Some(&index) = self.free[node].front()
                && let Some(arrival) = self.late[node].pop_front()
            {
                self.free[node].pop_front();
                self.send(index, arrival)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, index: usize, arrival: Arrival) -> io::Result<()> {
        let sent = now_ns() - self.start;
        self.current[index] = Some(Current { arrival, sent });
        let (due, turn) = (self.start + arrival.at, u64::from(arrival.key));
        let address = self.addresses[arrival.node];
        match self.connections[index].start((due, turn), self.requests, address, None) {
            Ok(Some(socket)) => {
                self.ready.watch(socket, index)?;
            }
            Ok(None) => self.proceed(index),
            Err(_) => {
                self.connections[index].close();
                self.connections[index].sent = None;
                self.note(index, Verdict::Failed);
            }
        }
        Ok(())
    }

    fn look(&mut self, pause: u64) -> io::Result<()> {
        for index in self.ready.wait(pause)? {
            self.proceed(index);
        }
        Ok(())
    }

    fn proceed(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let verdict = match connection.proceed(self.requests, &mut self.buffer) {
            Progress::Waiting | Progress::Gone => return,
            Progress::Answered(_, answer) => match answer.status {
                200 => Verdict::Admitted,
                429 => Verdict::Refused,
                _ => Verdict::Failed,
            },
            Progress::Failed(..) => Verdict::Failed,
        };
        self.note(index, verdict);
    }

    fn note(&mut self, index: usize, verdict: Verdict) {
        if let Some(Current { arrival, sent }) = self.current[index].take() {
            let answered = now_ns() - self.start;
            self.seen.push(Seen {
                arrival,
                sent,
                answered,
                verdict,
            });
            self.free[arrival.node].push_back(index);
        }
    }

    /// What is not answered, or not even sent, has failed.
    fn give_up(&mut self) {
        for index in 0..self.connections.len() {
            self.connections[index].close();
            self.connections[index].sent = None;
            self.note(index, Verdict::Failed);
        }
        let now = now_ns() - self.start;
        let late = self.late.iter_mut().flat_map(std::mem::take);
        self.seen.extend(late.map(|arrival| Seen {
            arrival,
            sent: now,
            answered: now,
            verdict: Verdict::Failed,
        }));
    }
}
