//! A request that waits for the store: asks for both of its keys at once and is judged again. Not the exchange (the control thread
//! has it). Invariant: nobody waits longer than `WAIT_MS`, whatever becomes of the control thread and the store.

use tokio::sync::oneshot;

use super::admit::Heard;
use super::connection::Client;
use super::decide::{Decision, Wait, decide_from};
use super::shard::Shard;
use crate::limit::{Key, Verdict};
use crate::mailbox::Lease;
use crate::net::{Stream, within};

/// The exchange answers within 50 ms of a call's sending, which may wait for a call of the same key that is under way.
const WAIT_MS: u64 = 120;

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
    let heard = within(S::sleep_ms(WAIT_MS), answers).await;
    let micros = S::now_ns().saturating_sub(asked_ns) / 1_000;
    shard.count(|core| core.limit_waited(micros));
    let unasked = || {
        shard
            .setup
            .leases
            .as_ref()
            .map(|(_, policy)| Verdict::unasked(*policy))
    };
    let (ip, organization) = heard.unwrap_or((None, None));
    shard.checks.borrow_mut().heard = Some(Heard {
        asking,
        ip: ip.or_else(unasked),
        organization: organization.or_else(unasked),
    });
    decide_from(client, length, started_ns, shard)
}

fn post<S: Stream>(key: Key, cost: u32, shard: &Shard<S>) -> Answer {
    let (leases, _) = shard.setup.leases.as_ref()?;
    let (reply, answer) = oneshot::channel();
    let reply = Some(reply);
    let sent = leases.try_send(Lease::Ask { key, cost, reply });
    sent.is_ok().then_some(answer)
}

async fn verdict(answer: Option<Answer>) -> Option<Verdict> {
    answer.flatten()?.await.ok()
}
