//! What a token costs: remembered by a core's cache, verified anew, and forged. Not a test: nothing here asserts a time.
//! Invariant: the times are injected, so a run never sees its token expire.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may fail loudly, and its macros write undocumented functions"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dbpower_gateway::identity::{Cache, Hmac, Settings, Verifier, mint};
use serde_json::{Map, Value, json};

const NOW_MS: u64 = 1_700_000_000_000;

fn claims(user: u64) -> Map<String, Value> {
    let Value::Object(claims) = json!({
        "user_id": user, "organization_id": 1, "role": "user",
        "iat": NOW_MS / 1000 - 60, "exp": NOW_MS / 1000 + 3600,
    }) else {
        return Map::new();
    };
    claims
}

fn identity(c: &mut Criterion) {
    let settings = Settings::with_secret(Hmac::Hs256, *b"a secret of thirty-two bytes....");
    let verifier = Verifier::new(settings.clone()).unwrap();
    let tokens: Vec<String> = (0..1000)
        .map(|user| mint(&settings, claims(user)).unwrap())
        .collect();
    let token = tokens[0].as_bytes();
    let mut group = c.benchmark_group("identity");

    let mut cache = Cache::new();
    group.bench_function("cached, one token", |b| {
        b.iter(|| cache.identify(&verifier, black_box(token), NOW_MS).unwrap());
    });
    let mut turn = tokens.iter().cycle();
    group.bench_function("cached, 1000 tokens in turn", |b| {
        b.iter(|| {
            let token = turn.next().unwrap().as_bytes();
            cache.identify(&verifier, black_box(token), NOW_MS).unwrap()
        });
    });
    group.bench_function("verified", |b| {
        b.iter(|| verifier.verify(black_box(token), NOW_MS).unwrap());
    });
    let mut forged = token.to_vec();
    let last = forged.len() - 10;
    forged[last] ^= 1;
    group.bench_function("forged", |b| {
        b.iter(|| verifier.verify(black_box(&forged), NOW_MS).unwrap_err());
    });
    group.finish();
}

criterion_group!(benches, identity);
criterion_main!(benches);
