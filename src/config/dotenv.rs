//! Reads `.env` text. Not a shell: nothing is expanded, so a secret with `$` in it stays what it is. Invariant: a malformed line
//! is reported by its number and never by its text, which may be a secret.

use super::Problem;

/// Name of the file in the working directory.
pub(super) const DOTENV_NAME: &str = ".env";

/// One `NAME=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    /// Variable.
    pub name: String,
    /// Value without quotes, escapes and comment.
    pub value: String,
    /// Line it begins on, from 1.
    pub line: usize,
}

/// Reads all assignments, or names every malformed line. `NAME=value`, `export NAME=value`, `# comment`, `value # comment`;
/// single quotes take everything literally, double quotes know `\n \r \t \" \\ \$`; both may span lines.
pub(super) fn parse(text: &str) -> Result<Vec<Assignment>, Vec<Problem>> {
    // Editors on Windows put a byte order mark in front, which would become part of the first name.
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut found, mut problems, mut line) = (Vec::new(), Vec::new(), 1);
    while !rest.is_empty() {
        let (taken, outcome) = assignment(rest);
        match outcome {
            Ok(Some((name, value))) => found.push(Assignment { name, value, line }),
            Ok(None) => {}
            Err(expected) => problems.push(Problem::of_source(format!(
                "{DOTENV_NAME} line {line}: {expected}"
            ))),
        }
        let (done, after) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        line += done.matches('\n').count();
        rest = after;
    }
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(problems)
    }
}

type Outcome = Result<Option<(String, String)>, &'static str>;

/// Reads the line at the start of `text` (more than one when quotes span lines) and says how many bytes that was.
fn assignment(text: &str) -> (usize, Outcome) {
    let line = text.split_inclusive('\n').next().unwrap_or(text);
    let body = line.trim();
    if body.is_empty() || body.starts_with('#') {
        return (line.len(), Ok(None));
    }
    let Some((left, right)) = line.split_once('=') else {
        return (line.len(), Err("expected NAME=value"));
    };
    let left = left.trim();
    let name = left.strip_prefix("export ").map_or(left, str::trim);
    if !is_name(name) {
        return (
            line.len(),
            Err("expected NAME=value, and a name is made of letters, digits and _"),
        );
    }
    let blank = right.len() - right.trim_start_matches([' ', '\t']).len();
    let start = line.len() - right.len() + blank;
    let value = text.get(start..).unwrap_or_default();
    let quoted = match value.chars().next() {
        Some(quote @ ('\'' | '"')) => unquote(value.get(1..).unwrap_or_default(), quote),
        _ => {
            return (
                line.len(),
                Ok(Some((name.to_owned(), unquoted(right).to_owned()))),
            );
        }
    };
    let Some((inner, inner_len)) = quoted else {
        return (line.len(), Err("the quote is never closed"));
    };
    let end = start + 1 + inner_len;
    let tail = text
        .get(end..)
        .unwrap_or_default()
        .split_inclusive('\n')
        .next()
        .unwrap_or_default();
    let after = tail.trim();
    if after.is_empty() || after.starts_with('#') {
        return (end + tail.len(), Ok(Some((name.to_owned(), inner))));
    }
    (
        end + tail.len(),
        Err("unexpected text after the closing quote"),
    )
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// A bare value: up to a comment, which needs a blank before its `#` so that passwords may hold one.
fn unquoted(text: &str) -> &str {
    let comment = text.match_indices('#').find(|(at, _)| {
        text.get(..*at)
            .is_some_and(|before| before.ends_with([' ', '\t']))
    });
    let end = comment.map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text).trim()
}

/// The text up to the closing quote, and the number of bytes taken including it.
fn unquote(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((value, at + 1));
        }
        if c != '\\' || quote == '\'' {
            value.push(c);
            continue;
        }
        match chars.next()?.1 {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            kept @ ('"' | '\\' | '$' | '\'') => value.push(kept),
            other => value.extend(['\\', other]),
        }
    }
    None
}
