//! All the ways in which some server reads one path, walked together over the tree. Not here: what a path leads to.
//! Invariant: the walk may consider readings that no server makes (then it refuses too much), never fewer than listed here.
//!
//! A segment that is not plain may be: left as it is · percent-decoded once or twice (overlong UTF-8 folded, as lax
//! decoders do) · cut at `;`, before or after decoding · split at decoded `/`, at `\` or not · dropped if empty ·
//! obeyed if `.` or `..`, or not · without blanks at its end · the last one, if it holds a decoded NUL, `?` or `#`.
//! Choices are made for each segment anew, so the walk is over sets of positions, and the sets stay small: servers
//! differ, but most of what they read falls together on the tree.

use super::tree::{Position, Tree, Verdict, segments};

/// Positions held at once; an honest path needs four or five.
const POSITIONS_MAX: usize = 64;
/// Steps of one walk (about 0.1 ms): what a stranger may make the gateway think about a path.
const STEPS_MAX: usize = 16_384;

/// Why a target is not forwarded, whatever it might mean; the answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguous {
    /// A `%` without two hexadecimal digits: read as itself, as an error or as `%uXXXX` (RFC 3986, 2.1).
    BadEscape,
    /// Still encoded after two rounds of decoding.
    DeepEscape,
    /// Readings differ in the route or in whether a token is needed.
    Readings,
    /// A reading climbs out of the route's prefix.
    LeavesPrefix,
    /// Behind a prefix that is cut off the target would begin with two slashes (or a slash and a backslash).
    AnotherHost,
    /// More readings than are worth following.
    Tangled,
}

impl Ambiguous {
    /// The message of the 400.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::BadEscape => {
                "The path contains a % that is not followed by two hexadecimal digits"
            }
            Self::DeepEscape => "The path is percent-encoded more than twice",
            Self::Readings => {
                "The path is ambiguous: decoded or normalised, it would lead somewhere else"
            }
            Self::LeavesPrefix => "The path leaves its route when its dot segments are resolved",
            Self::AnotherHost => {
                "Behind its route's prefix the path begins with two slashes: the service could read another host there"
            }
            Self::Tangled => "The path is ambiguous in too many places",
        }
    }
}

/// What all readings agree on.
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// The fewest segments that any `..` left on the stack.
    pub(super) lowest: usize,
}

/// Whether the path has one reading only.
pub(super) fn is_plain(path: &[u8]) -> bool {
    let mut after_slash = false;
    for (at, byte) in path.iter().enumerate() {
        match byte {
            b'%' | b';' | b'\\' => return false,
            b'/' if after_slash => return false,
            // `.` and `..` are suspect, `.well-known` is not.
            b'.' if after_slash && matches!(path.get(at + 1), None | Some(b'/' | b'.')) => {
                return false;
            }
            byte if !byte.is_ascii_graphic() => return false,
            _ => {}
        }
        after_slash = *byte == b'/';
    }
    true
}

pub(super) fn read_all(tree: &Tree, path: &[u8]) -> Result<Outcome, Ambiguous> {
    if has_bad_escape(path) {
        return Err(Ambiguous::BadEscape);
    }
    let mut walk = Walk {
        tree,
        ended: Vec::new(),
        lowest: usize::MAX,
        steps: 0,
    };
    let mut here = vec![Position::START];
    let mut rest = segments(path).peekable();
    while let Some(segment) = rest.next() {
        here = walk.segment(&here, segment, rest.peek().is_none())?;
    }
    here.append(&mut walk.ended);
    let mut verdicts = here.into_iter().map(|position| tree.verdict(position));
    let verdict = verdicts.next().ok_or(Ambiguous::Tangled)?;
    if verdicts.any(|other| other != verdict) {
        return Err(Ambiguous::Readings);
    }
    Ok(Outcome {
        verdict,
        lowest: walk.lowest,
    })
}

struct Walk<'t> {
    tree: &'t Tree,
    /// Where readings end that take the path for shorter than it is.
    ended: Vec<Position>,
    lowest: usize,
    steps: usize,
}

