//! What a run's peers will do, decided before it: each request, what its service answers, how its client behaves. Not the doing.
//! Invariant: a plan alone says what its client may see, so that both sides are judged by it and not by each other.

use super::dice::Dice;
use super::message::{chunked, content};
use crate::testing::conformance::{Outcome, RESPONSES, ResponseRow, Verdict, requests};

/// `MAX_BODY_BYTES` of a run.
pub(super) const BODY_BYTES_MAX: usize = 200_000;

/// What kind of request it is, thus who answers.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "a row's name is for the report of a failure")]
pub(super) enum Kind {
    /// A service answers.
    Forward,
    /// The same, without a token on a public path.
    Public,
    /// The control thread answers.
    Own,
    /// The gateway refuses it with this status.
    Refused(u16),
    /// Bytes of a conformance row, refused with this status.
    Row(&'static str, Vec<u8>, u16),
    /// A head that passes, and chunks that do not.
    Torn(&'static str, Vec<u8>),
}

/// How a service's answer ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending {
    Whole,
    /// Something more, in the same breath.
    Garbage,
    /// Whole, and then the connection ends without a word.
    Close,
    /// The body breaks off: a reset, or an ordinary end where a frame shows it.
    HalfBody,
    HalfHead,
    /// The connection ends instead of an answer.
    Silent,
    Never,
    /// A row of the conformance table that is no answer.
    Malformed(&'static ResponseRow),
}

/// What a client must see when nothing else goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// The service's answer, whole.
    Whole,
    /// The service's answer, visibly broken.
    Broken,
    /// An answer of the gateway's.
    Status(u16),
    /// This answer, or a break.
    StatusOrBreak(u16),
}

/// One request and its answer.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) method: &'static str,
    pub(super) minor: u8,
    pub(super) analyzer: bool,
    pub(super) upload: usize,
    pub(super) upload_chunked: bool,
    /// `Expect: 100-continue`: the body is withheld until something comes.
    pub(super) expects: bool,
    pub(super) close: bool,
    pub(super) status: u16,
    pub(super) length: usize,
    pub(super) answer_chunked: bool,
    pub(super) until_close: bool,
    pub(super) interims: Vec<u16>,
    /// The answer does not wait for the request's body.
    pub(super) early: bool,
    pub(super) answer_closes: bool,
    pub(super) ending: Ending,
    pub(super) pause_ms: u64,
}

fn size(dice: &mut Dice) -> usize {
    match dice.below(10) {
        0..=1 => 0,
        2..=6 => dice.size(600),
        7..=8 => dice.size(20_000),
        _ => dice.size(150_000),
    }
}

fn kind(dice: &mut Dice) -> Kind {
    match dice.below(100) {
        0..=63 => Kind::Forward,
        64..=73 => Kind::Public,
        74..=77 => Kind::Own,
        78..=81 => Kind::Refused(401),
        82..=84 => Kind::Refused(404),
        85..=87 => Kind::Refused(413),
        88..=95 => refused_row(dice),
        _ => torn_row(dice),
    }
}

/// A row whose last byte makes it wrong: a longer one could be refused before it is sent whole, which is another story.
fn refused_row(dice: &mut Dice) -> Kind {
    let rows: Vec<_> = requests()
        .filter_map(|row| match row.verdict {
            Verdict::Refuse(status) => Some((row, status)),
            Verdict::Accept(_) | Verdict::Break(_) => None,
        })
        .collect();
    let (row, status) = dice.pick(&rows);
    Kind::Row(row.name, row.bytes.bytes(), status)
}

fn torn_row(dice: &mut Dice) -> Kind {
    let rows: Vec<_> = requests()
        .filter(|row| matches!(row.verdict, Verdict::Break(_)))
        .collect();
    let row = dice.pick(&rows);
    let bytes = row.bytes.bytes();
    let body = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    Kind::Torn(row.name, bytes[body.map_or(0, |at| at + 4)..].to_vec())
}

fn ending(dice: &mut Dice, stale: bool) -> Ending {
    match dice.below(100) {
        0..=4 => Ending::Garbage,
        5..=9 => Ending::HalfBody,
        10..=11 => Ending::HalfHead,
        12..=13 => Ending::Silent,
        14..=16 => Ending::Never,
        17..=19 => {
            let bad = |row: &&ResponseRow| row.outcome == Outcome::BadGateway && !row.to_head;
            let rows: Vec<_> = RESPONSES.iter().filter(bad).collect();
            Ending::Malformed(dice.pick(&rows))
        }
        20..=26 if stale => Ending::Close,
        _ => Ending::Whole,
    }
}

