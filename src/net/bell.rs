//! Which of a worker's parked connections have something to say: one epoll instance, which the runtime watches as it watches a
//! socket (epoll in io_uring, or epoll in epoll). Not the table of them (the worker's). Invariants: a descriptor hangs here only
//! while it is open, closing it takes it off; one that has rung still hangs, in silence, so that parking it again is one call.

use std::io;
use std::os::fd::OwnedFd;

use monoio::net::TcpStream;
use rustix::event::{Timespec, epoll};
use rustix::net::{RecvFlags, recv};

use super::streak::Streak;
use super::stream::{Bell, Rung, Signal};
use super::tcp::TcpParked;

/// Connections told at once: more wait for the next look, so that a crowd that wakes together does not hold the worker.
const RUNG_MAX: usize = 32;

/// Looks in a row without a wait: some half a millisecond of waking.
const STREAK_MAX: u32 = 4;

/// Anything ends the silence, once.
const WATCHED: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::RDHUP)
    .union(epoll::EventFlags::ONESHOT);

/// One epoll instance.
#[derive(Debug)]
pub struct TcpBell {
    epoll: OwnedFd,
    /// The same instance under the runtime's eyes. It only ever waits for readability, so that no socket is needed.
    watched: TcpStream,
    streak: Streak,
}

impl Bell for TcpBell {
    type Parked = TcpParked;

    fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let watched = std::net::TcpStream::from(epoll.try_clone()?);
        let watched = TcpStream::from_std(watched)?;
        Ok(Self {
            epoll,
            watched,
            streak: Streak::default(),
        })
    }

    fn watch(&self, parked: &TcpParked, tag: u32) -> io::Result<()> {
        let tag = epoll::EventData::new_u64(u64::from(tag));
        let fd = parked.fd().ok_or(io::ErrorKind::NotConnected)?;
        match epoll::modify(&self.epoll, fd, tag, WATCHED) {
            // It hangs here for the first time.
            Err(rustix::io::Errno::NOENT) => Ok(epoll::add(&self.epoll, fd, tag, WATCHED)?),
            other => Ok(other?),
        }
    }

    fn unwatch(&self, parked: &TcpParked) {
        if let Some(fd) = parked.fd() {
            // It fails only for what does not hang here.
            let _ = epoll::delete(&self.epoll, fd);
        }
    }

    fn signal(parked: &TcpParked) -> Signal {
        let Some(fd) = parked.fd() else {
            return Signal::Failed;
        };
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(fd, &mut byte, flags) {
            Ok((0, _)) => Signal::End,
            Ok(_) => Signal::Bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Signal::Quiet,
            Err(_) => Signal::Failed,
        }
    }

    async fn rung(&self, rung: &mut Vec<Rung>) {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut events = Vec::with_capacity(RUNG_MAX);
        loop {
            // Also when there is more to tell others run in between.
            self.streak.take_turn(STREAK_MAX).await;
            let readable = self.streak.noted(self.watched.readable(false)).await;
            if readable.is_err() {
                super::sleep_ms(1).await;
            }
            let room = rustix::buffer::spare_capacity(&mut events);
            if !matches!(epoll::wait(&self.epoll, room, Some(&at_once)), Ok(count) if count > 0) {
                continue;
            }
            rung.extend(events.drain(..).filter_map(told));
            return;
        }
    }
}

/// What the kernel says of one. With an end or an error there is no telling whether bytes came before.
fn told(event: epoll::Event) -> Option<Rung> {
    let (data, flags) = (event.data, event.flags);
    let signal = (flags == epoll::EventFlags::IN).then_some(Signal::Bytes);
    Some((u32::try_from(data.u64()).ok()?, signal))
}
