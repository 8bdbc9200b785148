//! Which connections have something to say: one epoll instance. Invariant: a socket is registered once, for its life.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{Timespec, epoll};

const EVENTS_MAX: usize = 256;

pub(super) struct Ready(OwnedFd);

impl Ready {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Edge-triggered in both directions.
    pub(super) fn watch(&self, socket: impl AsFd, index: usize) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(index as u64);
        Ok(epoll::add(&self.0, socket, data, flags)?)
    }

    /// Those that are ready after at most `pause` ns, below a second.
    pub(super) fn wait(&self, pause: u64) -> io::Result<Vec<usize>> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS_MAX];
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(pause).unwrap_or(0),
        };
        let index = |event: &epoll::Event| usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
        match epoll::wait(&self.0, &mut events, Some(&timeout)) {
            Ok((ready, _)) => Ok(ready.iter().map(index).collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}
