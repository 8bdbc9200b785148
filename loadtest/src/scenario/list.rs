//! The scenarios, as data. Not how they are run, nor what is expected of them.

use super::{Behind, Keys, Scenario, Setting, Tls, Way, Who};

const KB: usize = 1024;
const MB: usize = 1024 * KB;

const SETTING: Setting = Setting {
    logged: false,
    redis: true,
    workers: 1,
    keys_max: None,
    behind: Behind::Sound,
    anywhere: false,
};

/// Small answers as fast as they come.
const WAY: Way = Way {
    name: "",
    title: "",
    who: Who::Able,
    rate: None,
    connections: 64,
    keep_alive: true,
    download: KB,
    upload: 0,
    keys: Keys::One,
    tls: Tls::Off,
    setting: SETTING,
};

const AT_10000: Way = Way {
    rate: Some(10_000),
    ..WAY
};

/// The gateway alone, at a rate that leaves room, so that rows are of one load.
const OWN: Way = Way {
    who: Who::Gateway,
    ..AT_10000
};

/// The gateway alone, as fast as answers come: where the difference is small, waking up for each request would hide it.
const OWN_FAST: Way = Way { rate: None, ..OWN };

const SCENARIO: Scenario = Scenario {
    name: "",
    title: "",
    ways: &[],
    seconds_min: 0.0,
    dies: false,
};

