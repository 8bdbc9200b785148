//! Headers and what they say, whole, in pieces and cut short. Not here: sockets (tests/e2e_proxy_protocol.rs has them).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::net::Ipv6Addr;

use super::binary::SIGNATURE;
use super::line::LINE_BYTES_MAX;
use super::*;

/// A header of version 2.
fn v2(command: u8, family: u8, follows: &[u8]) -> Vec<u8> {
    let length = u16::try_from(follows.len()).unwrap().to_be_bytes();
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(length);
    bytes.extend(follows);
    bytes
}

/// 192.0.2.7:1000 to 10.0.0.1:443.
const TCP4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x03, 0xe8, 0x01, 0xbb];

/// 2001:db8::7 to ::1.
fn tcp6(source: &str) -> Vec<u8> {
    let mut bytes = source.parse::<Ipv6Addr>().unwrap().octets().to_vec();
    bytes.extend(Ipv6Addr::LOCALHOST.octets());
    bytes.extend([0x03, 0xe8, 0x01, 0xbb]);
    bytes
}

fn said(address: &str) -> Source {
    Source::Address(address.parse().unwrap())
}

/// Fed as `Need` asks, byte by byte in the end, the header is read whole and nothing behind it is asked for.
fn check(header: &[u8], expected: Source) {
    let whole = Ok(Step::Whole {
        length: header.len(),
        source: expected,
    });
    assert_eq!(parse(header), whole, "{header:?}");
    let mut behind = header.to_vec();
    behind.extend(b"\x16\x03\x01GET / HTTP/1.1\r\n\r\n");
    assert_eq!(parse(&behind), whole, "{header:?} and more");
    let mut known = 0;
    loop {
        match parse(&header[..known]) {
            Ok(Step::Need(more)) => known += more,
            done => break assert_eq!(done, whole, "{header:?}"),
        }
        assert!(known <= header.len(), "{header:?}: read beyond its end");
    }
    for length in 0..header.len() {
        let need = parse(&header[..length]);
        let fits =
            matches!(need, Ok(Step::Need(more)) if more > 0 && length + more <= header.len());
        assert!(fits, "{length} bytes of {header:?}: {need:?}");
    }
}

#[test]
fn headers_say_whose_connection_it_is() {
    for (line, expected) in [
        (
            "PROXY TCP4 192.0.2.7 10.0.0.1 1000 443\r\n",
            said("192.0.2.7"),
        ),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", said("0.0.0.0")),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            said("255.255.255.255"),
        ),
        (
            "PROXY TCP6 2001:db8::7 ::1 1000 443\r\n",
            said("2001:db8::7"),
        ),
        ("PROXY TCP6 :: :: 0 0\r\n", said("::")),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", said("192.0.2.7")),
        ("PROXY UNKNOWN\r\n", Source::Peer),
        ("PROXY UNKNOWN 192.0.2.7 whatever\r\n", Source::Peer),
        (
            "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
            Source::Peer,
        ),
    ] {
        check(line.as_bytes(), expected);
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 16));
    check(longest.as_bytes(), Source::Peer);
    check(&v2(0x21, 0x11, &TCP4), said("192.0.2.7"));
    check(&v2(0x21, 0x21, &tcp6("2001:db8::7")), said("2001:db8::7"));
    check(
        &v2(0x21, 0x21, &tcp6("::ffff:192.0.2.7")),
        said("192.0.2.7"),
    );
    check(&v2(0x20, 0x00, &[]), Source::Peer);
    // A balancer's own health check may carry addresses, and they mean nothing.
    check(&v2(0x20, 0x11, &TCP4), Source::Peer);
    check(&v2(0x20, 0xff, &[1, 2, 3]), Source::Peer);
    check(&v2(0x21, 0x00, &[1, 2, 3]), Source::Peer);
    check(&v2(0x21, 0x12, &TCP4), Source::Peer);
    check(&v2(0x21, 0x31, &[0; 216]), Source::Peer);
    // Extensions (2.2.1), up to the bound.
    let mut extended = TCP4.to_vec();
    extended.extend([0x04, 0, 3, 1, 2, 3]);
    check(&v2(0x21, 0x11, &extended), said("192.0.2.7"));
    for length in [520, 521, 4_000, EXTENSION_BYTES_MAX] {
        extended.resize(TCP4.len() + length, 0);
        check(&v2(0x21, 0x11, &extended), said("192.0.2.7"));
        let mut extended = tcp6("2001:db8::7");
        extended.resize(36 + length, 1);
        check(&v2(0x21, 0x21, &extended), said("2001:db8::7"));
        check(&v2(0x20, 0x00, &vec![0; length]), Source::Peer);
        check(&v2(0x21, 0x31, &vec![0; 216 + length]), Source::Peer);
    }
}

