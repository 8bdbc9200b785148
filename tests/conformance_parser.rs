//! Runs every row of the conformance tables through the parser, whole, byte by byte and split at random, and asks two other
//! parsers how they read what ours accepts. Not over a socket. Invariant: a row's verdict does not depend on how it arrives.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    reason = "a test may fail loudly"
)]

mod support_h11;

use std::collections::HashSet;

use bytes::BytesMut;
use dbpower_gateway::testing::conformance::{
    Accepted, Outcome, ResponseRow, Row, Verdict, requests, responses,
};
use monoio_codec::{Decoded, Decoder};
use monoio_http::h1::codec::decoder::RequestHeadDecoder;
use serde_json::Value;
use support_h11::drive::{self, Message, Read};
use support_h11::{Question, unhex};

#[test]
fn tables_are_long_and_names_are_unique() {
    println!(
        "{} requests, {} responses",
        requests().count(),
        responses().count()
    );
    assert!(requests().count() >= 150);
    assert!(responses().count() >= 40);
    let mut names = HashSet::new();
    for row in requests() {
        assert!(names.insert(row.name), "{} is there twice", row.name);
        assert!(
            row.section
                .starts_with(|start: char| start.is_ascii_digit())
        );
    }
    let mut names = HashSet::new();
    for row in responses() {
        assert!(names.insert(row.name), "{} is there twice", row.name);
    }
}

#[test]
fn requests_whole() {
    for row in requests() {
        judge_request(row, &drive::request(&row.bytes.bytes(), vec![]));
    }
}

#[test]
fn requests_byte_by_byte() {
    for row in requests() {
        let bytes = row.bytes.bytes();
        judge_request(row, &drive::request(&bytes, (1..bytes.len()).collect()));
    }
}

#[test]
fn responses_whole() {
    for row in responses() {
        judge_response(
            row,
            &drive::response(&row.bytes.bytes(), vec![], row.to_head),
        );
    }
}

#[test]
fn responses_byte_by_byte() {
    for row in responses() {
        let bytes = row.bytes.bytes();
        judge_response(
            row,
            &drive::response(&bytes, (1..bytes.len()).collect(), row.to_head),
        );
    }
}

#[test]
fn splits_at_random_change_nothing() {
    let seed = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    println!("seed {seed:#x}");
    let mut random = Xorshift(seed);
    for _ in 0..40 {
        for row in requests() {
            let bytes = row.bytes.bytes();
            let cuts = random.cuts(bytes.len());
            judge_request(row, &drive::request(&bytes, cuts));
        }
        for row in responses() {
            let bytes = row.bytes.bytes();
            let cuts = random.cuts(bytes.len());
            judge_response(row, &drive::response(&bytes, cuts, row.to_head));
        }
    }
}

/// Whatever bytes come, in whatever pieces: no panic, and the same reading.
#[test]
fn broken_rows_read_the_same_in_pieces() {
    let seed = 0x2545_f491_4f6c_dd1d_u64 ^ u64::from(std::process::id());
    println!("seed {seed:#x}");
    let mut random = Xorshift(seed);
    for _ in 0..20 {
        for row in requests() {
            let bytes = random.mutate(row.bytes.bytes());
            let cuts = random.cuts(bytes.len());
            let (whole, split) = (drive::request(&bytes, vec![]), drive::request(&bytes, cuts));
            assert_eq!(
                verdict(&whole),
                verdict(&split),
                "{}: {:?}",
                row.name,
                bytes.escape_ascii().to_string()
            );
        }
        for row in responses() {
            let bytes = random.mutate(row.bytes.bytes());
            let cuts = random.cuts(bytes.len());
            let whole = drive::response(&bytes, vec![], row.to_head);
            let split = drive::response(&bytes, cuts, row.to_head);
            assert_eq!(
                verdict(&whole),
                verdict(&split),
                "{}: {:?}",
                row.name,
                bytes.escape_ascii().to_string()
            );
        }
    }
}

#[test]
fn monoio_http_reads_accepted_heads_alike() {
    for (row, _) in accepted_rows() {
        let bytes = row.bytes.bytes();
        let Read::Whole(message) = drive::request(&bytes, vec![]) else {
            panic!("{}: not whole", row.name);
        };
        let alike = monoio_alike(&bytes, &message).unwrap_or(false);
        match row.monoio_differs {
            None => assert!(alike, "{}: monoio-http reads it otherwise", row.name),
            Some(why) => assert!(!alike, "{}: monoio-http agrees, though {why}", row.name),
        }
    }
}

/// What passes of the mutated rows: monoio-http may refuse it, but not read it otherwise.
#[test]
fn monoio_http_reads_accepted_mutants_alike() {
    let seed = 0x1234_5678_9abc_def1_u64 ^ u64::from(std::process::id());
    println!("seed {seed:#x}");
    let mut random = Xorshift(seed);
    for _ in 0..20 {
        for row in requests().filter(|row| row.monoio_differs.is_none()) {
            let bytes = random.mutate(row.bytes.bytes());
            if let Read::Whole(message) = drive::request(&bytes, vec![]) {
                let alike = monoio_alike(&bytes, &message).unwrap_or(true);
                assert!(alike, "{}", bytes.escape_ascii());
            }
        }
    }
}

