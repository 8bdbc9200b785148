//! The pump against connections that fail where real ones seldom do. Not the framing (`http1` tests that). Invariant: what a
//! body counts as moved has left its buffer.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use super::*;

/// A peer that sends nothing more.
struct Ended;

impl Reader for Ended {
    async fn read(&mut self, buf: Buf, _deadline_ms: u64) -> (Result<usize, Broken>, Buf) {
        (Ok(0), buf)
    }
    fn idle(&self, _idle: bool) {}
    fn interject(&self, _bytes: &[u8]) -> bool {
        true
    }
    fn is_quiet(&self) -> bool {
        true
    }
}

/// A peer that takes so many bytes and then resets.
struct Takes(usize);

impl Writer for Takes {
    type Reader = Ended;
    async fn write(&mut self, mut buf: Buf, count: usize, _by: u64) -> (Result<(), Broken>, Buf) {
        let taken = count.min(self.0);
        self.0 -= taken;
        buf.consume(taken);
        let whole = taken == count;
        (if whole { Ok(()) } else { Err(Broken::Failed) }, buf)
    }
    fn finish(&mut self) {}
    fn abort(&self) {}
    fn reset_when_lost(&self, _on: bool) {}
    fn answer_by(&self, _deadline_ms: u64) {}
    fn tie(&self, _upstream: &Ended) {}
    fn untie(&self) {}
}

/// Nothing here ever waits.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn buf(bytes: &[u8], capacity: usize) -> Buf {
    let mut buf = Buf::with_capacity(capacity);
    buf.out().extend_from_slice(bytes);
    buf
}

fn pumped(to: &mut Takes, body: &mut Body, pipe: Pipe) -> Option<(Result<(), Cut>, Pipe)> {
    let deadlines = Deadlines::default();
    let (pace, pool) = (
        Pace {
            read_ms: 1,
            write_ms: 1,
        },
        Pool::default(),
    );
    at_once(pump(&mut Ended, to, body, pipe, pace, (&deadlines, &pool)))
}

#[test]
fn bytes_that_a_broken_write_left_behind_are_still_to_come() {
    let mut body = Body::of_request(RequestBody::Length(100), None);
    let pipe = Pipe {
        inbox: buf(&[b'x'; 60], 100),
        out: Buf::with_capacity(100),
    };
    let done = pumped(&mut Takes(25), &mut body, pipe);
    let (moved, pipe) = done.unwrap_or_else(|| unreachable!("nothing waits"));
    assert_eq!(moved, Err(Cut::Sink(Broken::Failed)));
    // 25 are gone, 35 lie in the inbox, 40 are on their way: together they are the body, and the next request begins there.
    assert_eq!(pipe.inbox.len(), 35);
    assert_eq!((body.moved(), body.length_left()), (25, Some(75)));
}

#[test]
fn a_head_without_room_behind_it_does_not_ask_for_more_than_came() {
    let mut body = Body::of_response(ResponseBody::Length(2), 1);
    let pipe = Pipe {
        inbox: buf(b"ok", 100),
        out: buf(&[b'h'; 90], 100),
    };
    let done = pumped(&mut Takes(1_000), &mut body, pipe);
    let (moved, _) = done.unwrap_or_else(|| unreachable!("nothing waits"));
    assert_eq!((moved, body.is_done()), (Ok(()), true));
}

#[test]
fn a_head_goes_out_with_the_body_that_lies_behind_it_and_counts_as_none_of_it() {
    for (taken, left, moved) in [
        (50, 40 + 3_000, 0),
        (90, 3_000, 0),
        (100, 2_990, 10),
        (5_000, 0, 3_000),
    ] {
        let mut body = Body::of_response(ResponseBody::Length(3_000), 1);
        let mut inbox = Buf::with_capacity(4_000);
        inbox.leave_room(100);
        inbox.out().extend_from_slice(&[b'x'; 3_000]);
        let out = buf(&[b'h'; 90], 100);
        let done = pumped(&mut Takes(taken), &mut body, Pipe { inbox, out });
        let (_, pipe) = done.unwrap_or_else(|| unreachable!("nothing waits"));
        assert_eq!(
            (pipe.inbox.len(), pipe.out.len(), body.moved()),
            (left, 0, moved)
        );
    }
}
