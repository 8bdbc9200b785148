//! Judges every single setting and builds the parts of `Config`. No route or service here (see `services`). Invariant: each
//! part reads all its settings before it gives up, so that one look shows all problems.

use std::net::SocketAddr;
use std::time::Duration;

use super::parse;
use super::reader::Reader;
use super::{
    Algorithm, Auth, Bounds, Breaker, Level, Limits, Log, LogFormat, Ops, Redis, Secret, Timeouts,
    url,
};
use crate::identity::SecretEncoding;
use crate::limit::OnOutage;

/// L + B must stay below this: a bucket's level has 24 bits.
const BUCKET_END: u64 = 1 << 24;
/// Shortest secret that is not commented upon: what HMAC with SHA-256 is made for (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// A week; a longer block is rather a unit mistaken.
const BLOCK_SECONDS_MAX: f64 = 604_800.0;
/// Fewer would make honest clients push each other out.
const KEYS_MIN: u64 = 1_024;
/// 2^26 keys fill some 8 GB.
const KEYS_MAX: u64 = 1 << 26;
/// More gateways than any fleet has.
const NODES_MAX: u64 = 65_536;
/// A call within one rack takes a tenth of this.
const REDIS_TIMEOUT_MIN: f64 = 0.005;
/// Requests wait for Redis, for twice this at most.
const REDIS_TIMEOUT_MAX: f64 = 2.0;
/// Shortest time limit that an honest network can keep.
const TIMEOUT_MIN: f64 = 0.01;
/// More threads than any machine has CPUs.
const WORKERS_MAX: u64 = 4_096;

/// The public listener.
pub(super) fn listen(reader: &mut Reader) -> Option<SocketAddr> {
    let host = reader.read("GATEWAY_HOST", parse::listen_address);
    let port = reader.read("GATEWAY_PORT", parse::port);
    Some(SocketAddr::new(host?, port?))
}

/// The operations listener: `Some(None)` when it is off.
pub(super) fn ops(reader: &mut Reader, public: Option<SocketAddr>) -> Option<Option<Ops>> {
    let host = reader.read("OPS_HOST", parse::listen_address);
    let port = reader.read("OPS_PORT", parse::port);
    let listen = SocketAddr::new(host?, port?);
    let explicit = reader.is_explicit("OPS_PORT");
    if listen.port() == 0 {
        return Some(None);
    }
    let is_taken = public.is_some_and(|public| {
        // The unspecified address takes the port on every address.
        let same_host = public.ip() == listen.ip()
            || public.ip().is_unspecified()
            || listen.ip().is_unspecified();
        public.port() == listen.port() && same_host
    });
    match (is_taken, explicit) {
        (true, true) => {
            reader.complain(
                "OPS_PORT",
                "must differ from GATEWAY_PORT; 0 switches the operations port off",
            );
            None
        }
        (true, false) => {
            reader.warn(
                "GATEWAY_PORT takes the default operations port: no metrics; set OPS_PORT"
                    .to_owned(),
            );
            Some(None)
        }
        (false, _) => Some(Some(Ops { listen, explicit })),
    }
}

/// Worker threads. More than one per CPU would only take turns.
pub(super) fn workers(reader: &mut Reader) -> Option<usize> {
    let cpus = reader.settled.cpus.max(1);
    let wanted = reader.read("GATEWAY_WORKERS", |text| {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(cpus);
        }
        let number =
            parse::whole(text, &(1..=WORKERS_MAX)).map_err(|range| format!("auto or {range}"))?;
        Ok(usize::try_from(number).unwrap_or(cpus))
    })?;
    // The default on a small machine is nobody's mistake.
    if wanted > cpus && reader.is_explicit("GATEWAY_WORKERS") {
        reader.warn(format!(
            "GATEWAY_WORKERS={wanted} is more than the usable CPUs: {cpus} will run"
        ));
    }
    Some(wanted.min(cpus))
}

/// Redis.
pub(super) fn redis(reader: &mut Reader) -> Option<Redis> {
    let enabled = reader.read("REDIS_ENABLED", parse::boolean);
    let url = reader.read("REDIS_URL", url::redis);
    let cluster = reader.read("REDIS_CLUSTER", parse::boolean);
    let timeout = reader.read("REDIS_TIMEOUT", |text| {
        parse::seconds(text, &(REDIS_TIMEOUT_MIN..=REDIS_TIMEOUT_MAX))
    });
    let ca = super::tls::redis_ca(reader, url.as_deref());
    Some(Redis {
        enabled: enabled?,
        url: Secret::new(url?),
        cluster: cluster?,
        ca: ca?,
        timeout: timeout?,
    })
}

