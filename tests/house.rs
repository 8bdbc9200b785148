//! The house test: reads the source and checks the rules of the house that a machine can check. Not a linter for style (that is
//! clippy). Invariant: a rule that finds nothing has been shown, on a planted violation, that it can.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may fail loudly, and a table is as long as its cases"
)]

#[path = "house/rules.rs"]
mod rules;
#[path = "house/source.rs"]
mod source;

use std::fmt::Write as _;
use std::path::Path;

use rules::{RULES, Rule};
use source::{Source, is_test_path};

const MEDIAN_LINES_MAX: usize = 150;

#[test]
fn the_source_keeps_the_rules_of_the_house() {
    let sources = sources();
    let mut report = String::new();
    for (name, rule) in RULES {
        for violation in sources.iter().flat_map(rule) {
            let (path, line, reason) = (violation.path, violation.line, violation.reason);
            writeln!(report, "{path}:{line}: {reason} [{name}]").unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn the_numbers_of_the_house() {
    let sources = sources();
    let product: Vec<&Source> = sources
        .iter()
        .filter(|source| source.path.starts_with("src/") && !is_test_path(&source.path))
        .collect();
    let lines = sorted(product.iter().map(|source| source.text.lines().count()));
    let functions = sorted(product.iter().flat_map(|source| function_lengths(source)));
    let (comments, code) = product
        .iter()
        .map(|source| comments_and_code(source))
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let test_code: usize = sources
        .iter()
        .map(|source| comments_and_code_all(source).1)
        .sum::<usize>()
        - code;
    println!(
        "files      {} · median {} · longest {}",
        lines.len(),
        middle(&lines),
        lines.last().unwrap()
    );
    println!(
        "functions  {} · median {} · longest {}",
        functions.len(),
        middle(&functions),
        functions.last().unwrap_or(&0)
    );
    println!(
        "comment:code {:.2} · test:code {:.2}",
        share(comments, code),
        share(test_code, code)
    );
    assert!(
        middle(&lines) <= MEDIAN_LINES_MAX,
        "the median file has {} lines, at most {MEDIAN_LINES_MAX}",
        middle(&lines)
    );
}

/// Every rule is given a file that breaks it and one that does not: (rule, path, text, lines of the violations).
#[test]
fn each_rule_finds_its_planted_violation() {
    let long = "//! x\n".repeat(501);
    let story = |lines| {
        format!(
            "//! x\npub async fn serve(a: u8) {{\n{}}}\n",
            "    a;\n".repeat(lines)
        )
    };
    let (fits, too_long) = (story(58), story(59));
    let table: &[(&str, &str, &str, &[usize])] = &[
        (
            "wings",
            "src/worker/mod.rs",
            "use crate::control::api;",
            &[1],
        ),
        (
            "wings",
            "src/worker/mod.rs",
            "use crate::{limit::{self, control}, net};\nuse crate::{net, control};",
            &[2],
        ),
        (
            "wings",
            "src/control/api.rs",
            "fn f() { crate::worker::g() }",
            &[1],
        ),
        (
            "wings",
            "src/worker/mod.rs",
            "// crate::control\nlet a = \"crate::control\";",
            &[],
        ),
        (
            "wings",
            "src/gateway.rs",
            "use crate::{control, worker};",
            &[],
        ),
        (
            "pure rooms",
            "src/http1/head.rs",
            "use crate::http1::x;\nuse crate::net;",
            &[2],
        ),
        ("pure rooms", "src/route.rs", "use super::net;", &[1]),
        ("pure rooms", "src/http1/mod.rs", "use super::net;", &[1]),
        (
            "pure rooms",
            "src/http1/head.rs",
            "use super::framing;\nuse super::super::net;",
            &[2],
        ),
        (
            "pure rooms",
            "src/limit/table.rs",
            "use std::fs;\nuse tokio::time;\nuse std::net::IpAddr;",
            &[1, 2],
        ),
        (
            "pure rooms",
            "src/cors.rs",
            "#[cfg(test)]\nmod tests { use super::*; use crate::net; }",
            &[],
        ),
        ("pure rooms", "src/worker/mod.rs", "use crate::net;", &[]),
        ("story", "src/worker/connection.rs", &too_long, &[2]),
        ("story", "src/worker/connection.rs", &fits, &[]),
        (
            "witnesses",
            "src/limit/mod.rs",
            "pub struct Permit {\n    pub cost: u32,\n}",
            &[2],
        ),
        (
            "witnesses",
            "src/worker/admit.rs",
            "pub struct Ticket(pub u8);",
            &[1],
        ),
        (
            "witnesses",
            "src/identity/mod.rs",
            "#[derive(Debug, Default)]\npub struct Identity { a: u8 }",
            &[2],
        ),
        (
            "witnesses",
            "src/identity/mod.rs",
            "#[derive(Default)]\npub struct A;\npub struct Identity { a: u8 }",
            &[],
        ),
        (
            "forward",
            "src/worker/forward.rs",
            "pub async fn forward(head: Head) -> u8 { Ticket }",
            &[1],
        ),
        (
            "forward",
            "src/worker/forward.rs",
            "pub async fn forward(\n    ticket: Ticket,\n) {}",
            &[],
        ),
        (
            "forward",
            "src/worker/decide.rs",
            "fn forward(a: Exchange) {}\nstruct Exchange { ticket: Option<Ticket> }",
            &[2],
        ),
        (
            "forward",
            "src/worker/decide.rs",
            "fn forward(a: Exchange) {}\nstruct Exchange { ticket: Ticket }",
            &[],
        ),
        (
            "forward",
            "src/worker/forward.rs",
            "async fn forward<S: Stream>(\n    client: &mut Client<S>,\n    mut exchange: Exchange,\n    shard: &Shard<S>,\n) -> Done {}",
            &[],
        ),
        (
            "forward",
            "src/worker/forward.rs",
            "fn forward(a: Option<Exchange>) {}\nfn forward(a: &Ticket) {}\nfn forward(a: u8) -> Ticket {}",
            &[1, 2, 3],
        ),
        (
            "forward",
            "src/worker/forward.rs",
            "fn send(a: Ticket) {}",
            &[1],
        ),
        (
            "clocks",
            "src/limit/bucket.rs",
            "fn f() {\n    Instant::now();\n}",
            &[2],
        ),
        (
            "clocks",
            "src/limit/bucket.rs",
            "#[test]\nfn f() { std::time::SystemTime::now(); }",
            &[2],
        ),
        ("clocks", "src/net/clock.rs", "Instant::now();", &[]),
        (
            "ring",
            "src/worker/mod.rs",
            "use monoio::net;\nuse monoio_http::x;",
            &[1],
        ),
        (
            "ring",
            "src/gateway.rs",
            "fn f(io_uring: bool) { io_uring::IoUring::new(8); }",
            &[1],
        ),
        ("ring", "src/net/mod.rs", "use monoio::net;", &[]),
        (
            "unsafe",
            "src/limit/table.rs",
            "//! x\n#![deny(unsafe_code)]\nunsafe { f() }",
            &[3],
        ),
        ("unsafe", "src/net/fd.rs", "unsafe { f() }", &[]),
        ("module doc", "src/a.rs", "// x\n", &[1]),
        ("module doc", "tests/a.rs", "//! x\n", &[]),
        ("length", "src/a.rs", &long, &[1]),
        ("length", "src/a.rs", "//! x\n", &[]),
        ("file names", "src/net/util.rs", "", &[1]),
        ("file names", "src/pool_manager.rs", "", &[1]),
        ("file names", "tests/common/mod.rs", "", &[1]),
        ("file names", "src/utility.rs", "", &[]),
        ("names", "src/a.rs", "mod b;\nmod helpers;", &[2]),
        (
            "names",
            "src/a.rs",
            "fn a() {}\nfn get_b() {}\nfn getter() {}",
            &[2],
        ),
        (
            "dependencies",
            "Cargo.toml",
            "[dependencies]\na = \"1\"\n# why\nb = \"1\"\nc = \"1\"\n\nd = \"1\"\n",
            &[2, 7],
        ),
        (
            "dependencies",
            "loadtest/Cargo.toml",
            "[package]\nname = \"x\"\n[dev-dependencies]\ne = \"1\"\n",
            &[4],
        ),
    ];
    for (name, path, text, expected) in table {
        let found: Vec<usize> = rule(name)(&Source::new(path, text))
            .iter()
            .map(|violation| violation.line)
            .collect();
        assert_eq!(&found, expected, "{name}: {path}: {text}");
    }
    for (name, _) in RULES {
        let planted = table.iter().any(|row| row.0 == name && !row.3.is_empty());
        assert!(planted, "no planted violation for `{name}`");
    }
}

/// What must not count is blanked, what counts stays, and each line stays where it is.
#[test]
fn literals_comments_and_tests_are_blanked() {
    let table = [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("\"a\\\"b\" c", "\"    \" c"),
        ("r#\"a\"b\"# c", "         c"),
        ("'a' 'b fn", "' ' 'b fn"),
        ("'\\'' x b'\"' y", "'  ' x b' ' y"),
        ("&'static str", "&'static str"),
        ("\"über\" x", "\"     \" x"),
        ("for_r\"x\"", "for_r\" \""),
    ];
    for (text, code) in table {
        assert_eq!(source::without_literals(text), code, "{text}");
    }
    let text = "a;\n#[cfg(test)]\nmod t { fn f() { g(); } }\nb;\n#[cfg(test)]\nmod u;\nc;";
    let product = Source::new("src/a.rs", text).product;
    assert_eq!(product.split_whitespace().collect::<String>(), "a;b;c;");
    assert_eq!(product.lines().count(), text.lines().count());
}

fn rule(name: &str) -> Rule {
    RULES.iter().find(|(found, _)| *found == name).unwrap().1
}

/// All Rust files and manifests of the repository.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for part in ["src", "tests", "benches", "loadtest", "Cargo.toml"] {
        read(root, &root.join(part), &mut found);
    }
    assert!(
        found.len() > 20,
        "the source is not where this test looks for it"
    );
    found
}

fn read(root: &Path, path: &Path, found: &mut Vec<Source>) {
    if path.is_dir() {
        let mut entries: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for entry in entries.iter().filter(|entry| !entry.ends_with("target")) {
            read(root, entry, found);
        }
    } else if path.extension().is_some_and(|end| end == "rs") || path.ends_with("Cargo.toml") {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        found.push(Source::new(name, &std::fs::read_to_string(path).unwrap()));
    }
}

fn function_lengths(source: &Source) -> Vec<usize> {
    source::words(&source.product, "fn")
        .filter(|at| {
            source.product[at + 2..]
                .trim_start()
                .starts_with(|c: char| c.is_alphabetic())
        })
        .map(|at| source.line(source::item_end(&source.product, at) - 1) - source.line(at) + 1)
        .collect()
}

/// Lines of comment and of code outside of tests.
fn comments_and_code(source: &Source) -> (usize, usize) {
    count(source, &source.product)
}

fn comments_and_code_all(source: &Source) -> (usize, usize) {
    count(source, &source.code)
}

fn count(source: &Source, code: &str) -> (usize, usize) {
    let lines = source.text.lines().zip(code.lines());
    lines.fold((0, 0), |(comments, codes), (text, code)| {
        let comment = usize::from(text.trim_start().starts_with("//"));
        (
            comments + comment,
            codes + usize::from(!code.trim().is_empty()),
        )
    })
}

fn sorted(values: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut values: Vec<usize> = values.collect();
    values.sort_unstable();
    values
}

fn middle(values: &[usize]) -> usize {
    values.get(values.len() / 2).copied().unwrap_or(0)
}

#[allow(clippy::cast_precision_loss, reason = "line counts are small")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
