//! Bytes on their way: one growable buffer type for reading and writing, and the per-worker pool it comes from. Not a ring.
//! Invariant: `start <= bytes.len()`, and what the kernel may read or write is exactly what the two `unsafe` traits expose.

#![allow(
    unsafe_code,
    reason = "the kernel reads and writes these bytes; the runtime's buffer traits are unsafe to implement"
)]

use monoio::buf::{IoBuf, IoBufMut};

/// Capacity of a small buffer: the largest request head and a little body.
pub(super) const SMALL_BYTES: usize = 17 * 1024;

/// Capacity of a large buffer: the unit in which bodies are moved. Peers like to send 64 KB at once: these and a head fit.
pub(super) const LARGE_BYTES: usize = 68 * 1024;

/// Capacity up to which a buffer that has grown is kept as a large one.
const GROWN_BYTES_MAX: usize = 2 * LARGE_BYTES;

/// Buffers of each size that a worker keeps for reuse; beyond it they are freed.
const KEPT_MAX: usize = 256;

/// And after a crowd has gone: enough for a few requests at once.
const KEPT_IN_REST: usize = 8;

const _: () = assert!(SMALL_BYTES > crate::http1::HEAD_BYTES_MAX);
const _: () = assert!(LARGE_BYTES >= crate::http1::RESPONSE_HEAD_BYTES_MAX);

/// A buffer with consumed bytes in front. Reading appends at its end, writing takes from its start.
#[derive(Debug, Default)]
pub struct Buf {
    /// All bytes, the consumed ones included; appended to by heads that are written.
    bytes: Vec<u8>,
    start: usize,
    /// How many bytes the next write may take; set by the writer.
    send: usize,
    #[cfg(test)]
    _counted: Option<counted::Counted>,
}

impl Buf {
    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
            start: 0,
            send: 0,
            #[cfg(test)]
            _counted: Some(counted::Counted::new()),
        }
    }

    /// What has been read or appended and not been consumed.
    pub fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// The same, for decryption in place.
    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    /// Number of unconsumed bytes.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// No unconsumed bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes `count` bytes (at most all) off the front; when none is left, all room is free again.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.clear();
        }
    }

    /// Takes sent bytes off the front but keeps them, so that [`Buf::rewind`] can send them again.
    pub(crate) fn consume_keeping(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
    }

    /// Leaves `count` consumed bytes at the front of an empty buffer, so that something can be put before what is read.
    pub fn leave_room(&mut self, count: usize) {
        self.bytes.resize(count, 0);
        self.start = count;
    }

    /// Puts `bytes` in front of the unconsumed ones, over consumed ones. False: these are too few, and nothing has changed.
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(bytes.len()) else {
            return false;
        };
        if let Some(room) = self.bytes.get_mut(start..self.start) {
            room.copy_from_slice(bytes);
        }
        self.start = start;
        true
    }

    /// Replaces a range of the unconsumed bytes, moving what stands before it. False: the new bytes are more than the old ones and those
    /// consumed in front, and nothing has changed.
    pub fn replace(&mut self, range: std::ops::Range<usize>, with: &[u8]) -> bool {
        let (from, end) = (self.start, self.start + range.start);
        let room = from + range.len();
        let Some(start) = room.checked_sub(with.len()) else {
            return false;
        };
        let at = start + range.start;
        if end > self.bytes.len() || at + with.len() > self.bytes.len() {
            return false;
        }
        self.bytes.copy_within(from..end, start);
        if let Some(place) = self.bytes.get_mut(at..at + with.len()) {
            place.copy_from_slice(with);
        }
        self.start = start;
        true
    }

    /// Drops the bytes after the first `keep` unconsumed ones.
    pub fn truncate(&mut self, keep: usize) {
        self.bytes.truncate(self.start + keep);
    }

    /// Forgets everything; capacity stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Undoes [`Buf::consume_keeping`]: the last `count` bytes are unconsumed again, to be sent a second time.
    pub(crate) fn rewind(&mut self, count: usize) {
        self.start = self.bytes.len().saturating_sub(count);
    }

    /// Moves unconsumed bytes to the front, so that all room is at the end.
    pub fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// The same, but for `room` bytes in front of them, as [`Buf::leave_room`] leaves them; where fewer were consumed, these.
    pub fn compact_behind(&mut self, room: usize) {
        if self.is_empty() {
            self.leave_room(room);
        } else if self.start > room {
            self.bytes.drain(room..self.start);
            self.start = room;
        }
    }

    /// It has a large buffer's room, used or not.
    pub fn is_large(&self) -> bool {
        self.bytes.capacity() >= LARGE_BYTES
    }

    /// Bytes that a read may add.
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Makes the capacity at least `capacity`.
    pub fn grow(&mut self, capacity: usize) {
        self.bytes
            .reserve(capacity.saturating_sub(self.bytes.len()));
    }

    /// Where heads are written: appended bytes become unconsumed ones.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Announces how many bytes the next write takes.
    pub(super) fn announce(&mut self, count: usize) {
        self.send = count.min(self.len());
    }
}

