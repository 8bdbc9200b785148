//! Ways in which a service may read a path, each applied to the whole of it. Not the gateway's own readings (those choose for each
//! segment anew), and no code of theirs. Invariant: a reading is a stack of segments with no dot segment left in it.

/// How one server reads a path.
#[derive(Debug, Clone, Copy)]
struct Reader {
    /// Rounds of percent-decoding.
    rounds: usize,
    /// `;parameters` are cut off ahead of decoding, behind it, or not.
    parameters: Parameters,
    backslash_is_slash: bool,
    merges_slashes: bool,
    /// A decoded NUL, `?` or `#` ends the path.
    ends_early: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameters {
    Kept,
    CutFirst,
    CutLast,
}

/// A path as segments; the last one is empty where it ends in a slash.
pub type Stack = Vec<Vec<u8>>;

/// All readings of a raw path, each once.
pub fn readings(path: &[u8]) -> Vec<Stack> {
    let mut found = Vec::new();
    for rounds in 0..=3 {
        for parameters in [Parameters::Kept, Parameters::CutFirst, Parameters::CutLast] {
            for flags in 0..8 {
                let reader = Reader {
                    rounds,
                    parameters,
                    backslash_is_slash: flags & 1 != 0,
                    merges_slashes: flags & 2 != 0,
                    ends_early: flags & 4 != 0,
                };
                found.push(reader.read(path));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

impl Reader {
    fn read(self, path: &[u8]) -> Stack {
        let mut text = path.to_vec();
        if self.parameters == Parameters::CutFirst {
            text = without_parameters(&text, |byte| byte == b'/');
        }
        for _ in 0..self.rounds {
            text = decoded(&text);
        }
        if self.ends_early
            && let Some(end) = text.iter().position(|byte| matches!(byte, 0 | b'?' | b'#'))
        {
            text.truncate(end);
        }
        let is_slash = |byte: u8| byte == b'/' || (byte == b'\\' && self.backslash_is_slash);
        if self.parameters == Parameters::CutLast {
            text = without_parameters(&text, is_slash);
        }
        let mut segments: Vec<&[u8]> = text.split(|byte| is_slash(*byte)).collect();
        // What stands ahead of the first slash.
        if segments.first().is_some_and(|first| first.is_empty()) {
            segments.remove(0);
        }
        self.resolved(&segments)
    }

    /// RFC 3986 5.2.4.
    fn resolved(self, segments: &[&[u8]]) -> Stack {
        let mut stack: Stack = Vec::new();
        for (at, segment) in segments.iter().enumerate() {
            let last = at + 1 == segments.len();
            match *segment {
                b"." | b".." => {
                    if *segment == b".." {
                        stack.pop();
                    }
                    if last {
                        stack.push(Vec::new());
                    }
                }
                b"" if !last && self.merges_slashes => {}
                name => stack.push(name.to_vec()),
            }
        }
        stack
    }
}

/// Whether the path is `prefix` or below it.
pub fn is_under(stack: &Stack, prefix: &str) -> bool {
    let mut segments = stack.iter();
    prefix.split('/').skip(1).all(|name| {
        segments
            .next()
            .is_some_and(|segment| segment == name.as_bytes())
    })
}

/// The path as text.
pub fn text(stack: &Stack) -> Vec<u8> {
    let mut text = Vec::new();
    for segment in stack {
        text.push(b'/');
        text.extend_from_slice(segment);
    }
    text
}

fn without_parameters(text: &[u8], is_slash: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut inside = false;
    for byte in text {
        if is_slash(*byte) {
            inside = false;
        } else if *byte == b';' {
            inside = true;
        }
        if !inside {
            kept.push(*byte);
        }
    }
    kept
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text
            .get(at + 1..at + 3)
            .filter(|_| text[at] == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match digits {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}
