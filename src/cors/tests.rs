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
        let headers = headers.map(str::as_bytes);
        policy(origins).preflight(
            origin.map(str::as_bytes),
            method.as_bytes(),
            headers,
            &mut out,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            *expected,
            "{origins} {origin:?} {method}"
        );
    }
}
