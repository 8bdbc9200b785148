//! Tables for routes, tricks, targets and refused configurations. Not here: the random search (`search`).
//! Invariant: every trick that HTTP.md and DESIGN.md name has a row.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may fail loudly"
)]

mod search;

use super::readings::Ambiguous;
use super::*;

fn rule(prefix: &str, service: usize, strip: bool, public: bool, base_path: &str) -> Rule {
    Rule {
        prefix: prefix.to_owned(),
        service,
        strip,
        public,
        base_path: base_path.to_owned(),
    }
}

fn table() -> Table {
    let rules = vec![
        rule("/api/v1", 0, false, false, ""),
        rule("/analyzer", 1, true, false, "/api/v1"),
        rule("/api/v1/reports", 2, false, false, ""),
        rule("/open", 3, true, true, ""),
        rule("/bare", 4, true, false, ""),
    ];
    let public = ["/api/v1/auth/refresh", "/api/v1/pub/*", "/api/v1/news*"];
    Table::new(rules, public.map(str::to_owned).into()).unwrap()
}

/// What a row expects.
#[derive(Debug, PartialEq)]
enum Seen {
    Own(Own),
    /// Service, with a token.
    Token(usize),
    /// Service, without.
    Public(usize),
    Nothing,
    Refused(Ambiguous),
}
use Seen::{Nothing, Public, Refused, Token};

fn seen(table: &Table, path: &str) -> Seen {
    match table.find(path) {
        Err(ambiguous) => Refused(ambiguous),
        Ok(Match::None) => Nothing,
        Ok(Match::Own(own)) => Seen::Own(own),
        Ok(Match::Upstream(upstream)) if upstream.public => Public(upstream.rule.service),
        Ok(Match::Upstream(upstream)) => Token(upstream.rule.service),
    }
}

#[test]
fn plain_paths() {
    let table = table();
    for own in Own::ALL {
        assert_eq!(seen(&table, own.path()), Seen::Own(own));
        assert_eq!(
            seen(&table, &format!("{}?x=/../..", own.path())),
            Seen::Own(own)
        );
        assert_eq!(seen(&table, &format!("{}/", own.path())), Nothing);
        assert_eq!(seen(&table, &own.path().to_ascii_uppercase()), Nothing);
    }
    let rows = [
        ("/api/v1", Token(0)),
        ("/api/v1/", Token(0)),
        ("/api/v1/x", Token(0)),
        ("/api/v1?x", Token(0)),
        ("/api/v1x", Nothing),
        ("/api/v", Nothing),
        ("/api", Nothing),
        ("/", Nothing),
        ("", Nothing),
        ("*", Nothing),
        ("api/v1/x", Nothing),
        ("/API/v1/x", Nothing),
        ("/api/V1/x", Nothing),
        ("/analyzer", Token(1)),
        ("/analyzer/analyze", Token(1)),
        ("/analyzers", Nothing),
        ("/api/v1/reports", Token(2)),
        ("/api/v1/reports/1", Token(2)),
        ("/api/v1/reports1", Token(0)),
        ("/open", Public(3)),
        ("/open/x", Public(3)),
        ("/api/v1/auth/login", Public(0)),
        ("/api/v1/auth/login?next=/x", Public(0)),
        ("/api/v1/auth/register", Public(0)),
        ("/api/v1/auth/refresh", Public(0)),
        ("/api/v1/auth/login/", Token(0)),
        ("/api/v1/auth/login/x", Token(0)),
        ("/api/v1/auth/loginx", Token(0)),
        ("/api/v1/auth/Login", Token(0)),
        ("/api/v1/auth", Token(0)),
        ("/api/v1/pub", Token(0)),
        ("/api/v1/pub/", Public(0)),
        ("/api/v1/pub/x/y", Public(0)),
        ("/api/v1/news", Public(0)),
        ("/api/v1/newspaper/1", Public(0)),
        ("/api/v1/new", Token(0)),
        ("/api/v1/.well-known/x", Token(0)),
        ("/api/v1/a.b/...x", Token(0)),
        ("/rate-limit", Nothing),
        ("/admin/x", Nothing),
    ];
    for (path, expected) in rows {
        assert_eq!(seen(&table, path), expected, "{path}");
    }
}

