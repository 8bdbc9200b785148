//! One call of the lease script as a test writes it down, and its reply. Not the exchange of the gateway.
//! Invariant: what a call does not name is 0, and the clock is the test's.

/// L, B, W, D and their version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) version: u64,
    pub(crate) rpm: u64,
    pub(crate) burst: u64,
    pub(crate) block_ms: u64,
}

/// Arguments of one call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) key: String,
    pub(crate) site: String,
    pub(crate) seq: u64,
    pub(crate) known: String,
    pub(crate) held: u64,
    pub(crate) ret: u64,
    pub(crate) owed: u64,
    pub(crate) waiting: u64,
    pub(crate) cost: u64,
    pub(crate) want: u64,
    pub(crate) tau: u64,
    pub(crate) told: u64,
    pub(crate) age: u64,
    pub(crate) left: u64,
    pub(crate) limits: Limits,
    /// keep, until, gap in ms.
    pub(crate) reset: Option<(u64, u64, u64)>,
    /// The last reset of all keys.
    pub(crate) all: u64,
    pub(crate) brief: u64,
    pub(crate) now: u64,
}

/// What the script said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u64,
    pub(crate) grant: u64,
    pub(crate) kept: u64,
    pub(crate) lease: u64,
    /// In units of 1/60000 token.
    pub(crate) level: u64,
    pub(crate) out: u64,
    pub(crate) soon: u64,
    pub(crate) block: u64,
    pub(crate) epoch: String,
    pub(crate) version: u64,
}

pub(crate) const UNIT: u64 = 60_000;
pub(crate) const SCRIPT: &str = include_str!("../../src/limit/lease.lua");

impl Call {
    pub(crate) fn new(key: &str, site: &str, seq: u64, limits: Limits, now: u64) -> Self {
        Self {
            key: key.to_owned(),
            site: site.to_owned(),
            seq,
            known: "0".to_owned(),
            held: 0,
            ret: 0,
            owed: 0,
            waiting: 0,
            cost: 1,
            want: 0,
            tau: 100,
            told: 0,
            age: 0,
            left: 0,
            limits,
            reset: None,
            all: 0,
            brief: 100,
            now,
        }
    }

    pub(crate) fn run(&self, connection: &mut redis::Connection) -> Reply {
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(&self.key);
        command.arg(&self.site).arg(self.seq).arg(&self.known);
        for number in [
            self.held,
            self.ret,
            self.owed,
            self.waiting,
            self.cost,
            self.want,
            self.tau,
            self.told,
            self.age,
            self.left,
            self.limits.version,
            self.limits.rpm,
            self.limits.burst,
            UNIT,
            self.limits.block_ms,
        ] {
            command.arg(number);
        }
        // 0: the server's own clock.
        let now = (self.now > 0).then(|| self.now.to_string());
        let reset = self
            .reset
            .map(|(keep, until, gap)| format!("{keep}:{until}:{gap}"));
        command.arg(reset.unwrap_or_else(|| "0".to_owned()));
        command.arg(self.all).arg(self.brief);
        command.arg(now.unwrap_or_default());
        let values: Vec<redis::Value> = command.query(connection).expect("the script runs");
        let number = |at: usize| match values.get(at) {
            Some(redis::Value::Int(n)) => u64::try_from(*n).expect("no negative number"),
            other => panic!("reply {at}: {other:?}"),
        };
        let epoch = redis::from_redis_value(values[8].clone()).expect("an epoch");
        Reply {
            status: number(0),
            grant: number(1),
            kept: number(2),
            lease: number(3),
            level: number(4),
            out: number(5),
            soon: number(6),
            block: number(7),
            epoch,
            version: number(9),
        }
    }
}
