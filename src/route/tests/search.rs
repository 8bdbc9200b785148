//! A random search for a path that is forwarded although two servers would read it differently.
//! Not here: known tricks, which have their rows. Invariant: the same paths in every run; a failure prints its path.

use super::super::readings::{is_plain, read_all};
use super::super::tree::Tree;
use super::super::{Match, Upstream};
use super::table;

/// xorshift64: the same paths in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn path(&mut self, pieces: &[&str]) -> String {
        let count = 1 + self.below(8);
        (0..count)
            .map(|_| pieces[self.below(pieces.len())])
            .collect()
    }
}

const PLAIN: [&str; 12] = [
    "/api",
    "/v1",
    "/api/v1",
    "/analyzer",
    "/auth",
    "/login",
    "/pub",
    "/reports",
    "/x",
    "/news",
    "x",
    "/open",
];
const STARTS: [&str; 6] = [
    "",
    "/api/v1",
    "/api/v1/pub",
    "/analyzer",
    "/open",
    "/api/v1/auth",
];
const TANGLED: [&str; 30] = [
    "/api/v1",
    "/analyzer",
    "/auth",
    "/login",
    "/pub",
    "/reports",
    "/x",
    "/open",
    "/",
    "/.",
    "/..",
    "/..;",
    "/;",
    "%2f",
    "%2e",
    "%252f",
    "%252e",
    "\\",
    "%5c",
    ";a",
    "%3b",
    "%00",
    "%20",
    "%c0%ae",
    "%c0%af",
    "..",
    "/news",
    "%6c",
    "/../..",
    "%3f",
];

#[test]
fn list_and_tree_agree_on_plain_paths() {
    let table = table();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        let path = random.path(&PLAIN);
        if path.starts_with('/') && is_plain(path.as_bytes()) {
            assert!(table.tree_agrees(&path), "{path}");
        }
    }
}

/// One server's way of reading a path: an independent model, in plain strings, of what such servers do.
#[derive(Clone, Copy, Debug)]
struct Server {
    cut_before: bool,
    decode: usize,
    cut_after: bool,
    backslash: bool,
    merge_before: bool,
    dots: bool,
    merge_after: bool,
    end_at_nul: bool,
}

impl Server {
    fn all() -> impl Iterator<Item = Self> {
        (0..3 << 7).map(|bits: usize| Self {
            cut_before: bits & 1 != 0,
            cut_after: bits & 2 != 0,
            backslash: bits & 4 != 0,
            merge_before: bits & 8 != 0,
            dots: bits & 16 != 0,
            merge_after: bits & 32 != 0,
            end_at_nul: bits & 64 != 0,
            decode: bits >> 7,
        })
    }

    fn read(self, path: &str) -> String {
        let mut text = path.to_owned();
        let cut = |text: &str| -> String {
            let parts = text.split('/').map(|part| part.split(';').next().unwrap());
            parts.collect::<Vec<_>>().join("/")
        };
        if self.cut_before {
            text = cut(&text);
        }
        for _ in 0..self.decode {
            text = decoded(&text);
        }
        if self.end_at_nul {
            text = text.split('\0').next().unwrap().to_owned();
        }
        if self.backslash {
            text = text.replace('\\', "/");
        }
        if self.cut_after {
            text = cut(&text);
        }
        if self.merge_before {
            text = merged(&text);
        }
        if self.dots {
            text = without_dots(&text);
        }
        if self.merge_after {
            text = merged(&text);
        }
        text
    }
}

fn decoded(text: &str) -> String {
    let overlong = text.replace("%c0%ae", ".").replace("%c0%af", "/");
    let mut out = String::new();
    let mut rest = overlong.as_str();
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        match rest
            .get(at + 1..at + 3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

fn merged(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains("//") {
        text = text.replace("//", "/");
    }
    text
}

/// RFC 3986, 5.2.4.
fn without_dots(text: &str) -> String {
    let mut stack: Vec<&str> = Vec::new();
    let mut open = false;
    for segment in text.split('/').skip(1) {
        open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(stack.pop()),
            other => stack.push(other),
        }
    }
    let slash = if open { "/" } else { "" };
    match stack.is_empty() {
        true => "/".to_owned(),
        false => format!("/{}{slash}", stack.join("/")),
    }
}

#[test]
fn what_is_forwarded_no_server_reads_differently() {
    let table = table();
    let servers: Vec<Server> = Server::all().collect();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut forwarded, mut refused) = (0, 0);
    for _ in 0..3_000 {
        let start = STARTS[random.below(STARTS.len())];
        let path = format!("{start}{}", random.path(&TANGLED));
        if !path.starts_with('/') {
            continue;
        }
        let Ok(found) = table.find(&path) else {
            refused += 1;
            continue;
        };
        forwarded += 1;
        for server in &servers {
            let read = server.read(&path);
            // The list alone, on what this server made of the path.
            let theirs = table.match_literally(&read);
            assert_eq!(theirs, found, "{path:?} is {read:?} for {server:?}");
            let Match::Upstream(Upstream { rule, .. }) = found else {
                continue;
            };
            // Upstream, the same reader stays below the path of the service's URL.
            let (base, rest) = rule.upstream_target_parts(&path);
            let read = server.read(&format!("{base}{rest}"));
            let inside = read
                .strip_prefix(base)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            assert!(
                inside,
                "{path:?} becomes {read:?} below {base:?} for {server:?}"
            );
        }
    }
    assert!(forwarded > 300 && refused > 300, "{forwarded} {refused}");
}

#[test]
fn work_is_bounded() {
    let mut tree = Tree::new();
    tree.add_rule("/a", 0, false);
    let mut random = Random(0x1234_5678_9abc_def1);
    // The longest targets that the head parser lets through, made of the worst pieces: each ends in an answer.
    for _ in 0..20 {
        let mut path = String::new();
        while path.len() < 8000 {
            path.push_str(TANGLED[random.below(TANGLED.len())]);
        }
        let _ = read_all(&tree, path.as_bytes());
    }
}
