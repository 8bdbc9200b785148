//! A request that waits for the store: asks for both of its keys at once and is judged again. Not the exchange (the control thread
//! has it). Invariant: while this thread runs nobody waits longer than `wait_ms`, whatever becomes of the control thread and the store.

use tokio::sync::oneshot;

use super::admit::Heard;
use super::connection::Client;
use super::decide::{Decision, Wait, decide_from};
use super::shard::Shard;
use crate::limit::{Key, Verdict};
use crate::mailbox::Lease;
use crate::net::{Stream, within};

/// A timer that is later than this says that the thread stood still, and with it probably the process.
const LATE_MS: u64 = 20;
/// What the other threads get to catch up then.
const CATCH_UP_MS: u64 = 50;

/// An answer that is awaited; None: it could not be asked for.
type Answer = Option<oneshot::Receiver<Verdict>>;

/// Waits for the store, and judges again.
pub(super) async fn ask<S: Stream>(
    client: &mut Client<S>,
    wait: Box<Wait>,
    shard: &Shard<S>,
) -> Decision {
    let Wait {
        asking,
        started_ns,
        length,
    } = *wait;
    let claim = &asking.claim;
    let asked = |key: Option<Key>| key.map(|key| post(key, claim.cost(), shard));
    let (ip, organization) = (asked(claim.ip()), asked(claim.organization()));
    let answers = async { (verdict(ip).await, verdict(organization).await) };
    let asked_ns = S::now_ns();
    let limiter = shard.setup.leases.as_ref();
    let wait_ms = limiter.map_or(0, |limiter| limiter.wait_ms);
    let heard = in_time::<S, _>(answers, wait_ms).await;
    let micros = S::now_ns().saturating_sub(asked_ns) / 1_000;
    shard.count(|core| core.limit_waited(micros));
    let unasked = || limiter.map(|limiter| Verdict::unasked(limiter.policy));
    let (ip, organization) = heard.unwrap_or((None, None));
    shard.checks.borrow_mut().heard = Some(Heard {
        asking,
        ip: ip.or_else(unasked),
        organization: organization.or_else(unasked),
    });
    decide_from(client, length, started_ns, shard)
}

/// The answers, unless they take too long. A process that was stopped or throttled for longer than a request may wait wakes with its
/// timers over and the store's reply unread: nobody is refused for that before the control thread had time to read it.
async fn in_time<S: Stream, F: Future>(answers: F, wait_ms: u64) -> Option<F::Output> {
    let mut answers = std::pin::pin!(answers);
    let started_ns = S::now_ns();
    let heard = within(S::sleep_ms(wait_ms), answers.as_mut()).await;
    let took_ms = S::now_ns().saturating_sub(started_ns) / 1_000_000;
    if heard.is_some() || took_ms <= wait_ms + LATE_MS {
        return heard;
    }
    within(S::sleep_ms(CATCH_UP_MS), answers).await
}

fn post<S: Stream>(key: Key, cost: u32, shard: &Shard<S>) -> Answer {
    let limiter = shard.setup.leases.as_ref()?;
    let (reply, answer) = oneshot::channel();
    let reply = Some(reply);
    let sent = limiter.outbox.try_send(Lease::Ask { key, cost, reply });
    sent.is_ok().then_some(answer)
}

async fn verdict(answer: Option<Answer>) -> Option<Verdict> {
    answer.flatten()?.await.ok()
}