#[test]
fn tricks() {
    let table = table();
    let many = format!("/api/v1{}", "/..;%2f".repeat(1000));
    let deep = format!("/api/v1/a{}", "//".repeat(200));
    let long = format!("/api/v1/{}", "a%2f".repeat(2000));
    let rows = [
        // Harmless: every reading stays in the same place. Forwarded as they came.
        ("/api/v1/files/a%2Fb", Token(0)),
        ("/api/v1/caf%C3%A9", Token(0)),
        ("/api/v1/caf\u{e9}", Token(0)),
        ("/api/v1/a%20b", Token(0)),
        ("/api/v1/url/https%3A%2F%2Fexample.com%2Fx%3Fy", Token(0)),
        ("/api/v1/x;page=2/y", Token(0)),
        ("/api/v1/x//y", Token(0)),
        ("/api/v1//x", Token(0)),
        ("/api/v1/a/../b", Token(0)),
        ("/api/v1/a/./b", Token(0)),
        ("/api/v1/a/%2e%2e/b", Token(0)),
        ("/api/v1/..hidden", Token(0)),
        ("/api/v1/a\\b", Token(0)),
        ("/api/v1/a%5cb", Token(0)),
        ("/api/v1/a%00b", Token(0)),
        ("/api/v1/100%25", Token(0)),
        ("/api/v1/100%2525", Token(0)),
        ("/api/v1/%7Euser", Token(0)),
        ("/analyzer/a%2fb?x=%zz", Token(1)),
        ("/analyzer//x", Token(1)),
        ("/open/a/../b", Public(3)),
        ("/api/v1/pub/a%2fb", Public(0)),
        ("/api/v1/pub/a/../b", Public(0)),
        ("/nowhere/%41", Nothing),
        ("/nowhere//x;y", Nothing),
        ("/nowhere/../else", Nothing),
        // Out of the prefix, or into it.
        ("/api/v1/..", DIFFERS),
        ("/api/v1/../x", DIFFERS),
        ("/api/v1/../v1/x", Refused(Ambiguous::LeavesPrefix)),
        ("/analyzer/../analyzer/x", Refused(Ambiguous::LeavesPrefix)),
        ("/analyzer/../api/v1/x", DIFFERS),
        ("/analyzer/%2e%2e/api/v1/x", DIFFERS),
        ("/analyzer/%2E./api/v1/x", DIFFERS),
        ("/analyzer/%252e%252e/api/v1/x", DIFFERS),
        ("/analyzer/..%2fapi/v1/x", DIFFERS),
        ("/analyzer/..%5capi/v1/x", DIFFERS),
        ("/analyzer/..\\api\\v1\\x", DIFFERS),
        ("/analyzer/..;/api/v1/x", DIFFERS),
        ("/analyzer/..;x=1/api/v1/x", DIFFERS),
        ("/analyzer/..%3b/api/v1/x", DIFFERS),
        ("/analyzer/%c0%ae%c0%ae/api/v1/x", DIFFERS),
        ("/analyzer/%e0%80%ae%e0%80%ae/x", DIFFERS),
        ("/analyzer/%f0%80%80%ae./x", DIFFERS),
        ("/analyzer/..%00/x", DIFFERS),
        ("/analyzer/..%20/x", DIFFERS),
        ("/analyzer/..%c0%afx", DIFFERS),
        ("/analyzer/a/../../x", DIFFERS),
        ("/analyzer/a//../../x", DIFFERS),
        ("/analyzer/a%2fb/..;/..;/x", DIFFERS),
        ("/x/../api/v1/y", DIFFERS),
        ("//api/v1/x", DIFFERS),
        ("/./api/v1/x", DIFFERS),
        ("/api//v1/x", DIFFERS),
        ("/api/./v1/x", DIFFERS),
        ("/api;x/v1/y", DIFFERS),
        ("/api\\v1\\x", DIFFERS),
        ("/api%2fv1/x", DIFFERS),
        ("/%61nalyzer/x", DIFFERS),
        ("/%2561nalyzer/x", DIFFERS),
        ("/analyzer%2f", DIFFERS),
        ("/analyzer;x", DIFFERS),
        ("/analyzer%20", DIFFERS),
        ("/api/v1/x/../../../health", DIFFERS),
        // Into or out of a nested rule.
        ("/api/v1/x/../reports/1", DIFFERS),
        ("/api/v1/reports/../x", DIFFERS),
        ("/api/v1/reports%2f1", DIFFERS),
        ("/api/v1//reports/1", DIFFERS),
        // Around the token.
        ("/api/v1/x/../auth/login", DIFFERS),
        ("/api/v1/auth/login/..", Token(0)),
        ("/api/v1/auth/login/../login", DIFFERS),
        ("/api/v1/auth/login/.", DIFFERS),
        ("/api/v1/auth/./login", DIFFERS),
        ("/api/v1/auth//login", DIFFERS),
        ("/api/v1/auth/login;x=1", DIFFERS),
        ("/api/v1/auth/login%3bx", DIFFERS),
        ("/api/v1/auth/login;a%2fb", DIFFERS),
        ("/api/v1/auth/login%00", DIFFERS),
        ("/api/v1/auth/login%00.png", DIFFERS),
        ("/api/v1/auth/login%3fx", DIFFERS),
        ("/api/v1/auth/login%23x", DIFFERS),
        ("/api/v1/auth/login%20", DIFFERS),
        ("/api/v1/auth/login%0a", DIFFERS),
        ("/api/v1/auth%2flogin", DIFFERS),
        ("/api/v1/auth%252flogin", DIFFERS),
        ("/api/v1/auth%5clogin", DIFFERS),
        ("/api/v1/auth/%6cogin", DIFFERS),
        ("/api/v1/auth/%256cogin", DIFFERS),
        ("/api/v1/auth/%256cogin%3ba%252fb", DIFFERS),
        ("/analyzer/a;%252f..%252f..%252fx", DIFFERS),
        ("/api/v1/pub/../x", DIFFERS),
        ("/api/v1/pub/..;/x", DIFFERS),
        ("/api/v1/pub/..%2fx", DIFFERS),
        ("/api/v1/pub/%2e%2e%2fx", DIFFERS),
        ("/api/v1/pub/%252e%252e%252fx", DIFFERS),
        ("/api/v1/pub/a/..%5c..%5cx", DIFFERS),
        ("/api/v1/news/../x", DIFFERS),
        ("/api/v1/%6eews", DIFFERS),
        ("/%68ealth", DIFFERS),
        ("/health;x", DIFFERS),
        ("//health", DIFFERS),
        ("/health/.", DIFFERS),
        ("/x/../health", DIFFERS),
        ("/rate-limit%2finfo", DIFFERS),
        ("/admin/rate-limit/reset%00", DIFFERS),
        // A whole target that names a host for some.
        ("/bare//evil.example/x", Refused(Ambiguous::AnotherHost)),
        ("/bare/\\evil.example/x", Refused(Ambiguous::AnotherHost)),
        ("/bare/x//y", Token(4)),
        // Not worth reading.
        ("/api/v1/%", Refused(Ambiguous::BadEscape)),
        ("/api/v1/%2", Refused(Ambiguous::BadEscape)),
        ("/api/v1/%zz", Refused(Ambiguous::BadEscape)),
        ("/api/v1/%u002e%u002e/x", Refused(Ambiguous::BadEscape)),
        ("/api/v1/%+1", Refused(Ambiguous::BadEscape)),
        ("/api/v1/%25252e", Refused(Ambiguous::DeepEscape)),
        (many.as_str(), Refused(Ambiguous::Tangled)),
        (deep.as_str(), Refused(Ambiguous::Tangled)),
        (long.as_str(), Token(0)),
    ];
    for (path, expected) in rows {
        assert_eq!(seen(&table, path), expected, "{path}");
    }
}

