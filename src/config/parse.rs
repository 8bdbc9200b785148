//! Text to value, one function per kind. Knows no variable and no source. Invariant: an error is the accepted range as a phrase
//! that follows "must be", so that every message says what would have been right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use crate::http1::field::is_token_byte;
use crate::http1::is_authority;

/// The accepted range, worded to follow "must be".
pub(super) type Expected = String;

const NAMES: &str = "one or more names with commas between";

/// true/false/1/0/yes/no/on/off, any case.
pub(super) fn boolean(text: &str) -> Result<bool, Expected> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("true or false (also 1/0, yes/no, on/off)".to_owned()),
    }
}

/// A whole number without sign.
pub(super) fn whole(text: &str, range: &RangeInclusive<u64>) -> Result<u64, Expected> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("a whole number from {} to {}", range.start(), range.end()))
}

/// A TCP port.
pub(super) fn port(text: &str) -> Result<u16, Expected> {
    let number = whole(text, &(0..=65535))
        .ok()
        .and_then(|port| u16::try_from(port).ok());
    number.ok_or_else(|| {
        let expected = "a port from 0 to 65535".to_owned();
        if !text.starts_with("tcp://") {
            return expected;
        }
        // A Kubernetes service named `gateway` puts GATEWAY_PORT=tcp://10.0.0.1:80 into every pod of its namespace.
        expected
            + " (Kubernetes set this for a service of that name: use enableServiceLinks: false)"
    })
}

/// Seconds, a fraction allowed; no exponent, unit or sign, which would be a slip more often than a wish.
pub(super) fn seconds(text: &str, range: &RangeInclusive<f64>) -> Result<Duration, Expected> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_digits(whole) && is_digits(fraction) {
        text.parse::<f64>().ok()
    } else {
        None
    };
    number
        .filter(|number| range.contains(number))
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .ok_or_else(|| {
            format!(
                "a number of seconds from {} to {}, such as 2 or 0.5",
                range.start(),
                range.end()
            )
        })
}

/// A comma list, blanks trimmed, empty items dropped.
pub(super) fn list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A comma list that may be said to be empty by `none`.
pub(super) fn list_or_none(text: &str) -> Vec<String> {
    if text.trim().eq_ignore_ascii_case("none") {
        Vec::new()
    } else {
        list(text)
    }
}

/// A comma list of claims, files …: at least one.
pub(super) fn names(text: &str) -> Result<Vec<String>, Expected> {
    let names = names_if_any(text)?;
    if names.is_empty() {
        return Err(NAMES.to_owned());
    }
    Ok(names)
}

/// A comma list of audiences, issuers …, and none of them a slip.
pub(super) fn names_if_any(text: &str) -> Result<Vec<String>, Expected> {
    let names = list(text);
    match names.iter().find_map(|name| slip(name)) {
        Some(slip) => Err(format!("{NAMES} ({slip})")),
        None => Ok(names),
    }
}

/// The same, and `none` alone says that there is none.
pub(super) fn names_or_none(text: &str) -> Result<Vec<String>, Expected> {
    if list_or_none(text).is_empty() {
        return Ok(Vec::new());
    }
    names_if_any(text).map_err(|expected| format!("none, or {expected}"))
}

/// The same in brackets, to stand behind a message.
pub(super) fn slip_hint(text: &str) -> String {
    slip(text).map_or_else(String::new, |slip| format!(" ({slip})"))
}

/// What is wrong with a value that nobody can have meant: it carries a mark of the place that it was copied from.
pub(super) fn slip(text: &str) -> Option<&'static str> {
    const NOTHING: [&str; 4] = ["none", "null", "nil", "undefined"];
    match text.chars().next()? {
        '"' | '\'' | '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{2018}' | '\u{2019}' => Some(
            "it begins with a quote, which is part of the value: docker's --env-file keeps quotes",
        ),
        '`' => Some("it begins with a backtick: no command is run here"),
        '$' if text.starts_with("${") || text.starts_with("$(") => {
            Some("it begins with a template's mark: nothing is expanded here")
        }
        '[' | ']' | '{' | '}' | '(' | ')' | '<' | '>' => Some(
            "it begins with a bracket: a list has commas alone, and a placeholder wants to be filled in",
        ),
        '\u{feff}' => Some("it begins with a byte order mark, which some editors put into a file"),
        _ if NOTHING.iter().any(|word| text.eq_ignore_ascii_case(word)) => {
            Some("a program writes so that there is no value: leave the setting out")
        }
        _ => None,
    }
}

/// An address to listen on. Only `localhost` is a name: another could stand for several addresses or for another machine.
pub(super) fn listen_address(text: &str) -> Result<IpAddr, Expected> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
        None => text.parse().ok(),
    };
    address.ok_or_else(|| "an IP address such as 0.0.0.0, 127.0.0.1 or ::, or localhost".to_owned())
}

