//! First bytes of every kind, in every cut. Not what is answered to them (end to end). Invariant: a ClientHello is
//! whole with its last byte, and not before.

use super::super::opening::{First, HELLO_BYTES_MAX, MESSAGE_HEADER, Opening, PROXY_V2};

/// A message in records of so many bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| {
        let [high, low] = u16::try_from(piece.len()).unwrap_or(0).to_be_bytes();
        [&[22, 3, 1, high, low], piece].concat()
    };
    message.chunks(size).flat_map(record).collect()
}

fn hello(length: usize) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(length).unwrap_or(0).to_be_bytes();
    [&[1, high, middle, low][..], &vec![7; length]].concat()
}

#[test]
fn first_bytes_are_told_apart() {
    let http = First::Http { head: false };
    let table: [(&[u8], First); 26] = [
        (b"", First::Incomplete),
        (b"G", First::Incomplete),
        (b"GET", First::Incomplete),
        (b"GET ", http),
        (b"GET / HTTP/1.1\r\n", http),
        (b"HEAD / HTTP/1.1\r\n", First::Http { head: true }),
        (b"CONNECT a:443 HTTP/1.1\r\n", http),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http),
        (b"M-SEARCH * HTTP/1.1\r\n", http),
        (b"get / HTTP/1.1\r\n", http),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", First::ProxyHeader),
        (PROXY_V2, First::ProxyHeader),
        (b"\r\n\r\n", First::Incomplete),
        (b"\r\n\r\n\r\n", First::Tls),
        (b"\r\nGET / HTTP/1.1\r\n", First::Tls),
        (b"SSH-2.0-OpenSSH_9.2\r\n", First::Tls),
        (b"ABCDEFGHIJKLMNOPQRSTUVWX", First::Incomplete),
        (b"ABCDEFGHIJKLMNOPQRSTUVWX ", http),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXY", First::Tls),
        (b" / HTTP/1.1\r\n", First::Tls),
        (b"\x80\x2e\x01\x03\x01", First::Tls),
        (b"\0", First::Tls),
        (b"\x16", First::Incomplete),
        (b"\x16\x02\x00\x00\x10", First::Tls),
        (b"\x16\x03\x01\x00\x00", First::Tls),
        (b"\x16\x03\x01\x00\x10\x02", First::Tls),
    ];
    for (bytes, expected) in table {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(Opening::default().look(bytes), expected, "{shown:?}");
    }
}

#[test]
fn a_hello_is_whole_with_its_last_byte_however_it_comes() {
    for (length, size) in [
        (0, 1),
        (1, 1),
        (300, 1),
        (300, 7),
        (2_000, 16_384),
        (9_000, 5_000),
    ] {
        let bytes = records(&hello(length), size);
        for step in [1, 3, 1_000] {
            let mut opening = Opening::default();
            for end in (1..bytes.len()).step_by(step) {
                assert_eq!(
                    opening.look(&bytes[..end]),
                    First::Incomplete,
                    "{length} {end}"
                );
            }
            assert_eq!(opening.look(&bytes), First::Tls, "{length} {size} {step}");
        }
    }
}

#[test]
fn a_hello_is_bounded_as_it_says_and_as_it_comes() {
    let longest = HELLO_BYTES_MAX - MESSAGE_HEADER;
    let begin = |length: usize| records(&hello(length)[..10], 10);
    assert_eq!(Opening::default().look(&begin(longest)), First::Incomplete);
    assert_eq!(Opening::default().look(&begin(longest + 1)), First::TooLong);
    assert_eq!(Opening::default().look(&begin(0xff_ffff)), First::TooLong);
    // A byte a record: five more of each, which have to be held as well.
    let bytes = records(&hello(10_000), 1);
    let mut opening = Opening::default();
    assert_eq!(
        opening.look(&bytes[..HELLO_BYTES_MAX - 1]),
        First::Incomplete
    );
    assert_eq!(opening.look(&bytes[..HELLO_BYTES_MAX]), First::TooLong);
}
