//! The rules of the house, each a function from a source to its violations. Not style that rustfmt or clippy checks already
//! (function length, `unwrap`, banned methods). Invariant: each rule has a planted violation in `house.rs` that it finds.

use crate::source::{Source, crate_rooms, first_word, is_test_path, item_end, words};

/// A place in a file and why it should not be so.
#[derive(Debug)]
pub(crate) struct Violation {
    pub path: String,
    pub line: usize,
    pub reason: String,
}

pub(crate) type Rule = fn(&Source) -> Vec<Violation>;

/// All rules with their names, in the order of DESIGN's list.
pub(crate) const RULES: [(&str, Rule); 13] = [
    ("wings", wings),
    ("pure rooms", pure_rooms),
    ("story", story),
    ("witnesses", witnesses),
    ("forward", forward),
    ("clocks", clocks),
    ("ring", ring),
    ("unsafe", unsafe_code),
    ("module doc", module_doc),
    ("length", length),
    ("file names", file_names),
    ("names", names),
    ("dependencies", dependencies),
];

const LINES_MAX: usize = 500;
const STORY_LINES_MAX: usize = 60;
const PURE: [&str; 13] = [
    "http1",
    "identity",
    "limit",
    "route",
    "cors",
    "forwarded",
    "access_log",
    "balance",
    "metrics",
    "presence",
    "proxy_protocol",
    "reject",
    "rewrite",
];
const BANNED_NAMES: [&str; 8] = [
    "util", "utils", "helper", "helpers", "common", "manager", "managers", "misc",
];

fn violation(source: &Source, at: usize, reason: impl Into<String>) -> Violation {
    Violation {
        path: source.path.clone(),
        line: source.line(at),
        reason: reason.into(),
    }
}

fn in_room(path: &str, room: &str) -> bool {
    path.starts_with(&format!("src/{room}/")) || path == format!("src/{room}.rs")
}

fn rust(source: &Source) -> bool {
    source.path.ends_with(".rs")
}

/// Rule 1: what one wing knows of the other it will sooner or later wait for.
fn wings(source: &Source) -> Vec<Violation> {
    let other = if in_room(&source.path, "worker") {
        "control"
    } else if in_room(&source.path, "control") {
        "worker"
    } else {
        return Vec::new();
    };
    crate_rooms(&source.code)
        .into_iter()
        .filter(|(_, room)| room == other)
        .map(|(at, _)| {
            violation(
                source,
                at,
                format!("the wings never name each other; `{other}` is reached by its mailbox"),
            )
        })
        .collect()
}

/// Rule 1: a pure room names the standard library, its own crates and itself; no runtime, no I/O.
fn pure_rooms(source: &Source) -> Vec<Violation> {
    let Some(room) = PURE.into_iter().find(|room| in_room(&source.path, room)) else {
        return Vec::new();
    };
    let mut found: Vec<Violation> = crate_rooms(&source.product)
        .into_iter()
        .filter(|(_, named)| named != room)
        .map(|(at, named)| {
            violation(
                source,
                at,
                format!("`{room}` is a pure room and must not know `{named}`"),
            )
        })
        .collect();
    // How often `super` may be repeated before it leaves the room.
    let depth = source.path.matches('/').count() - usize::from(source.path.ends_with("/mod.rs"));
    let leaving = vec!["super"; depth].join("::") + "::";
    for (at, _) in source.product.match_indices(&leaving) {
        found.push(violation(
            source,
            at,
            format!("`{room}` is a pure room; this `super` leaves it"),
        ));
    }
    for outside in ["tokio", "monoio", "hyper", "axum"] {
        for at in words(&source.product, outside) {
            if source.product[at + outside.len()..].starts_with("::") {
                found.push(violation(
                    source,
                    at,
                    format!("`{room}` is a pure room: no runtime, no I/O"),
                ));
            }
        }
    }
    for outside in [
        "std::fs",
        "std::thread",
        "std::env",
        "std::process",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
    ] {
        for at in words(&source.product, outside) {
            found.push(violation(
                source,
                at,
                format!("`{room}` is a pure room: no I/O, no `{outside}`"),
            ));
        }
    }
    found.sort_by_key(|violation| violation.line);
    found
}

/// Rule 2: the story of a request stands on one screen.
fn story(source: &Source) -> Vec<Violation> {
    if source.path != "src/worker/connection.rs" && source.path != "src/worker/connection/mod.rs" {
        return Vec::new();
    }
    words(&source.product, "serve")
        .filter(|at| source.product[..*at].ends_with("fn "))
        .filter_map(|at| {
            let lines = source.line(item_end(&source.code, at)) - source.line(at) + 1;
            (lines > STORY_LINES_MAX).then(|| {
                violation(
                    source,
                    at,
                    format!("the story has {lines} lines, one screen is {STORY_LINES_MAX}"),
                )
            })
        })
        .collect()
}

/// Rule 3: a witness that anybody can make proves nothing.
fn witnesses(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    if !source.path.starts_with("src/") {
        return found;
    }
    for name in ["Identity", "Permit", "Ticket"] {
        for at in words(&source.product, name) {
            if !source.product[..at].ends_with("struct ") {
                continue;
            }
            let body = &source.product[at..item_end(&source.product, at)];
            for inner in words(body, "pub") {
                found.push(violation(
                    source,
                    at + inner,
                    format!("`{name}` is a witness: its fields are private"),
                ));
            }
            let attributes = &source.product[..at];
            let start = attributes.rfind([';', '}']).map_or(0, |end| end + 1);
            for shortcut in ["Default", "Deserialize"] {
                if words(&attributes[start..], shortcut).next().is_some() {
                    found.push(violation(
                        source,
                        at,
                        format!(
                            "`{name}` is a witness: `{shortcut}` would be a second constructor"
                        ),
                    ));
                }
            }
        }
    }
    found
}