// SAFETY: `bytes` is heap memory that does not move while the value is owned by an operation, and `start + send` never
// exceeds its initialised length (`announce` clamps it).
unsafe impl IoBuf for Buf {
    fn read_ptr(&self) -> *const u8 {
        self.filled().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.send
    }
}

// SAFETY: the pointer is the vector's spare capacity, whose size `bytes_total` tells; `set_init` is called with the number
// of bytes that the kernel wrote there.
unsafe impl IoBufMut for Buf {
    fn write_ptr(&mut self) -> *mut u8 {
        self.bytes.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.room()
    }

    unsafe fn set_init(&mut self, count: usize) {
        let end = self.bytes.len() + count;
        // SAFETY: the caller says that `count` bytes of the spare capacity were written.
        unsafe { self.bytes.set_len(end) }
    }
}

/// A worker's store of buffers, so that a request allocates none.
#[derive(Debug, Default)]
pub struct Pool {
    small: std::cell::RefCell<Vec<Buf>>,
    large: std::cell::RefCell<Vec<Buf>>,
}

impl Pool {
    /// An empty buffer of at least `SMALL_BYTES`.
    pub fn small(&self) -> Buf {
        let kept = self.small.borrow_mut().pop();
        kept.unwrap_or_else(|| Buf::with_capacity(SMALL_BYTES))
    }

    /// An empty buffer of at least `LARGE_BYTES`.
    pub fn large(&self) -> Buf {
        let kept = self.large.borrow_mut().pop();
        kept.unwrap_or_else(|| Buf::with_capacity(LARGE_BYTES))
    }

    /// Buffers that wait for use.
    #[cfg(test)]
    pub(crate) fn shelved(&self) -> usize {
        self.small.borrow().len() + self.large.borrow().len()
    }

    /// Keeps few: a crowd has used many, and each holds pages.
    pub fn shrink(&self) {
        for shelf in [&self.small, &self.large] {
            let mut shelf = shelf.borrow_mut();
            shelf.truncate(KEPT_IN_REST);
            shelf.shrink_to_fit();
        }
    }

    /// Takes a buffer back.
    pub fn put(&self, mut buf: Buf) {
        buf.clear();
        let capacity = buf.bytes.capacity();
        // What has grown past a large buffer's size is freed: one odd answer must not fatten the worker for ever.
        let shelf = match capacity {
            0..SMALL_BYTES => return,
            SMALL_BYTES..LARGE_BYTES => &self.small,
            LARGE_BYTES..=GROWN_BYTES_MAX => &self.large,
            _ => return,
        };
        let mut shelf = shelf.borrow_mut();
        if shelf.len() < KEPT_MAX {
            shelf.push(buf);
        }
    }
}

/// How many buffers with memory of their own live on this thread: what a leak would show in.
#[cfg(test)]
pub(crate) mod counted {
    use std::cell::Cell;

    thread_local! {
        static ALIVE: Cell<usize> = const { Cell::new(0) };
    }

    /// Buffers alive.
    pub(crate) fn alive() -> usize {
        ALIVE.get()
    }