#[test]
fn what_is_no_header_is_known_as_early_as_can_be() {
    for bytes in [
        "GET / HTTP/1.1\r\n",
        "G",
        "\r\n\r\nG",
        "\x16\x03\x01\x02\0",
        "proxy TCP4 192.0.2.7 10.0.0.1 1000 443\r\n",
        "PROXY\tTCP4",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1000 443\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1000 443\rX",
        "PROXY TCP4  192.0.2.7 10.0.0.1 1000 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1000 443 \r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1000 443 1\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1000\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 01000 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 +1000 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1  443\r\n",
        "PROXY TCP4 192.0.2.07 10.0.0.1 1000 443\r\n",
        "PROXY TCP4 192.0.2.7 nowhere 1000 443\r\n",
        "PROXY TCP4 2001:db8::7 ::1 1000 443\r\n",
        "PROXY TCP6 192.0.2.7 10.0.0.1 1000 443\r\n",
        "PROXY TCP6 [2001:db8::7] ::1 1000 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1000 443\r\n",
        "PROXY UDP4 192.0.2.7 10.0.0.1 1000 443\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
    ] {
        assert!(parse(bytes.as_bytes()).is_err(), "{bytes:?}");
    }
    for length in [LINE_BYTES_MAX, LINE_BYTES_MAX + 1, 500] {
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(length));
        assert!(parse(&endless.as_bytes()[..length]).is_err(), "{length}");
    }
    let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 15));
    assert!(parse(too_long.as_bytes()).is_err());
    for header in [
        v2(0x11, 0x11, &TCP4),
        v2(0x22, 0x11, &TCP4),
        v2(0x31, 0x11, &TCP4),
        v2(0x21, 0x11, &TCP4[..11]),
        v2(0x21, 0x21, &[0; 35]),
        v2(0x21, 0x13, &TCP4),
        v2(0x21, 0x41, &TCP4),
        v2(0x21, 0x11, &[0; 12 + EXTENSION_BYTES_MAX + 1]),
        v2(0x21, 0x21, &[0; 36 + EXTENSION_BYTES_MAX + 1]),
        v2(0x21, 0x31, &[0; 216 + EXTENSION_BYTES_MAX + 1]),
        v2(0x20, 0x00, &[0; EXTENSION_BYTES_MAX + 1]),
    ] {
        assert!(parse(&header).is_err(), "{header:?}");
    }
    let mut oversized = v2(0x21, 0x11, &[]);
    oversized.truncate(14);
    oversized.extend([0xff, 0xff]);
    assert!(parse(&oversized).is_err(), "before anything of it is read");
}

#[test]
fn no_bytes_reach_a_panic() {
    let mut state = 0x1234_5678_u64;
    println!("seed {state:#x}");
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 33
    };
    let good = [v2(0x21, 0x11, &TCP4), v2(0x21, 0x21, &tcp6("::1"))];
    for round in 0..20_000_usize {
        let mut bytes = good[round % 2].clone();
        for _ in 0..random() % 4 {
            let at = usize::try_from(random()).unwrap() % bytes.len();
            bytes[at] = u8::try_from(random() & 0xff).unwrap();
        }
        bytes.truncate(usize::try_from(random()).unwrap() % (bytes.len() + 1));
        if let Ok(Step::Whole { length, .. }) = parse(&bytes) {
            assert!(length <= bytes.len() && length <= HEADER_BYTES_MAX);
        }
    }
}