impl Plan {
    pub(super) fn new(id: u64, stale: bool, dice: &mut Dice) -> Self {
        let mut plan = Self {
            id,
            kind: kind(dice),
            method: dice.pick(&["GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE"]),
            minor: u8::from(!dice.percent(12)),
            analyzer: dice.percent(20),
            upload: 0,
            upload_chunked: dice.percent(50),
            expects: dice.percent(10),
            close: dice.percent(8),
            status: dice.pick(&[200, 200, 200, 200, 201, 404, 500, 204, 304]),
            length: size(dice),
            answer_chunked: dice.percent(40),
            until_close: dice.percent(10),
            interims: Vec::new(),
            early: dice.percent(10),
            answer_closes: dice.percent(10),
            ending: ending(dice, stale),
            pause_ms: dice.pick(&[0, 0, 0, 5, 60, 250]),
        };
        if matches!(plan.method, "POST" | "PUT") || dice.percent(10) {
            plan.upload = size(dice);
        }
        if dice.percent(15) {
            let count = 1 + dice.size(3);
            plan.interims = (0..count).map(|_| dice.pick(&[100, 102, 103])).collect();
        }
        plan.settled()
    }

    /// Takes out what cannot be together.
    fn settled(mut self) -> Self {
        match &self.kind {
            Kind::Torn(..) => {
                (self.method, self.minor, self.ending) = ("POST", 1, Ending::Whole);
                (self.upload, self.upload_chunked) = (1, true);
                (self.early, self.expects) = (false, false);
            }
            Kind::Refused(413) => {
                (self.method, self.upload_chunked) = ("POST", false);
                self.upload = BODY_BYTES_MAX + 1;
            }
            Kind::Own => (self.method, self.upload) = ("GET", 0),
            Kind::Row(..) => (self.method, self.minor, self.upload) = ("GET", 1, 0),
            Kind::Forward | Kind::Public | Kind::Refused(_) => {}
        }
        self.close |= self.minor == 0;
        self.upload_chunked &= self.minor == 1 && self.upload > 0;
        self.expects &= self.minor == 1 && self.upload > 0;
        self.early &= self.upload > 0 && !matches!(self.ending, Ending::Never);
        self.until_close &= !self.is_bare();
        if self.is_bare() {
            self.length = 0;
        }
        if matches!(self.ending, Ending::HalfBody) && self.length < 2 {
            self.ending = Ending::Whole;
        }
        if self.until_close {
            self.answer_chunked = false;
            self.answer_closes = true;
            if matches!(self.ending, Ending::Garbage | Ending::Close) {
                self.ending = Ending::Whole;
            }
        }
        if self.method == "HEAD" && matches!(self.ending, Ending::Malformed(_)) {
            self.ending = Ending::Silent;
        }
        self
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Its answer has no body, whatever it says.
    pub(super) fn is_bare(&self) -> bool {
        self.is_head() || matches!(self.status, 204 | 304)
    }

    pub(super) fn is_forwarded(&self) -> bool {
        matches!(self.kind, Kind::Forward | Kind::Public | Kind::Torn(..))
    }

    pub(super) fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }

    pub(super) fn upload(&self) -> Vec<u8> {
        content(self.id, 1, self.upload)
    }

    pub(super) fn answer(&self) -> Vec<u8> {
        content(self.id, 2, self.length)
    }

    /// What the client must see.
    pub(super) fn expected(&self) -> Expected {
        match (&self.kind, self.ending) {
            (Kind::Own, _) => Expected::Status(200),
            (Kind::Refused(status) | Kind::Row(_, _, status), _) => Expected::Status(*status),
            (Kind::Torn(..), _) => Expected::StatusOrBreak(400),
            (_, Ending::Whole | Ending::Garbage | Ending::Close) => Expected::Whole,
            (_, Ending::HalfBody) => Expected::Broken,
            (_, Ending::HalfHead | Ending::Silent | Ending::Malformed(_)) => Expected::Status(502),
            (_, Ending::Never) => Expected::Status(504),
        }
    }

    /// The connection may end after this answer, whatever the answer says.
    pub(super) fn may_close(&self) -> bool {
        let broken = matches!(
            self.expected(),
            Expected::Broken | Expected::StatusOrBreak(_)
        );
        let dropped = matches!(self.kind, Kind::Refused(_)) && self.upload > 0;
        let row = matches!(self.kind, Kind::Row(..));
        self.close || self.early || self.expects || broken || dropped || row
    }