    #[derive(Debug)]
    pub(super) struct Counted(());

    impl Counted {
        pub(super) fn new() -> Self {
            ALIVE.set(ALIVE.get() + 1);
            Self(())
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.set(ALIVE.get() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumed_bytes_leave_and_room_comes_back() {
        let mut buf = Buf::with_capacity(8);
        buf.out().extend_from_slice(b"abcdef");
        buf.consume(4);
        assert_eq!(buf.filled(), b"ef");
        let before = buf.room();
        buf.compact();
        assert_eq!((buf.filled(), buf.room()), (&b"ef"[..], before + 4));
        buf.consume(100);
        assert!(buf.is_empty());
    }

    #[test]
    fn a_part_is_replaced_by_a_shorter_one_and_back() {
        let mut buf = Buf::with_capacity(32);
        buf.out().extend_from_slice(b"GET / Host: longest\r\nbody");
        assert!(!buf.replace(12..19, b"longer than all"));
        assert!(buf.replace(12..19, b"b"));
        assert_eq!(buf.filled(), b"GET / Host: b\r\nbody");
        assert!(buf.replace(12..13, b"middle"));
        assert_eq!(buf.filled(), b"GET / Host: middle\r\nbody");
        assert!(buf.replace(12..18, b"longest"));
        assert_eq!(buf.filled(), b"GET / Host: longest\r\nbody");
        assert!(!buf.replace(12..100, b"x"));
        assert!(!buf.replace(100..101, b"x"));
    }

    #[test]
    fn what_is_put_in_front_takes_the_place_of_what_was_consumed() {
        let mut buf = Buf::with_capacity(16);
        buf.leave_room(2);
        buf.out().extend_from_slice(b"headbody");
        buf.consume(4);
        assert!(!buf.prepend(b"longer!"));
        assert_eq!(buf.filled(), b"body");
        assert!(buf.prepend(b"ahead:"));
        assert_eq!(buf.filled(), b"ahead:body");
        assert!(!buf.prepend(b"x"));
    }

    #[test]
    fn what_was_sent_can_be_sent_again_without_what_lay_in_front_of_it() {
        let mut buf = Buf::with_capacity(16);
        buf.out().extend_from_slice(b"headbody");
        buf.consume(4);
        assert!(buf.prepend(b"new"));
        for sent in [0, 2, 7] {
            buf.consume_keeping(sent);
            buf.rewind(7);
            assert_eq!(buf.filled(), b"newbody");
        }
    }

    #[test]
    fn compacting_leaves_the_room_in_front_that_is_asked_for() {
        let mut buf = Buf::with_capacity(16);
        buf.out().extend_from_slice(b"abcdefgh");
        buf.consume(2);
        buf.compact_behind(3);
        assert_eq!((buf.filled(), buf.room()), (&b"cdefgh"[..], 8));
        buf.consume(4);
        buf.compact_behind(3);
        assert_eq!((buf.filled(), buf.room()), (&b"gh"[..], 11));
        buf.consume_keeping(2);
        buf.compact_behind(3);
        assert_eq!((buf.len(), buf.room()), (0, 13));
        assert!(buf.prepend(b"new") && !buf.prepend(b"x"));
        buf.clear();
        buf.compact_behind(0);
        assert_eq!((buf.len(), buf.room()), (0, 16));
    }

    #[test]
    fn a_write_takes_no_more_than_was_announced() {
        let mut buf = Buf::with_capacity(8);
        buf.out().extend_from_slice(b"abcdef");
        buf.announce(2);
        assert_eq!(buf.bytes_init(), 2);
        buf.announce(100);
        assert_eq!(buf.bytes_init(), 6);
    }

    #[test]
    fn a_pool_keeps_sizes_apart() {
        let pool = Pool::default();
        pool.put(Buf::with_capacity(LARGE_BYTES));
        assert!(pool.small().room() < LARGE_BYTES);
        assert!(pool.large().room() >= LARGE_BYTES);
        pool.put(Buf::with_capacity(1 << 20));
        assert!(pool.large.borrow().is_empty(), "grown buffers are freed");
    }
}
