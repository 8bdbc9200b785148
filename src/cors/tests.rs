//! Tables for the CORS lines. Not here: when they are written. Invariant: outputs are compared whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use super::*;

const EXPOSE: &str = "Access-Control-Expose-Headers: X-RateLimit-Limit, X-RateLimit-Remaining, \
                      X-RateLimit-Reset, Retry-After, X-Request-ID, X-Response-Time\r\n";
const ORIGIN_A: &str = "Access-Control-Allow-Origin: https://a.example\r\n";
const CREDENTIALS: &str = "Access-Control-Allow-Credentials: true\r\n";
const ANY: &str = "Access-Control-Allow-Origin: *\r\n";
const METHODS_LINE: &str =
    "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";
const MAX_AGE: &str = "Access-Control-Max-Age: 600\r\n";

fn policy(origins: &str) -> Policy {
    Policy::new(origins.split(',').map(str::to_owned).collect())
}

#[test]
fn fields_go_to_listed_origins_only() {
    let list = " https://a.example , http://localhost:3000,,null";
    let a = format!("{ORIGIN_A}{CREDENTIALS}{EXPOSE}");
    let null = format!("Access-Control-Allow-Origin: null\r\n{CREDENTIALS}{EXPOSE}");
    let any = format!("{ANY}{EXPOSE}");
    let table: &[(&str, Option<&str>, &str)] = &[
        ("*", None, &any),
        ("*", Some("https://a.example"), &any),
        (" * ", Some("null"), &any),
        ("https://a.example,*", Some("https://a.example"), &any),
        ("", Some("https://a.example"), ""),
        ("", Some(""), ""),
        (list, None, ""),
        (list, Some("https://a.example"), &a),
        (list, Some("null"), &null),
        (list, Some(""), ""),
        (list, Some("https://A.example"), ""),
        (list, Some("https://a.example/"), ""),
        (list, Some("https://a.example:443"), ""),
        (list, Some("http://a.example"), ""),
        (list, Some("https://a.example.evil.net"), ""),
        (list, Some("https://evil-a.example"), ""),
        (list, Some("https://a.example, https://a.example"), ""),
        (list, Some("http://localhost:3001"), ""),
        (list, Some("*"), ""),
        ("https://a.example", Some("null"), ""),
    ];
    for (origins, origin, expected) in table {
        let mut out = Vec::new();
        policy(origins).fields(origin.map(str::as_bytes), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            *expected,
            "{origins} {origin:?}"
        );
    }
}

#[test]
fn a_name_covers_what_stands_below_it() {
    let names = "https://*.example.com,http://*.localhost:3000,https://a.net";
    let allowed = [
        "https://app.example.com",
        "https://a.b-c.example.com",
        "https://xn--bcher-kva.example.com",
        "https://a_b.example.com",
        "http://app.localhost:3000",
        "https://a.net",
    ];
    let refused = [
        "https://example.com",
        "https://.example.com",
        "https://a..example.com",
        "https://.a.example.com",
        "https://evil-example.com",
        "https://evilexample.com",
        "https://example.com.evil.net",
        "https://app.example.com.evil.net",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "http://app.example.com",
        "https://https://app.example.com",
        "https://user@app.example.com",
        "https://evil.net/.example.com",
        "https://evil.net?.example.com",
        "https://evil.net#.example.com",
        "https://evil.net:443.example.com",
        "https://a b.example.com",
        "https://APP.example.com",
        "https://*.example.com",
        "https://\u{e9}.example.com",
        "http://app.localhost",
        "http://app.localhost:30000",
        "https://b.a.net",
        "null",
        "*",
        "",
    ];
    let policy = policy(names);
    assert!(policy.vary());
    for (origin, is_allowed) in allowed
        .map(|origin| (origin, true))
        .into_iter()
        .chain(refused.map(|origin| (origin, false)))
    {
        let (mut fields, mut preflight) = (Vec::new(), Vec::new());
        let asked = Some(origin.as_bytes());
        policy.fields(asked, &mut fields);
        policy.preflight(asked, b"GET", std::iter::empty(), &mut preflight);
        let allow = format!("Access-Control-Allow-Origin: {origin}\r\n{CREDENTIALS}");
        let expected = if is_allowed {
            [
                format!("{allow}{EXPOSE}"),
                format!("{allow}{METHODS_LINE}{MAX_AGE}"),
            ]
        } else {
            [String::new(), String::new()]
        };
        let written = [fields, preflight].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(written, expected, "{origin}");
    }
    let mut out = Vec::new();
    policy.fields(Some(b"https://\xff.example.com"), &mut out);
    policy.fields(None, &mut out);
    assert!(out.is_empty());
}