pub(crate) static SCENARIOS: [Scenario; 23] = [
    Scenario {
        name: "saturation",
        title: "1 KB answers, as fast as they come",
        ways: &[Way {
            who: Who::All,
            ..WAY
        }],
        ..SCENARIO
    },
    Scenario {
        name: "rate-2000",
        title: "2,000 requests/s",
        ways: &[Way {
            who: Who::All,
            rate: Some(2_000),
            ..WAY
        }],
        ..SCENARIO
    },
    Scenario {
        name: "rate-10000",
        title: "10,000 requests/s",
        ways: &[AT_10000],
        ..SCENARIO
    },
    Scenario {
        name: "connections-1000",
        title: "10,000 requests/s over 1,000 connections",
        ways: &[Way {
            connections: 1_000,
            ..AT_10000
        }],
        ..SCENARIO
    },
    Scenario {
        name: "connect-2000",
        title: "2,000 requests/s, a connection for each",
        ways: &[Way {
            rate: Some(2_000),
            keep_alive: false,
            ..WAY
        }],
        ..SCENARIO
    },
    Scenario {
        name: "connect-saturation",
        title: "a connection for each request, as fast as they come",
        ways: &[Way {
            keep_alive: false,
            ..WAY
        }],
        ..SCENARIO
    },
    Scenario {
        name: "down-64k",
        title: "64 KB answers, as fast as they come",
        ways: &[Way {
            download: 64 * KB,
            ..WAY
        }],
        ..SCENARIO
    },
    Scenario {
        name: "up-1k",
        title: "1 KB request bodies, as fast as they come",
        ways: &[Way { upload: KB, ..WAY }],
        ..SCENARIO
    },
    Scenario {
        name: "up-64k",
        title: "64 KB request bodies, as fast as they come",
        ways: &[Way {
            upload: 64 * KB,
            ..WAY
        }],
        ..SCENARIO
    },
    Scenario {
        name: "down-10m",
        title: "10 MB answers, as fast as they come",
        ways: &[Way {
            connections: 8,
            download: 10 * MB,
            ..WAY
        }],
        ..SCENARIO
    },
    Scenario {
        name: "up-10m",
        title: "10 MB request bodies, as fast as they come",
        ways: &[Way {
            connections: 8,
            upload: 10 * MB,
            ..WAY
        }],
        ..SCENARIO
    },
    Scenario {
        name: "cold-keys",
        title: "10,000 requests/s, each of a new organization",
        ways: &[
            Way {
                keys: Keys::Cold,
                ..AT_10000
            },
            Way {
                name: "memory",
                title: "limits in memory",
                keys: Keys::Cold,
                setting: MEMORY,
                ..OWN
            },
        ],
        ..SCENARIO
    },
    Scenario {
        name: "uncached",
        title: "tokens that are remembered and tokens that are not, as fast as answers come",
        ways: &[
            Way {
                name: "cached",
                title: "one token",
                ..OWN_FAST
            },
            Way {
                name: "uncached",
                title: "each request another token",
                keys: Keys::Users,
                ..OWN_FAST
            },
        ],
        ..SCENARIO
    },
    Scenario {
        name: "keys",
        title: "few and many live keys, limits in memory, as fast as answers come",
        ways: &[
            keys("100", "100 addresses", 100, None),
            keys("200k", "200,000 addresses", 200_000, None),
            keys("1m", "1,000,000 addresses", 1_000_000, Some(1_100_000)),
        ],
        ..SCENARIO
    },
    Scenario {
        name: "connections",
        title: "10,000 requests/s over few and many connections",
        ways: &[
            connections("64", "64 connections", 64),
            connections("8000", "8,000 connections", 8_000),
        ],
        ..SCENARIO
    },
    Scenario {
        name: "workers",
        title: "one worker and two, as fast as answers come, all processes on any core",
        ways: &[
            workers("one", "one worker", 1),
            workers("two", "two workers", 2),
        ],
        ..SCENARIO
    },
    Scenario {
        name: "logged",
        title: "10,000 requests/s, access log off and on",
        ways: &[
            Way {
                name: "off",
                title: "log off",
                ..OWN
            },
            Way {
                name: "on",
                title: "log on",
                setting: Setting {
                    logged: true,
                    ..SETTING
                },
                ..OWN
            },
        ],
        ..SCENARIO
    },
    Scenario {
        name: "redis",
        title: "10,000 requests/s, limits in memory and shared through Redis",
        ways: &[
            Way {
                name: "memory",
                title: "limits in memory",
                setting: MEMORY,
                ..OWN
            },
            Way {
                name: "redis",
                title: "limits in Redis",
                ..OWN
            },
        ],
        ..SCENARIO
    },
    Scenario {
        name: "tls",
        title: "TLS, 1 KB answers on open connections, as fast as they come",
        ways: &[SECURE],
        ..SCENARIO
    },
    Scenario {
        name: "tls-full",
        title: "TLS, a connection and a full handshake for each request",
        ways: &[Way {
            keep_alive: false,
            ..SECURE
        }],
        ..SCENARIO
    },
    Scenario {
        name: "tls-resumed",
        title: "TLS, a connection and a resumed handshake for each request",
        ways: &[Way {
            keep_alive: false,
            tls: Tls::Resumed,
            ..SECURE
        }],
        ..SCENARIO
    },
    Scenario {
        name: "failing-upstream",
        title: "5,000 requests/s, the service closes one connection in ten without an answer",
        ways: &[
            failing("one", "one endpoint", 1),
            failing("two", "two endpoints", 2),
        ],
        ..SCENARIO
    },
    Scenario {
        name: "dying-endpoint",
        title: "5,000 requests/s, one of three endpoints is killed and comes back",
        ways: &[Way {
            rate: Some(5_000),
            setting: Setting {
                behind: Behind::Three,
                ..SETTING
            },
            ..OWN
        }],
        // The gateway looks after its endpoints every five seconds: time to be missed, found again and used.
        seconds_min: 10.0,
        dies: true,
    },
];

const MEMORY: Setting = Setting {
    redis: false,
    ..SETTING
};

const SECURE: Way = Way {
    who: Who::Secure,
    tls: Tls::Full,
    ..WAY
};

const fn keys(name: &'static str, title: &'static str, count: u64, max: Option<u32>) -> Way {
    Way {
        name,
        title,
        keys: Keys::Addresses(count),
        setting: Setting {
            keys_max: max,
            ..MEMORY
        },
        ..OWN_FAST
    }
}

const fn connections(name: &'static str, title: &'static str, connections: usize) -> Way {
    Way {
        name,
        title,
        connections,
        who: Who::GatewayAndFloor,
        ..AT_10000
    }
}

const fn workers(name: &'static str, title: &'static str, workers: usize) -> Way {
    Way {
        name,
        title,
        setting: Setting {
            workers,
            anywhere: true,
            ..SETTING
        },
        ..OWN_FAST
    }
}

const fn failing(name: &'static str, title: &'static str, endpoints: usize) -> Way {
    Way {
        name,
        title,
        rate: Some(5_000),
        setting: Setting {
            behind: Behind::Failing(endpoints),
            ..SETTING
        },
        ..OWN
    }
}
