//! What requests and operators are told while the store is away. Not when it is (the control thread finds out).
use super::*;

/// What ten requests in a row are told while the store is away, one every ms.
fn told_away(exchange: &mut Exchange<u32>, core: &mut Core, start: u64) -> Vec<Option<u32>> {
    let mut told = Vec::new();
    for nth in 0..10 {
        let now = start + nth * MS;
        let outcome = core.request(Some(OrgKey::new("1")), None, 1, &|| now);
        let outcome = match outcome.unwrap() {
            Outcome::Ask(claim) => {
                exchange.ask(&claim.organization().unwrap(), 1, Some(1), now);
                let verdict = exchange.answers().remove(0).1;
                let concluded = core.conclude(claim, None, Some(verdict), &|| now);
                concluded.unwrap()
            }
            permit @ Outcome::Permit(_) => permit,
        };
        let Outcome::Permit(permit) = outcome else {
            panic!("asked once is enough");
        };
        told.push(permit.numbers().map(|(_, remaining)| remaining));
    }
    told
}

#[test]
fn in_an_outage_numbers_count_down_one_by_one() {
    // nodes, seconds of the lease that is under way, the first number told
    for (nodes, warm, first) in [
        (1, None, 99),
        (1, Some(10_000), 93),
        (1, Some(100), 93),
        (3, None, 33),
    ] {
        let settings = Settings {
            rpm: 100,
            burst: 20,
            ..SETTINGS
        };
        let node = Node::leased(settings);
        node.put_limits(1, 100, 20, 0);
        let mut exchange = Exchange::new(Arc::clone(&node), "site", OnOutage::Share, nodes);
        let mut core = Core::new(node, 0);
        if let Some(lease_ms) = warm {
            exchange.put_back();
            exchange.ask(&org(1), 1, Some(1), MS);
            let call = exchange.calls(MS, 512).remove(0);
            // Five are used up, seven leased beside the one that is granted.
            let level = (120 - 5 - 8) * 60_000;
            let numbers = [0, 8, 0, lease_ms, level, 8, 0, 0, 1, 100, 20, 60_000, 0];
            exchange.reply(call.id, &Reply::read(&numbers, "5-1").unwrap(), 2 * MS);
            assert_eq!(exchange.answers().remove(0).1.tokens(), Some(114));
            exchange.put_away(nodes, 30 * MS);
        }
        let told = told_away(&mut exchange, &mut core, 200 * MS);
        let expected: Vec<_> = (first - 9..=first).rev().map(Some).collect();
        assert_eq!(told, expected, "{nodes} nodes, lease of {warm:?} ms");
        exchange.watch(&org(1), 9, 220 * MS);
        let left = exchange.answers().remove(0).1.tokens().unwrap();
        let info = exchange.node.info_of(left);
        assert_eq!(info.remaining, first - 9);
        assert_eq!(info.current_count, 120 / nodes - left);
        // When the store is back, what it had told holds, and what is owed is not told twice.
        exchange.put_back();
        let owed: u32 = exchange.calls(230 * MS, 512)[0].arguments[5]
            .parse()
            .unwrap();
        let leased = if warm.is_some() { 7 } else { 0 };
        assert_eq!(owed, 10 - leased);
    }
}

#[test]
fn in_an_open_outage_no_numbers_are_told() {
    let mut exchange = exchange(OnOutage::Open, 100);
    let mut core = Core::new(Arc::clone(&exchange.node), 0);
    exchange.put_away(1, MS);
    assert_eq!(told_away(&mut exchange, &mut core, 2 * MS), [None; 10]);
    exchange.watch(&org(1), 9, 20 * MS);
    assert_eq!(exchange.answers().remove(0).1.tokens(), None);
    exchange.put_back();
    assert_eq!(exchange.node.info_of(5_000).remaining, 5_000);
}

#[test]
fn a_refusal_of_the_share_tells_the_time_until_its_next_token() {
    for nodes in [1, 3] {
        let node = Node::leased(Settings {
            rpm: 60,
            burst: 0,
            ..SETTINGS
        });
        node.put_limits(1, 60, 0, 0);
        let mut exchange = Exchange::new(Arc::clone(&node), "site", OnOutage::Share, nodes);
        let mut core = Core::new(node, 0);
        let mut last = None;
        for nth in 0..100 {
            // Asked of the share, and then of what it has told the core.
            let now = MS + nth;
            let outcome = core.request(Some(OrgKey::new("1")), None, 1, &|| now);
            last = match outcome {
                Ok(Outcome::Ask(claim)) => {
                    exchange.ask(&claim.organization().unwrap(), 1, Some(1), now);
                    let verdict = exchange.answers().remove(0).1;
                    core.conclude(claim, None, Some(verdict), &|| now).err()
                }
                Ok(Outcome::Permit(_)) => None,
                Err(refusal) => Some(refusal),
            };
        }
        let refused = last.expect("a share of 60 tokens is used up");
        assert_eq!(refused.retry_after_s, nodes, "{nodes} nodes");
        assert!(core.counters().cached_refusal > 0);
    }
}
