//! The simulated services: each reads strictly what the gateway sends, judges it by the request's plan, and answers by the same.
//! Not a server for anything else. Invariant: whatever reaches a service is a request that was admitted, whole or visibly broken.

use std::rc::Rc;

use super::message::{Content, Framing, Head, chunked};
use super::plan::{Ending, Kind, Plan, rooms};
use super::run::Run;
use super::wire::{Connecting, Found, Peer, link};
use super::world::{sleep_ms, world};

/// How long a client may have been gone before its service notices: the tie's grace, two ticks, and the way there and back.
const TIE_NS_MAX: u64 = 250_000_000;

/// What a service says that nobody asked for: well-formed, so that only its place is wrong.
const GARBAGE: &[u8] = b"HTTP/1.1 200 OK\r\nX-Echo: 0\r\nContent-Length: 1\r\n\r\n!";

/// Decides about a connection to a service, and starts whoever takes it.
pub(super) fn accept(run: &Rc<Run>) -> Connecting {
    let unreachable = run.faults.unreachable;
    let (fails, ms, rooms, latency) = world().dice(|dice| {
        let fails = dice.percent(unreachable);
        (
            fails,
            dice.below(30),
            rooms(dice),
            dice.pick(&[0, 50, 2_000, 20_000]),
        )
    });
    if fails {
        return world().dice(|dice| match dice.below(3) {
            0 => Connecting::Never,
            _ => Connecting::Refused(ms),
        });
    }
    let (ours, theirs) = link(rooms, latency);
    let service = Service {
        run: Rc::clone(run),
        peer: Peer(ours),
        inbox: Vec::new(),
        spoiled: None,
    };
    world().spawn("a service", service.serve());
    Connecting::Open(ms, theirs)
}

/// One connection.
struct Service {
    run: Rc<Run>,
    peer: Peer,
    inbox: Vec<u8>,
    /// Why nothing more may come here.
    spoiled: Option<&'static str>,
}

/// The connection is over.
struct Over;

impl Service {
    async fn serve(mut self) {
        while let Ok(()) = self.exchange().await {}
    }

    fn wrong(&self, what: &str) -> Over {
        world().fail(what);
        Over
    }

