//! The checked configuration as plain values. No parsing and no defaults here (see the sibling files); a value of these types
//! has passed all checks.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::identity::SecretEncoding;
use crate::limit::OnOutage;

/// Everything the gateway is told from outside, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Public listener (`GATEWAY_HOST`, `GATEWAY_PORT`).
    pub listen: SocketAddr,
    /// Number of worker threads, at least 1, never above the usable CPUs (`GATEWAY_WORKERS`).
    pub workers: usize,
    /// Operations listener; `None` when `OPS_PORT` is 0.
    pub ops: Option<Ops>,
    /// What clients are spoken to with (`TLS_*`); `None`: plain HTTP.
    pub tls: Option<crate::tls::Files>,
    /// What `https` services are spoken to with (`UPSTREAM_CA`, `UPSTREAM_CERT`, `UPSTREAM_KEY`).
    pub service_files: crate::tls::ServiceFiles,
    /// Upstream services; index 0 is the backend, 1 the analyzer, others come from the file.
    pub services: Vec<Service>,
    /// When a service that fails is left alone (`BREAKER_*`).
    pub breaker: Breaker,
    /// Route rules in the order they were written; the longest prefix wins.
    pub routes: Vec<RouteRule>,
    /// Redis (`REDIS_*`).
    pub redis: Redis,
    /// Rate limits (`RATE_LIMIT_*`).
    pub limits: Limits,
    /// Identity (`JWT_*`, `REQUIRE_AUTHENTICATION`, `ADMIN_ROLES`).
    pub auth: Auth,
    /// `CORS_ORIGINS`: empty = none, `["*"]` = any.
    pub cors_origins: Vec<String>,
    /// `PUBLIC_PATHS` as written, a trailing `*` allowed; the built-in public paths are not among them.
    pub public_paths: Vec<String>,
    /// `TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<IpNet>,
    /// `ALLOWED_HOSTS` in lower case, without ports; `None`: any.
    pub allowed_hosts: Option<Vec<String>>,
    /// `DROP_FIELDS`: names of fields that requests of untrusted peers lose.
    pub drop_fields: Vec<String>,
    /// `PROXY_PROTOCOL`: every connection begins with its header.
    pub proxy_protocol: bool,
    /// `HEALTH_DETAILS`: the public port shows the services' URLs and the version.
    pub health_details: bool,
    /// Logging (`LOG_*`).
    pub log: Log,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Other bounds.
    pub bounds: Bounds,
    /// Lines that the operator should see at start (unknown variables, weak secret …).
    pub warnings: Vec<String>,
}

/// The operations port.
#[derive(Debug, Clone, Copy)]
pub struct Ops {
    /// `OPS_HOST`, `OPS_PORT`.
    pub listen: SocketAddr,
    /// The operator set the port: taken means no start. Otherwise taken means one warning.
    pub explicit: bool,
}

/// One upstream service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name for logs, metrics and answers: `backend`, `ai-analyzer`, or the file's.
    pub name: String,
    /// Spoken to over TLS; at each endpoint its certificate must be for the host of the URL that led there.
    pub tls: bool,
    /// Where it runs: one per URL, at least one. A name may stand for several addresses.
    pub endpoints: Vec<Endpoint>,
    /// The path of all its URLs without a trailing slash: `` or `/api/v1`.
    pub base_path: String,
    /// What it is sent as `Host`.
    pub host: HostSent,
    /// Path probed for health at the service's root, default `/health`.
    pub health_path: String,
    /// Time to the first response byte.
    pub response_timeout: Duration,
}

impl Service {
    /// The addresses that the URLs name themselves, so that nothing has to be resolved.
    pub fn literal_addresses(&self) -> Vec<SocketAddr> {
        let literal = self.endpoints.iter().filter_map(Endpoint::literal);
        literal.collect()
    }

    /// What an endpoint is sent as `Host`; `client`: the name that the client used, empty when it used none.
    pub fn host_for<'a>(&'a self, endpoint: &'a Endpoint, client: &'a str) -> &'a str {
        match &self.host {
            HostSent::Preserved if !client.is_empty() => client,
            HostSent::Service | HostSent::Preserved => &endpoint.authority,
            HostSent::Name(name) => name,
        }
    }

    /// Its endpoints are sent different `Host`s.
    pub fn has_several_hosts(&self) -> bool {
        let authorities = || self.endpoints.iter().map(|endpoint| &endpoint.authority);
        self.host == HostSent::Service && authorities().any(|one| Some(one) != authorities().next())
    }

    /// Its URLs with commas between, put together from their parts: what was parsed away (userinfo, query) cannot be shown.
    pub fn urls(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let url =
            |endpoint: &Endpoint| format!("{scheme}://{}{}", endpoint.authority, self.base_path);
        let urls: Vec<String> = self.endpoints.iter().map(url).collect();
        urls.join(",")
    }
}

/// What a service is sent as `Host`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HostSent {
    /// The authority of the endpoint's own URL.
    #[default]
    Service,
    /// What the client sent.
    Preserved,
    /// Always this.
    Name(String),
}

/// One of the places where a service runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host to resolve or connect to; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `host[:port]` as in a URL (the scheme's own port is left out).
    pub authority: String,
}

impl Endpoint {
    /// The address, when the URL names one itself.
    pub fn literal(&self) -> Option<SocketAddr> {
        let literal: std::net::IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(literal, self.port))
    }
}

/// When a service that fails is left alone, per worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// `BREAKER_FAILURES`; 0 = never.
    pub failures_max: u32,
    /// `BREAKER_OPEN_TIME`.
    pub open: Duration,
}

