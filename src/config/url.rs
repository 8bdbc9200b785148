//! Reads service and Redis URLs. Not a general URL parser: what has no meaning for the gateway is refused. Invariant: an
//! endpoint has a connectable host and port, and a base path ends without a slash.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::parse::{Expected, is_plain_path, list};
use super::settings::Endpoint;

/// What the URLs of a service say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) tls: bool,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) base_path: String,
}

/// Most URLs of one service; further addresses come from names.
const URLS_MAX: usize = 32;

/// Reads one or more of `http://host[:port][/path]` with commas between, or the same with `https`. They are the same service in
/// several places, so a request must mean the same at each of them; over TLS each proves the host of its own URL.
pub(super) fn service(text: &str) -> Result<Upstream, Expected> {
    let mut urls = list(text).into_iter();
    let (tls, first, base_path) = one(&urls.next().unwrap_or_default())?;
    let mut endpoints = vec![first.clone()];
    for url in urls {
        let (other_tls, endpoint, other_path) = one(&url)?;
        let (one, other) = (
            shown(tls, &first, &base_path),
            shown(other_tls, &endpoint, &other_path),
        );
        if other_tls != tls {
            return Err(format!(
                "URLs of one service, all http or all https ({one} and {other} differ)"
            ));
        }
        if other_path != base_path {
            return Err(format!(
                "URLs of one service, all with the same path ({one} and {other} differ)"
            ));
        }
        if endpoints.contains(&endpoint) {
            return Err(format!("different URLs ({other} is there twice)"));
        }
        endpoints.push(endpoint);
    }
    if endpoints.len() > URLS_MAX {
        return Err(format!("at most {URLS_MAX} URLs"));
    }
    Ok(Upstream {
        tls,
        endpoints,
        base_path,
    })
}

fn shown(tls: bool, endpoint: &Endpoint, path: &str) -> String {
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}{path}", endpoint.authority)
}

/// Reads `http://host[:port][/path]`.
fn one(text: &str) -> Result<(bool, Endpoint, String), Expected> {
    const FORM: &str = "http://host[:port][/path]";
    let (scheme, rest) = text.split_once("://").ok_or_else(|| FORM.to_owned())?;
    let (tls, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (false, 80),
        "https" => (true, 443),
        _ => return Err(format!("{FORM}, or https")),
    };
    if rest.contains(['?', '#']) {
        return Err(format!("{FORM}, without a query or a fragment"));
    }
    let path_at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(path_at).unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(format!(
            "{FORM}: a user name or password in it has no meaning here; take it out"
        ));
    }
    let (host, port) =
        host_and_port(authority).ok_or_else(|| format!("{FORM} with a valid host and port"))?;
    let port = port.unwrap_or(default_port);
    let base_path = path.trim_end_matches('/');
    // An `@` this far back is rather the end of a password with a slash in it than part of a path.
    if path.contains('@') || !(base_path.is_empty() || is_plain_path(base_path)) {
        return Err(format!(
            "{FORM} with a plain path: no //, dot segments, %, ; or @"
        ));
    }
    let bracketed = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    // The normal form leaves the default port out (RFC 9110 4.2.3).
    let authority = if port == default_port {
        bracketed
    } else {
        format!("{bracketed}:{port}")
    };
    let endpoint = Endpoint {
        host,
        port,
        authority,
    };
    Ok((tls, endpoint, base_path.to_owned()))
}

/// Checks `redis://[user:password@]host[:port][/db]` and hands it on as it is: the Redis client reads it for itself.
pub(super) fn redis(text: &str) -> Result<String, Expected> {
    const FORM: &str =
        "redis://[user:password@]host[:port][/db] (or rediss://, valkey://, valkeys://)";
    const ENCODED: &str = "; special characters of the user and the password are percent-encoded (@ is %40, / is %2F, # is %23, ? is %3F)";
    let checked = || {
        let (scheme, rest) = text.split_once("://")?;
        if !matches!(scheme, "redis" | "rediss" | "valkey" | "valkeys")
            || rest.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return None;
        }
        let rest = rest.split(['?', '#']).next().unwrap_or(rest);
        let (authority, db) = rest.split_once('/').unwrap_or((rest, ""));
        let address = authority
            .rsplit_once('@')
            .map_or(authority, |(_, address)| address);
        host_and_port(address)?;
        let is_db = db.is_empty() || db.parse::<u16>().is_ok();
        is_db.then(|| text.to_owned())
    };
    // Where there is a password, one of its characters may have been taken for the end of the authority.
    let hint = if text.contains('@') { ENCODED } else { "" };
    let checked = checked().ok_or_else(|| format!("{FORM}{hint}"))?;
    redis_options(text).map_err(|wrong| format!("{FORM}, {wrong}"))?;
    Ok(checked)
}

/// What may stand behind a Redis URL. The client would pass over what it does not know: a time limit or a switch that somebody
/// believes to be on. The names are not repeated, because they may be the end of a password.
fn redis_options(text: &str) -> Result<(), &'static str> {
    if text.contains('#') {
        return Err("without a fragment (a # in a password is written %23)");
    }
    let query = text.split_once('?').map_or("", |(_, query)| query);
    let members = query.split('&').filter(|member| !member.is_empty());
    let is_known = |member: &str| {
        matches!(
            member,
            "protocol=2" | "protocol=resp2" | "protocol=3" | "protocol=resp3"
        )
    };
    if members.into_iter().all(is_known) {
        return Ok(());
    }
    Err(
        "with no query but ?protocol=resp2 or ?protocol=resp3 (the database stands behind the /, a ? in a password is written %3F)",
    )
}

/// Splits `host[:port]`; an IPv6 literal comes in brackets and leaves without them.
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (literal, after) = rest.split_once(']')?;
        let address: Ipv6Addr = literal.parse().ok()?;
        let port = if after.is_empty() {
            None
        } else {
            Some(after.strip_prefix(':')?)
        };
        (address.to_string(), port)
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        is_host(host).then(|| (host.to_ascii_lowercase(), port))?
    };
    let port = match port {
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(text.parse().ok().filter(|port| *port != 0)?)
        }
        Some(_) => return None,
        None => None,
    };
    Some((host, port))
}

/// An IPv4 address or a DNS name. Underscores are no host name by RFC 952, but container networks use them.
fn is_host(text: &str) -> bool {
    if text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return text.parse::<Ipv4Addr>().is_ok();
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}
