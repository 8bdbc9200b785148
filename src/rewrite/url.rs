//! The parts of a URL reference as far as a mapping needs them (RFC 3986 4.1), and the place that an authority names. Not a full parser.
//! Invariant: what is not clearly one of the forms below has no parts, so that it passes unchanged.

/// Where an endpoint is: the scheme and `host[:port]` of its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The scheme is `https`.
    pub https: bool,
    /// In lower case; IPv6 in brackets.
    pub host: String,
    /// The scheme's own where none is written.
    pub port: u16,
}

impl Authority {
    /// Reads `host[:port]`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str, https: bool) -> Option<Self> {
        let (host, port) = host_and_port(text.as_bytes(), https)?;
        Some(Self {
            https,
            host: std::str::from_utf8(host).ok()?.to_ascii_lowercase(),
            port,
        })
    }

    /// Whether `authority` names this place, with or without the scheme's own port.
    #[must_use]
    pub fn is_named(&self, authority: &[u8], https: bool) -> bool {
        host_and_port(authority, https).is_some_and(|(host, port)| {
            port == self.port && host.eq_ignore_ascii_case(self.host.as_bytes())
        })
    }
}

/// The host (IPv6 with its brackets) and the port.
fn host_and_port(authority: &[u8], https: bool) -> Option<(&[u8], u16)> {
    let own = if https { 443 } else { 80 };
    let end = match authority {
        [b'[', rest @ ..] => rest.iter().position(|byte| *byte == b']')? + 2,
        _ => authority
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(end)?;
    if host.is_empty() {
        return None;
    }
    match port {
        [] | [b':'] => Some((host, own)),
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            let port = std::str::from_utf8(digits).ok()?.parse().ok()?;
            Some((host, port))
        }
        _ => None,
    }
}

/// A reference that begins with a scheme, an authority or an absolute path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference<'v> {
    pub(super) scheme: Option<&'v [u8]>,
    pub(super) authority: Option<&'v [u8]>,
    /// Up to the query or the fragment.
    pub(super) path: &'v [u8],
    /// `?query` and `#fragment`.
    pub(super) behind: &'v [u8],
}

/// Splits a reference; `None` for a relative one (which the client resolves against its own URL), and for one without a host.
pub(super) fn split(value: &[u8]) -> Option<Reference<'_>> {
    let (scheme, rest) = match value {
        [b'/', ..] => (None, value),
        _ => {
            let colon = value.iter().position(|byte| *byte == b':')?;
            let (scheme, rest) = value.split_at_checked(colon)?;
            let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
                && scheme
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
            let rest = rest.get(1..)?;
            // `mailto:x` has no host, and `http:/x` is read in two ways.
            if !is_scheme || !rest.starts_with(b"//") {
                return None;
            }
            (Some(scheme), rest)
        }
    };
    let (authority, rest) = match rest.strip_prefix(b"//") {
        Some(rest) => {
            let end = rest
                .iter()
                .position(|byte| b"/?#\\".contains(byte))
                .unwrap_or(rest.len());
            let (authority, rest) = rest.split_at_checked(end)?;
            (Some(authority), rest)
        }
        None => (None, rest),
    };
    let end = rest
        .iter()
        .position(|byte| b"?#".contains(byte))
        .unwrap_or(rest.len());
    let (path, behind) = rest.split_at_checked(end)?;
    Some(Reference {
        scheme,
        authority,
        path,
        behind,
    })
}
