//! The machine of a simulated run: one thread, a clock that moves only when nothing can run, tasks in an order that the seed
//! shuffles. Not the network (`wire`). Invariant: nothing here depends on the real time, on addresses, or on hash order.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::dice::Dice;
use super::sweep::Sweep;
use super::wire::Connecting;

/// Polls after which a run is not slow but stuck.
const STEPS_MAX: u64 = 3_000_000;

/// Simulated time after which a run is stuck: every limit of a run is a few seconds.
const RUN_MS_MAX: u64 = 180_000;

/// Where simulated Unix time begins: late in 2027.
const UNIX_MS: u64 = 1_830_000_000_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Who takes connections to services.
type Listener = Rc<dyn Fn(SocketAddr) -> Connecting>;

/// One run's machine.
pub(super) struct World {
    now_ns: Cell<u64>,
    dice: RefCell<Dice>,
    tasks: RefCell<Vec<Option<Task>>>,
    /// What each task is, for the report.
    names: RefCell<Vec<String>>,
    /// Tasks that a run does not wait for.
    servants: RefCell<Vec<usize>>,
    ready: RefCell<Vec<usize>>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    /// Moments and tasks that have a timer: one is enough, and each wake would set the next.
    timed: RefCell<HashSet<(u64, *const ())>>,
    /// Each task's, the same one for all its polls.
    wakers: RefCell<Vec<Waker>>,
    numbers: Cell<u64>,
    failure: RefCell<Option<String>>,
    listener: RefCell<Option<Listener>>,
    pub(super) sweep: Rc<Sweep>,
    /// Bytes of a handshake that connections begin with; 0: none, as on a plain port.
    pub(super) handshake_bytes: Cell<usize>,
    /// Mixes every step: equal for equal runs.
    trace: Cell<u64>,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// This thread's machine.
pub(super) fn world() -> Rc<World> {
    WORLD.with(|world| world.borrow().clone()).expect("a run")
}

struct Ready(usize);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        // A waker may outlive its run by a moment, while the run's tasks are dropped.
        let world = WORLD.with(|world| world.borrow().clone());
        if let Some(world) = world {
            let mut ready = world.ready.borrow_mut();
            if !ready.contains(&self.0) {
                ready.push(self.0);
            }
        }
    }
}

impl World {
    pub(super) fn begin(seed: u64) -> Rc<Self> {
        let world = Rc::new(Self {
            now_ns: Cell::new(7_000_000_000),
            dice: RefCell::new(Dice::new(seed)),
            tasks: RefCell::default(),
            names: RefCell::default(),
            servants: RefCell::default(),
            ready: RefCell::default(),
            timers: RefCell::default(),
            timed: RefCell::default(),
            wakers: RefCell::default(),
            numbers: Cell::new(0),
            failure: RefCell::default(),
            listener: RefCell::default(),
            sweep: Rc::default(),
            handshake_bytes: Cell::new(0),
            trace: Cell::new(seed),
        });
        WORLD.with(|place| place.replace(Some(Rc::clone(&world))));
        world
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ns.get() / 1_000_000
    }

    pub(super) fn unix_ms(&self) -> u64 {
        UNIX_MS + self.now_ms()
    }

    pub(super) fn dice<T>(&self, roll: impl FnOnce(&mut Dice) -> T) -> T {
        roll(&mut self.dice.borrow_mut())
    }

    pub(super) fn number(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// Something that must never be has been seen; the first such thing ends the run.
    pub(super) fn fail(&self, what: impl Into<String>) {
        let at = self.now_ms();
        let what = what.into();
        self.failure
            .borrow_mut()
            .get_or_insert_with(|| format!("at {at} ms: {what}"));
    }

    pub(super) fn listen(&self, listener: Listener) {
        self.listener.replace(Some(listener));
    }

    pub(super) fn connect(&self, address: SocketAddr) -> Connecting {
        let listener = self.listener.borrow().clone();
        listener.map_or(Connecting::Refused(0), |listener| listener(address))
    }

    pub(super) fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        self.ready.borrow_mut().push(tasks.len());
        let waker = Waker::from(Arc::new(Ready(tasks.len())));
        self.wakers.borrow_mut().push(waker);
        tasks.push(Some(Box::pin(task)));
        self.names.borrow_mut().push(name.into());
    }

