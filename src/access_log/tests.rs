//! What lines look like, what a peer cannot do to them, and that a stuck writer costs lines and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test may fail loudly"
)]

use super::*;

const T: u64 = 1_705_314_600_000; // 2024-01-15 10:30:00 UTC

fn line() -> Line<'static> {
    Line {
        method: b"POST",
        path: b"/api/v1/analyze",
        org: Some("1"),
        user: Some("123"),
        status: 200,
        micros: 1_234_560,
        request_id: b"abc-1",
        client_ip: "192.0.2.7",
        route: "/api/v1",
        bytes_in: 10,
        bytes_out: 20,
        closed: None,
    }
}

fn text(line: &Line<'_>, unix_ms: u64) -> String {
    let mut out = Vec::new();
    write_text(line, unix_ms, &mut Stamp::new(), &mut out);
    String::from_utf8(out).unwrap()
}

fn json(line: &Line<'_>, unix_ms: u64) -> String {
    let mut out = Vec::new();
    write_json(line, unix_ms, &mut Stamp::new(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_seeds_two_lines() {
    assert_eq!(
        text(&line(), T + 1234),
        "2024-01-15 10:30:00 - INFO - POST /api/v1/analyze | Org: 1 | User: 123\n\
         2024-01-15 10:30:01 - INFO - POST /api/v1/analyze - 200 (1234.56ms)\n"
    );
    let anonymous = Line {
        org: None,
        user: None,
        micros: 5,
        ..line()
    };
    assert_eq!(
        text(&anonymous, T),
        "2024-01-15 10:30:00 - INFO - POST /api/v1/analyze\n\
         2024-01-15 10:30:00 - INFO - POST /api/v1/analyze - 200 (0.01ms)\n"
    );
}

#[test]
fn json_lines_hold_every_field() {
    let value: serde_json::Value = serde_json::from_str(&json(&line(), T + 7)).unwrap();
    let expected = serde_json::json!({
        "time": "2024-01-15T10:30:00.007Z", "level": "INFO", "message": "request", "method": "POST",
        "path": "/api/v1/analyze", "status": 200, "duration_ms": 1234.56, "organization": "1", "user": "123",
        "client_ip": "192.0.2.7", "request_id": "abc-1", "route": "/api/v1", "bytes_in": 10, "bytes_out": 20,
    });
    assert_eq!(value, expected);
    let closed = Line {
        org: None,
        user: None,
        closed: Some("draining"),
        ..line()
    };
    let value: serde_json::Value = serde_json::from_str(&json(&closed, T)).unwrap();
    assert_eq!(value["closed"], "draining");
    assert!(value.get("organization").is_none() && value.get("user").is_none());
}

#[test]
fn durations_have_two_decimals() {
    for (micros, expected) in [
        (0, "(0.00ms)"),
        (4, "(0.00ms)"),
        (5, "(0.01ms)"),
        (994, "(0.99ms)"),
        (995, "(1.00ms)"),
        (12_340, "(12.34ms)"),
        (12_050, "(12.05ms)"),
        (u64::MAX, "(18446744073709551.61ms)"),
    ] {
        let shown = text(&Line { micros, ..line() }, T);
        assert!(shown.trim_end().ends_with(expected), "{micros}: {shown}");
    }
}

#[test]
fn dates_are_right_at_the_calendars_corners() {
    for (unix, expected) in [
        (0, "1970-01-01 00:00:00"),
        (951_782_399, "2000-02-28 23:59:59"),
        (951_782_400, "2000-02-29 00:00:00"),
        (951_868_800, "2000-03-01 00:00:00"),
        (1_704_067_199, "2023-12-31 23:59:59"),
        (1_704_067_200, "2024-01-01 00:00:00"),
        (1_709_164_800, "2024-02-29 00:00:00"),
        (4_102_444_800, "2100-01-01 00:00:00"),
        (4_107_542_400, "2100-03-01 00:00:00"),
    ] {
        let mut stamp = Stamp::new();
        let shown = *stamp.text(unix * 1000 + 999);
        assert_eq!(std::str::from_utf8(&shown).unwrap(), expected);
        assert_eq!(stamp.text(unix * 1000), &shown, "the same second again");
    }
}

#[test]
fn a_peer_cannot_forge_lines() {
    let attacks: [&[u8]; 6] = [
        b"/a\r\n2024-01-15 10:30:00 - INFO - GET /forged",
        b"/a | Org: 2",
        b"/\x1b[2J",
        b"/\xe2\x80\xae\xff",
        b"/\\\"quote\",\"status\":500",
        b"/\x00\x7f",
    ];
    for attack in attacks {
        let org = std::str::from_utf8(attack).unwrap_or("1 | User: 9\n");
        let line = Line {
            method: attack,
            path: attack,
            org: Some(org),
            user: Some(org),
            request_id: attack,
            ..line()
        };
        let shown = text(&line, T);
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert_eq!(shown.matches(" | ").count(), 2, "{shown}");
        assert_eq!(shown.matches(" - ").count(), 5, "{shown}");
        assert!(
            shown
                .bytes()
                .all(|b| b == b'\n' || (b' '..=b'~').contains(&b))
        );
        let shown = json(&line, T);
        assert_eq!(shown.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(value["status"], 200);
        let back: Vec<u8> = value["path"]
            .as_str()
            .unwrap()
            .chars()
            .map(|c| c as u8)
            .collect();
        assert_eq!(back, attack, "JSON keeps every byte");
    }
}

#[test]
fn json_shows_names_as_they_are() {
    let wide = "\u{1f600}".repeat(33);
    let cut = "\u{1f600}".repeat(32) + "...";
    for (name, shown) in [
        ("caf\u{e9} \u{1f600}", "caf\u{e9} \u{1f600}"),
        ("a\"b\\c\u{202e}", "a\"b\\c\u{202e}"),
        (&wide, &cut),
        // Cut between two characters, never inside of one.
        (
            &format!("a{wide}"),
            &format!("a{}...", "\u{1f600}".repeat(31)),
        ),
    ] {
        let line = Line {
            org: Some(name),
            user: Some(name),
            ..line()
        };
        let written = json(&line, T);
        assert!(written.is_ascii(), "{written}");
        let value: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(value["organization"], shown);
        assert_eq!(value["user"], shown);
        assert!(text(&line, T).is_ascii());
    }
}

#[test]
fn the_longest_request_fits_its_bound() {
    for name in ["\u{1}", "\u{e9}", "\u{20ac}", "\u{1f600}"] {
        the_longest_of(&name.repeat(10_000));
    }
}

fn the_longest_of(name: &str) {
    let long = vec![0u8; 10_000];
    let line = Line {
        method: &long,
        path: &long,
        org: Some(name),
        user: Some(name),
        request_id: &long,
        client_ip: name,
        route: name,
        micros: u64::MAX,
        bytes_in: u64::MAX,
        bytes_out: u64::MAX,
        closed: Some(name),
        status: u16::MAX,
    };
    assert!(text(&line, T).len() <= LINE_BYTES_MAX);
    assert!(json(&line, T).len() <= LINE_BYTES_MAX);
    assert!(json(&line, T).contains("...\""));
}

#[test]
fn lines_travel_and_buffers_come_back() {
    let (mut logs, drain, stop) = channel(1, Format::Text);
    let mut log = logs.pop().unwrap();
    for _ in 0..100 {
        log.record(&line(), T);
        log.flush();
        let (core, lines) = drain.next().unwrap();
        assert!(lines.starts_with(b"2024-01-15") && lines.ends_with(b"ms)\n"));
        assert_eq!(
            lines.capacity(),
            BUFFER_BYTES,
            "made at start, never grown, never made anew"
        );
        drain.give_back(core, lines);
    }
    log.flush(); // nothing to hand over
    log.record(&line(), T);
    drop(log);
    stop.stop();
    assert!(drain.next().is_some(), "the last lines are handed over");
    assert!(drain.next().is_none(), "then the end");
}

#[test]
fn a_stuck_writer_costs_lines_and_never_time_or_memory() {
    for (format, per_request) in [(Format::Text, 2), (Format::Json, 1)] {
        let (mut logs, drain, _stop) = channel(1, format);
        let mut log = logs.pop().unwrap();
        let requests = 20_000;
        for _ in 0..requests {
            log.record(&line(), T);
        }
        assert!(log.dropped() > 0, "there is a bound");
        log.finish();
        let mut kept = 0;
        let mut buffers = 0;
        drop(log);
        while let Some((_, lines)) = drain.next() {
            kept += lines.iter().filter(|&&byte| byte == b'\n').count() as u64;
            buffers += 1;
            assert_eq!(lines.capacity(), BUFFER_BYTES);
            if buffers == BUFFERS_PER_CORE {
                break;
            }
        }
        assert_eq!(buffers, BUFFERS_PER_CORE);
        assert_eq!(kept % per_request, 0);
    }
}

#[test]
fn dropped_and_kept_lines_add_up() {
    let (mut logs, drain, stop) = channel(2, Format::Json);
    let mut second = logs.pop().unwrap();
    let mut first = logs.pop().unwrap();
    for _ in 0..10_000 {
        first.record(&line(), T);
        second.record(&line(), T);
    }
    let dropped = first.dropped() + second.dropped();
    drop((first, second));
    stop.stop();
    let mut kept = 0;
    while let Some((_, lines)) = drain.next() {
        kept += lines.iter().filter(|&&byte| byte == b'\n').count() as u64;
    }
    assert_eq!(kept + dropped, 20_000);
}
