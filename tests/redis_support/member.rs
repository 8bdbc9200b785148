//! One node of a simulated fleet, what waits in it, and what is under way between it and the store. Not what happens to them.
//! Invariant: a node that crashed is another one, with another run's number.

use std::collections::HashMap;
use std::sync::Arc;

use dbpower_gateway::limit::{
    Call, CallId, Claim, Core, Exchange, Key, Node, OnOutage, Settings, Verdict,
};

/// A request that waits for verdicts.
pub(crate) struct Pending {
    pub(crate) core: usize,
    pub(crate) claim: Box<Claim>,
    pub(crate) keys: Vec<Key>,
    pub(crate) cost: u32,
    pub(crate) ip: Option<Option<Verdict>>,
    pub(crate) org: Option<Option<Verdict>>,
}

pub(crate) struct Member {
    pub(crate) cores: Vec<Core>,
    pub(crate) exchange: Exchange<u64>,
    pub(crate) pending: HashMap<u64, Pending>,
    pub(crate) flights: Vec<(CallId, u64)>,
    /// Which run of the node; replies to an earlier one are lost.
    pub(crate) run: u64,
    pub(crate) cut_until: u64,
    pub(crate) back_at: u64,
    /// A core that stands still neither takes nor settles.
    pub(crate) stalled: (usize, u64),
}

impl Member {
    /// A node that has just started and reaches the store.
    pub(crate) fn new(run: u64, settings: Settings, (policy, nodes): (OnOutage, u32)) -> Self {
        let node = Node::leased(settings);
        node.put_limits(1, settings.rpm, settings.burst, settings.block_ms);
        let cores = (0..settings.cores)
            .map(|core| Core::new(Arc::clone(&node), core))
            .collect();
        let mut exchange = Exchange::new(node, &format!("n{run}"), policy, nodes);
        exchange.put_back();
        Self {
            cores,
            exchange,
            pending: HashMap::new(),
            flights: Vec::new(),
            run,
            cut_until: 0,
            back_at: 0,
            stalled: (0, 0),
        }
    }

    pub(crate) fn is_stalled(&self, core: usize, now: u64) -> bool {
        self.stalled.0 == core && now < self.stalled.1
    }
}

/// What is under way: a call, or its reply.
pub(crate) enum Post {
    Arrive {
        member: usize,
        run: u64,
        call: Call,
    },
    Return {
        member: usize,
        run: u64,
        id: CallId,
        numbers: Vec<i64>,
        epoch: String,
    },
    /// Somebody has reset a key, or (None) all: a message, or a heartbeat.
    News {
        member: usize,
        run: u64,
        key: Option<Key>,
    },
}
