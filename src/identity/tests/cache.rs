//! The cache: what it remembers, for how long, and for whom. Not here: its speed (`benches/identity.rs`).
//! Invariant: whatever the cache answers, the verifier would have answered too.

use std::sync::Arc;

use serde_json::json;

use super::super::*;
use super::{NOW, NOW_MS, settings, token};

#[test]
fn the_cache_answers_with_what_it_verified() {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    let mut cache = Cache::new();
    let token = token(&settings, json!({ "user_id": 1 }));
    let mut at = |now_ms| cache.identify(&verifier, token.as_bytes(), now_ms);
    let first = at(NOW_MS).unwrap();
    // (time, whether it is the remembered identity)
    let same = |other: &Arc<Identity>| Arc::ptr_eq(&first, other);
    assert!(same(&at(NOW_MS).unwrap()));
    assert!(same(&at(NOW_MS + 59_999).unwrap()));
    assert!(!same(&at(NOW_MS + 60_000).unwrap()));
    assert_eq!(
        at(NOW_MS + 3_599_999).unwrap().expires_ms(),
        NOW_MS + 3_600_000
    );
    assert_eq!(at(NOW_MS + 3_600_000).unwrap_err(), Refusal::Expired);
    assert_eq!(at(NOW_MS + 3_600_001).unwrap_err(), Refusal::Expired);
    // A clock set back far enough: the verification lies in the future and is not believed.
    assert!(!same(&at(NOW_MS - 1).unwrap()));
}

#[test]
fn the_cache_never_outlives_exp() {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    let mut cache = Cache::new();
    let token = token(&settings, json!({ "exp": NOW + 10 }));
    assert!(cache.identify(&verifier, token.as_bytes(), NOW_MS).is_ok());
    assert!(
        cache
            .identify(&verifier, token.as_bytes(), NOW_MS + 9_999)
            .is_ok()
    );
    let late = cache.identify(&verifier, token.as_bytes(), NOW_MS + 10_000);
    assert_eq!(late.unwrap_err(), Refusal::Expired);
}

#[test]
fn new_keys_empty_the_cache() {
    let old = settings();
    let mut new = settings();
    new.secret = b"another secret, as long as it is".to_vec();
    let (old_verifier, new_verifier) = (
        Verifier::new(old.clone()).unwrap(),
        Verifier::new(new).unwrap(),
    );
    let same_again = Verifier::new(old.clone()).unwrap();
    assert_ne!(old_verifier.generation(), same_again.generation());
    let mut cache = Cache::new();
    let token = token(&old, json!({}));
    let first = cache
        .identify(&old_verifier, token.as_bytes(), NOW_MS)
        .unwrap();
    let refused = cache.identify(&new_verifier, token.as_bytes(), NOW_MS);
    assert_eq!(refused.unwrap_err(), Refusal::Invalid(Why::Signature));
    let again = cache
        .identify(&old_verifier, token.as_bytes(), NOW_MS)
        .unwrap();
    assert!(!Arc::ptr_eq(&first, &again));
}

#[test]
fn the_cache_compares_whole_tokens() {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    let mut cache = Cache::new();
    let token = token(&settings, json!({ "user_id": 1 }));
    assert!(cache.identify(&verifier, token.as_bytes(), NOW_MS).is_ok());
    for at in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let refused = cache.identify(&verifier, &forged, NOW_MS);
        assert!(refused.is_err(), "byte {at} changed");
    }
    assert!(
        cache
            .identify(&verifier, &token.as_bytes()[..token.len() - 1], NOW_MS)
            .is_err()
    );
    let long = vec![b'a'; TOKEN_BYTES_MAX + 1];
    let refused = cache.identify(&verifier, &long, NOW_MS);
    assert_eq!(refused.unwrap_err(), Refusal::Invalid(Why::TooLong));
}

#[test]
fn more_tokens_than_entries_are_all_identified() {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    let mut cache = Cache::new();
    let tokens: Vec<String> = (0..2 * CACHE_ENTRIES_MAX)
        .map(|user| token(&settings, json!({ "user_id": user })))
        .collect();
    let hot = tokens[0].as_bytes();
    let mut kept = 0;
    let mut before = cache.identify(&verifier, hot, NOW_MS).unwrap();
    for (user, token) in tokens.iter().enumerate() {
        let identity = cache.identify(&verifier, token.as_bytes(), NOW_MS).unwrap();
        assert_eq!(identity.user().unwrap().to_string(), user.to_string());
        let again = cache.identify(&verifier, hot, NOW_MS).unwrap();
        kept += usize::from(Arc::ptr_eq(&before, &again));
        before = again;
    }
    // The clock hand passes over what is in use.
    assert_eq!(kept, tokens.len(), "the hot token was evicted");
}

#[test]
fn a_token_that_comes_once_takes_no_other_ones_place() {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    let identity = |user: u64| {
        let token = token(&settings, json!({ "user_id": user }));
        let identity = Arc::new(verifier.verify(token.as_bytes(), NOW_MS).unwrap());
        (token, identity)
    };
    let mut cache = Cache::new();
    // All of one set; hashes differ above the bits that choose it.
    let hash = |user: u64| user << 40 | 9;
    let full: Vec<_> = (0..8).map(identity).collect();
    for (user, (token, identity)) in (0..).zip(&full) {
        cache.keep(hash(user), token.as_bytes(), identity, NOW_MS);
    }
    let held = |cache: &mut Cache, user: u64, token: &str, now_ms| {
        cache.find(hash(user), token.as_bytes(), now_ms).is_some()
    };
    let (once, its) = identity(8);
    cache.keep(hash(8), once.as_bytes(), &its, NOW_MS);
    assert!(!held(&mut cache, 8, &once, NOW_MS));
    for (user, (token, _)) in (0..).zip(&full) {
        assert!(held(&mut cache, user, token, NOW_MS), "{user}");
    }
    // The second time it is one that comes again, and somebody has to go.
    cache.keep(hash(8), once.as_bytes(), &its, NOW_MS);
    assert!(held(&mut cache, 8, &once, NOW_MS));
    let left = (0..)
        .zip(&full)
        .filter(|(user, (token, _))| held(&mut cache, *user, token, NOW_MS));
    assert_eq!(left.count(), 7);
    // Where one has outlived its time there is room at once.
    let later = NOW_MS + 60_000;
    let (new, its) = identity(9);
    cache.keep(hash(9), new.as_bytes(), &its, later);
    assert!(held(&mut cache, 9, &new, later));
}

#[test]
fn tokens_that_meet_in_one_hash_stay_apart() {
    let settings = settings();
    let verifier = Verifier::new(settings.clone()).unwrap();
    let mut cache = Cache::new();
    let [one, other] = [1, 2].map(|user| token(&settings, json!({ "user_id": user })));
    let identity = Arc::new(verifier.verify(one.as_bytes(), NOW_MS).unwrap());
    cache.keep(7, one.as_bytes(), &identity, NOW_MS);
    assert!(cache.find(7, one.as_bytes(), NOW_MS).is_some());
    assert!(cache.find(7, other.as_bytes(), NOW_MS).is_none());
}