impl Walk<'_> {
    /// All positions after one raw segment, in all its spellings and splittings.
    fn segment(
        &mut self,
        here: &[Position],
        segment: &[u8],
        last: bool,
    ) -> Result<Vec<Position>, Ambiguous> {
        let mut after = Vec::new();
        for text in spellings(segment)? {
            after.append(&mut self.pieces(here, &text, last, |byte| byte == b'/')?);
            // A slash to the URL standard of browsers, no delimiter to RFC 3986.
            if text.contains(&b'\\') {
                let slashes = |byte| byte == b'/' || byte == b'\\';
                after.append(&mut self.pieces(here, &text, last, slashes)?);
            }
        }
        settle(&mut after)?;
        Ok(after)
    }

    fn pieces(
        &mut self,
        here: &[Position],
        text: &[u8],
        last: bool,
        is_slash: fn(u8) -> bool,
    ) -> Result<Vec<Position>, Ambiguous> {
        let mut here = here.to_vec();
        let mut rest = text.split(|byte| is_slash(*byte)).peekable();
        while let Some(piece) = rest.next() {
            let last = last && rest.peek().is_none();
            let mut after = Vec::new();
            self.name(&here, piece, last, &mut after)?;
            for name in [without_parameters(piece), without_end(piece)] {
                if name != piece {
                    self.name(&here, name, last, &mut after)?;
                }
            }
            let (before_end, ended) = until_terminator(piece);
            if ended {
                let mut short = Vec::new();
                self.name(&here, without_parameters(before_end), true, &mut short)?;
                self.name(&here, before_end, true, &mut short)?;
                self.ended.append(&mut short);
                settle(&mut self.ended)?;
            }
            settle(&mut after)?;
            here = after;
        }
        Ok(here)
    }

    /// What one name can do to each position.
    fn name(
        &mut self,
        here: &[Position],
        name: &[u8],
        last: bool,
        after: &mut Vec<Position>,
    ) -> Result<(), Ambiguous> {
        self.steps += here.len();
        if self.steps > STEPS_MAX {
            return Err(Ambiguous::Tangled);
        }
        for position in here {
            after.push(self.tree.push(*position, name));
            let obeyed = match name {
                // The slash at the end of a path is part of it; inside, an empty segment is often dropped.
                b"" if last => continue,
                b"" | b"." => *position,
                b".." => {
                    let up = self.tree.pop(*position);
                    self.lowest = self.lowest.min(self.tree.height(up));
                    up
                }
                _ => continue,
            };
            after.push(obeyed);
            if last {
                // A dot segment at the end leaves a slash there (RFC 3986, 5.2.4), and for others none.
                after.push(self.tree.push(obeyed, b""));
            }
        }
        Ok(())
    }
}

/// Keeps each position once.
fn settle(positions: &mut Vec<Position>) -> Result<(), Ambiguous> {
    positions.sort_unstable();
    positions.dedup();
    if positions.len() > POSITIONS_MAX {
        return Err(Ambiguous::Tangled);
    }
    Ok(())
}

/// The texts that a raw segment can stand for.
fn spellings(segment: &[u8]) -> Result<Vec<Vec<u8>>, Ambiguous> {
    if !segment.contains(&b'%') {
        return Ok(vec![segment.to_vec()]);
    }
    let once = decode(segment);
    let twice = decode(&once);
    // Two rounds are what chains of servers are known to do; a third is made to get past somebody.
    if decode(&twice) != twice {
        return Err(Ambiguous::DeepEscape);
    }
    // Parameters cut first and decoded then: `login;a%2fb` is `login` for those who do so.
    let cut_once = decode(without_parameters(segment));
    let cut_twice = decode(&cut_once);
    let cut_between: Vec<Vec<u8>> = once
        .split(|byte| *byte == b'/')
        .map(|piece| decode(without_parameters(piece)))
        .collect();
    let mut texts = vec![
        segment.to_vec(),
        once,
        twice,
        cut_once,
        cut_twice,
        cut_between.join(&b'/'),
    ];
    texts.sort_unstable();
    texts.dedup();
    Ok(texts)
}

fn without_parameters(piece: &[u8]) -> &[u8] {
    piece.split(|byte| *byte == b';').next().unwrap_or_default()
}

/// Blanks and controls at the end of a name are dropped by some file systems.
fn without_end(piece: &[u8]) -> &[u8] {
    let kept = piece
        .iter()
        .rposition(|byte| *byte > b' ' && *byte != 0x7f)
        .map_or(0, |at| at + 1);
    piece.get(..kept).unwrap_or_default()
}

/// What stands before a decoded control, `?` or `#`, where a careless reader sees the path end.
fn until_terminator(piece: &[u8]) -> (&[u8], bool) {
    let ends = |byte: &u8| byte.is_ascii_control() || matches!(byte, b'?' | b'#');
    match piece.iter().position(ends) {
        Some(at) => (piece.get(..at).unwrap_or_default(), true),
        None => (piece, false),
    }
}

fn has_bad_escape(path: &[u8]) -> bool {
    let mut after_percent = path.split(|byte| *byte == b'%').skip(1);
    after_percent.any(|rest| escaped(rest).is_none())
}

/// The byte that the two digits at the beginning of `rest` stand for.
fn escaped(rest: &[u8]) -> Option<u8> {
    let digit = |at: usize| {
        let value = char::from(*rest.get(at)?).to_digit(16)?;
        u8::try_from(value).ok()
    };
    Some(digit(0)? << 4 | digit(1)?)
}

/// Percent-decodes once; what is no escape stays. Overlong forms of ASCII (`%c0%ae` for a dot) become what lax
/// UTF-8 decoders make of them; that they stay as they are is the reading of the undecoded segment.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match escaped(after).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    fold_overlong(&bytes)
}

/// Turns the two, three and four byte forms of an ASCII character into that character; all other bytes stay.
fn fold_overlong(bytes: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return folded,
            [lead @ (0xc0 | 0xc1), tail @ 0x80..=0xbf, after @ ..] => {
                folded.push((lead & 1) << 6 | tail & 0x3f);
                after
            }
            [0xe0, middle @ (0x80 | 0x81), tail @ 0x80..=0xbf, after @ ..]
            | [
                0xf0,
                0x80,
                middle @ (0x80 | 0x81),
                tail @ 0x80..=0xbf,
                after @ ..,
            ] => {
                folded.push((middle & 1) << 6 | tail & 0x3f);
                after
            }
            [byte, after @ ..] => {
                folded.push(*byte);
                after
            }
        };
    }
}