/// Rate limits.
pub(super) fn limits(reader: &mut Reader) -> Option<Limits> {
    const OFF: &str =
        "; to switch limits off set RATE_LIMIT_PER_ORG=false and RATE_LIMIT_PER_IP=false";
    let with_hint = |range: String| format!("{range}{OFF}");
    let rpm = reader.read("RATE_LIMIT_RPM", |text| {
        parse::whole(text, &(1..=BUCKET_END - 1)).map_err(with_hint)
    });
    let burst = reader.read("RATE_LIMIT_BURST", |text| {
        // RPM is at least 1, so this is the most that fits beside it.
        parse::whole(text, &(0..=BUCKET_END - 2))
    });
    let block = reader.read("RATE_LIMIT_BLOCK_DURATION", |text| {
        parse::seconds(text, &(0.0..=BLOCK_SECONDS_MAX))
    });
    let per_org = reader.read("RATE_LIMIT_PER_ORG", parse::boolean);
    let per_ip = reader.read("RATE_LIMIT_PER_IP", parse::boolean);
    let keys_max = reader.read("RATE_LIMIT_KEYS_MAX", |text| {
        parse::whole(text, &(KEYS_MIN..=KEYS_MAX))
    });
    let on_outage = reader.read("RATE_LIMIT_ON_OUTAGE", |text| {
        match text.to_ascii_lowercase().as_str() {
            "share" => Ok(OnOutage::Share),
            "closed" => Ok(OnOutage::Closed),
            "open" => Ok(OnOutage::Open),
            _ => Err("share, closed or open".to_owned()),
        }
    });
    let nodes = reader.read("RATE_LIMIT_NODES", |text| {
        parse::whole(text, &(1..=NODES_MAX))
    });
    if let (Some(rpm), Some(burst)) = (rpm, burst)
        && rpm + burst >= BUCKET_END
    {
        let sum = format!(
            "RATE_LIMIT_RPM + RATE_LIMIT_BURST must be below {BUCKET_END} (here {}){OFF}",
            rpm + burst
        );
        reader.complain("RATE_LIMIT_RPM", &sum);
        return None;
    }
    Some(Limits {
        rpm: u32::try_from(rpm?).ok()?,
        burst: u32::try_from(burst?).ok()?,
        block: block?,
        per_org: per_org?,
        per_ip: per_ip?,
        keys_max: usize::try_from(keys_max?).ok()?,
        on_outage: on_outage?,
        nodes: u32::try_from(nodes?).ok()?,
    })
}

/// Identity.
pub(super) fn auth(reader: &mut Reader) -> Option<Auth> {
    let required = reader.read("REQUIRE_AUTHENTICATION", parse::boolean);
    let encoding = reader.read("JWT_SECRET_ENCODING", |text| {
        SecretEncoding::named(text).ok_or_else(|| "text, base64, base64url or hex".to_owned())
    });
    let secret = reader.read_optional("JWT_SECRET_KEY", |text| {
        // A wrong encoding is a problem already; whatever the text is, it is none.
        let key = encoding.unwrap_or(SecretEncoding::Text).decode(text)?;
        Ok((Secret::new(text), key.len()))
    });
    let algorithm = reader.read("JWT_ALGORITHM", |text| {
        match text.to_ascii_uppercase().as_str() {
            "HS256" => Ok(Algorithm::Hs256),
            "HS384" => Ok(Algorithm::Hs384),
            "HS512" => Ok(Algorithm::Hs512),
            _ => Err("HS256, HS384 or HS512".to_owned()),
        }
    });
    let audience = reader.read_optional("JWT_AUDIENCE", parse::names_if_any);
    let issuer = reader.read_optional("JWT_ISSUER", parse::names_if_any);
    let organization_claims = reader.read("JWT_ORGANIZATION_CLAIMS", parse::names);
    let user_claims = reader.read("JWT_USER_CLAIMS", parse::names);
    let role_claims = reader.read("JWT_ROLE_CLAIMS", parse::names);
    let admin_roles = reader.read("ADMIN_ROLES", parse::names_or_none);
    let bytes = secret
        .as_ref()
        .map(|secret| secret.as_ref().map(|(_, bytes)| *bytes));
    check_secret(reader, required, encoding, bytes);
    let secret = secret.map(|secret| secret.map(|(secret, _)| secret));
    Some(Auth {
        required: required?,
        secret: secret?,
        secret_encoding: encoding?,
        algorithm: algorithm?,
        audience: audience?.unwrap_or_default(),
        issuer: issuer?.unwrap_or_default(),
        organization_claims: organization_claims?,
        user_claims: user_claims?,
        role_claims: role_claims?,
        admin_roles: admin_roles?,
    })
}

/// No secret with authentication on would let nobody in; a short one can be guessed offline from a single token. `bytes` are those
/// of the key, `Some(None)` without one.
fn check_secret(
    reader: &mut Reader,
    required: Option<bool>,
    encoding: Option<SecretEncoding>,
    bytes: Option<Option<usize>>,
) {
    match (required, bytes) {
        (Some(true), Some(None)) => {
            let is_named = reader
                .settled
                .problems
                .iter()
                .any(|problem| problem.variable == "JWT_SECRET_KEY");
            if !is_named {
                let what = "must be the secret that tokens are signed with, 32 bytes or more (openssl rand -base64 48), \
                            or set REQUIRE_AUTHENTICATION=false";
                reader.complain("JWT_SECRET_KEY", what);
            }
        }
        (_, Some(Some(bytes))) => {
            if bytes < SECRET_BYTES_MIN {
                let advice = format!(
                    "JWT_SECRET_KEY has {bytes} bytes: fewer than {SECRET_BYTES_MIN} can be guessed"
                );
                reader.warn(advice);
            }
            if encoding == Some(SecretEncoding::Text) {
                reader.warn_of_slips("JWT_SECRET_KEY");
            }
        }
        (_, _) => {}
    }
}