    async fn exchange(&mut self) -> Result<(), Over> {
        let head = self.read_head().await?;
        let plan = self.judge(&head)?;
        if let Ending::Silent = plan.ending {
            return self.leave();
        }
        let mut body = Content::new(head.request_framing().map_err(|why| self.wrong(&why))?);
        if !plan.early {
            if plan.expects && world().dice(|dice| dice.percent(50)) {
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            self.read_body(&plan, &mut body).await?;
        }
        if let Ending::Never = plan.ending {
            return self.wait_for_the_end(&plan).await;
        }
        self.answer(&plan).await?;
        if plan.answer_closes {
            self.peer.0.finish();
            self.spoiled = Some("after Connection: close");
        }
        self.read_body(&plan, &mut body).await
    }

    async fn read_head(&mut self) -> Result<Head, Over> {
        let idle_ms = world().dice(|dice| match self.run.faults.stale {
            true => dice.pick(&[1, 20, 100, 700, 3_000, 60_000]),
            false => 3_600_000,
        });
        let until = world().now_ns() + idle_ms * 1_000_000;
        loop {
            if let (false, Some(why)) = (self.inbox.is_empty(), self.spoiled) {
                return Err(self.wrong(&format!("a connection was used again {why}")));
            }
            match Head::read(&self.inbox) {
                Err(why) => return Err(self.wrong(&why)),
                Ok(Some(head)) => {
                    self.inbox.drain(..head.length);
                    return Ok(head);
                }
                Ok(None) => {}
            }
            match self.peer.read_until(until).await {
                Some(Found::Bytes(bytes)) => self.inbox.extend(bytes),
                Some(Found::End | Found::Reset) => return Err(Over),
                None if self.inbox.is_empty() => return self.leave().and(Err(Over)),
                None => return Err(Over),
            }
        }
    }

    /// Ends the connection one way or the other.
    fn leave(&self) -> Result<(), Over> {
        if world().dice(|dice| dice.percent(50)) {
            self.peer.0.abort();
        }
        Err(Over)
    }

    /// Everything that must hold of a head that reaches a service.
    fn judge(&self, head: &Head) -> Result<Rc<Plan>, Over> {
        let read = || -> Result<Rc<Plan>, String> {
            let mut words = head.first.split(' ');
            let (method, target, version) = (words.next(), words.next(), words.next());
            let id = target.and_then(|target| target.rsplit('/').next()?.parse().ok());
            let plan = id.and_then(|id| self.run.plan(id));
            let plan = plan.ok_or_else(|| format!("nobody asked for this: {head:?}"))?;
            if !plan.is_forwarded() {
                return Err(format!("a refused request reached a service: {plan:?}"));
            }
            let seen = self.run.see(plan.id);
            if seen > if plan.is_idempotent() { 2 } else { 1 } {
                return Err(format!("sent {seen} times: {plan:?}"));
            }
            let framing = match (plan.upload_chunked, plan.upload) {
                (true, _) => Framing::Chunked,
                (false, length) => Framing::Length(length as u64),
            };
            let public = !matches!(plan.kind, Kind::Forward);
            let host = if plan.analyzer && !public {
                "10.0.0.2:8001"
            } else {
                "10.0.0.1:8000"
            };
            let same = method == Some(plan.method)
                && version == Some("HTTP/1.1")
                && head.request_framing()? == framing
                && head.one("host")? == host
                && head.one("x-request-id")? == format!("sim-{}", plan.id)
                && head
                    .one("x-forwarded-for")?
                    .parse::<std::net::IpAddr>()
                    .is_ok()
                && head.all("x-user-id") == if public { vec![] } else { vec!["7"] };
            same.then_some(plan)
                .ok_or_else(|| format!("not what was asked: {head:?}"))
        };
        read().map_err(|why| self.wrong(&why))
    }

    async fn read_body(&mut self, plan: &Plan, body: &mut Content) -> Result<(), Over> {
        let torn = matches!(plan.kind, Kind::Torn(..));
        let upload = plan.upload();
        loop {
            if let Err(why) = body.take(&mut self.inbox) {
                return Err(self.wrong(&why));
            }
            if !torn && !upload.starts_with(&body.bytes) {
                return Err(self.wrong(&format!("another body than was sent: {plan:?}")));
            }
            if body.done {
                if torn {
                    return Err(self.wrong(&format!("a torn body came whole: {plan:?}")));
                }
                return Ok(());
            }
            match self.peer.read().await {
                Found::Bytes(bytes) => self.inbox.extend(bytes),
                Found::End
                    if torn && !self.run.faults.any() && self.run.left(plan.id).is_none() =>
                {
                    return Err(self.wrong(&format!("a torn body ended politely: {plan:?}")));
                }
                Found::End | Found::Reset => return Err(Over),
            }
            if world().dice(|dice| dice.percent(3)) {
                sleep_ms(plan.pause_ms).await;
            }
        }
    }

    /// Never answers; the gateway has to give up, soon when the client has.
    async fn wait_for_the_end(&self, plan: &Plan) -> Result<(), Over> {
        let since = world().now_ns();
        loop {
            let soon = world().now_ns() + 50_000_000;
            match self.peer.read_until(soon).await {
                Some(Found::Bytes(_)) => return Err(self.wrong("bytes behind a request")),
                Some(Found::End | Found::Reset) => return Err(Over),
                None => {}
            }
            let left = self.run.left(plan.id).map(|left| left.max(since));
            if left.is_some_and(|left| left + TIE_NS_MAX < world().now_ns()) {
                return Err(self.wrong(&format!("worked on for a client that left: {plan:?}")));
            }
        }
    }

    async fn write(&self, bytes: &[u8]) -> Result<(), Over> {
        if self.peer.write(bytes).await {
            Ok(())
        } else {
            Err(Over)
        }
    }

    async fn write_slowly(&self, bytes: &[u8], plan: &Plan) -> Result<(), Over> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = world().dice(|dice| match dice.percent(30) {
                true => 1 + dice.size(rest.len().min(4_000)),
                false => rest.len(),
            });
            let (piece, after) = rest.split_at(count);
            self.write(piece).await?;
            rest = after;
            if world().dice(|dice| dice.percent(10)) {
                sleep_ms(plan.pause_ms).await;
            }
        }
        Ok(())
    }

    async fn answer(&mut self, plan: &Plan) -> Result<(), Over> {
        sleep_ms(plan.pause_ms).await;
        for interim in &plan.interims {
            self.write_slowly(format!("HTTP/1.1 {interim} I\r\n\r\n").as_bytes(), plan)
                .await?;
        }
        if let Ending::Malformed(row) = plan.ending {
            self.write_slowly(&row.bytes.bytes(), plan).await?;
            return Err(Over);
        }
        let bytes = written(plan);
        match plan.ending {
            Ending::HalfHead => {
                let cut = world().dice(|dice| 1 + dice.size(26));
                self.write_slowly(&bytes[..cut], plan).await?;
                self.leave()
            }
            Ending::HalfBody => {
                let head = bytes
                    .windows(4)
                    .position(|four| four == b"\r\n\r\n")
                    .unwrap_or(0)
                    + 4;
                // At least one byte of the body is missing, whatever its framing.
                let cut = head + world().dice(|dice| dice.size(plan.length));
                self.write_slowly(&bytes[..cut], plan).await?;
                if plan.until_close {
                    // The one framing that an ordinary end would complete.
                    self.peer.0.abort();
                    return Err(Over);
                }
                self.leave()
            }
            Ending::Garbage => {
                let (most, last) = bytes.split_at(bytes.len() - 1);
                self.write_slowly(most, plan).await?;
                // In one piece with the answer's end: what comes later cannot be told from an answer to the next request.
                if self.peer.0.write_now(&[last, GARBAGE].concat()) {
                    self.spoiled = Some("behind bytes that nobody asked for");
                    return Ok(());
                }
                self.write(last).await
            }
            Ending::Close => {
                self.write_slowly(&bytes, plan).await?;
                self.leave()
            }
            Ending::Whole | Ending::Silent | Ending::Never | Ending::Malformed(_) => {
                self.write_slowly(&bytes, plan).await
            }
        }
    }
}

/// The final answer's bytes.
fn written(plan: &Plan) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} S\r\nX-Echo: {}\r\n", plan.status, plan.id);
    let content = plan.answer();
    let mut body = Vec::new();
    if !plan.is_bare() && !plan.until_close {
        if plan.answer_chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
            body = world().dice(|dice| chunked(&content, |rest| 1 + dice.size(rest.min(9_000))));
        } else {
            head.push_str(&format!("Content-Length: {}\r\n", content.len()));
            body = content;
        }
    } else if plan.until_close {
        body = content;
    }
    if plan.answer_closes {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    let mut out = head.into_bytes();
    out.extend(body);
    out
}
