//! The forms of a request target, reduced to `path?query`. Not routing: dots, escapes and double slashes are kept as they came.
//! Invariant: a target begins with `/` or is `*`, is printable ASCII, and names no user and no fragment.

use super::fault::Fault;
use super::head::TARGET_BYTES_MAX;
use super::host;
use super::request::Method;

/// A reduced target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'b> {
    /// `/path?query` or `*`.
    pub(super) text: &'b str,
    pub(super) path: &'b str,
    pub(super) query: Option<&'b str>,
    /// The authority of an absolute-form target, which replaces `Host` (RFC 9112 3.2.2).
    pub(super) authority: Option<&'b str>,
}

/// Reduces a target that holds no space and no control character.
pub(super) fn reduce(method: Method, raw: &str) -> Result<Target<'_>, Fault> {
    if raw.len() > TARGET_BYTES_MAX {
        return Err(Fault::TargetTooLong);
    }
    if !raw.is_ascii() {
        return Err(Fault::TargetBytes);
    }
    // Clients keep the fragment to themselves (RFC 9110 7.1); servers that get one cut it off, or do not.
    if memchr::memchr(b'#', raw.as_bytes()).is_some() {
        return Err(Fault::TargetFragment);
    }
    if raw.starts_with('/') {
        return Ok(split(raw, None));
    }
    if raw == "*" {
        return if method == Method::Options {
            Ok(split(raw, None))
        } else {
            Err(Fault::TargetAsterisk)
        };
    }
    absolute(method, raw)
}

fn absolute(method: Method, raw: &str) -> Result<Target<'_>, Fault> {
    let rest = behind_scheme(raw).ok_or(Fault::TargetForm)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, text) = rest.split_at_checked(end).ok_or(Fault::TargetForm)?;
    // `http://trusted@evil/`: it shows people another host than it names (RFC 9110 4.2.4).
    if authority.contains('@') {
        return Err(Fault::TargetUserinfo);
    }
    if !host::is_authority(authority.as_bytes()) {
        return Err(Fault::HostInvalid);
    }
    match text.as_bytes().first() {
        Some(b'/') => Ok(split(text, Some(authority))),
        Some(_) => Err(Fault::TargetPathless),
        // An OPTIONS of the whole server, as a proxy is asked for it (RFC 9112 3.2.4).
        None if method == Method::Options => Ok(split("*", Some(authority))),
        None => Ok(split("/", Some(authority))),
    }
}

fn behind_scheme(raw: &str) -> Option<&str> {
    let (scheme, rest) = raw.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known.then_some(rest)
}

fn split<'b>(text: &'b str, authority: Option<&'b str>) -> Target<'b> {
    match text.split_once('?') {
        Some((path, query)) => Target {
            text,
            path,
            query: Some(query),
            authority,
        },
        None => Target {
            text,
            path: text,
            query: None,
            authority,
        },
    }
}
