//! What is written, and chunks read back. Not heads as they come (the file above). Invariant: the decoder reads what we write,
//! however it is cut.

use super::super::chunked::{write_chunk_head, write_last};
use super::super::*;

#[test]
fn heads_are_written_in_one_form() {
    let head = b"GET / HTTP/1.0\r\nhOST: a\r\nX-A:b \r\nTE: x\r\nX-A: \r\n\r\n";
    let mut scratch = Scratch::new();
    let request = parse_request(head, &mut scratch).unwrap();
    let mut out = Vec::with_capacity(256);
    let room = out.as_ptr();
    write::request_line(&mut out, "GET", &["/api", "/v1"], "/x?y");
    write::copy_fields(&mut out, request.head, request.fields, |field| {
        !field.hop && field.kind != Name::Host
    });
    write::field(&mut out, "Host", b"up:1");
    write::request_body_framing(&mut out, RequestBody::Length(u64::MAX));
    write::request_body_framing(&mut out, RequestBody::Chunked);
    write::request_body_framing(&mut out, RequestBody::None);
    write::end(&mut out);
    let want = "GET /api/v1/x?y HTTP/1.1\r\nX-A: b\r\nX-A: \r\nHost: up:1\r\n\
        Content-Length: 18446744073709551615\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(out, want.as_bytes());
    assert_eq!(out.as_ptr(), room, "room was there: nothing is allocated");
    out.clear();
    write::status_line(&mut out, 429, write::reason(429).as_bytes());
    write::response_body_framing(&mut out, ResponseBody::Length(0));
    write::response_body_framing(&mut out, ResponseBody::UntilClose);
    assert_eq!(
        out,
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n"
    );
}

/// Every way to write a field, in every order of four, each kept or not: copied in runs, they read as one by one.
#[test]
fn runs_of_fields_are_copied_as_the_fields_would_be_one_by_one() {
    let written = [
        ("A: b", "A: b"),
        ("C:d", "C: d"),
        ("E:  f", "E: f"),
        ("G:\th", "G: h"),
        ("I: j ", "I: j"),
        ("K:", "K: "),
        ("L: ", "L: "),
        ("M: :n: o", "M: :n: o"),
    ];
    let count = written.len();
    for number in 0..count.pow(4) {
        let chosen = [0, 1, 2, 3].map(|at| written[number / count.pow(at) % count]);
        let [a, b, c, d] = chosen.map(|(written, _)| written);
        let head = format!("GET / HTTP/1.0\r\n{a}\r\n{b}\r\n{c}\r\n{d}\r\n\r\n");
        let mut scratch = Scratch::new();
        let request = parse_request(head.as_bytes(), &mut scratch).unwrap();
        for kept in 0..16 {
            let keep = |at: usize| kept >> at & 1 == 1;
            let which =
                |field: &Field<'_>| request.fields.iter().position(|f| std::ptr::eq(f, field));
            let mut out = Vec::new();
            write::copy_fields(&mut out, request.head, request.fields, |field| {
                which(field).is_some_and(keep)
            });
            let lines = chosen.iter().enumerate().filter(|(at, _)| keep(*at));
            let want: String = lines.map(|(_, (_, line))| format!("{line}\r\n")).collect();
            assert_eq!(out, want.as_bytes(), "{head:?}, {kept:b}");
        }
    }
}

#[test]
fn every_status_of_a_fault_has_a_reason() {
    for status in [400, 405, 414, 417, 431, 501, 502, 505] {
        assert!(!write::reason(status).is_empty());
    }
}

#[test]
fn chunk_heads() {
    for (len, want) in [
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (65_535, "ffff\r\n"),
        (65_536, "10000\r\n"),
    ] {
        let mut out = Vec::new();
        write_chunk_head(&mut out, len);
        assert_eq!(out, want.as_bytes());
    }
}

#[test]
fn decoder_is_small_and_does_not_allocate_without_trailers() {
    assert!(size_of::<Decoder>() <= 96);
    let mut decoder = Decoder::new();
    assert_eq!(
        decoder.step(b"1;x\r\nb"),
        Ok(Step::Data { start: 5, end: 6 })
    );
    assert_eq!(decoder.step(b""), Ok(Step::NeedMore { consumed: 0 }));
    assert_eq!(
        decoder.step(b"\r\n0\r\n\r\nrest"),
        Ok(Step::Done { consumed: 7 })
    );
    assert_eq!(decoder.trailers(), b"");
    assert_eq!(
        decoder.trailers().as_ptr(),
        std::ptr::dangling(),
        "the trailer buffer never allocated"
    );
}

#[test]
fn decoder_reads_sizes_up_to_the_bound() {
    let mut decoder = Decoder::new();
    assert_eq!(
        decoder.step(b"8000000000000000\r\nb"),
        Ok(Step::Data { start: 18, end: 19 })
    );
    assert_eq!(
        Decoder::new().step(b"8000000000000001\r\n"),
        Err(Fault::ChunkTooLarge)
    );
    assert_eq!(
        Decoder::new().step(b"00000000000000000"),
        Err(Fault::ChunkTooLarge)
    );
}

/// What `write_chunk_head` and `write_last` put down, `Decoder` reads back, however it is cut. Prints its seed.
#[test]
fn chunks_written_are_chunks_read() {
    let mut seed = 0x0123_4567_89ab_cdef_u64 ^ (u64::from(std::process::id()) << 20);
    println!("seed {seed:#x}");
    let mut below = |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % bound as u64) as usize
    };
    for _ in 0..500 {
        let (mut wire, mut sent) = (Vec::new(), Vec::new());
        for _ in 0..below(5) {
            let data: Vec<u8> = (0..=below(300)).map(|at| at as u8).collect();
            write_chunk_head(&mut wire, data.len());
            wire.extend_from_slice(&data);
            wire.extend_from_slice(b"\r\n");
            sent.extend_from_slice(&data);
        }
        let trailers: &[u8] = if below(2) == 0 {
            b""
        } else {
            b"X-Sum: 1\r\nX-End: yes\r\n"
        };
        write_last(&mut wire, trailers);
        let whole = wire.len();
        wire.extend_from_slice(b"next");

        let (mut decoder, mut read, mut at, mut shown) = (Decoder::new(), Vec::new(), 0, 0);
        loop {
            match decoder.step(&wire[at..shown]).unwrap() {
                Step::Done { consumed } => break at += consumed,
                Step::Data { start, end } => {
                    read.extend_from_slice(&wire[at + start..at + end]);
                    at += end;
                }
                Step::NeedMore { consumed } => {
                    at += consumed;
                    shown = (shown + 1 + below(40)).min(wire.len());
                }
            }
        }
        assert_eq!((at, read, decoder.trailers()), (whole, sent, trailers));
    }
}
