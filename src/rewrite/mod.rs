//! References of a service's answer (`Location`, `Content-Location`, `Set-Cookie`) put through a route's mapping backwards, so that they
//! lead a client to the gateway's own address. Not the mapping of a request (`route`) and not the head that they stand in.
//! Invariant: what cannot be mapped passes as it came, and a mapped path never becomes a reference to another host.

mod cookie;
mod url;

#[cfg(test)]
mod tests;

pub use url::Authority;

/// What a route does to a path on its way to a service, and what the client calls the gateway.
#[derive(Debug, Clone, Copy)]
pub struct Mapping<'a> {
    /// `/analyzer`: the paths below it are the route's; empty for a route of all paths.
    pub prefix: &'a str,
    /// The prefix is cut off on the way.
    pub strip: bool,
    /// The path of the service's URL, put in front: empty or `/…` without a slash at its end.
    pub base: &'a str,
    /// Where the service's endpoints are.
    pub endpoints: &'a [Authority],
    /// The `Host` that the service was sent, `host[:port]`.
    pub host_sent: &'a str,
    /// The scheme that the client used, as the service was told it: `https` or `http`.
    pub https: bool,
    /// The `host[:port]` that the client used, as the service was told it; empty when that is not known.
    pub host: &'a str,
}

impl Mapping<'_> {
    /// Appends the value of a `Location` or `Content-Location` as the client needs it.
    pub fn location(&self, value: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        if self.mapped_location(value, out).is_none() {
            out.truncate(start);
            out.extend_from_slice(value);
        }
    }

    /// Appends the value of a `Set-Cookie` as the client needs it.
    pub fn set_cookie(&self, value: &[u8], out: &mut Vec<u8>) {
        cookie::write(self, value, out);
    }

    fn mapped_location(&self, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let reference = url::split(value)?;
        let Some(authority) = reference.authority else {
            // A path of the service's own. Without a change it passes.
            let (head, rest) = self.public_path(reference.path)?;
            if starts_another_host(head, rest) {
                self.write_origin(out)?;
            }
            push(out, &[head.as_bytes(), rest, reference.behind]);
            return Some(());
        };
        if !self.is_own(reference.scheme, authority) {
            return None;
        }
        let (head, rest) = self.public_path(reference.path)?;
        // `//authority` keeps the scheme that the client uses anyway.
        match (reference.scheme, self.host.is_empty()) {
            (_, true) if starts_another_host(head, rest) => return None,
            (_, true) => {}
            (None, false) => push(out, &[b"//", self.host.as_bytes()]),
            (Some(_), false) => self.write_origin(out)?,
        }
        push(out, &[head.as_bytes(), rest, reference.behind]);
        Some(())
    }

    fn write_origin(&self, out: &mut Vec<u8>) -> Option<()> {
        if self.host.is_empty() {
            return None;
        }
        let scheme: &[u8] = if self.https { b"https://" } else { b"http://" };
        push(out, &[scheme, self.host.as_bytes()]);
        Some(())
    }

    /// The service itself is meant: one of its endpoints by its scheme and authority, or the `Host` that it was sent.
    fn is_own(&self, scheme: Option<&[u8]>, authority: &[u8]) -> bool {
        let https = match scheme {
            None => None,
            Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => Some(false),
            Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => Some(true),
            // Another protocol is another service.
            Some(_) => return false,
        };
        let is_endpoint = |endpoint: &Authority| {
            https.is_none_or(|https| https == endpoint.https)
                && endpoint.is_named(authority, endpoint.https)
        };
        let is_host_sent = || {
            [false, true]
                .into_iter()
                .filter(|scheme| https.is_none_or(|https| https == *scheme))
                .any(|https| {
                    Authority::parse(self.host_sent, https)
                        .is_some_and(|sent| sent.is_named(authority, https))
                })
        };
        self.endpoints.iter().any(is_endpoint) || is_host_sent()
    }

    /// A path of the service as the client knows it, in two parts; `None`: no path of the route leads there.
    fn public_path<'p>(&'p self, path: &'p [u8]) -> Option<(&'p str, &'p [u8])> {
        let rest = below(self.base.as_bytes(), path)?;
        if self.strip {
            // `/analyzer` alone is the base itself; a target is never empty.
            let head = match (self.prefix, rest) {
                ("", b"") => "/",
                (prefix, _) => prefix,
            };
            return Some((head, rest));
        }
        below(self.prefix.as_bytes(), rest)?;
        Some((if rest.is_empty() { "/" } else { "" }, rest))
    }
}

/// What follows `base` in a path at or below it.
fn below<'p>(base: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(base)?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

/// `//host` and `/\host` are read as a reference to another host (RFC 3986 4.2, and what browsers make of a backslash).
fn starts_another_host(head: &str, rest: &[u8]) -> bool {
    head.is_empty() && (rest.starts_with(b"//") || rest.starts_with(b"/\\"))
}

fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
