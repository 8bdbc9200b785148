//! The scenarios, as data. Not how they are run. Invariant: a name is a word that `--only` and a report's reader can use, and stays the
//! same from release to release.

use std::net::SocketAddr;

use crate::generator::Load;

/// What differs in the process under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Access log off, limits in memory.
    Plain,
    /// A line for each request, into a file.
    Logged,
    /// Limits shared through a Redis on this machine.
    Redis,
}

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub name: &'static str,
    pub title: &'static str,
    /// Requests per second; `None`: saturation.
    pub rate: Option<u32>,
    pub connections: usize,
    pub keep_alive: bool,
    pub download: usize,
    pub upload: usize,
    /// Each request is another organization's, which nobody has seen.
    pub cold: bool,
    pub variant: Variant,
}

const KB: usize = 1024;
const MB: usize = 1024 * KB;
/// Cold keys are counted out, so that rounds do not repeat them; the gateway remembers 262,144 keys (`RATE_LIMIT_KEYS_MAX`).
pub(crate) const COLD_KEYS_MAX: u64 = 60_000;

const BASE: Scenario = Scenario {
    name: "saturation",
    title: "1 KB answers, as fast as they come",
    rate: None,
    connections: 64,
    keep_alive: true,
    download: KB,
    upload: 0,
    cold: false,
    variant: Variant::Plain,
};

pub(crate) const SCENARIOS: [Scenario; 15] = [
    BASE,
    Scenario {
        name: "rate-2000",
        title: "2,000 requests/s",
        rate: Some(2_000),
        ..BASE
    },
    Scenario {
        name: "rate-10000",
        title: "10,000 requests/s",
        rate: Some(10_000),
        ..BASE
    },
    Scenario {
        name: "connections-1000",
        title: "10,000 requests/s over 1,000 connections",
        rate: Some(10_000),
        connections: 1_000,
        ..BASE
    },
    Scenario {
        name: "connect-2000",
        title: "2,000 requests/s, a connection for each",
        rate: Some(2_000),
        keep_alive: false,
        ..BASE
    },
    Scenario {
        name: "connect-saturation",
        title: "a connection for each request, as fast as they come",
        keep_alive: false,
        ..BASE
    },
    Scenario {
        name: "down-64k",
        title: "64 KB answers, as fast as they come",
        download: 64 * KB,
        ..BASE
    },
    Scenario {
        name: "up-1k",
        title: "1 KB request bodies, as fast as they come",
        upload: KB,
        ..BASE
    },
    Scenario {
        name: "up-64k",
        title: "64 KB request bodies, as fast as they come",
        upload: 64 * KB,
        ..BASE
    },
    Scenario {
        name: "down-10m",
        title: "10 MB answers, as fast as they come",
        connections: 8,
        download: 10 * MB,
        ..BASE
    },
    Scenario {
        name: "up-10m",
        title: "10 MB request bodies, as fast as they come",
        connections: 8,
        upload: 10 * MB,
        ..BASE
    },
    Scenario {
        name: "cold-keys",
        title: "10,000 requests/s, each of a new organization",
        rate: Some(10_000),
        cold: true,
        ..BASE
    },
    Scenario {
        name: "logged",
        title: "10,000 requests/s, access log on",
        rate: Some(10_000),
        variant: Variant::Logged,
        ..BASE
    },
    Scenario {
        name: "redis",
        title: "10,000 requests/s, limits shared through Redis",
        rate: Some(10_000),
        variant: Variant::Redis,
        ..BASE
    },
    Scenario {
        name: "redis-cold-keys",
        title: "10,000 requests/s, each of a new organization, limits shared through Redis",
        rate: Some(10_000),
        cold: true,
        variant: Variant::Redis,
        ..BASE
    },
];

impl Scenario {
    /// What the generator is told; `first_key` is where a cold scenario's unseen organizations begin.
    pub(crate) fn load(&self, port: u16, warm_seconds: f64, seconds: f64, first_key: u64) -> Load {
        let size = self.download;
        Load {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            rate: self.rate,
            connections: self.connections,
            keep_alive: self.keep_alive,
            warm_seconds,
            seconds,
            target: format!("/api/v1/bytes/{size}"),
            upload_bytes: self.upload,
            keys: if self.cold { COLD_KEYS_MAX } else { 1 },
            first_key: if self.cold { first_key } else { 1 },
        }
    }
}