/// Two readings, two routes or two verdicts.
const DIFFERS: Seen = Refused(Ambiguous::Readings);

#[test]
fn targets() {
    let bare = rule("/bare", 0, true, false, "");
    let based = rule("/analyzer", 0, true, false, "/api/v1");
    let kept = rule("/api/v1", 0, false, false, "");
    let kept_based = rule("/api/v1", 0, false, false, "/base");
    let root = rule("", 0, true, false, "/base");
    let rows = [
        (&based, "/analyzer/analyze", "/api/v1/analyze"),
        (&based, "/analyzer/analyze?a=/b", "/api/v1/analyze?a=/b"),
        (&based, "/analyzer", "/api/v1"),
        (&based, "/analyzer/", "/api/v1/"),
        (&based, "/analyzer?x", "/api/v1?x"),
        (&based, "/analyzer/a%2Fb//c;d", "/api/v1/a%2Fb//c;d"),
        (&bare, "/bare", "/"),
        (&bare, "/bare/", "/"),
        (&bare, "/bare?x", "/?x"),
        (&bare, "/bare/x", "/x"),
        (&kept, "/api/v1/x?y", "/api/v1/x?y"),
        (&kept, "/api/v1", "/api/v1"),
        (&kept_based, "/api/v1/x", "/base/api/v1/x"),
        (&root, "/x", "/base/x"),
        (&root, "/", "/base/"),
    ];
    for (rule, target, expected) in rows {
        let (base, rest) = rule.upstream_target_parts(target);
        assert_eq!(format!("{base}{rest}"), expected, "{target}");
    }
}