    /// Starts a task that lasts as long as somebody may want it.
    pub(super) fn spawn_servant(&self, task: impl Future<Output = ()> + 'static) {
        self.servants.borrow_mut().push(self.tasks.borrow().len());
        self.spawn("a servant", task);
    }

    pub(super) fn wake_at(&self, at_ns: u64, waker: &Waker) {
        if self.timed.borrow_mut().insert((at_ns, waker.data())) {
            let key = (at_ns, self.number());
            self.timers.borrow_mut().insert(key, waker.clone());
        }
    }

    /// Runs until every task has ended.
    pub(super) fn run(&self) -> Result<(), String> {
        let ends_at = self.now_ms() + RUN_MS_MAX;
        for _ in 0..STEPS_MAX {
            if let Some(failure) = self.failure.borrow_mut().take() {
                return Err(failure);
            }
            let waiting = self.ready.borrow().len();
            if waiting > 0 {
                let at = self.dice(|dice| dice.size(waiting));
                let task = self.ready.borrow_mut().swap_remove(at);
                self.step(task);
                continue;
            }
            let waiting = self.tasks.borrow().iter().flatten().count();
            if waiting == self.servants.borrow().len() {
                return Ok(());
            }
            if self.now_ms() > ends_at {
                let waiting = self.waiting();
                return Err(format!("long after every time limit there wait: {waiting}"));
            }
            if !self.sleep() {
                let waiting = self.waiting();
                return Err(format!("for what nothing will bring there wait: {waiting}"));
            }
        }
        let (at, waiting) = (self.now_ms(), self.waiting());
        Err(format!(
            "the run does not come to rest: at {at} ms there are {waiting}"
        ))
    }

    fn waiting(&self) -> String {
        let (tasks, names) = (self.tasks.borrow(), self.names.borrow());
        let waiting = tasks
            .iter()
            .zip(names.iter())
            .filter(|(task, _)| task.is_some());
        let names: Vec<&str> = waiting.map(|(_, name)| name.as_str()).collect();
        names.join("; ")
    }

    fn step(&self, task: usize) {
        let mixed = (self.trace.get() ^ self.now_ns.get()).wrapping_mul(0x0100_0000_01b3);
        self.trace.set(mixed.rotate_left(23) ^ task as u64);
        let Some(mut future) = self.tasks.borrow_mut()[task].take() else {
            return;
        };
        let waker = self.wakers.borrow()[task].clone();
        let poll =
            std::panic::AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        match std::panic::catch_unwind(poll) {
            Ok(Poll::Pending) => self.tasks.borrow_mut()[task] = Some(future),
            Ok(Poll::Ready(())) => {}
            Err(_) => self.fail("a task of the run panicked; the message stands above"),
        }
    }

    /// Moves the clock to the next timer; false when there is none.
    fn sleep(&self) -> bool {
        let Some(((at_ns, _), waker)) = self.timers.borrow_mut().pop_first() else {
            return false;
        };
        self.now_ns.set(self.now_ns.get().max(at_ns));
        self.timed.borrow_mut().remove(&(at_ns, waker.data()));
        waker.wake();
        true
    }

    /// Drops what still runs: connections close, watches go. The machine itself stays until the next run, for what closes later.
    pub(super) fn end(&self) {
        let tasks = self.tasks.take();
        drop(tasks);
        self.listener.take();
        self.timers.take();
    }
}

/// Waits for simulated milliseconds.
pub(super) async fn sleep_ms(ms: u64) {
    sleep_until(world().now_ns() + ms * 1_000_000).await;
}

pub(super) async fn sleep_until(at_ns: u64) {
    poll_fn(|cx| {
        if world().now_ns() >= at_ns {
            return Poll::Ready(());
        }
        world().wake_at(at_ns, cx.waker());
        Poll::Pending
    })
    .await;
}

/// Lets others go first, now and then.
pub(super) async fn stumble() {
    let mut stumbles = world().dice(|dice| dice.percent(25));
    poll_fn(|cx| {
        if !std::mem::replace(&mut stumbles, false) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
