//! An independent reader of HTTP/1.1 for both peers of a run: as strict as the RFC allows, and written without a look at `http1`.
//! Not fast. Invariant: what it cannot read exactly one way is an error.

/// First line and fields, names in lower case.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) first: String,
    fields: Vec<(String, String)>,
    pub(super) length: usize,
}

/// Where a message's body stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// `None`: more bytes are needed.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let odd = |why: &str| Err(format!("{why}: {}", bytes[..end].escape_ascii()));
        let Ok(text) = std::str::from_utf8(&bytes[..end]) else {
            return odd("a head that is no text");
        };
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        if text
            .replace("\r\n", "")
            .chars()
            .any(|c| c.is_control() && c != '\t')
        {
            return odd("a control in a head");
        }
        let mut fields = Vec::new();
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                return odd("a field without a colon");
            };
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(token) {
                return odd("a field with an odd name");
            }
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Some(Self {
            first,
            fields,
            length: end + 4,
        }))
    }

    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|field| field.0 == name);
        named.map(|field| field.1.as_str()).collect()
    }

    /// The only value of a field.
    pub(super) fn one(&self, name: &str) -> Result<&str, String> {
        match self.all(name)[..] {
            [value] => Ok(value),
            _ => Err(format!("not exactly one {name}: {self:?}")),
        }
    }

    pub(super) fn says_close(&self) -> bool {
        let mut options = self.all("connection").join(",");
        options.make_ascii_lowercase();
        options.split(',').any(|option| option.trim() == "close")
    }

    /// `None` where neither field stands.
    fn framing(&self) -> Result<Option<Framing>, String> {
        let odd = || Err(format!("two framings, or an odd one: {self:?}"));
        match (
            &self.all("content-length")[..],
            &self.all("transfer-encoding")[..],
        ) {
            ([], []) => Ok(None),
            ([], ["chunked"]) => Ok(Some(Framing::Chunked)),
            ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => length
                .parse()
                .map_or_else(|_| odd(), |length| Ok(Some(Framing::Length(length)))),
            _ => odd(),
        }
    }

    pub(super) fn request_framing(&self) -> Result<Framing, String> {
        Ok(self.framing()?.unwrap_or(Framing::Length(0)))
    }

    pub(super) fn status(&self) -> Result<u16, String> {
        let odd = || format!("an odd status line: {}", self.first);
        let rest = self.first.strip_prefix("HTTP/1.1 ").ok_or_else(odd)?;
        let digits = rest.get(..3).ok_or_else(odd)?;
        digits.parse().map_err(|_| odd())
    }

    pub(super) fn response_framing(&self, to_head: bool) -> Result<Framing, String> {
        let framing = self.framing()?;
        let bare = to_head || matches!(self.status()?, 100..=199 | 204 | 304);
        Ok(match framing {
            _ if bare => Framing::Length(0),
            Some(framing) => framing,
            None => Framing::UntilClose,
        })
    }
}

/// A body under way.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) framing: Framing,
    /// Data left of the current chunk; the last chunk has come.
    chunk: u64,
    last: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) done: bool,
}

impl Content {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            chunk: 0,
            last: false,
            bytes: Vec::new(),
            done: framing == Framing::Length(0),
        }
    }

    /// Takes what belongs to it off the front of `inbox`.
    pub(super) fn take(&mut self, inbox: &mut Vec<u8>) -> Result<(), String> {
        while !self.done && !inbox.is_empty() {
            let before = inbox.len();
            match self.framing {
                Framing::UntilClose => self.bytes.append(inbox),
                Framing::Length(length) => {
                    let left = length - self.bytes.len() as u64;
                    self.move_on(left, inbox);
                    self.done = self.bytes.len() as u64 == length;
                }
                Framing::Chunked => self.take_chunk(inbox)?,
            }
            if inbox.len() == before {
                break;
            }
        }
        Ok(())
    }

    fn move_on(&mut self, most: u64, inbox: &mut Vec<u8>) -> u64 {
        let count = inbox.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        self.bytes.extend(inbox.drain(..count));
        count as u64
    }

    fn take_chunk(&mut self, inbox: &mut Vec<u8>) -> Result<(), String> {
        // The two bytes behind the data count with it.
        if self.chunk > 2 {
            self.chunk -= self.move_on(self.chunk - 2, inbox);
            return Ok(());
        }
        let Some(end) = inbox.windows(2).position(|two| two == b"\r\n") else {
            return match inbox.len() {
                0..20_000 => Ok(()),
                _ => Err("a chunk's line without an end".into()),
            };
        };
        let line: Vec<u8> = inbox.drain(..end + 2).take(end).collect();
        if self.chunk == 2 {
            self.chunk = 0;
            return match line.is_empty() {
                true => Ok(()),
                false => Err(format!(
                    "a chunk longer than its size: {}",
                    line.escape_ascii()
                )),
            };
        }
        if self.last {
            self.done = line.is_empty();
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let digits = text.split(';').next().unwrap_or_default();
        let hex = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit());
        let size = u64::from_str_radix(digits, 16).ok().filter(|_| hex);
        let size = size.ok_or_else(|| format!("an odd chunk size: {}", line.escape_ascii()))?;
        self.last = size == 0;
        self.chunk = if size == 0 { 0 } else { size + 2 };
        Ok(())
    }
}

/// The bytes that a message of this number carries: different for each, and the same at both ends.
pub(super) fn content(number: u64, salt: u64, length: usize) -> Vec<u8> {
    let mut dice = super::dice::Dice::new(number ^ (salt << 32));
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(dice.roll().to_le_bytes().map(|byte| b'0' + byte % 64));
    }
    bytes.truncate(length);
    bytes
}

/// Bytes as chunks of the given sizes, the rest in one.
pub(super) fn chunked(bytes: &[u8], mut size: impl FnMut(usize) -> usize) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size(rest.len()).clamp(1, rest.len()));
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
        rest = after;
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
