//! Sources in, `Config` out: calls every section, then hands over either the whole or all problems. Reads nothing from outside.
//! Invariant: `Ok` means that no section complained.

use std::net::{Ipv4Addr, SocketAddr};

use super::reader::Reader;
use super::sources::{Entry, Settled};
use super::{Auth, Config, Problem, Sources, parse, sections, services, tls};

/// A configuration and where each of its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    pub(super) entries: Vec<Entry>,
}

impl Config {
    /// Checks everything and names everything that is wrong.
    pub fn from_sources(sources: &Sources) -> Result<Loaded, Vec<Problem>> {
        let mut reader = Reader::new(sources.settle()?);
        // Nothing else was warned of yet.
        let unknown_names = reader.settled.warnings.clone();
        let config = config(&mut reader);
        let Settled {
            entries,
            mut problems,
            mut warnings,
            ..
        } = reader.settled;
        warnings.extend(sources.dotenv_unreadable.clone());
        match config {
            Some(config) if problems.is_empty() => Ok(Loaded {
                config: Config { warnings, ..config },
                entries,
            }),
            _ => {
                problems.splice(0..0, unreadable(sources));
                // What is missing may be there under a name that misses ours by a letter.
                problems.extend(unknown_names.into_iter().map(Problem::of_source));
                // Each line once: two sections may have asked for the same value.
                let mut seen = Vec::new();
                problems.retain(|problem| {
                    !seen.contains(problem) && {
                        seen.push(problem.clone());
                        true
                    }
                });
                Err(problems)
            }
        }
    }
}

/// The problem that `.env` cannot be read; one only where something is wrong that it may have put right.
fn unreadable(sources: &Sources) -> Option<Problem> {
    sources.dotenv_unreadable.clone().map(Problem::of_source)
}

/// Only the public listener's address, whatever else may be wrong: a health check needs no secret.
pub fn listen_from_sources(sources: &Sources) -> Result<SocketAddr, Vec<Problem>> {
    let mut reader = Reader::new(sources.settle()?);
    let listen = sections::listen(&mut reader);
    only(reader, listen, &["GATEWAY_HOST", "GATEWAY_PORT"])
}

/// The same where the default address is not every address but loopback.
pub(super) fn demo_listen_from_sources(sources: &Sources) -> Result<SocketAddr, Vec<Problem>> {
    let listen = listen_from_sources(sources)?;
    let is_named = Reader::new(sources.settle()?).is_explicit("GATEWAY_HOST");
    let address = if is_named {
        listen.ip()
    } else {
        Ipv4Addr::LOCALHOST.into()
    };
    Ok(SocketAddr::new(address, listen.port()))
}

/// Only whether the public listener speaks TLS.
pub(super) fn is_tls_from_sources(sources: &Sources) -> Result<bool, Vec<Problem>> {
    let mut reader = Reader::new(sources.settle()?);
    let named = reader.read_optional("TLS_CERT", parse::names);
    only(reader, named, &["TLS_CERT"]).map(|named| named.is_some())
}

/// Only whether connections begin with a PROXY protocol header, for the same check.
pub fn proxy_protocol_from_sources(sources: &Sources) -> bool {
    let settled = sources.settle().map(Reader::new);
    let wanted = settled.map(|mut reader| reader.read("PROXY_PROTOCOL", parse::boolean));
    // A value that is wrong is complained about by whatever starts the gateway.
    wanted.ok().flatten().unwrap_or(false)
}

/// Only the identity settings: minting a token needs no upstream.
pub fn auth_from_sources(sources: &Sources) -> Result<Auth, Vec<Problem>> {
    let mut reader = Reader::new(sources.settle()?);
    let auth = sections::auth(&mut reader);
    let auth = only(
        reader,
        auth,
        &["JWT_", "REQUIRE_AUTHENTICATION", "ADMIN_ROLES"],
    );
    auth.map_err(|mut problems| {
        problems.splice(0..0, unreadable(sources));
        problems
    })
}

