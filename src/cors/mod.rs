//! Which pages of other origins may read our answers: the `Access-Control-*` lines. Not here: when they are written,
//! and dropping the upstream's own. Invariant: credentials are allowed only together with one origin that is listed,
//! letter for letter or by the name that it stands below; never with `*`.

#[cfg(test)]
mod tests;

/// What scripts may read besides the safelisted fields.
const EXPOSED: &str = "Access-Control-Expose-Headers: X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, \
                       Retry-After, X-Request-ID, X-Response-Time\r\n";
/// Every method that is forwarded and needs no special mention by the Fetch standard.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const ALLOW_HEADERS: &[u8] = b"Access-Control-Allow-Headers: ";
const VARY_LINE: &[u8] = b"Vary: Origin\r\n";
/// A longer list of requested headers is not echoed: it would make our answer as long as the caller likes.
const REQUESTED_BYTES_MAX: usize = 2048;

/// `CORS_ORIGINS`, with the lines to write prepared.
#[derive(Debug)]
pub struct Policy {
    allowed: Allowed,
}

#[derive(Debug)]
enum Allowed {
    /// `*`: one block for every answer.
    Any(Vec<u8>),
    Listed(Vec<Listed>, Vec<Subdomains>),
}

#[derive(Debug)]
struct Listed {
    origin: Vec<u8>,
    /// Allow-Origin and Allow-Credentials, then Expose-Headers.
    block: Vec<u8>,
    /// Length of the first two lines, all that a preflight wants.
    allow_len: usize,
}

/// Every origin below a name: `https://*.example.com`.
#[derive(Debug)]
struct Subdomains {
    /// `https://`
    scheme: Vec<u8>,
    /// `.example.com`, and the port when it is not the scheme's own.
    ending: Vec<u8>,
}

impl Policy {
    /// Blanks around an origin are trimmed and empty ones left out; a `*` among them means any. None at all: no CORS.
    #[must_use]
    pub fn new(origins: Vec<String>) -> Self {
        let origins: Vec<&str> = origins
            .iter()
            .map(|origin| origin.trim())
            .filter(|origin| !origin.is_empty())
            .collect();
        let allowed = if origins.contains(&"*") {
            Allowed::Any(format!("Access-Control-Allow-Origin: *\r\n{EXPOSED}").into_bytes())
        } else {
            let below: Vec<Subdomains> = origins
                .iter()
                .filter_map(|origin| Subdomains::new(origin))
                .collect();
            let exact = origins
                .into_iter()
                .filter(|origin| Subdomains::new(origin).is_none());
            Allowed::Listed(exact.map(Listed::new).collect(), below)
        };
        Self { allowed }
    }

    /// Appends the lines that every answer carries: `*` always, a listed origin when it asks, otherwise nothing.
    pub fn fields(&self, origin: Option<&[u8]>, out: &mut Vec<u8>) {
        match &self.allowed {
            Allowed::Any(block) => out.extend_from_slice(block),
            Allowed::Listed(..) => {
                if let Some(listed) = self.listed(origin) {
                    out.extend_from_slice(&listed.block);
                } else if let Some(origin) = self.subdomain(origin) {
                    out.extend_from_slice(&Listed::new(origin).block);
                }
            }
        }
    }

    /// Whether answers depend on `Origin`, and so every one says `Vary: Origin`, also to a request without it:
    /// otherwise a cache would give one page's answer to another.
    #[must_use]
    pub fn vary(&self) -> bool {
        match &self.allowed {
            Allowed::Any(_) => false,
            Allowed::Listed(exact, wide) => !exact.is_empty() || !wide.is_empty(),
        }
    }

