//! The generator's loop: hands due requests to free connections and waits on epoll, to the nanosecond of the next due one. Invariant:
//! a connection is free, busy, or resting after a fault, never two of these.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use dbpower_gateway::net::clock::now_ns;
use rustls::ClientConfig;

use super::connection::{Connection, Progress};
use super::ready::Ready;
use super::record::{Failure, Record};
use super::requests::Requests;
use super::schedule::Schedule;
use super::transport::client;
use super::{FILL_SECONDS, FILL_STEPS_MAX, Load};

/// How long answers are waited for after the last request was due. What is slower is counted as unanswered.
const GRACE_NS: u64 = 2_000_000_000;
/// A connection that failed is tried again after this, so that a server that refuses is not flooded.
const REST_NS: u64 = 10_000_000;
const WAIT_NS_MAX: u64 = 100_000_000;
const READ_BYTES: usize = 256 * 1024;

pub(crate) struct Drive<'a> {
    load: &'a Load,
    requests: &'a Requests,
    ready: Ready,
    connections: Vec<Connection>,
    /// First in, first out, so that all of them are used.
    free: VecDeque<usize>,
    resting: VecDeque<(u64, usize)>,
    turn: u64,
    /// One for each connection, so that it finds the tickets of its own handshakes: rustls keeps eight for one server, which a
    /// crowd that connects at once would use up. Empty without TLS.
    clients: Vec<Arc<ClientConfig>>,
    buffer: Vec<u8>,
}

impl<'a> Drive<'a> {
    pub(crate) fn new(load: &'a Load, requests: &'a Requests) -> io::Result<Self> {
        Ok(Self {
            load,
            requests,
            ready: Ready::new()?,
            connections: (0..load.connections)
                .map(|_| Connection::default())
                .collect(),
            free: (0..load.connections).collect(),
            resting: VecDeque::new(),
            turn: 0,
            clients: clients(load)?,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Visits all addresses once, as fast as that goes; or takes it that they have been.
    pub(crate) fn fill(&mut self) -> io::Result<()> {
        if !self.load.fill {
            // Another run's part of the random ones.
            self.turn = self.load.addresses + self.load.first_key;
            return Ok(());
        }
        for _ in 0..FILL_STEPS_MAX {
            if self.turn >= self.load.addresses {
                return Ok(());
            }
            self.paced(FILL_SECONDS, None)?;
        }
        Err(io::Error::other("the addresses could not all be visited"))
    }

    /// Sends for `seconds` and waits for the answers.
    pub(crate) fn phase(&mut self, seconds: f64) -> io::Result<Record> {
        self.paced(seconds, self.load.rate)
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a phase is seconds to minutes"
    )]
    fn paced(&mut self, seconds: f64, rate: Option<u32>) -> io::Result<Record> {
        let nanos = (seconds * 1e9) as u64;
        let start = now_ns();
        let mut schedule = Schedule::new(start, nanos, rate);
        let mut record = Record::new(start, schedule.end())?;
        loop {
            let now = now_ns();
            self.rested(now);
            self.start_due(&mut schedule, &mut record, now)?;
            let busy = self.connections.len() > self.free.len() + self.resting.len();
            let over = schedule.next_due(now).is_none() && !busy;
            if over || now > schedule.end() + GRACE_NS {
                break;
            }
            self.look(self.pause(&schedule, now), &mut record)?;
        }
        self.give_up(&mut schedule, &mut record, rate);
        Ok(record)
    }

    fn rested(&mut self, now: u64) {
        while let Some(&(until, index)) = self.resting.front()
            && until <= now
        {
            self.resting.pop_front();
            self.free.push_back(index);
        }
    }

    fn start_due(
        &mut self,
        schedule: &mut Schedule,
        record: &mut Record,
        now: u64,
    ) -> io::Result<()> {
        while let Some(&index) = self.free.front()
            && let Some(due) = schedule.take(now)
        {
            self.free.pop_front();
            self.turn += 1;
            let Some(connection) = self.connections.get_mut(index) else {
                continue;
            };
            let (to, client) = (self.load.address, self.clients.get(index));
            match connection.start((due, self.turn), self.requests, to, client) {
                Ok(Some(socket)) => {
                    self.ready.watch(socket, index)?;
                }
                Ok(None) => self.proceed(index, record),
                Err(_) => {
                    connection.close();
                    connection.sent = None;
                    record.failed(Failure::Connect, due, now_ns());
                    self.resting.push_back((now + REST_NS, index));
                }
            }
        }
        Ok(())
    }

    /// How long nothing can be due.
    fn pause(&self, schedule: &Schedule, now: u64) -> u64 {
        let due = schedule.next_due(now).filter(|_| !self.free.is_empty());
        let rested = self.resting.front().map(|(until, _)| *until);
        let next = due.into_iter().chain(rested).min();
        let pause = next.map_or(WAIT_NS_MAX, |at| at.saturating_sub(now));
        pause.min(WAIT_NS_MAX)
    }

    /// Waits for events and lets their connections go on.
    fn look(&mut self, pause: u64, record: &mut Record) -> io::Result<()> {
        for index in self.ready.wait(pause)? {
            self.proceed(index, record);
        }
        Ok(())
    }

    fn proceed(&mut self, index: usize, record: &mut Record) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        let progress = connection.proceed(self.requests, &mut self.buffer);
        record.received(std::mem::take(&mut connection.received));
        if let Some(resumed) = connection.resumed.take() {
            record.handshake(resumed);
        }
        match progress {
            Progress::Waiting | Progress::Gone => {}
            Progress::Answered(sent, answer) => {
                if !self.load.keep_alive {
                    connection.close();
                }
                if (200..300).contains(&answer.status) {
                    record.completed(sent.due, now_ns());
                } else {
                    record.refused(answer.status, sent.due, now_ns());
                }
                self.free.push_back(index);
            }
            Progress::Failed(sent, failure) => {
                let now = now_ns();
                record.failed(failure, sent.due, now);
                self.resting.push_back((now + REST_NS, index));
            }
        }
    }

    /// What is still under way, or waits for a connection, has taken this long at least.
    fn give_up(&mut self, schedule: &mut Schedule, record: &mut Record, rate: Option<u32>) {
        let now = now_ns();
        for (index, connection) in self.connections.iter_mut().enumerate() {
            if let Some(sent) = connection.sent.take() {
                connection.close();
                record.failed(Failure::Unanswered, sent.due, now);
                self.free.push_back(index);
            }
        }
        if rate.is_some() {
            while let Some(due) = schedule.take(now) {
                record.failed(Failure::Unanswered, due, now);
            }
        }
    }
}

fn clients(load: &Load) -> io::Result<Vec<Arc<ClientConfig>>> {
    let Some(secure) = &load.secure else {
        return Ok(Vec::new());
    };
    (0..load.connections).map(|_| client(secure)).collect()
}