    /// The bytes up to the body, and the body as it is sent.
    pub(super) fn bytes(&self, token: &str, dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
        if let Kind::Row(_, bytes, _) = &self.kind {
            return (bytes.clone(), Vec::new());
        }
        let path = match &self.kind {
            Kind::Own => "/health".to_owned(),
            Kind::Refused(404) => format!("/nowhere/{}", self.id),
            Kind::Public | Kind::Torn(..) => format!("/api/v1/open/{}", self.id),
            Kind::Forward | Kind::Refused(_) | Kind::Row(..) if self.analyzer => {
                format!("/analyzer/x/{}", self.id)
            }
            Kind::Forward | Kind::Refused(_) | Kind::Row(..) => format!("/api/v1/x/{}", self.id),
        };
        let (id, minor) = (self.id, self.minor);
        let mut head = format!(
            "{} {path} HTTP/1.{minor}\r\nHost: a\r\nX-Request-ID: sim-{id}\r\n",
            self.method
        );
        if !matches!(
            self.kind,
            Kind::Public | Kind::Torn(..) | Kind::Refused(401)
        ) {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if self.close && minor == 1 {
            head.push_str("Connection: close\r\n");
        }
        if self.expects {
            head.push_str("Expect: 100-continue\r\n");
        }
        let body = if let Kind::Torn(_, body) = &self.kind {
            body.clone()
        } else if self.upload_chunked {
            chunked(&self.upload(), |rest| 1 + dice.size(rest.min(9_000)))
        } else {
            self.upload()
        };
        if self.upload_chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if self.upload > 0 {
            head.push_str(&format!("Content-Length: {}\r\n", self.upload));
        }
        head.push_str("\r\n");
        (head.into_bytes(), body)
    }
}

/// How a client leaves before it has all its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    Reset,
    Close,
    /// It ends what it sends and goes on reading.
    HalfClose,
}

/// What a client does badly.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manners {
    Good,
    /// It leaves after so many milliseconds.
    Leaves(u64, Leaving),
    /// It sends nothing more after so many bytes.
    StopsSending(usize),
    /// It reads nothing more after so many answers.
    StopsReading(usize),
}

/// One client's connection.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) begins_ms: u64,
    pub(super) plans: Vec<Plan>,
    /// Requests that it sends ahead of their answers.
    pub(super) window: usize,
    pub(super) manners: Manners,
    /// Longest pause between two pieces of what it sends.
    pub(super) pause_ms: u64,
    pub(super) rooms: (usize, usize),
    pub(super) latency_us: u64,
}

/// Room of a connection's pipes. A long way with little room would be slower than any limit allows.
pub(super) fn rooms(latency_us: u64, dice: &mut Dice) -> (usize, usize) {
    let room = |dice: &mut Dice| match dice.below(3) {
        0 if latency_us > 1_000 => 20_000,
        0 => 200 + dice.size(3_000),
        1 => 4_096 + dice.size(60_000),
        _ => 262_144,
    };
    (room(dice), room(dice))
}

impl Visit {
    pub(super) fn new(first_id: u64, faults: &Faults, dice: &mut Dice) -> Self {
        let count = 1 + dice.below(6);
        let plans = (first_id..first_id + count).map(|id| Plan::new(id, faults.stale, dice));
        let mut plans: Vec<Plan> = plans.collect();
        // What ends the connection ends the list.
        let last = plans
            .iter()
            .position(|plan| plan.close || matches!(plan.kind, Kind::Row(..) | Kind::Torn(..)));
        plans.truncate(last.map_or(plans.len(), |at| at + 1));
        let manners = match dice.below(100) {
            0..=9 => {
                let how = dice.pick(&[Leaving::Reset, Leaving::Close, Leaving::HalfClose]);
                Manners::Leaves(dice.below(900), how)
            }
            10..=13 => Manners::StopsSending(dice.size(2_000)),
            14..=16 => Manners::StopsReading(dice.size(3)),
            _ => Manners::Good,
        };
        let latency_us = dice.pick(&[0, 100, 3_000, 30_000]);
        Self {
            begins_ms: dice.below(1_500),
            plans,
            window: dice.pick(&[1, 1, 2, 6]),
            manners,
            pause_ms: dice.pick(&[0, 0, 3, 40, 200]),
            rooms: rooms(latency_us, dice),
            latency_us,
        }
    }
}

/// What goes wrong around the requests of a run.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    /// Services end idle connections when they like.
    pub(super) stale: bool,
    /// Connections to services fail to open, in percent.
    pub(super) unreachable: u64,
    pub(super) drains_at_ms: Option<u64>,
    pub(super) connections_max: usize,
    /// Requests that an address may make; 0: any number.
    pub(super) limit: u64,
}

impl Faults {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let calm = dice.percent(40);
        let mut some = |chance| !calm && dice.percent(chance);
        let (stale, unreachable, drains, crowded, limited) =
            (some(50), some(25), some(30), some(30), some(20));
        Self {
            stale,
            unreachable: if unreachable { dice.between(1, 40) } else { 0 },
            drains_at_ms: drains.then(|| dice.between(50, 2_500)),
            connections_max: if crowded { 1 + dice.size(4) } else { 1_000 },
            limit: if limited { dice.between(1, 12) } else { 0 },
        }
    }

    /// A request may fail for no fault of its own.
    pub(super) fn any(&self) -> bool {
        self.stale
            || self.unreachable > 0
            || self.drains_at_ms.is_some()
            || self.connections_max < 1_000
    }
}