/// The part, or the problems with variables that begin as named.
fn only<T>(reader: Reader, part: Option<T>, prefixes: &[&str]) -> Result<T, Vec<Problem>> {
    let concerns = |problem: &Problem| {
        prefixes
            .iter()
            .any(|prefix| problem.variable.starts_with(prefix))
    };
    let mut problems = reader.settled.problems;
    problems.retain(concerns);
    match part {
        Some(part) if problems.is_empty() => Ok(part),
        _ => Err(problems),
    }
}

fn config(reader: &mut Reader) -> Option<Config> {
    let listen = sections::listen(reader);
    let ops = sections::ops(reader, listen);
    let workers = sections::workers(reader);
    let bounds = sections::bounds(reader);
    let services = services::services(reader);
    let edge = tls::edge(reader);
    let service_files = tls::service_files(reader);
    let breaker = sections::breaker(reader);
    let redis = sections::redis(reader);
    let auth = sections::auth(reader);
    let public_paths = reader.read_optional("PUBLIC_PATHS", parse::public_paths);
    let limits = sections::limits(reader);
    let cors_origins = reader.read("CORS_ORIGINS", parse::origins);
    let trusted_proxies = reader.read_optional("TRUSTED_PROXIES", parse::networks);
    let proxy_protocol = reader.read("PROXY_PROTOCOL", parse::boolean);
    let allowed_hosts = reader.read_optional("ALLOWED_HOSTS", parse::hosts);
    let drop_fields = reader.read("DROP_FIELDS", parse::field_names);
    let health_details = reader.read("HEALTH_DETAILS", parse::boolean);
    let timeouts = sections::timeouts(reader);
    let log = sections::log(reader);
    warn_of_wide_origins(reader, cors_origins.as_deref().unwrap_or_default());
    warn_of_open_doors(reader, public_paths.as_ref(), trusted_proxies.as_ref());
    let believes_all = matches!(trusted_proxies, Some(None)) && proxy_protocol == Some(true);
    if believes_all {
        let open = "PROXY_PROTOCOL=true without TRUSTED_PROXIES: whoever reaches the port chooses the address it is limited by";
        reader.warn(open.to_owned());
    }
    // All parts were read; only now may the first missing one end it.
    let (services, routes) = services?;
    Some(Config {
        listen: listen?,
        workers: workers?,
        ops: ops?,
        tls: edge?,
        service_files: service_files?,
        services,
        breaker: breaker?,
        routes,
        redis: redis?,
        limits: limits?,
        auth: auth?,
        cors_origins: cors_origins?,
        public_paths: public_paths?.unwrap_or_default(),
        trusted_proxies: trusted_proxies?.unwrap_or_default(),
        allowed_hosts: allowed_hosts?,
        drop_fields: drop_fields?,
        proxy_protocol: proxy_protocol?,
        health_details: health_details?,
        log: log?,
        timeouts: timeouts?,
        bounds: bounds?,
        // Filled by `from_sources`, when no more can come.
        warnings: Vec::new(),
    })
}

/// `https://*.com` is no organization's; `*.localhost` is this machine (RFC 6761 6.3).
fn warn_of_wide_origins(reader: &mut Reader, origins: &[String]) {
    let is_wide = |origin: &&String| {
        let below = origin.split_once("://*.").map(|(_, below)| below);
        let host = below.map(|below| below.split(':').next().unwrap_or(below));
        host.is_some_and(|host| !host.contains('.') && host != "localhost")
    };
    for origin in origins.iter().filter(is_wide) {
        reader.warn(format!(
            "CORS_ORIGINS has {origin}: pages of every name below it may call with credentials"
        ));
    }
}

/// Settings that are valid and rarely meant.
fn warn_of_open_doors(
    reader: &mut Reader,
    public_paths: Option<&Option<Vec<String>>>,
    trusted_proxies: Option<&Option<Vec<ipnet::IpNet>>>,
) {
    if public_paths
        .and_then(Option::as_ref)
        .is_some_and(|paths| paths.iter().any(|path| path == "/*"))
    {
        reader.warn("PUBLIC_PATHS has /*: no path needs a token any more".to_owned());
    }
    if trusted_proxies
        .and_then(Option::as_ref)
        .is_some_and(|nets| nets.iter().any(|net| net.prefix_len() == 0))
    {
        reader.warn(
            "TRUSTED_PROXIES covers every address: clients choose the address they are limited by"
                .to_owned(),
        );
    }
}
