//! Frames followed however they are cut, the accept value of RFC 6455's example, and close frames read back. Not real peers
//! (`tests/e2e_websocket.rs` has those). Invariant: the follower's boundaries are where a frame was built to end.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;

/// A frame as a peer would build it.
fn frame(first: u8, mask: bool, length: usize) -> Vec<u8> {
    let mut frame = vec![first];
    let bit = if mask { 0x80 } else { 0 };
    match length {
        0..=125 => frame.push(bit | u8::try_from(length).unwrap()),
        126..=65_535 => {
            frame.push(bit | 126);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            frame.push(bit | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if mask {
        frame.extend_from_slice(&[1, 2, 3, 4]);
    }
    // Bytes that would read as a close frame's head, were they taken for one.
    frame.resize(frame.len() + length, 0x88);
    frame
}

#[test]
fn the_accept_value_is_the_one_of_the_rfc() {
    assert_eq!(
        &accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
        b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}

#[test]
fn boundaries_are_where_frames_end_however_they_are_cut() {
    let lengths = [0, 1, 125, 126, 127, 300, 65_535, 65_536, 70_000];
    let frames: Vec<Vec<u8>> = lengths
        .iter()
        .flat_map(|&length| [frame(0x82, true, length), frame(0x01, false, length)])
        .collect();
    let all: Vec<u8> = frames.concat();
    let mut ends: Vec<usize> = vec![0];
    for frame in &frames {
        ends.push(ends.last().unwrap() + frame.len());
    }
    for step in [1, 2, 3, 7, 64, 511, 65_537, all.len()] {
        let mut follower = Frames::default();
        let mut at = 0;
        for piece in all.chunks(step) {
            follower.pass(piece);
            at += piece.len();
            assert_eq!(follower.at_boundary(), ends.contains(&at), "{step} {at}");
        }
        assert!(!follower.close_seen(), "a payload is no frame");
    }
}

/// Two short frames cut at every byte into two pieces: whatever the cut, the first piece ends between frames or it does not.
#[test]
fn two_frames_are_cut_at_every_byte() {
    for (first, second) in [(0, 3), (3, 0), (126, 5), (65_536, 1)] {
        let (first, second) = (frame(0x82, true, first), frame(0x88, false, second));
        let both = [first.clone(), second].concat();
        let heads = [
            0..20.min(both.len()),
            both.len().saturating_sub(20)..both.len(),
        ];
        for cut in heads.into_iter().flatten() {
            let mut follower = Frames::default();
            follower.pass(&both[..cut]);
            let boundary = cut == 0 || cut == first.len();
            assert_eq!(follower.at_boundary(), boundary, "{} {cut}", both.len());
            assert_eq!(follower.close_seen(), cut > first.len(), "{cut}");
            follower.pass(&both[cut..]);
            assert!(follower.at_boundary() && follower.close_seen());
        }
    }
}

#[test]
fn one_frame_is_taken_at_a_time() {
    let bytes = [frame(0x81, true, 300), frame(0x81, true, 2)].concat();
    let mut follower = Frames::default();
    follower.pass(&bytes[..10]);
    assert_eq!(follower.pass_frame(&bytes[10..]), bytes.len() - 8 - 10);
    assert!(follower.at_boundary());
    assert_eq!(follower.pass_frame(&bytes[bytes.len() - 8..]), 8);
    assert_eq!(follower.pass_frame(b""), 0);
}

/// A length that no sender can mean: no boundary is ever told again, and nothing overflows.
#[test]
fn an_impossible_length_never_ends() {
    let mut follower = Frames::default();
    follower.pass(&[0x82, 0xff]);
    follower.pass(&[0xff; 8]);
    follower.pass(&vec![0; 1 << 20]);
    assert!(!follower.at_boundary());
}

#[test]
fn close_frames_read_as_they_should() {
    let mut out = Vec::new();
    write_close(&mut out, 1008, "ab", false);
    assert_eq!(out, [0x88, 4, 3, 0xf0, b'a', b'b']);
    out.clear();
    write_close(&mut out, 1001, "", true);
    assert_eq!(out, [0x88, 0x82, 0, 0, 0, 0, 3, 0xe9]);
    let mut follower = Frames::default();
    follower.pass(&out);
    assert!(follower.at_boundary() && follower.close_seen());
    out.clear();
    write_close(&mut out, 1001, &"x".repeat(200), false);
    assert_eq!(out.len(), 2 + 125, "a control frame's bound");
}