/// Whether monoio-http's decoder reads the same head, `None` when it refuses to.
fn monoio_alike(bytes: &[u8], ours: &Message) -> Option<bool> {
    let mut buf = BytesMut::from(bytes);
    let Ok(Decoded::Some(head)) = RequestHeadDecoder.decode(&mut buf) else {
        return None;
    };
    let target = head.uri.path_and_query().map_or("*", |path| path.as_str());
    Some(
        head.method.as_str() == ours.method
            && target == ours.target
            && buf.as_ref() == &bytes[ours.head_len..]
            && same_fields(&head.headers, ours),
    )
}

#[test]
fn h11_reads_accepted_rows_alike() {
    let rows: Vec<_> = accepted_rows()
        .map(|(row, accepted)| (row, accepted, row.bytes.bytes()))
        .collect();
    let answers: Vec<_> = responses()
        .filter(|row| row.outcome != Outcome::BadGateway)
        .map(|row| (row, row.bytes.bytes()))
        .collect();
    let mut questions: Vec<_> = rows
        .iter()
        .map(|(row, _, bytes)| Question {
            name: row.name,
            bytes,
            kind: "request",
        })
        .collect();
    questions.extend(answers.iter().map(|(row, bytes)| {
        let kind = if row.to_head {
            "response to HEAD"
        } else {
            "response"
        };
        Question {
            name: row.name,
            bytes,
            kind,
        }
    }));
    let read = support_h11::ask(&questions);
    let (requests_read, responses_read) = read.split_at(rows.len());
    let mut wrong = Vec::new();
    for ((row, accepted, bytes), read) in rows.iter().zip(requests_read) {
        let why = h11_request_differs(bytes, accepted, read);
        if why.is_some() != row.h11_differs.is_some() {
            wrong.push(format!(
                "{}: {why:?}, the row says {:?}: {read}",
                row.name, row.h11_differs
            ));
        }
    }
    for ((row, bytes), read) in answers.iter().zip(responses_read) {
        let why = h11_response_differs(row, bytes, read);
        if why.is_some() != row.h11_differs.is_some() {
            wrong.push(format!(
                "{}: {why:?}, the row says {:?}: {read}",
                row.name, row.h11_differs
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "h11 reads otherwise:\n{}",
        wrong.join("\n")
    );
}

fn accepted_rows() -> impl Iterator<Item = (&'static Row, Accepted)> {
    requests().filter_map(|row| match row.verdict {
        Verdict::Accept(accepted) => Some((row, accepted)),
        Verdict::Refuse(_) | Verdict::Break(_) => None,
    })
}

#[track_caller]
fn judge_request(row: &Row, read: &Read) {
    let name = row.name;
    match (row.verdict, read) {
        (Verdict::Refuse(status), Read::HeadFault(fault)) => {
            assert_eq!(fault.status(), status, "{name}: {fault}")
        }
        (Verdict::Break(status), Read::BodyFault(_, fault)) => {
            assert_eq!(fault.status(), status, "{name}: {fault}")
        }
        (Verdict::Accept(want), Read::Whole(message)) => {
            assert_eq!(message.method, want.method, "{name}");
            assert_eq!(message.target, want.target, "{name}");
            assert_eq!(message.authority, want.host, "{name}");
            assert_eq!(message.body, want.body, "{name}");
            assert_eq!(message.trailers, want.trailers, "{name}");
            assert_eq!(message.keep_alive, want.keep_alive, "{name}");
            assert_eq!(message.switches, want.switches, "{name}");
            assert_eq!(message.handshake_status, want.handshake_status, "{name}");
            assert_eq!(message.rest, want.rest, "{name}");
            let consumed: HashSet<String> = message
                .fields
                .iter()
                .filter(|field| field.2)
                .map(|field| field.0.to_ascii_lowercase())
                .collect();
            for &field in want.consumed {
                assert!(consumed.contains(field), "{name}: {field} is passed on");
            }
            for field in &consumed {
                let known = want.consumed.contains(&field.as_str())
                    || field == "transfer-encoding"
                    || field == "connection";
                assert!(known, "{name}: {field} is consumed");
            }
        }
        (verdict, read) => panic!("{name}: wanted {verdict:?}, read {read:?}"),
    }
}

#[track_caller]
fn judge_response(row: &ResponseRow, read: &Read) {
    let name = row.name;
    match (row.outcome, read) {
        (Outcome::BadGateway, Read::HeadFault(_) | Read::HeadShort) => {}
        (Outcome::BrokenOff(status), Read::BodyFault(message, _) | Read::BodyShort(message)) => {
            assert_eq!(message.status, status, "{name}");
        }
        (
            Outcome::Relay {
                status,
                body,
                reusable,
                interim,
            },
            Read::Whole(message),
        ) => {
            assert_eq!(message.status, status, "{name}");
            assert_eq!(message.body, body, "{name}");
            assert_eq!(message.keep_alive, reusable, "{name}");
            assert_eq!(message.interim, interim, "{name}");
        }
        (outcome, read) => panic!("{name}: wanted {outcome:?}, read {read:?}"),
    }
}

/// What two readings of the same bytes must share: all of it, but a fault's kind, which may differ by what was seen first.
fn verdict(read: &Read) -> (u16, Option<Message>) {
    match read {
        Read::Whole(message) => (200, Some(message.clone())),
        Read::HeadFault(fault) => (fault.status(), None),
        Read::BodyFault(message, fault) => (fault.status(), Some(message.clone())),
        Read::HeadShort => (0, None),
        Read::BodyShort(message) => (1, Some(message.clone())),
    }
}

/// Values by name in their order; the order between names is lost in `http::HeaderMap`.
fn same_fields(theirs: &http::HeaderMap, ours: &Message) -> bool {
    theirs.len() == ours.fields.len()
        && theirs.keys().all(|name| {
            let values = ours
                .fields
                .iter()
                .filter(|field| field.0.eq_ignore_ascii_case(name.as_str()));
            theirs
                .get_all(name)
                .iter()
                .map(http::HeaderValue::as_bytes)
                .eq(values.map(|field| field.1.as_slice()))
        })
}

fn h11_request_differs(bytes: &[u8], want: &Accepted, read: &Value) -> Option<&'static str> {
    let Read::Whole(message) = drive::request(bytes, vec![]) else {
        return Some("not whole");
    };
    if read.get("error").is_some() {
        return Some("error");
    }
    let line = message_line(bytes);
    let mut words = line.split(|&byte| byte == b' ').skip(1);
    if unhex(&read["method"]) != want.method.as_bytes() {
        return Some("method");
    }
    // h11 leaves an absolute target as it came; that we cut ours out of the same word is judged by the row.
    if unhex(&read["target"]) != words.next().unwrap() {
        return Some("target");
    }
    let closes = read["closes"].as_bool().unwrap();
    if !h11_same_fields(read, &message) {
        return Some("fields");
    }
    if unhex(&read["body"]) != want.body || unhex(&read["rest"]) != want.rest {
        return Some("body");
    }
    (closes == want.keep_alive).then_some("keep-alive")
}

fn h11_response_differs(row: &ResponseRow, bytes: &[u8], read: &Value) -> Option<&'static str> {
    let failed = read.get("error").is_some();
    match (row.outcome, drive::response(bytes, vec![], row.to_head)) {
        (Outcome::BrokenOff(_), _) => (!failed).then_some("whole"),
        (
            Outcome::Relay {
                status,
                body,
                interim,
                ..
            },
            Read::Whole(message),
        ) => {
            if failed {
                return Some("error");
            }
            if read["status"] != status || read["interim"] != interim {
                return Some("status");
            }
            if unhex(&read["reason"]) != message.reason {
                return Some("reason");
            }
            if !h11_same_fields(read, &message) {
                return Some("fields");
            }
            (unhex(&read["body"]) != body).then_some("body")
        }
        _ => Some("not whole"),
    }
}

/// In order; h11 puts names, and the values of two framing fields, in lower case.
fn h11_same_fields(read: &Value, ours: &Message) -> bool {
    let theirs = read["fields"].as_array().unwrap();
    let mut ours = ours.fields.iter();
    let alike = |pair: &Value| {
        let (name, value) = (unhex(&pair[0]), unhex(&pair[1]));
        ours.next().is_some_and(|field| {
            name.eq_ignore_ascii_case(field.0.as_bytes())
                && (value == field.1
                    || (name == b"transfer-encoding" && value.eq_ignore_ascii_case(&field.1)))
        })
    };
    theirs.iter().all(alike) && ours.next().is_none()
}

fn message_line(bytes: &[u8]) -> &[u8] {
    let text = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    text.split(|&byte| byte == b'\r').next().unwrap()
}

struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn cuts(&mut self, len: usize) -> Vec<usize> {
        let mut cuts: Vec<usize> = (0..self.below(8)).map(|_| self.below(len)).collect();
        cuts.sort_unstable();
        cuts
    }

    /// One to three bytes changed, doubled or taken out, mostly for bytes that matter to HTTP.
    fn mutate(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        const TELLING: &[u8] = b"\r\n\0 \t:;,/#@*0123456789abcdef\x7f\x80HTTP";
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            let telling = TELLING[self.below(TELLING.len())];
            match self.below(3) {
                _ if bytes.is_empty() => bytes.push(telling),
                0 => bytes[at] = telling,
                1 => bytes.insert(at, telling),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    }
}