/// Rule 3: an unchecked request must not compile when forwarded. The ticket comes by value, alone or inside an `Exchange`: spent
/// with the request, never optional.
fn forward(source: &Source) -> Vec<Violation> {
    if !in_room(&source.path, "worker") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let declared = |keyword: &'static str, name: &'static str| {
        words(&source.product, name).filter(move |at| source.product[..*at].ends_with(keyword))
    };
    for at in declared("fn ", "forward") {
        let signature = &source.product[at..];
        let parameters = &signature[..signature.find("->").unwrap_or(signature.len())];
        let parameters = &parameters[..parameters.find('{').unwrap_or(parameters.len())];
        if !(is_typed(parameters, "Ticket") || is_typed(parameters, "Exchange")) {
            found.push(violation(source, at, "`forward` demands a `Ticket`"));
        }
    }
    for at in declared("struct ", "Exchange") {
        let body = &source.product[at..item_end(&source.product, at)];
        if !is_typed(body, "Ticket") {
            found.push(violation(
                source,
                at,
                "an `Exchange` holds a `Ticket`, because `forward` takes one",
            ));
        }
    }
    if source.path == "src/worker/forward.rs" && declared("fn ", "forward").next().is_none() {
        found.push(violation(
            source,
            0,
            "this rule looks for `fn forward` here; where it has gone, the rule must follow",
        ));
    }
    found
}

/// Whether something in `code` is a `name` itself: not a reference to one, not an option of one.
fn is_typed(code: &str, name: &str) -> bool {
    words(code, name).any(|at| {
        code[..at].trim_end().ends_with(':')
            && code[at + name.len()..]
                .trim_start()
                .starts_with([',', ')', '}'])
    })
}

/// Rule 4: time comes in as an argument; one file reads it.
fn clocks(source: &Source) -> Vec<Violation> {
    if !source.path.starts_with("src/") || in_room(&source.path, "net/clock") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for clock in [
        "Instant::now",
        "SystemTime::now",
        "UNIX_EPOCH.elapsed",
        "clock_gettime",
    ] {
        for at in words(&source.code, clock) {
            found.push(violation(
                source,
                at,
                format!("`{clock}`: only net::clock reads a clock, everything else takes `now`"),
            ));
        }
    }
    found
}

/// The ring has one owner, so that its rules are kept in one place. Tests may need a runtime of their own.
fn ring(source: &Source) -> Vec<Violation> {
    if !source.path.starts_with("src/") || in_room(&source.path, "net") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for library in ["monoio", "io_uring"] {
        for at in words(&source.product, library) {
            let imported = source.product[..at].ends_with("use ");
            if imported || source.product[at + library.len()..].starts_with("::") {
                found.push(violation(
                    source,
                    at,
                    format!("only src/net names `{library}`"),
                ));
            }
        }
    }
    found
}

/// Rule of STYLE 6; in tests a counting allocator may need it.
fn unsafe_code(source: &Source) -> Vec<Violation> {
    if !source.path.starts_with("src/") || in_room(&source.path, "net") {
        return Vec::new();
    }
    words(&source.code, "unsafe")
        .map(|at| violation(source, at, "`unsafe` stands only in src/net"))
        .collect()
}

/// Rule 8: what it is, what it is not, its invariant.
fn module_doc(source: &Source) -> Vec<Violation> {
    if !rust(source) || source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![violation(
        source,
        0,
        "the first line is `//!`: what the file is, what it is not, its invariant",
    )]
}

/// Rule 8: a file is one thought.
fn length(source: &Source) -> Vec<Violation> {
    let lines = source.text.lines().count();
    if !rust(source) || lines <= LINES_MAX {
        return Vec::new();
    }
    vec![violation(
        source,
        0,
        format!("{lines} lines, at most {LINES_MAX}"),
    )]
}

/// STYLE 3: a file called `util` collects what nobody thought about.
fn file_names(source: &Source) -> Vec<Violation> {
    if !rust(source) {
        return Vec::new();
    }
    source
        .path
        .split(['/', '.', '_'])
        .filter(|part| BANNED_NAMES.contains(part))
        .map(|part| {
            violation(
                source,
                0,
                format!("`{part}` says nothing about what is inside"),
            )
        })
        .collect()
}

/// STYLE 3, inside a file: inline modules and getters.
fn names(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    if !rust(source) {
        return found;
    }
    for at in words(&source.code, "mod") {
        let name = first_word(source.code[at + 3..].trim_start());
        if name.split('_').any(|part| BANNED_NAMES.contains(&part)) {
            found.push(violation(
                source,
                at,
                format!("`{name}` says nothing about what is inside"),
            ));
        }
    }
    // A test's own stand-in may have to implement a foreign trait's `get_…`; the product names things by what they are.
    let code = if is_test_path(&source.path) {
        ""
    } else {
        &source.product
    };
    for (at, _) in code.match_indices("fn get_") {
        found.push(violation(
            source,
            at,
            "a getter is named after what it returns, without `get_`",
        ));
    }
    found
}

/// STYLE 9: in Cargo.toml each dependency stands in a block whose comment says why it is there.
fn dependencies(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    if !source.path.ends_with("Cargo.toml") {
        return found;
    }
    let (mut listing, mut explained, mut at) = (false, false, 0);
    for line in source.text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            listing = trimmed.trim_end_matches(']').ends_with("dependencies");
            explained = false;
        } else if trimmed.is_empty() {
            explained = false;
        } else if trimmed.starts_with('#') {
            explained = true;
        } else if listing && !explained && !trimmed.contains(" # ") {
            found.push(violation(
                source,
                at,
                "no comment says why this dependency is here",
            ));
        }
        at += line.len();
    }
    found
}