/// A network, or an address as the network of itself.
pub(super) fn network(text: &str) -> Result<IpNet, Expected> {
    let single = || text.parse::<IpAddr>().map(IpNet::from).ok();
    text.parse::<IpNet>()
        .ok()
        .or_else(single)
        .ok_or_else(|| "addresses or networks such as 10.0.0.0/8".to_owned())
}

/// A comma list of networks.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, Expected> {
    list(text).iter().map(|item| network(item)).collect()
}

/// `*`, `none`, or origins. A browser sends an origin in lower case and without its scheme's own port, so they are brought to that
/// form; a slash at the end would never match. The host may begin with `*.`, which stands for one label or more.
pub(super) fn origins(text: &str) -> Result<Vec<String>, Expected> {
    let origins = list_or_none(text);
    if origins.len() == 1 && origins.first().is_some_and(|origin| origin == "*") {
        return Ok(origins);
    }
    let expected = "* alone, none, or origins such as https://app.example.com (no path, no slash at the end) or \
                    https://*.example.com";
    let found: Option<Vec<String>> = origins.iter().map(|origin| self::origin(origin)).collect();
    found.ok_or_else(|| expected.to_owned())
}

fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(origin_port(port)?)),
        Some(_) | None => (authority, None),
    };
    let below = host.strip_prefix("*.").unwrap_or(host);
    let is_host = !below.is_empty()
        && !below.starts_with('.')
        && below.bytes().all(|byte| {
            byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'*')
        })
        && (below.starts_with('[') || !below.contains(':'));
    // Only a name has names below it.
    let is_wide = below.len() < host.len();
    if !is_scheme || !is_host || (is_wide && !below.bytes().all(is_name_byte)) {
        return None;
    }
    match (scheme, port) {
        ("https", Some(443)) | ("http", Some(80)) | (_, None) => Some(format!("{scheme}://{host}")),
        (_, Some(port)) => Some(format!("{scheme}://{host}:{port}")),
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// As a browser writes it: without a zero in front.
fn origin_port(text: &str) -> Option<u16> {
    let port = port(text).ok()?;
    (port > 0 && !text.starts_with('0')).then_some(port)
}

/// Host names that clients may use, in lower case; the first label may be `*`. A port is none of a name's business.
pub(super) fn hosts(text: &str) -> Result<Vec<String>, Expected> {
    let is_host = |name: &str| {
        let below = name.strip_prefix("*.").unwrap_or(name);
        let address = name.starts_with('[') && name.ends_with(']');
        slip(name).is_none() && below.bytes().all(is_name_byte) && !below.starts_with('.')
            || (address && is_authority(name.as_bytes()))
    };
    let hosts: Vec<String> = list(text)
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    if !hosts.is_empty() && hosts.iter().all(|name| is_host(name)) {
        return Ok(hosts);
    }
    let hint = hosts
        .iter()
        .map(|name| slip_hint(name))
        .find(|hint| !hint.is_empty());
    let expected = "names without scheme, port and path, such as api.example.com or *.example.com";
    Err(format!("{expected}{}", hint.unwrap_or_default()))
}

/// Field names with commas or blanks between, or `none`.
pub(super) fn field_names(text: &str) -> Result<Vec<String>, Expected> {
    let names: Vec<String> = list_or_none(text)
        .iter()
        .flat_map(|item| item.split_ascii_whitespace())
        .map(str::to_owned)
        .collect();
    let is_name = |name: &String| slip(name).is_none() && name.bytes().all(is_token_byte);
    if names.iter().all(is_name) {
        return Ok(names);
    }
    let hint = names
        .iter()
        .map(|name| slip_hint(name))
        .find(|hint| !hint.is_empty());
    Err(format!(
        "none, or names of header fields with commas between{}",
        hint.unwrap_or_default()
    ))
}

/// Public paths: each absolute and plain, a `*` only at the very end.
pub(super) fn public_paths(text: &str) -> Result<Vec<String>, Expected> {
    let paths = list(text);
    let plain = |path: &String| is_plain_path(path.strip_suffix('*').unwrap_or(path));
    if paths.iter().all(plain) {
        return Ok(paths);
    }
    Err(
        "absolute paths such as /status or /public/*, without //, dot segments, %, ; or ?"
            .to_owned(),
    )
}

/// A path that reads the same raw, decoded and normalised, so that nobody can find a second spelling that means another thing.
pub(super) fn is_plain_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()+=:@".contains(&byte);
    path.starts_with('/')
        && path.bytes().all(plain)
        && !path.contains("//")
        && !path
            .split('/')
            .any(|segment| segment == "." || segment == "..")
}

/// A request target for a health probe.
pub(super) fn probe_path(text: &str) -> Result<String, Expected> {
    let fits = text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("a path that begins with /, such as /health".to_owned())
    }
}
