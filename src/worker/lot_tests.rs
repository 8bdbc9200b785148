//! The lot against a plain list: whatever is parked, taken out and closed in whatever order, the oldest is found first and nothing
//! is lost. Not the wake itself (`net` shows it). Invariant: a failure prints its seed.

#![allow(clippy::expect_used, reason = "a test may fail loudly")]

use std::collections::VecDeque;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use super::{Lot, Taken};
use crate::metrics::CloseReason;
use crate::net::{Driver, PARK_AFTER_MS, Tcp, run};

const STEPS: u32 = 400;
const IDLE_MS: u64 = 50;

fn peer(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(number))
}

/// Who was taken out, and why it was closed if it was.
fn told(taken: Option<Taken<Tcp>>) -> Option<(IpAddr, Option<CloseReason>)> {
    taken.map(|taken| match taken {
        Taken::Awake(_, peer, _) => (peer, None),
        Taken::Ended(reason, peer) => (peer, Some(reason)),
    })
}

/// A small generator (splitmix64): the same seed gives the same steps.
fn next(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((mixed ^ (mixed >> 31)) % below as u64).expect("below")
}

/// What the list knows of one: its number, its slot in the lot is found by ringing.
struct Held {
    number: u32,
    theirs: TcpStream,
    parked_ms: u64,
}

fn walk(seed: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let lot = Lot::<Tcp>::new().expect("a bell");
    let mut list: VecDeque<Held> = VecDeque::new();
    let mut state = seed;
    let mut now_ms = PARK_AFTER_MS;
    for number in 0..STEPS {
        now_ms += next(&mut state, 5) as u64;
        let context = || format!("seed {seed}, step {number}");
        match next(&mut state, 6) {
            0 if !list.is_empty() => {
                let oldest = list.pop_front().map(|held| peer(held.number));
                assert_eq!(lot.evict(), oldest, "{}", context());
            }
            1 => {
                let due = list
                    .front()
                    .is_some_and(|held| held.parked_ms - PARK_AFTER_MS + IDLE_MS <= now_ms);
                let held = due.then(|| list.pop_front()).flatten();
                let ended = |held: &Held| (peer(held.number), Some(CloseReason::IdleTimeout));
                let expected = held.as_ref().map(ended);
                let found = told(lot.take_expired(now_ms, IDLE_MS));
                assert_eq!(found, expected, "{}", context());
            }
            2 if !list.is_empty() => {
                // One from the middle speaks: its slot is the only one that has something to say.
                let at = next(&mut state, list.len());
                let mut held = list.remove(at).expect("one of the list");
                held.theirs.write_all(b"x").expect("an open socket");
                let found: Vec<_> = (0..STEPS)
                    .filter_map(|slot| told(lot.take_rung(slot, None, now_ms)))
                    .collect();
                assert_eq!(found, [(peer(held.number), None)], "{}", context());
            }
            _ => {
                let theirs = TcpStream::connect(address).expect("a connection");
                let (ours, _) = listener.accept().expect("a connection");
                let idle_since_ms = now_ms - PARK_AFTER_MS;
                let refused = lot.park(OwnedFd::from(ours).into(), peer(number), idle_since_ms);
                assert!(refused.is_none(), "{}", context());
                list.push_back(Held {
                    number,
                    theirs,
                    parked_ms: now_ms,
                });
            }
        }
    }
    for held in list {
        let found = told(lot.take_oldest(CloseReason::Draining, now_ms));
        let expected = (peer(held.number), Some(CloseReason::Draining));
        assert_eq!(found, Some(expected), "seed {seed}, at the end");
    }
    assert!(lot.take_oldest(CloseReason::Draining, now_ms).is_none());
}

#[test]
fn the_lot_is_a_line() {
    let ran = run(Driver::Epoll, || async {
        for seed in 0..20 {
            walk(seed);
        }
    });
    assert!(ran.is_ok());
}

#[test]
fn one_that_has_spoken_is_not_given_up_while_another_is_silent() {
    let ran = run(Driver::Epoll, || async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let lot = Lot::<Tcp>::new().expect("a bell");
        let mut clients = Vec::new();
        for number in 0..3 {
            clients.push(TcpStream::connect(address).expect("a connection"));
            let (ours, _) = listener.accept().expect("a connection");
            assert!(
                lot.park(OwnedFd::from(ours).into(), peer(number), 1_000)
                    .is_none()
            );
        }
        for mut client in [&clients[0], &clients[1]] {
            client.write_all(b"GET").expect("an open socket");
        }
        assert_eq!(lot.evict(), Some(peer(2)));
        // All that are left have spoken: one of them goes all the same.
        assert_eq!(lot.evict(), Some(peer(0)));
    });
    assert!(ran.is_ok());
}