/// A rule: which paths go to which service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRule {
    /// Path prefix without the trailing `/*`: `/api/v1`.
    pub prefix: String,
    /// Index into `Config::services`.
    pub service: usize,
    /// Strip the prefix before the service's base path is put in front.
    pub strip: bool,
    /// Reachable without a token.
    pub public: bool,
}

/// Redis connection settings.
#[derive(Debug, Clone)]
pub struct Redis {
    /// `REDIS_ENABLED`.
    pub enabled: bool,
    /// `REDIS_URL`, may hold a password.
    pub url: Secret,
    /// `REDIS_CLUSTER`.
    pub cluster: bool,
    /// `REDIS_CA`, a PEM file; `None`: the system's authorities.
    pub ca: Option<String>,
    /// `REDIS_TIMEOUT`: a call that is not answered by then was lost.
    pub timeout: Duration,
}

/// Rate limits, LIMITS section 1: L, B, D.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// L, requests per minute, ≥ 1.
    pub rpm: u32,
    /// B, burst on top; L + B < 2^24.
    pub burst: u32,
    /// D, how long a refused key stays blocked; zero = never blocks.
    pub block: Duration,
    /// Limit organizations.
    pub per_org: bool,
    /// Limit client addresses.
    pub per_ip: bool,
    /// `RATE_LIMIT_KEYS_MAX`: slots of the node table.
    pub keys_max: usize,
    /// `RATE_LIMIT_ON_OUTAGE`.
    pub on_outage: OnOutage,
    /// `RATE_LIMIT_NODES`, ≥ 1.
    pub nodes: u32,
}

/// HMAC algorithms that a shared secret may be used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

/// Identity settings.
#[derive(Debug, Clone)]
pub struct Auth {
    /// `REQUIRE_AUTHENTICATION`.
    pub required: bool,
    /// `JWT_SECRET_KEY` as it is written; `None` only when authentication is not required.
    pub secret: Option<Secret>,
    /// `JWT_SECRET_ENCODING`, which `secret` keeps.
    pub secret_encoding: SecretEncoding,
    /// `JWT_ALGORITHM`.
    pub algorithm: Algorithm,
    /// `JWT_AUDIENCE`: required of every token once set.
    pub audience: Vec<String>,
    /// `JWT_ISSUER`: required of every token once set.
    pub issuer: Vec<String>,
    /// Claim names looked at in order for the organization (`JWT_ORGANIZATION_CLAIMS`).
    pub organization_claims: Vec<String>,
    /// Claim names looked at in order for the user (`JWT_USER_CLAIMS`).
    pub user_claims: Vec<String>,
    /// Claim names looked at in order for the role (`JWT_ROLE_CLAIMS`).
    pub role_claims: Vec<String>,
    /// `ADMIN_ROLES`.
    pub admin_roles: Vec<String>,
}

impl Auth {
    /// The key that tokens are signed with: the secret, decoded.
    pub fn key(&self) -> Option<Vec<u8>> {
        let secret = self.secret.as_ref()?;
        // It could be decoded when it was read.
        self.secret_encoding.decode(secret.reveal()).ok()
    }
}

/// Logging settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// `LOG_LEVEL`.
    pub level: Level,
    /// `LOG_REQUESTS`.
    pub requests: bool,
    /// `LOG_FORMAT`.
    pub format: LogFormat,
}

impl Log {
    /// Access lines are INFO lines.
    pub fn logs_requests(&self) -> bool {
        self.requests && self.level <= Level::Info
    }
}

/// Log levels in the seed's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Debug,
    /// Access lines and milestones.
    Info,
    /// What an operator should look at.
    Warning,
    /// What failed.
    Error,
    /// What ends the process.
    Critical,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// The seed's text lines.
    Text,
    /// One JSON object per line.
    Json,
}

/// Time limits (HTTP.md); response time to first byte is per service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// `HEAD_TIMEOUT`, 10 s from a head's first byte.
    pub head: Duration,
    /// `HANDSHAKE_TIMEOUT`, 10 s from accepting a connection.
    pub handshake: Duration,
    /// `IDLE_TIMEOUT`, 75 s between requests.
    pub idle: Duration,
    /// `BODY_TIMEOUT`, 30 s without a request body byte.
    pub body: Duration,
    /// `CONNECT_TIMEOUT`, 2 s.
    pub connect: Duration,
    /// `READ_TIMEOUT`, 60 s between response bytes.
    pub read: Duration,
    /// `STREAM_IDLE_TIMEOUT`, 1 h between two pieces of an event stream.
    pub stream_idle: Duration,
    /// `TUNNEL_IDLE_TIMEOUT`, 1 h without a byte in a tunnel.
    pub tunnel_idle: Duration,
    /// `WRITE_TIMEOUT`, 60 s on a slow client.
    pub write: Duration,
    /// `DRAIN_TIMEOUT`, 25 s for in-flight requests at shutdown.
    pub drain: Duration,
}

/// Bounds that are not times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// `MAX_CONNECTIONS`; `None` = 90 % of the descriptor limit.
    pub connections_max: Option<usize>,
    /// `MAX_CONNECTIONS_PER_IP`; 0 = off.
    pub connections_per_address_max: u32,
    /// `MAX_IN_FLIGHT_PER_ORG`; 0 = off.
    pub in_flight_per_organization_max: u32,
    /// `MAX_BODY_BYTES`; `None` = off.
    pub body_bytes_max: Option<u64>,
}

/// Text that must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
