//! The simulated clients: each sends what its visit plans, reads strictly what comes back, and judges it. Not the plan. Invariant:
//! an answer is that of the next unanswered request, or the run has failed.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::message::{Content, Framing, Head};
use super::plan::{Expected, Kind, Leaving, Manners, Plan, Visit};
use super::run::Run;
use super::wire::{Found, Peer};
use super::world::{sleep_ms, world};

/// How long a client that reads nothing more stays.
const STAY_MS: u64 = 12_000;

/// What both directions of one client know.
struct Client {
    run: Rc<Run>,
    visit: Visit,
    peer: Peer,
    /// Requests of which the first byte has been sent; those that are answered.
    begun: Cell<usize>,
    answered: Cell<usize>,
    /// An answer of any kind has come to the request whose body is withheld.
    told: Cell<bool>,
    /// Nothing more is sent.
    over: Cell<bool>,
    sender: RefCell<Option<Waker>>,
}

/// One client's connection, from its first byte to its end.
pub(super) async fn visit(run: Rc<Run>, visit: Visit, peer: Peer) {
    let client = Rc::new(Client {
        run,
        visit,
        peer,
        begun: Cell::new(0),
        answered: Cell::new(0),
        told: Cell::new(false),
        over: Cell::new(false),
        sender: RefCell::default(),
    });
    let sender = Rc::clone(&client);
    world().spawn("a sender", async move { sender.send().await });
    if let Err(why) = client.receive().await {
        world().fail(format!("{why}\nvisit: {:?}", client.visit));
    }
    client.leave();
    client.peer.0.close();
}

