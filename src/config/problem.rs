//! What is wrong with a configuration, one line each, and how a value is shown without giving a secret away.
//! Invariant: the text of a problem never holds a secret or a password, and never a line end.

use std::fmt;

use super::Row;

/// Characters of a wrong value that are shown; more would bury the message.
const SHOWN_CHARS_MAX: usize = 80;

/// One line for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable concerned; empty when a source as a whole cannot be read.
    pub variable: String,
    line: String,
}

impl Problem {
    /// A problem with one variable.
    pub(super) fn of(variable: &str, line: String) -> Self {
        Self {
            variable: variable.to_owned(),
            line,
        }
    }

    /// A problem with a source: an unreadable file, a malformed line.
    pub(super) fn of_source(line: String) -> Self {
        Self {
            variable: String::new(),
            line,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

/// A setting's value as it may be shown.
pub(super) fn shown(row: &Row, text: &str) -> String {
    match (row.kind.as_str(), row.secret) {
        ("URL" | "URLS", secret) => shown_url(text, secret),
        (_, true) => "***".to_owned(),
        (_, false) => clipped(text),
    }
}

/// The same of a value that was refused: whatever may be wrong with a secret URL, no reading of it is sure to be free of the password.
pub(super) fn shown_wrong(row: &Row, text: &str) -> String {
    if row.kind == "URL" && row.secret {
        scheme_alone(text)
    } else {
        shown(row, text)
    }
}

/// The scheme of a secret URL, when it is one that people write in front of a store's address.
fn scheme_alone(text: &str) -> String {
    const SCHEMES: [&str; 8] = [
        "redis", "rediss", "valkey", "valkeys", "http", "https", "tcp", "unix",
    ];
    let scheme = text.trim().split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some(scheme) if SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) => {
            format!("{scheme}://***")
        }
        Some(_) | None => "***".to_owned(),
    }
}

/// A URL without its userinfo. The last `@` counts, wherever it stands, since a password may hold any character; of a secret
/// URL only what is certainly no password is shown.
pub(super) fn shown_url(text: &str, secret: bool) -> String {
    let text = text.trim();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None if secret => return "***".to_owned(),
        None => (String::new(), text),
    };
    // Whoever encodes the password may have encoded the mark behind it, too.
    let end = [
        rest.rfind('@').map(|at| at + 1),
        rest.rfind("%40").map(|at| at + 3),
    ];
    let rest = match end.into_iter().flatten().max() {
        Some(end) => format!("***@{}", rest.get(end..).unwrap_or_default()),
        None => rest.to_owned(),
    };
    let rest = match rest.split_once(['?', '#']) {
        Some((before, _)) if secret => format!("{before}?***"),
        Some(_) | None => rest,
    };
    clipped(&format!("{scheme}{rest}"))
}

/// Text on one line, of bounded length.
pub(super) fn clipped(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    line = line.replace("\\'", "'").replace("\\\"", "\"");
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        line.push('…');
    }
    line
}
