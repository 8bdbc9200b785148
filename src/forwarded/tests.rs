//! Tables for the client's address, the chain and the limit key. Not here: reading the fields off a head.
//! Invariant: every way of lying ends at an address that the liar cannot choose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use super::*;

/// 10/8, the load balancer of the tables, and fd00::/8.
fn trust() -> Trust {
    Trust::new(vec![
        "10.0.0.0/8".parse().unwrap(),
        "fd00::/8".parse().unwrap(),
    ])
}

fn bytes<'a>(values: &'a [&'a str]) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    values.iter().map(|value| value.as_bytes())
}

fn client(peer: &str, xff: &[&str], forwarded: &[&str]) -> String {
    trust()
        .client(peer.parse().unwrap(), bytes(xff), bytes(forwarded))
        .to_string()
}

#[test]
fn x_forwarded_for() {
    let table: &[(&str, &[&str], &str)] = &[
        // An untrusted peer is the client, whatever it says.
        ("192.0.2.1", &[], "192.0.2.1"),
        ("192.0.2.1", &["10.0.0.1"], "192.0.2.1"),
        ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
        ("::ffff:192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
        // A trusted one says who is.
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &[""], "10.0.0.1"),
        ("10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
        ("::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
        ("fd00::1", &["192.0.2.1"], "192.0.2.1"),
        // The right-most untrusted hop; what is left of it the client made up.
        ("10.0.0.1", &["1.1.1.1, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", &["1.1.1.1", "192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", &["1.1.1.1,192.0.2.1,10.0.0.2"], "192.0.2.1"),
        (
            "10.0.0.1",
            &["192.0.2.1, 10.0.0.3", "10.0.0.2"],
            "192.0.2.1",
        ),
        ("10.0.0.1", &["192.0.2.1,, ,"], "192.0.2.1"),
        ("10.0.0.1", &["192.0.2.1\t,\t10.0.0.9 "], "192.0.2.1"),
        // All trusted: the first.
        ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        // Spellings.
        ("10.0.0.1", &["192.0.2.1:5000"], "192.0.2.1"),
        ("10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", &["[::ffff:192.0.2.1]:80"], "192.0.2.1"),
        ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", &["2001:DB8:0::1"], "2001:db8::1"),
        ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
        // Unreadable: the nearest certain address.
        ("10.0.0.1", &["unknown"], "10.0.0.1"),
        ("10.0.0.1", &["192.0.2.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", &["192.0.2.1, junk, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", &["junk, 192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", &["192.0.2.256"], "10.0.0.1"),
        ("10.0.0.1", &["192.0.2.01"], "10.0.0.1"),
        ("10.0.0.1", &["192.0.2"], "10.0.0.1"),
        ("10.0.0.1", &["0x7f.1"], "10.0.0.1"),
        ("10.0.0.1", &["192.0.2.1:"], "10.0.0.1"),
        ("10.0.0.1", &["192.0.2.1:port"], "10.0.0.1"),
        ("10.0.0.1", &["192.0.2.1:123456"], "10.0.0.1"),
        ("10.0.0.1", &["192.0.2.1 5000"], "10.0.0.1"),
        ("10.0.0.1", &["[192.0.2.1]"], "10.0.0.1"),
        ("10.0.0.1", &["[2001:db8::1"], "10.0.0.1"),
        ("10.0.0.1", &["[2001:db8::1]x"], "10.0.0.1"),
        ("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1"),
        ("10.0.0.1", &["\"192.0.2.1\""], "10.0.0.1"),
        ("10.0.0.1", &["caf\u{e9}"], "10.0.0.1"),
    ];
    for (peer, xff, expected) in table {
        assert_eq!(client(peer, xff, &[]), *expected, "{peer} {xff:?}");
    }
}

#[test]
fn forwarded() {
    let table: &[(&[&str], &str)] = &[
        (&["for=192.0.2.1"], "192.0.2.1"),
        (&["For=192.0.2.1;proto=https;by=10.0.0.1"], "192.0.2.1"),
        (&["proto=https; FOR = \"192.0.2.1:80\""], "192.0.2.1"),
        (&["for=\"[2001:db8::1]:443\""], "2001:db8::1"),
        (&["for=[2001:db8::1]"], "2001:db8::1"),
        (&["for=1.1.1.1, for=192.0.2.1, for=10.0.0.2"], "192.0.2.1"),
        (&["for=1.1.1.1", "for=192.0.2.1"], "192.0.2.1"),
        // A quote that the client left open changes nothing to the right of it.
        (&["for=\"x, for=192.0.2.1"], "192.0.2.1"),
        // Unreadable.
        (&["for=unknown"], "10.0.0.1"),
        (&["for=_hidden"], "10.0.0.1"),
        (&["proto=https"], "10.0.0.1"),
        (&["192.0.2.1"], "10.0.0.1"),
        (&["for=192.0.2.1;for=192.0.2.2"], "10.0.0.1"),
        (&["for=\"192.0.2.1"], "10.0.0.1"),
        (&["for=192.0.2.1\""], "10.0.0.1"),
        (&["for=192.0.2.1;;proto=https"], "10.0.0.1"),
        (&["for="], "10.0.0.1"),
        // A quoted comma in what the client chose (its Host) makes no hop.
        (&["for=192.0.2.1;host=\"a, for=198.51.100.9\""], "10.0.0.1"),
        (
            &["for=192.0.2.1;host=\"a,for=198.51.100.9;x=\""],
            "10.0.0.1",
        ),
        (
            &["for=192.0.2.1;host=\"a,for=198.51.100.9;x=\\\"\""],
            "10.0.0.1",
        ),
    ];
    for (values, expected) in table {
        assert_eq!(client("10.0.0.1", &[], values), *expected, "{values:?}");
        assert_eq!(
            client("203.0.113.5", &[], values),
            "203.0.113.5",
            "{values:?}"
        );
    }
}

#[test]
fn two_stories_are_believed_only_together() {
    let table: &[(&[&str], &[&str], &str)] = &[
        (&["192.0.2.1"], &["for=192.0.2.1"], "192.0.2.1"),
        (
            &["198.51.100.7, 192.0.2.1"],
            &["for=192.0.2.1"],
            "192.0.2.1",
        ),
        (&["192.0.2.1"], &["for=198.51.100.7"], "10.0.0.1"),
        (&["198.51.100.7"], &["for=192.0.2.1"], "10.0.0.1"),
        (&["192.0.2.1"], &["for=junk"], "10.0.0.1"),
        (&["192.0.2.1"], &[""], "192.0.2.1"),
    ];
    for (xff, forwarded, expected) in table {
        assert_eq!(
            client("10.0.0.1", xff, forwarded),
            *expected,
            "{xff:?} {forwarded:?}"
        );
    }
}

#[test]
fn chains() {
    let table: &[(&str, &[&str], &str)] = &[
        ("192.0.2.1", &[], "192.0.2.1"),
        ("192.0.2.1", &["1.1.1.1, 2.2.2.2"], "192.0.2.1"),
        ("::ffff:192.0.2.1", &[], "192.0.2.1"),
        ("2001:db8::1", &["1.1.1.1"], "2001:db8::1"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["", " 192.0.2.1 "], "192.0.2.1, 10.0.0.1"),
        (
            "10.0.0.1",
            &["192.0.2.1", "10.0.0.2"],
            "192.0.2.1, 10.0.0.2, 10.0.0.1",
        ),
    ];
    for (peer, inbound, expected) in table {
        let mut out = b"X-Forwarded-For: ".to_vec();
        trust().chain(peer.parse().unwrap(), bytes(inbound), &mut out);
        let expected = format!("X-Forwarded-For: {expected}");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            expected,
            "{peer} {inbound:?}"
        );
    }
}

#[test]
fn networks() {
    let mapped = Trust::new(vec!["::ffff:10.0.0.0/104".parse().unwrap()]);
    assert!(mapped.covers("10.9.9.9".parse().unwrap()));
    assert!(mapped.covers("::ffff:10.9.9.9".parse().unwrap()));
    assert!(!mapped.covers("11.0.0.1".parse().unwrap()));
    let all_v6 = Trust::new(vec!["::/0".parse().unwrap()]);
    assert!(
        !all_v6.covers("::ffff:10.0.0.1".parse().unwrap()),
        "that is an IPv4 address"
    );
    assert!(!Trust::default().covers("127.0.0.1".parse().unwrap()));
}

#[test]
fn limit_keys() {
    // (address, key's text)
    let table = [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
    ];
    for (text, expected) in table {
        let key: LimitKey = text.parse().unwrap();
        assert_eq!(key.to_string(), expected);
        // What is displayed is taken again.
        assert_eq!(expected.parse::<LimitKey>().unwrap(), key);
        assert_eq!(LimitKey::of(key.address()), key);
    }
    for text in [
        "",
        "x",
        "192.0.2.1/64",
        "192.0.2.1/32",
        "2001:db8::/48",
        "192.0.2.1:80",
    ] {
        assert!(text.parse::<LimitKey>().is_err(), "{text}");
    }
}
