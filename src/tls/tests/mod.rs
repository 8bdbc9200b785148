//! Which certificate a name gets, and when a set of files is taken. Not the handshake (`net`, and end to end). Invariant: what is
//! wrong is said once, and what holds stays.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod certificate;
mod expiry;
mod opening;
mod subject;
mod trust;

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::sign;

use super::names::Names;
use super::{Files, Renewal, provider};

fn certified(names: &[&str]) -> CertifiedKey<rcgen::KeyPair> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    generate_simple_self_signed(names).unwrap()
}

#[test]
fn a_name_gets_its_certificate_and_any_other_the_first() {
    let table = [
        &["first.test"][..],
        &["*.wild.test", "exact.wild.test"],
        &["exact.wild.test"],
    ];
    let keys = table.map(|names| {
        let pair = certified(names);
        let key = pair.signing_key.serialize_der().try_into().unwrap();
        let key = provider().key_provider.load_private_key(key).unwrap();
        Arc::new(sign::CertifiedKey::new(vec![pair.cert.der().clone()], key))
    });
    let names = Names::new(keys.to_vec());
    for (name, expected) in [
        (None, 0),
        (Some("first.test"), 0),
        (Some("unknown.test"), 0),
        (Some("a.wild.test"), 1),
        (Some("A.Wild.Test"), 1),
        (Some("a.wild.test."), 1),
        (Some("exact.wild.test"), 1),
        (Some("a.b.wild.test"), 0),
        (Some("wild.test"), 0),
    ] {
        let chosen = names.choose(name, |_| true).unwrap();
        assert!(Arc::ptr_eq(&chosen, &keys[expected]), "{name:?}");
    }
    // A client that cannot check the one gets the other of the same name, or any that it can check.
    let only = |place: usize| {
        names.choose(Some("exact.wild.test"), |key| {
            std::ptr::eq(key, Arc::as_ptr(&keys[place]))
        })
    };
    assert!((0..3).all(|place| Arc::ptr_eq(&only(place).unwrap(), &keys[place])));
    assert!(names.choose(None, |_| false).is_none());
}

#[test]
fn a_set_is_taken_when_it_has_changed_and_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let put = |pair: &CertifiedKey<rcgen::KeyPair>, cert: bool, key: bool| {
        if cert {
            std::fs::write(path("crt"), pair.cert.pem()).unwrap();
        }
        if key {
            std::fs::write(path("key"), pair.signing_key.serialize_pem()).unwrap();
        }
    };
    let name = |name: &str| path(name).to_str().unwrap().to_owned();
    let files = Files {
        pairs: vec![(name("crt"), name("key"))],
        client_ca: None,
    };
    let (old, new) = (certified(&["a.test"]), certified(&["a.test"]));
    assert!(Renewal::start(files.clone(), |path| std::fs::read(path)).is_err());
    put(&old, true, true);
    let (mut renewal, _) = Renewal::start(files, |path| std::fs::read(path)).unwrap();
    let outcome = |renewal: &mut Renewal, forced| renewal.renew(forced).map(|built| built.is_ok());
    assert_eq!(outcome(&mut renewal, false), None);
    assert_eq!(outcome(&mut renewal, true), Some(true));
    put(&new, true, false);
    assert_eq!(outcome(&mut renewal, false), Some(false), "half a set");
    assert_eq!(outcome(&mut renewal, false), None, "said once");
    assert_eq!(outcome(&mut renewal, true), Some(false), "unless asked");
    put(&new, false, true);
    assert_eq!(outcome(&mut renewal, false), Some(true));
    std::fs::remove_file(path("key")).unwrap();
    assert_eq!(outcome(&mut renewal, false), Some(false), "gone");
}