#[test]
fn vary_is_on_every_answer_of_a_list() {
    let table: &[(&str, &[&str], &[u8])] = &[
        ("*", &[], b""),
        ("", &[], b""),
        ("*", &["Accept"], b""),
        ("https://a", &[], b"Vary: Origin\r\n"),
        ("https://a", &["Accept-Encoding"], b"Vary: Origin\r\n"),
        (
            "https://a",
            &["Accept", "X-Origin, Origin-X"],
            b"Vary: Origin\r\n",
        ),
        ("https://a", &["Accept, origin"], b""),
        ("https://a", &["Accept", "ORIGIN"], b""),
        ("https://a", &["*"], b""),
        ("https://a", &[""], b"Vary: Origin\r\n"),
    ];
    for (origins, upstream, expected) in table {
        let line = policy(origins).vary_line(upstream.iter().map(|value| value.as_bytes()));
        assert_eq!(line, *expected, "{origins} {upstream:?}");
    }
    assert!(policy("https://a").vary() && !policy("*").vary() && !policy("").vary());
}

#[test]
fn a_preflight_is_options_with_both_fields() {
    let (origin, method) = (Some(b"https://a".as_slice()), Some(b"POST".as_slice()));
    let table = [
        ("OPTIONS", origin, method, true),
        ("OPTIONS", origin, None, false),
        ("OPTIONS", None, method, false),
        ("GET", origin, method, false),
        ("options", origin, method, false),
    ];
    for (name, origin, method, expected) in table {
        assert_eq!(
            is_preflight(name.as_bytes(), origin, method),
            expected,
            "{name}"
        );
    }
}

/// Configured origins, origin, requested method, requested headers, expected lines.
type Row<'a> = (&'a str, Option<&'a str>, &'a str, Option<&'a str>, String);

#[test]
fn several_lists_of_requested_headers_are_one() {
    let half = "x".repeat(REQUESTED_BYTES_MAX / 2);
    let longer = "x".repeat(REQUESTED_BYTES_MAX / 2 + 1);
    let both = format!("{half}, {half}");
    let table: [(&[&str], Option<&str>); 8] = [
        (&[], None),
        (&["authorization", "x-a"], Some("authorization, x-a")),
        (&[" a, b ", "c", "d,e"], Some("a, b, c, d,e")),
        (&["a", "b c"], None),
        (&["a", ""], None),
        (&["", ""], None),
        (&[&half, &half], Some(&both)),
        (&[&half, &longer], None),
    ];
    for (lists, expected) in table {
        let mut out = Vec::new();
        let lists = lists.iter().map(|list| list.as_bytes());
        policy("*").preflight(Some(b"https://a"), b"GET", lists.clone(), &mut out);
        let line = expected.map_or_else(String::new, |names| {
            format!("Access-Control-Allow-Headers: {names}\r\n")
        });
        let expected = format!("{ANY}{METHODS_LINE}{line}{MAX_AGE}");
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{lists:?}");
    }
}

#[test]
fn preflights_name_methods_and_headers() {
    let a = Some("https://a.example");
    let list = "https://a.example";
    let lines = |allow: &str, headers: &str| format!("{allow}{METHODS_LINE}{headers}{MAX_AGE}");
    let both = format!("{ORIGIN_A}{CREDENTIALS}");
    let wanted = "Access-Control-Allow-Headers: authorization, x-a\r\n";
    let extra = METHODS_LINE.replace("OPTIONS", "OPTIONS, PROPFIND");
    let long = "x".repeat(REQUESTED_BYTES_MAX + 1);
    let table: &[Row<'_>] = &[
        ("*", a, "POST", None, lines(ANY, "")),
        (
            "*",
            a,
            "POST",
            Some("authorization, x-a"),
            lines(ANY, wanted),
        ),
        (
            list,
            a,
            "POST",
            Some("authorization, x-a"),
            lines(&both, wanted),
        ),
        (
            list,
            a,
            "POST",
            Some(" authorization, x-a "),
            lines(&both, wanted),
        ),
        (list, a, "PROPFIND", None, format!("{both}{extra}{MAX_AGE}")),
        (list, a, "TRACE", None, lines(&both, "")),
        (list, a, "CONNECT", None, lines(&both, "")),
        (list, a, "A B", None, lines(&both, "")),
        (list, a, "", None, lines(&both, "")),
        (list, a, "GET", Some(""), lines(&both, "")),
        (list, a, "GET", Some("a,,b"), lines(&both, "")),
        (list, a, "GET", Some("a b"), lines(&both, "")),
        (list, a, "GET", Some("a: b"), lines(&both, "")),
        (list, a, "GET", Some("a\r\nSet-Cookie: b"), lines(&both, "")),
        (list, a, "GET", Some("\"a\""), lines(&both, "")),
        (list, a, "GET", Some(&long), lines(&both, "")),
        (
            list,
            Some("https://b.example"),
            "GET",
            Some("a"),
            String::new(),
        ),
        (list, None, "GET", Some("a"), String::new()),
        ("", a, "GET", Some("a"), String::new()),
    ];
    for (origins, origin, method, headers, expected) in table {
        let mut out = Vec::new();
        policy(origins).preflight(
            origin.map(str::as_bytes),
            method.as_bytes(),
            headers.iter().map(|value| value.as_bytes()),
            &mut out,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            *expected,
            "{origins} {origin:?} {method}"
        );
    }
}
