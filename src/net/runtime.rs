//! Drivers, threads and tasks: how a worker's runtime is built and what it may do beside sockets. Invariant: an io_uring
//! worker has a ring that was made on its own thread (single issuer), with cooperative task running; the default ring costs
//! twice the CPU per request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder, time::TimeDriver};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::clock;
use crate::throttle::SharedThrottle;

/// Ring entries per worker: submissions that may gather in one turn of the loop.
const RING_ENTRIES: u32 = 1024;

/// How the kernel is asked for input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// io_uring, with the named ring flags.
    IoUring(RingFlags),
    /// epoll, the fallback.
    Epoll,
}

/// Which ring flags the kernel accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingFlags {
    /// coop_taskrun and single_issuer (Linux 6.0).
    Tuned,
    /// coop_taskrun alone (Linux 5.19).
    Coop,
    /// None.
    Plain,
}

impl Driver {
    /// Name for `/health`, metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUring(_) => "io_uring",
            Self::Epoll => "epoll",
        }
    }

    /// One line for the operator at start.
    pub fn describe(self) -> &'static str {
        match self {
            Self::IoUring(RingFlags::Tuned) => "io_uring (coop_taskrun, single_issuer)",
            Self::IoUring(RingFlags::Coop) => "io_uring (coop_taskrun; Linux 6.0 would be faster)",
            Self::IoUring(RingFlags::Plain) => {
                "io_uring (no ring flags; Linux 6.0 is twice as fast)"
            }
            Self::Epoll => {
                "epoll: io_uring is not available (old kernel, a container's seccomp profile, or \
                 MONOIO_FORCE_LEGACY_DRIVER); see deploy/seccomp-io_uring.json"
            }
        }
    }
}

/// Not DEFER_TASKRUN (Linux 6.1): at saturation it costs the same, and because the kernel runs few completions per call then, a crowd of
/// 2,500 connections that woke together kept others waiting for up to 30 to 103 ms in place of 17 to 19.
fn ring(flags: RingFlags) -> RuntimeBuilder<TimeDriver<IoUringDriver>> {
    let mut builder = io_uring::IoUring::builder();
    match flags {
        RingFlags::Tuned => {
            builder.setup_coop_taskrun().setup_single_issuer();
        }
        RingFlags::Coop => {
            builder.setup_coop_taskrun();
        }
        RingFlags::Plain => {}
    }
    RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(builder)
        .with_entries(RING_ENTRIES)
        .enable_timer()
}

/// Finds the best driver that works here, by building and dropping a runtime of each kind on a thread of its own.
pub fn detect() -> Driver {
    if !monoio::utils::detect_uring() {
        return Driver::Epoll;
    }
    for flags in [RingFlags::Tuned, RingFlags::Coop, RingFlags::Plain] {
        let built = std::thread::spawn(move || ring(flags).build().is_ok());
        if built.join().unwrap_or(false) {
            return Driver::IoUring(flags);
        }
    }
    Driver::Epoll
}

/// Runs a worker's main future on this thread until it ends.
///
/// # Errors
/// The runtime could not be built (descriptors, locked memory).
pub fn run<F: Future>(driver: Driver, main: impl FnOnce() -> F) -> std::io::Result<F::Output> {
    match driver {
        Driver::IoUring(flags) => {
            let mut runtime = ring(flags).build()?;
            Ok(runtime.block_on(async { main().await }))
        }
        Driver::Epoll => {
            let builder = RuntimeBuilder::<LegacyDriver>::new().enable_timer();
            let mut runtime = builder.build()?;
            Ok(runtime.block_on(async { main().await }))
        }
    }
}

/// Starts a task on this worker.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(task));
}

/// Waits. The timer is boxed: it is large and aligned to 128 bytes, and every read and write could have to stand back with one, so
/// that it would make each future above them kilobytes larger for what hardly ever happens.
pub async fn sleep_ms(ms: u64) {
    Box::pin(monoio::time::sleep(Duration::from_millis(ms))).await;
}

/// CPUs that this process may use.
pub fn usable_cpus() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return vec![0];
    };
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

/// Binds the calling thread to one CPU; failing is no error, only slower.
pub fn pin_to_core(cpu: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).is_ok()
}

/// Raises the descriptor limit to its hard limit and returns what holds now.
pub fn descriptors_raised() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    let now = getrlimit(Resource::Nofile).current;
    now.map_or(usize::MAX, |count| {
        usize::try_from(count).unwrap_or(usize::MAX)
    })
}

/// From now on one panic's message a second is written: what is caught around one connection, a client may be able to
/// repeat.
pub fn bound_panic_messages() {
    let told = SharedThrottle::new(1_000);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if told.pass(clock::now_ms()).is_some() {
            usual(panic);
        }
    }));
}

/// A future whose panic is caught: the output is `None` then.
#[derive(Debug)]
pub struct Caught<F>(Pin<Box<F>>);

/// Contains a panic of `future` to its own task: on this runtime a panic would otherwise end the worker.
pub fn catch_panic<F: Future>(future: F) -> Caught<F> {
    Caught(Box::pin(future))
}

impl<F: Future> Future for Caught<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = std::panic::AssertUnwindSafe(|| self.0.as_mut().poll(cx));
        match std::panic::catch_unwind(polled) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Err(_) => Poll::Ready(None),
        }
    }
}

/// Runs both; ends as soon as `main` ends. `side` may end earlier, its output is then kept.
///
/// Only for two directions of connections that are closed when `side` was cut short: a dropped operation may have taken bytes.
///
/// They come pinned: taken by value they would be stored twice, as arguments and as what is polled.
pub async fn race<M: Future, S: Future>(
    mut main: Pin<&mut M>,
    mut side: Pin<&mut S>,
) -> (M::Output, Option<S::Output>) {
    let mut side_output = None;
    std::future::poll_fn(move |cx| {
        // `main` first: what it tells `side` (through a cell) is heard in the same turn.
        if let Poll::Ready(output) = main.as_mut().poll(cx) {
            return Poll::Ready((output, side_output.take()));
        }
        if side_output.is_none()
            && let Poll::Ready(output) = side.as_mut().poll(cx)
        {
            side_output = Some(output);
            // `side` may have ended what `main` waits for.
            return main
                .as_mut()
                .poll(cx)
                .map(|output| (output, side_output.take()));
        }
        Poll::Pending
    })
    .await
}

/// Waits until `told` or for as long as `time` takes; true when told. Whoever tells runs in the same task (see [`race`]).
pub async fn told_within(told: &std::cell::Cell<bool>, time: impl Future<Output = ()>) -> bool {
    let mut time = std::pin::pin!(time);
    std::future::poll_fn(|cx| {
        if told.get() {
            return Poll::Ready(true);
        }
        time.as_mut().poll(cx).map(|()| false)
    })
    .await
}

/// Waits for `future` until `time` ends. Not for an operation on a socket: it would be dropped.
pub async fn within<F: Future>(time: impl Future<Output = ()>, future: F) -> Option<F::Output> {
    let (mut time, mut future) = (std::pin::pin!(time), std::pin::pin!(future));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        time.as_mut().poll(cx).map(|()| None)
    })
    .await
}