    /// The line to write after the upstream's own `Vary` lines, which pass as they are: repeated fields are one list
    /// (RFC 9110, 5.3). Empty if nothing varies, or if the upstream named `Origin` or `*` already.
    pub fn vary_line<'a>(&self, upstream: impl IntoIterator<Item = &'a [u8]>) -> &'static [u8] {
        let names_origin = |value: &[u8]| {
            value
                .split(|byte| *byte == b',')
                .map(<[u8]>::trim_ascii)
                .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
        };
        if !self.vary() || upstream.into_iter().any(names_origin) {
            return b"";
        }
        VARY_LINE
    }

    /// Appends the lines of the 204 that answers a preflight; `vary_line` goes with it as with every answer.
    ///
    /// Methods and headers are named one by one: `*` covers neither with credentials, and never `Authorization`. Several
    /// `Access-Control-Request-Headers` are one list (RFC 9110, 5.3).
    pub fn preflight<'a>(
        &self,
        origin: Option<&[u8]>,
        requested_method: &[u8],
        requested_headers: impl Iterator<Item = &'a [u8]> + Clone,
        out: &mut Vec<u8>,
    ) {
        match &self.allowed {
            Allowed::Any(_) => out.extend_from_slice(b"Access-Control-Allow-Origin: *\r\n"),
            Allowed::Listed(..) => {
                if let Some(listed) = self.listed(origin) {
                    out.extend_from_slice(listed.allow());
                } else if let Some(origin) = self.subdomain(origin) {
                    out.extend_from_slice(Listed::new(origin).allow());
                } else {
                    return;
                }
            }
        }
        out.extend_from_slice(b"Access-Control-Allow-Methods: ");
        for (at, method) in METHODS.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"" } else { b", " });
            out.extend_from_slice(method.as_bytes());
        }
        // A method of its own (PROPFIND, QUERY) is forwarded like any other; TRACE and CONNECT are not.
        let refused = [b"TRACE".as_slice(), b"CONNECT"].contains(&requested_method);
        let named = METHODS
            .iter()
            .any(|method| method.as_bytes() == requested_method);
        if !named && !refused && is_token(requested_method) {
            out.extend_from_slice(b", ");
            out.extend_from_slice(requested_method);
        }
        out.extend_from_slice(b"\r\n");
        let length: usize = requested_headers.clone().map(<[u8]>::len).sum();
        if length <= REQUESTED_BYTES_MAX && requested_headers.clone().all(is_token_list) {
            for (at, names) in requested_headers.enumerate() {
                let begin: &[u8] = if at == 0 { ALLOW_HEADERS } else { b", " };
                out.extend_from_slice(begin);
                out.extend_from_slice(names.trim_ascii());
            }
            if length > 0 {
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(b"Access-Control-Max-Age: 600\r\n");
    }

    /// Letter for letter: a prefix or suffix rule is how `https://example.com.evil.net` gets in.
    fn listed(&self, origin: Option<&[u8]>) -> Option<&Listed> {
        let Allowed::Listed(list, _) = &self.allowed else {
            return None;
        };
        let origin = origin?;
        list.iter().find(|listed| listed.origin == origin)
    }

    /// The origin, when it stands below one of the names.
    fn subdomain<'a>(&self, origin: Option<&'a [u8]>) -> Option<&'a str> {
        let Allowed::Listed(_, names) = &self.allowed else {
            return None;
        };
        let origin = origin.filter(|origin| names.iter().any(|name| name.covers(origin)))?;
        std::str::from_utf8(origin).ok()
    }
}

impl Subdomains {
    fn new(origin: &str) -> Option<Self> {
        let (scheme, ending) = origin.split_once("://*.")?;
        Some(Self {
            scheme: format!("{scheme}://").into_bytes(),
            ending: format!(".{ending}").into_bytes(),
        })
    }

    /// One label or more in front of the name, as browsers write them: so `null`, the name itself, and what merely ends alike
    /// (`https://evil-example.com`) are not covered.
    fn covers(&self, origin: &[u8]) -> bool {
        let host = origin.strip_prefix(self.scheme.as_slice());
        let labels = host.and_then(|host| host.strip_suffix(self.ending.as_slice()));
        let plain = |byte: &u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        labels.is_some_and(|labels| {
            let mut labels = labels.split(|byte| *byte == b'.');
            labels.all(|label| !label.is_empty() && label.iter().all(plain))
        })
    }
}

impl Listed {
    /// Allow-Origin and Allow-Credentials.
    fn allow(&self) -> &[u8] {
        self.block.get(..self.allow_len).unwrap_or_default()
    }

    fn new(origin: &str) -> Self {
        let mut block = format!(
            "Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Credentials: true\r\n"
        )
        .into_bytes();
        let allow_len = block.len();
        block.extend_from_slice(EXPOSED.as_bytes());
        Self {
            origin: origin.as_bytes().to_vec(),
            block,
            allow_len,
        }
    }
}

/// A preflight is OPTIONS with both fields; any other OPTIONS is a request for the upstream.
#[must_use]
pub fn is_preflight(method: &[u8], origin: Option<&[u8]>, requested_method: Option<&[u8]>) -> bool {
    method == b"OPTIONS" && origin.is_some() && requested_method.is_some()
}

/// `token = 1*tchar` (RFC 9110, 5.6.2).
fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Only what cannot be anything but a list of names is echoed.
fn is_token_list(list: &[u8]) -> bool {
    list.split(|byte| *byte == b',')
        .all(|name| is_token(name.trim_ascii()))
}