#[test]
fn tables_are_checked() {
    let one = |prefix: &str| Table::new(vec![rule(prefix, 0, false, false, "")], Vec::new());
    let based = |base: &str| Table::new(vec![rule("/a", 0, false, false, base)], Vec::new());
    for good in ["", "/", "/a", "/a/", "/a/b.c", "/admin", "/health/x"] {
        assert!(one(good).is_ok(), "{good}");
        assert!(based(good).is_ok(), "{good}");
    }
    for bad in [
        "a", "/a//", "//", "/a//b", "/a/..", "/./a", "/%61", "/a;b", "/a\\b", "/a b", "/a?", "/a#",
        "/\u{e9}",
    ] {
        assert_eq!(
            one(bad).err(),
            Some(RouteError::Path(bad.to_owned())),
            "{bad}"
        );
        assert_eq!(
            based(bad).err(),
            Some(RouteError::Path(bad.to_owned())),
            "{bad}"
        );
    }
    assert_eq!(one("/a*").err(), Some(RouteError::Path("/a*".to_owned())));
    assert_eq!(
        one("/health").err(),
        Some(RouteError::Reserved("/health".to_owned()))
    );
    let twice = vec![
        rule("/a", 0, false, false, ""),
        rule("/a/", 1, true, false, ""),
    ];
    assert_eq!(
        Table::new(twice, Vec::new()).err(),
        Some(RouteError::Duplicate("/a".to_owned()))
    );
    for path in ["/a", "/a/", "/*", "/a*", "/a/*", "/"] {
        assert!(
            Table::new(Vec::new(), vec![path.to_owned()]).is_ok(),
            "{path}"
        );
    }
    for path in [
        "", "a", "*", "/a*b", "/a**", "/../*", "/a%2f", "/a?x", "/a//*",
    ] {
        let error = RouteError::PublicPath(path.to_owned());
        assert_eq!(
            Table::new(Vec::new(), vec![path.to_owned()]).err(),
            Some(error),
            "{path}"
        );
    }
}

#[test]
fn a_root_rule_takes_what_is_left() {
    let rules = vec![
        rule("/", 0, false, false, ""),
        rule("/a", 1, false, false, ""),
    ];
    let table = Table::new(rules, vec!["/p*".to_owned(), "/pub/q/*".to_owned()]).unwrap();
    let rows = [
        ("/", Token(0)),
        ("/x", Token(0)),
        ("/a/x", Token(1)),
        ("/ab", Token(0)),
        ("/pub/x", Public(0)),
        ("/pub/q/r/../../s", Public(0)),
        ("/health", Seen::Own(Own::Health)),
        ("/x//y", Token(0)),
        ("/x/../a/y", Refused(Ambiguous::Readings)),
        ("/%70ub", Refused(Ambiguous::Readings)),
    ];
    for (path, expected) in rows {
        assert_eq!(seen(&table, path), expected, "{path}");
    }
}

#[test]
fn the_map_is_printed() {
    let lines = table()
        .describe(|service| format!("service{service}"))
        .join("\n");
    for expected in [
        "/api/v1/* -> service0: /api/v1/* (token)",
        "/analyzer/* -> service1: /api/v1/* (token)",
        "/open/* -> service3: /* (public)",
        "public: /api/v1/auth/login /api/v1/auth/register /api/v1/auth/refresh /api/v1/pub/* /api/v1/news*",
        "own: /health",
    ] {
        assert!(lines.contains(expected), "{expected}\n{lines}");
    }
}
