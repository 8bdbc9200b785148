//! What a request costs before it is forwarded: its head read, routed, identified and charged, as a worker does it. Not I/O, and not
//! a test: nothing here asserts a time.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may fail loudly, and its macros write undocumented functions"
)]

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use dbpower_gateway::config::{self, Config, Rules, Sources};
use dbpower_gateway::http1::{HEAD_BYTES_MAX, Scratch, head_end, parse_request};
use dbpower_gateway::worker::{Admitted, Checks, Source, admit};
use dbpower_gateway::{identity, limit, net, presence};

fn configured() -> Arc<Config> {
    let mut sources = Sources::default();
    for (name, value) in [
        ("JWT_SECRET_KEY", "a secret of at least thirty-two bytes"),
        ("REDIS_ENABLED", "false"),
        ("RATE_LIMIT_RPM", "16000000"),
        ("GATEWAY_WORKERS", "1"),
    ] {
        sources.environment.push((name.into(), value.into()));
    }
    Arc::new(Config::from_sources(&sources).unwrap().config)
}

fn head(config: &Config) -> Vec<u8> {
    let settings = config::identity_settings(&config.auth).unwrap();
    let mut claims = serde_json::Map::new();
    claims.insert("organization_id".into(), 1.into());
    claims.insert("user_id".into(), 123.into());
    claims.insert("exp".into(), (net::clock::unix_ms() / 1000 + 3600).into());
    let token = identity::mint(&settings, claims).unwrap();
    format!(
        "GET /api/v1/items?page=1 HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {token}\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0\r\n\
         Accept: application/json\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
         Referer: https://app.example.com/items\r\nOrigin: https://app.example.com\r\nDNT: 1\r\n\
         Sec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\nConnection: keep-alive\r\n\r\n"
    )
    .into_bytes()
}

fn whole_path(c: &mut Criterion) {
    let config = configured();
    let rules = Rules::new(Arc::clone(&config)).unwrap();
    let node = limit::Node::new(config::limit_settings(&config));
    let mut checks = Checks {
        heard: None,
        limits: limit::Core::new(node, 0),
        presence: Arc::new(presence::Presence::new(presence::Bounds {
            connections_max: 100,
            per_address_max: 0,
            per_organization_max: 0,
        })),
        tokens: identity::Cache::new(),
    };
    let head = head(&config);
    let client: IpAddr = "192.0.2.1".parse().unwrap();
    let mut group = c.benchmark_group("admit");
    group.bench_function("head, route, cached token, both limits", |b| {
        b.iter(|| {
            let mut scanned = 0;
            let length = head_end(black_box(&head), &mut scanned, HEAD_BYTES_MAX)
                .unwrap()
                .unwrap();
            let mut scratch = Scratch::new();
            let request = parse_request(&head[..length], &mut scratch).unwrap();
            let source = Source::of(&request, client, &rules).unwrap();
            let admitted = admit::<net::Tcp>(&request, &source, &rules, &mut checks);
            assert!(matches!(admitted, Ok(Admitted::Forward(_))));
        });
    });
    group.bench_function("head alone", |b| {
        b.iter(|| {
            let mut scanned = 0;
            let length = head_end(black_box(&head), &mut scanned, HEAD_BYTES_MAX)
                .unwrap()
                .unwrap();
            let mut scratch = Scratch::new();
            parse_request(&head[..length], &mut scratch)
                .unwrap()
                .fields
                .len()
        });
    });
    group.finish();
}

criterion_group!(benches, whole_path);
criterion_main!(benches);
