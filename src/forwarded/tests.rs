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

fn said<'a>(
    xff: &'a [&'a str],
    forwarded: &'a [&'a str],
    real_ip: &'a [&'a str],
) -> Said<impl DoubleEndedIterator<Item = &'a [u8]> + Clone> {
    let bytes = |values: &'a [&'a str]| values.iter().map(|value| value.as_bytes());
    Said {
        xff: bytes(xff),
        forwarded: bytes(forwarded),
        real_ip: bytes(real_ip),
    }
}

/// Values of one field, in their order.
type Values = &'static [&'static str];

/// The client's address as text, or `400`.
fn client(peer: &str, xff: &[&str], forwarded: &[&str]) -> String {
    client_of(peer, xff, forwarded, &[])
}

fn client_of(peer: &str, xff: &[&str], forwarded: &[&str], real_ip: &[&str]) -> String {
    let account = trust().account(peer.parse().unwrap(), &said(xff, forwarded, real_ip));
    account.map_or_else(|_| "400".to_owned(), |account| account.client.to_string())
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
fn two_fields_are_believed_only_together() {
    let table: &[(&[&str], &[&str], &str)] = &[
        (&["192.0.2.1"], &["for=192.0.2.1"], "192.0.2.1"),
        (
            &["198.51.100.7, 192.0.2.1"],
            &["for=192.0.2.1"],
            "192.0.2.1",
        ),
        (&["192.0.2.1"], &["for=198.51.100.7"], "400"),
        (&["198.51.100.7"], &["for=192.0.2.1"], "400"),
        (&["192.0.2.1"], &["for=junk"], "400"),
        (&["junk"], &["for=192.0.2.1"], "400"),
        (&["junk"], &["for=junk"], "10.0.0.1"),
        (&["192.0.2.1"], &[""], "192.0.2.1"),
    ];
    for (xff, forwarded, expected) in table {
        let what = format!("{xff:?} {forwarded:?}");
        assert_eq!(client("10.0.0.1", xff, forwarded), *expected, "{what}");
        // Of a stranger neither is looked at.
        assert_eq!(
            client("203.0.113.5", xff, forwarded),
            "203.0.113.5",
            "{what}"
        );
    }
}

#[test]
fn x_real_ip_counts_alone() {
    let table: &[(Values, Values, Values, &str)] = &[
        (&[], &[], &["192.0.2.1"], "192.0.2.1"),
        (&[], &[""], &[" 192.0.2.1 "], "192.0.2.1"),
        (&[], &[], &["192.0.2.1", "192.0.2.1"], "10.0.0.1"),
        (&[], &[], &["192.0.2.1, 192.0.2.2"], "10.0.0.1"),
        (&[], &[], &["junk"], "10.0.0.1"),
        (&["192.0.2.1"], &[], &["198.51.100.7"], "192.0.2.1"),
        (&[], &["for=192.0.2.1"], &["198.51.100.7"], "192.0.2.1"),
    ];
    for (xff, forwarded, real_ip, expected) in table {
        let what = format!("{xff:?} {forwarded:?} {real_ip:?}");
        assert_eq!(
            client_of("10.0.0.1", xff, forwarded, real_ip),
            *expected,
            "{what}"
        );
    }
    assert_eq!(
        client_of("203.0.113.5", &[], &[], &["192.0.2.1"]),
        "203.0.113.5"
    );
}

#[test]
fn at_most_32_hops_are_looked_at() {
    let hops = |count| vec!["10.0.0.9"; count].join(",");
    assert_eq!(
        client("10.0.0.1", &[&format!("192.0.2.1,{}", hops(31))], &[]),
        "192.0.2.1"
    );
    assert_eq!(
        client("10.0.0.1", &[&format!("192.0.2.1,{}", hops(32))], &[]),
        "10.0.0.9"
    );
    let element = |length| format!("for=192.0.2.1;host=\"{}\"", "a".repeat(length));
    assert_eq!(client("10.0.0.1", &[], &[&element(400)]), "192.0.2.1");
    assert_eq!(client("10.0.0.1", &[], &[&element(15_000)]), "10.0.0.1");
    assert_eq!(client("10.0.0.1", &[&"1".repeat(15_000)], &[]), "10.0.0.1");
}

#[test]
fn chains() {
    let table: &[(&str, Values, Values, Values, &str)] = &[
        ("192.0.2.1", &[], &[], &[], "192.0.2.1"),
        (
            "192.0.2.1",
            &["1.1.1.1, 2.2.2.2"],
            &["for=1.1.1.1"],
            &["1.1.1.1"],
            "192.0.2.1",
        ),
        ("::ffff:192.0.2.1", &[], &[], &[], "192.0.2.1"),
        ("2001:db8::1", &["1.1.1.1"], &[], &[], "2001:db8::1"),
        ("10.0.0.1", &[], &[], &[], "10.0.0.1"),
        (
            "10.0.0.1",
            &["", " 192.0.2.1 "],
            &[],
            &[],
            "192.0.2.1, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            &["192.0.2.1", "10.0.0.2"],
            &[],
            &["9.9.9.9"],
            "192.0.2.1, 10.0.0.2, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            &[],
            &["for=192.0.2.1;proto=https"],
            &[],
            "192.0.2.1, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            &[],
            &["for=_x, for=\"[2001:db8::1]:80\"", "for=10.0.0.2"],
            &[],
            "unknown, 2001:db8::1, 10.0.0.2, 10.0.0.1",
        ),
        ("10.0.0.1", &[], &[], &["192.0.2.1"], "192.0.2.1, 10.0.0.1"),
        (
            "10.0.0.1",
            &["192.0.2.1"],
            &["for=192.0.2.1"],
            &[],
            "192.0.2.1, 10.0.0.1",
        ),
    ];
    for (peer, xff, forwarded, real_ip, expected) in table {
        let mut out = b"X-Forwarded-For: ".to_vec();
        let peer = peer.parse().unwrap();
        let said = said(xff, forwarded, real_ip);
        let account = trust().account(peer, &said).unwrap();
        account.write_chain(peer, &said, &mut out);
        let expected = format!("X-Forwarded-For: {expected}");
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{peer} {xff:?}");
    }
}

#[test]
fn forwarded_tells_scheme_and_host_of_the_hop_that_names_the_client() {
    let table: &[(Values, Values, Option<&str>, Option<&str>)] = &[
        (
            &[],
            &["for=192.0.2.1;proto=https;host=api.example.com"],
            Some("https"),
            Some("api.example.com"),
        ),
        (
            &[],
            &[
                "for=1.1.1.1;proto=http, for=192.0.2.1;host=\"a:8443\";Proto=https, for=10.0.0.2;proto=http",
            ],
            Some("https"),
            Some("a:8443"),
        ),
        (&[], &["for=192.0.2.1"], None, None),
        // What `X-Forwarded-For` tells, its own family completes.
        (&["192.0.2.1"], &["for=192.0.2.1;proto=https"], None, None),
    ];
    for (xff, forwarded, proto, host) in table {
        let said = said(xff, forwarded, &[]);
        let account = trust().account("10.0.0.1".parse().unwrap(), &said).unwrap();
        let text =
            |value: Option<&[u8]>| value.map(|value| String::from_utf8_lossy(value).into_owned());
        assert_eq!(
            (
                text(account.proto).as_deref(),
                text(account.host).as_deref()
            ),
            (*proto, *host),
            "{forwarded:?}"
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