/// Logging.
pub(super) fn log(reader: &mut Reader) -> Option<Log> {
    let level = reader.read("LOG_LEVEL", |text| {
        match text.to_ascii_uppercase().as_str() {
            "DEBUG" => Ok(Level::Debug),
            "INFO" => Ok(Level::Info),
            "WARNING" | "WARN" => Ok(Level::Warning),
            "ERROR" => Ok(Level::Error),
            "CRITICAL" => Ok(Level::Critical),
            _ => Err("DEBUG, INFO, WARNING (or WARN), ERROR or CRITICAL".to_owned()),
        }
    });
    let requests = reader.read("LOG_REQUESTS", parse::boolean);
    let format = reader.read("LOG_FORMAT", |text| {
        match text.to_ascii_lowercase().as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("text or json".to_owned()),
        }
    });
    Some(Log {
        level: level?,
        requests: requests?,
        format: format?,
    })
}

/// Time limits of the gateway as a whole.
pub(super) fn timeouts(reader: &mut Reader) -> Option<Timeouts> {
    let head = seconds(reader, "HEAD_TIMEOUT", 3_600.0);
    let handshake = seconds(reader, "HANDSHAKE_TIMEOUT", 3_600.0);
    let idle = seconds(reader, "IDLE_TIMEOUT", 86_400.0);
    let body = seconds(reader, "BODY_TIMEOUT", 3_600.0);
    let connect = seconds(reader, "CONNECT_TIMEOUT", 300.0);
    let read = seconds(reader, "READ_TIMEOUT", 86_400.0);
    let stream_idle = seconds(reader, "STREAM_IDLE_TIMEOUT", 86_400.0);
    let tunnel_idle = seconds(reader, "TUNNEL_IDLE_TIMEOUT", 86_400.0);
    let write = seconds(reader, "WRITE_TIMEOUT", 3_600.0);
    // Zero is a wish here: end at once.
    let drain = reader.read("DRAIN_TIMEOUT", |text| {
        parse::seconds(text, &(0.0..=3_600.0))
    });
    Some(Timeouts {
        head: head?,
        handshake: handshake?,
        idle: idle?,
        body: body?,
        connect: connect?,
        read: read?,
        stream_idle: stream_idle?,
        tunnel_idle: tunnel_idle?,
        write: write?,
        drain: drain?,
    })
}

/// When services are left alone.
pub(super) fn breaker(reader: &mut Reader) -> Option<Breaker> {
    let failures = reader.read("BREAKER_FAILURES", |text| {
        parse::whole(text, &(0..=1_000_000)).map_err(|range| format!("{range}; 0 is off"))
    });
    // Below a tenth of a second it would be no pause; above an hour nobody would wait for the trial.
    let open = reader.read("BREAKER_OPEN_TIME", |text| {
        parse::seconds(text, &(0.1..=3_600.0))
    });
    Some(Breaker {
        failures_max: u32::try_from(failures?).ok()?,
        open: open?,
    })
}

/// One time limit up to a bound.
pub(super) fn seconds(reader: &mut Reader, variable: &str, max: f64) -> Option<Duration> {
    reader.read(variable, |text| parse::seconds(text, &(TIMEOUT_MIN..=max)))
}

/// Bounds that are not times.
pub(super) fn bounds(reader: &mut Reader) -> Option<Bounds> {
    let connections = reader.read_optional("MAX_CONNECTIONS", |text| {
        parse::whole(text, &(1..=100_000_000))
    });
    let none_is_zero = |range: String| format!("{range}; 0 is off");
    let per_address = reader.read("MAX_CONNECTIONS_PER_IP", |text| {
        parse::whole(text, &(0..=100_000_000)).map_err(none_is_zero)
    });
    let per_organization = reader.read("MAX_IN_FLIGHT_PER_ORG", |text| {
        parse::whole(text, &(0..=100_000_000)).map_err(none_is_zero)
    });
    let body_bytes = reader.read("MAX_BODY_BYTES", |text| {
        parse::whole(text, &(0..=i64::MAX.unsigned_abs()))
            .map_err(|range| format!("{range} bytes; 0 is off"))
    });
    let connections = connections?.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    Some(Bounds {
        connections_max: connections,
        connections_per_address_max: u32::try_from(per_address?).ok()?,
        in_flight_per_organization_max: u32::try_from(per_organization?).ok()?,
        body_bytes_max: body_bytes.map(|bytes| (bytes > 0).then_some(bytes))?,
    })
}
