//! `Set-Cookie` for the client's view of the paths (RFC 6265 4.1): `Domain` and `Path` are the service's, everything else passes.
//! Invariant: a cookie never reaches farther than the service asked for.

use super::url::Authority;
use super::{Mapping, below, push};

/// Appends a cookie's value with its attributes mapped.
pub(super) fn write(mapping: &Mapping<'_>, value: &[u8], out: &mut Vec<u8>) {
    // Their name promises `Path=/` and no `Domain` (RFC 6265bis 4.1.3.2); anything else and the browser refuses them.
    if value
        .get(..7)
        .is_some_and(|name| name.eq_ignore_ascii_case(b"__Host-"))
    {
        out.extend_from_slice(value);
        return;
    }
    for (at, part) in value.split(|byte| *byte == b';').enumerate() {
        let attribute = part.trim_ascii();
        if at > 0 {
            if is_domain_of_service(mapping, attribute) {
                continue;
            }
            if let Some(path) = value_of(attribute, b"path") {
                write_path(mapping, path, out);
                continue;
            }
            out.push(b';');
        }
        out.extend_from_slice(part);
    }
}

/// `Path=P`, where P lies below the service's base path; otherwise nothing, so that the browser takes the request's own directory.
fn write_path(mapping: &Mapping<'_>, path: &[u8], out: &mut Vec<u8>) {
    // Not a path: browsers take the default, whatever it says.
    if !path.starts_with(b"/") {
        push(out, &[b"; Path=", path]);
        return;
    }
    let prefix = mapping.prefix.as_bytes();
    if let Some(rest) = below(mapping.base.as_bytes(), path) {
        match (mapping.strip, rest) {
            (true, rest) if prefix.is_empty() && rest.is_empty() => push(out, &[b"; Path=/"]),
            (true, rest) => push(out, &[b"; Path=", prefix, rest]),
            (false, b"") => push(out, &[b"; Path=/"]),
            (false, rest) => push(out, &[b"; Path=", rest]),
        }
    } else if mapping.strip && path == b"/" {
        push(out, &[b"; Path=", prefix, b"/"]);
    }
}

/// A `Domain` that names the service's own host: the client knows it by another name.
fn is_domain_of_service(mapping: &Mapping<'_>, attribute: &[u8]) -> bool {
    let Some(domain) = value_of(attribute, b"domain") else {
        return false;
    };
    let domain = domain.strip_prefix(b".").unwrap_or(domain);
    let is = |host: &str| domain.eq_ignore_ascii_case(host.as_bytes());
    let host_of =
        |authority: &str| Authority::parse(authority, false).map_or(String::new(), |a| a.host);
    if is(&host_of(mapping.host)) {
        return false;
    }
    mapping.endpoints.iter().any(|endpoint| is(&endpoint.host)) || is(&host_of(mapping.host_sent))
}

/// The value of an attribute with this name (lower case).
fn value_of<'a>(attribute: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = attribute.split_at_checked(name.len())?;
    if !found.eq_ignore_ascii_case(name) {
        return None;
    }
    Some(value.trim_ascii_start().strip_prefix(b"=")?.trim_ascii())
}
