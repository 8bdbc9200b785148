//! How a body's first bytes come to its head. Not how the rest follows (`relay`). Invariant: whatever lies where, what goes out is the
//! head and the body's first bytes, and what stays is the rest, once each.

use super::*;
use crate::http1::RequestBody;

const OLD: &[u8] = b"the head that came";
const NEW: &[u8] = b"the longer head that goes on";

/// An inbox whose head was consumed, and the head that takes its place.
fn laid(room: usize, capacity: usize, bytes: &[u8]) -> (Buf, Buf) {
    let (mut inbox, mut out) = (Buf::with_capacity(capacity), Buf::with_capacity(20_000));
    inbox.leave_room(room);
    inbox.out().extend_from_slice(OLD);
    inbox.out().extend_from_slice(bytes);
    inbox.consume(OLD.len());
    out.out().extend_from_slice(NEW);
    (inbox, out)
}

/// Bytes that are nowhere the same.
fn counted(count: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_be_bytes).take(count).collect()
}

#[test]
fn a_head_gets_the_first_bytes_of_its_body_and_none_of_what_follows() {
    const NEXT: &[u8] = b"GET /next HTTP/1.1\r\n";
    for room in [0, NEW.len() - OLD.len() - 1, NEW.len() - OLD.len(), 1_024] {
        for length in [1, 2_048, 2_049, 19_900, 19_973, 40_000] {
            for (here, next) in [
                (length, &b""[..]),
                (length, NEXT),
                (length - 1, b""),
                (length.min(2_100), b""),
            ] {
                let bytes = [&counted(here)[..], next].concat();
                let (mut inbox, mut out) = laid(room, room + 50_000, &bytes);
                let mut body = Body::of_request(RequestBody::Length(length as u64), None);
                let begun = begin(&mut body, &mut inbox, &mut out, &Pool::default());
                assert_eq!(begun, Ok(()));
                let went = out.len() - NEW.len();
                let case = (room, length, here, went);
                assert_eq!(out.filled(), [NEW, &counted(went)].concat(), "{case:?}");
                assert_eq!(inbox.filled(), &bytes[went..], "{case:?}");
                assert_eq!(body.moved(), went as u64, "{case:?}");
                assert_eq!(body.length_left(), Some((length - went) as u64), "{case:?}");
                // Nothing of the body is left over for a write of its own.
                assert!(went == here || !next.is_empty(), "{case:?}");
            }
        }
    }
}

#[test]
fn much_of_a_body_stays_where_it_lies() {
    let (mut inbox, mut out) = laid(64, 10_000, &counted(5_000));
    let lay = inbox.filled().as_ptr();
    let mut body = Body::of_request(RequestBody::Length(9_000), None);
    assert_eq!(
        begin(&mut body, &mut inbox, &mut out, &Pool::default()),
        Ok(())
    );
    assert_eq!(out.filled()[NEW.len()..].as_ptr(), lay);
    assert!(inbox.is_empty() && inbox.room() >= 20_000);
}

#[test]
fn a_chunked_body_is_looked_at_before_any_of_it_goes() {
    let (mut inbox, mut out) = laid(1_024, 10_000, &[b'x'; 5_000]);
    let mut body = Body::of_request(RequestBody::Chunked, None);
    let begun = begin(&mut body, &mut inbox, &mut out, &Pool::default());
    assert!(matches!(begun, Err(Cut::Malformed(_))), "{begun:?}");
    assert_eq!(out.filled(), NEW);
}

#[test]
fn only_a_sent_large_buffer_makes_way_and_only_for_nothing() {
    let pool = Pool::default();
    let filled = |mut buf: Buf| {
        buf.out().extend_from_slice(b"xx");
        buf
    };
    let table = [
        (pool.large(), pool.small(), true),
        (pool.small(), pool.small(), false),
        (pool.large(), pool.large(), false),
        (pool.large(), filled(pool.small()), false),
    ];
    for (out, mut inbox, made) in table {
        let mut out = filled(out);
        let (large, left) = (inbox.is_large() || made, inbox.len());
        make_way(&mut out, &mut inbox);
        assert_eq!((inbox.is_large(), inbox.len()), (large, left));
        assert_eq!(out.len(), if made { 0 } else { 2 });
    }
}
