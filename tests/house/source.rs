//! A source file as the house test sees it: the text, the text without comments and literals, and that without test code. Not
//! a Rust parser: it knows just enough to blank what must not count. Invariant: every blanked text keeps its line numbers.

/// One file, read once, in three readings of equal shape.
pub(crate) struct Source {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// As it stands in the file.
    pub text: String,
    /// Comments and the insides of string and character literals are blanks.
    pub code: String,
    /// `code` without items under `#[cfg(test)]` or `#[test]`.
    pub product: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = without_literals(text);
        let product = if is_test_path(path) {
            blank(&code)
        } else {
            without_tests(&code)
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            product,
        }
    }

    /// The line, counted from 1, on which the byte `at` stands.
    pub(crate) fn line(&self, at: usize) -> usize {
        line_of(&self.text, at)
    }
}

pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// A file that holds nothing but tests.
pub(crate) fn is_test_path(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn blank(code: &str) -> String {
    code.bytes()
        .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
        .collect()
}

/// Replaces comments and the insides of literals with blanks, byte for byte.
pub(crate) fn without_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let word_before = at > 0 && is_word(bytes[at - 1]);
        let (length, keep) = if rest.starts_with(b"//") {
            (line_length(rest), 0)
        } else if rest.starts_with(b"/*") {
            (block_comment(rest), 0)
        } else if let Some(length) = raw_string(rest).filter(|_| !word_before) {
            (length, 0)
        } else if rest[0] == b'"' {
            (quoted(rest, b'"'), 1)
        } else if let Some(length) =
            character(rest).filter(|_| !word_before || bytes[at - 1] == b'b')
        {
            (length, 1)
        } else {
            at += 1;
            continue;
        };
        let end = (at + length).min(bytes.len());
        for byte in &mut out[(at + keep).min(end)..end.saturating_sub(keep).max(at + keep).min(end)]
        {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole literals and comments are blanked, so no character is cut")
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(rest.len())
}

/// Rust's block comments nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"br"[..], b"cr", b"r"]
        .into_iter()
        .find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    let open = prefix.len() + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let inside = &rest[open + 1..];
    let end = inside
        .windows(close.len())
        .position(|window| window == close);
    Some(end.map_or(rest.len(), |end| open + 1 + end + close.len()))
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character literal, as opposed to a lifetime: closed after one character or one escape.
fn character(rest: &[u8]) -> Option<usize> {
    if rest[0] != b'\'' || rest.len() < 3 {
        return None;
    }
    if rest[1] == b'\\' {
        return Some(quoted(rest, b'\''));
    }
    let width = match rest[1] {
        0..0x80 => 1,
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    };
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

/// Blanks each item that stands under a test attribute, to its closing brace or semicolon.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for attribute in ["#[cfg(test)]", "#[test]", "#[cfg(all(test"] {
        for (start, _) in code.match_indices(attribute) {
            let end = item_end(code, start + attribute.len());
            for byte in &mut out[start..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
    }
    String::from_utf8(out).expect("only whole items are blanked")
}

/// The end of the item that begins at `from`: the first `;` or matched `}` outside all brackets.
pub(crate) fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Every place where `word` stands as a whole word.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let bytes = code.as_bytes();
            let before = *at == 0 || !is_word(bytes[at - 1]);
            let after = bytes
                .get(at + word.len())
                .is_none_or(|byte| !is_word(*byte));
            before && after
        })
}

/// The rooms that a file names through `crate::`, groups included: (position, room).
pub(crate) fn crate_rooms(code: &str) -> Vec<(usize, String)> {
    let mut rooms = Vec::new();
    for at in words(code, "crate") {
        let Some(path) = code[at + 5..].trim_start().strip_prefix("::") else {
            continue;
        };
        let path = path.trim_start();
        let Some(group) = path.strip_prefix('{') else {
            rooms.push((at, first_word(path)));
            continue;
        };
        let (mut depth, mut item) = (0_usize, String::new());
        for letter in group.chars() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => rooms.push((at, first_word(std::mem::take(&mut item).trim()))),
                _ => {}
            }
            if depth == 0 && letter != ',' {
                item.push(letter);
            }
        }
        rooms.push((at, first_word(item.trim())));
    }
    rooms.retain(|(_, room)| !room.is_empty());
    rooms
}

pub(crate) fn first_word(text: &str) -> String {
    text.chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}