impl Client {
    fn wake_sender(&self) {
        if let Some(waker) = self.sender.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits until `ready` or the client's end; true when ready.
    async fn until(&self, ready: impl Fn() -> bool) -> bool {
        poll_fn(|cx| {
            if self.over.get() {
                return Poll::Ready(false);
            }
            if ready() {
                return Poll::Ready(true);
            }
            self.sender.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    async fn send(&self) {
        let mut sent = 0;
        for (index, plan) in self.visit.plans.iter().enumerate() {
            let window = self.visit.window;
            if !self.until(|| index < self.answered.get() + window).await {
                return;
            }
            let (head, body) = world().dice(|dice| plan.bytes(&self.run.token, dice));
            self.begun.set(index + 1);
            self.told.set(false);
            if !self.write(&head, &mut sent).await {
                return;
            }
            if plan.expects {
                let told = || self.told.get() || self.answered.get() > index;
                if !self.until(told).await || self.answered.get() > index {
                    // The final answer came first: the body stays here, and so does everything behind it.
                    return;
                }
            }
            if !self.write(&body, &mut sent).await {
                return;
            }
        }
    }

    async fn write(&self, bytes: &[u8], sent: &mut usize) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() && !self.over.get() {
            let mut count = world().dice(|dice| match dice.percent(20) {
                true => 1 + dice.size(rest.len().min(3_000)),
                false => rest.len(),
            });
            if let Manners::StopsSending(at) = self.visit.manners {
                count = count.min(at - *sent);
                if count == 0 {
                    return false;
                }
            }
            let (piece, after) = rest.split_at(count);
            if !self.peer.write(piece).await {
                return false;
            }
            *sent += count;
            rest = after;
            if world().dice(|dice| dice.percent(10)) {
                sleep_ms(self.visit.pause_ms).await;
            }
        }
        rest.is_empty()
    }

    /// What was asked and not answered will not be read.
    fn leave(&self) {
        for plan in &self.visit.plans[self.answered.get()..self.begun.get()] {
            self.run.leave(plan.id);
        }
        self.over.set(true);
        self.wake_sender();
    }

    /// Other requests' troubles, or its own manners, may break what is otherwise whole.
    fn is_troubled(&self) -> bool {
        self.run.faults.any() || !matches!(self.visit.manners, Manners::Good)
    }

    async fn receive(&self) -> Result<(), String> {
        let mut inbox = Vec::new();
        let leaves_at = match self.visit.manners {
            Manners::Leaves(ms, _) => world().now_ns() + ms * 1_000_000,
            Manners::Good | Manners::StopsSending(_) | Manners::StopsReading(_) => u64::MAX,
        };
        let mut last = false;
        for index in 0..self.visit.plans.len() {
            if matches!(self.visit.manners, Manners::StopsReading(answers) if answers == index) {
                sleep_ms(STAY_MS).await;
                return Ok(());
            }
            match self.read_answer(index, &mut inbox, leaves_at).await? {
                Next::Goes => {}
                Next::Closes => {
                    last = true;
                    break;
                }
                Next::Ended => return Ok(()),
            }
        }
        self.over.set(last);
        let stays_ms = world().dice(|dice| dice.pick(&[0, 0, 30, 400, 1_500]));
        let until = world().now_ns() + if last { 6_000 } else { stays_ms } * 1_000_000;
        loop {
            if !inbox.is_empty() {
                return Err(format!(
                    "bytes behind the last answer: {}",
                    inbox.escape_ascii()
                ));
            }
            match self.peer.read_until(until).await {
                Some(Found::Bytes(bytes)) => inbox.extend(bytes),
                Some(Found::End | Found::Reset) => return Ok(()),
                None if last => return Err("said to close, and stayed".into()),
                None => return Ok(()),
            }
        }
    }

    /// Reads one final answer, interim ones ahead of it, and judges it.
    async fn read_answer(
        &self,
        index: usize,
        inbox: &mut Vec<u8>,
        leaves_at: u64,
    ) -> Result<Next, String> {
        let plan = &self.visit.plans[index];
        let mut coming: Option<(Head, Content)> = None;
        loop {
            if coming.is_none()
                && let Some(head) = Head::read(inbox)?
            {
                inbox.drain(..head.length);
                if index >= self.begun.get() && !self.is_unasked(&head) {
                    return Err(format!("an answer to nothing: {head:?}"));
                }
                if matches!(head.status()?, 100 | 103) && plan.minor == 1 {
                    self.told.set(true);
                    self.wake_sender();
                    continue;
                }
                // An answer that was made without reading the request cannot know that it is HEAD.
                let knows = head.all("x-request-id") == [format!("sim-{}", plan.id)];
                let content = Content::new(head.response_framing(plan.is_head() && knows)?);
                coming = Some((head, content));
            }
            if let Some((head, content)) = &mut coming {
                content.take(inbox)?;
                if content.done {
                    let head = &*head;
                    self.judge(plan, head, content, true)?;
                    self.answered.set(index + 1);
                    self.wake_sender();
                    return Ok(if head.says_close() {
                        Next::Closes
                    } else {
                        Next::Goes
                    });
                }
            }
            let found = self.peer.read_until(leaves_at).await;
            match found {
                Some(Found::Bytes(bytes)) => inbox.extend(bytes),
                Some(Found::End | Found::Reset) => {
                    let clean = found == Some(Found::End);
                    return self.ended(index, coming, inbox, clean);
                }
                None => return self.walk_out().await,
            }
            if world().dice(|dice| dice.percent(3)) {
                sleep_ms(self.visit.pause_ms.min(40)).await;
            }
        }
    }

    /// Leaves in the way that the visit plans.
    async fn walk_out(&self) -> Result<Next, String> {
        self.leave();
        match self.visit.manners {
            Manners::Leaves(_, Leaving::Reset) => self.peer.0.abort(),
            Manners::Leaves(_, Leaving::HalfClose) => {
                self.peer.0.finish();
                // What still comes is nobody's.
                while let Found::Bytes(_) = self.peer.read().await {}
            }
            Manners::Leaves(_, Leaving::Close)
            | Manners::Good
            | Manners::StopsSending(_)
            | Manners::StopsReading(_) => {}
        }
        Ok(Next::Ended)
    }

    /// The connection's end, in the middle of an answer or ahead of one.
    fn ended(
        &self,
        index: usize,
        coming: Option<(Head, Content)>,
        inbox: &[u8],
        clean: bool,
    ) -> Result<Next, String> {
        let plan = &self.visit.plans[index];
        if let Some((head, content)) = coming {
            let whole = clean && content.framing == Framing::UntilClose;
            self.judge(plan, &head, &content, whole)?;
            return Ok(Next::Ended);
        }
        let after = index.checked_sub(1).map(|before| &self.visit.plans[before]);
        let excused = self.is_troubled()
            || after.is_some_and(Plan::may_close)
            || matches!(
                plan.expected(),
                Expected::StatusOrBreak(_) | Expected::Broken
            )
            || index >= self.begun.get();
        if !excused || (!inbox.is_empty() && !self.is_troubled()) {
            return Err(format!("no answer to {plan:?}"));
        }
        Ok(Next::Ended)
    }

    /// An answer that comes before any request: too many connections, draining, or a limit of time.
    fn is_unasked(&self, head: &Head) -> bool {
        self.is_troubled() && matches!(head.status(), Ok(503 | 408))
    }

    fn judge(
        &self,
        plan: &Plan,
        head: &Head,
        content: &Content,
        whole: bool,
    ) -> Result<(), String> {
        let status = head.status()?;
        let wrong = |why: &str| Err(format!("{why}: {head:?} whole: {whole}, to {plan:?}"));
        let ours = head.all("x-request-id") == [format!("sim-{}", plan.id)];
        let overload = status == 503 && !ours;
        if !overload {
            self.run.served(self.peer.0.link);
        }
        if plan.minor == 0 && content.framing == Framing::Chunked {
            return wrong("chunks for a 1.0 client");
        }
        if let [echo] = head.all("x-echo")[..] {
            let deliverable = matches!(plan.expected(), Expected::Whole | Expected::Broken);
            let answer = plan.answer();
            let same = plan.is_forwarded()
                && deliverable
                && echo == plan.id.to_string()
                && status == plan.status
                && head.one("x-request-id")? == format!("sim-{}", plan.id);
            if !same {
                return wrong("another's answer");
            }
            if !answer.starts_with(&content.bytes) {
                return wrong("another's content");
            }
            let broken = plan.expected() == Expected::Broken;
            return match whole {
                true if broken || answer.len() != content.bytes.len() => {
                    wrong("a broken answer that looks whole")
                }
                false if !broken && !self.is_troubled() && !plan.early => {
                    wrong("a whole answer that looks broken")
                }
                true | false => Ok(()),
            };
        }
        if !ours && !overload && !matches!(plan.kind, Kind::Row(..)) && status != 408 {
            return wrong("an answer to another request");
        }
        let limited = status == 429 && self.run.faults.limit > 0;
        let fits = match plan.expected() {
            Expected::Status(expected) | Expected::StatusOrBreak(expected) => status == expected,
            Expected::Broken => status == 502,
            Expected::Whole => plan.early && status == 502,
        };
        let excused = self.is_troubled() && matches!(status, 408 | 502 | 503 | 504);
        if !(fits || limited || excused) || (!whole && !self.is_troubled()) {
            return wrong("an answer that nothing explains");
        }
        Ok(())
    }
}

/// What comes after an answer.
enum Next {
    /// Another may.
    Goes,
    /// The connection's end, as the answer said.
    Closes,
    /// Nothing: it has ended.
    Ended,
}
