//! The one list of settings: flag, variable, default, help text and README table all come from the structs below. Nothing is
//! parsed here; clap hands over text and `sections` judges it. Invariant: each field is an optional text with an `env` name,
//! and the fields marked `hide_env_values` are secrets that no output may show.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

/// Every setting of the gateway. `value_name` names the kind of a value; `LIST` and `URLS` may be an array in the TOML file.
#[derive(Debug, Args)]
pub struct Flags {
    /// Where the gateway listens.
    #[command(flatten)]
    pub listening: Listening,
    /// How it is encrypted.
    #[command(flatten)]
    pub encryption: Encryption,
    /// Where requests go.
    #[command(flatten)]
    pub services: Services,
    /// Who may pass.
    #[command(flatten)]
    pub authentication: Authentication,
    /// How often.
    #[command(flatten)]
    pub limits: RateLimits,
    /// What browsers and proxies may say.
    #[command(flatten)]
    pub clients: Clients,
    /// How long.
    #[command(flatten)]
    pub times: Times,
    /// What is written.
    #[command(flatten)]
    pub logging: Logging,
}

/// Listeners, threads and bounds.
#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub struct Listening {
    /// Address the gateway listens on: an IP address or `localhost`
    #[arg(long, env, default_value = "0.0.0.0", value_name = "ADDRESS")]
    pub gateway_host: Option<OsString>,
    /// Port the gateway listens on; 0 takes any free one
    #[arg(long, env, default_value = "8000", value_name = "PORT")]
    pub gateway_port: Option<OsString>,
    /// Worker threads, a number or `auto` (one per usable CPU); never more than the usable CPUs
    #[arg(long, env, default_value = "4", value_name = "N")]
    pub gateway_workers: Option<OsString>,
    /// TOML file with any of these settings as lower-case keys, and further `[[routes]]`
    #[arg(long = "config", env = "GATEWAY_CONFIG", value_name = "PATH")]
    pub gateway_config: Option<OsString>,
    /// Address of the operations port (metrics, probes): an IP address or `localhost`
    #[arg(long, env, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub ops_host: Option<OsString>,
    /// Operations port; 0 switches it off. Set and taken: no start; default and taken: a warning
    #[arg(long, env, default_value = "9090", value_name = "PORT")]
    pub ops_port: Option<OsString>,
    /// Show the services' URLs and the version on the public port (`/health`, `/openapi.json`); `false`: on the operations port only
    #[arg(long, env, default_value = "true", value_name = "BOOL")]
    pub health_details: Option<OsString>,
    /// Client connections held at once; unset: 90 % of the file descriptor limit
    #[arg(long, env, value_name = "N")]
    pub max_connections: Option<OsString>,
    /// Client connections of one address held at once (IPv6: of its /64); 0: any number. Trusted proxies are exempt
    #[arg(long, env, default_value = "0", value_name = "N")]
    pub max_connections_per_ip: Option<OsString>,
    /// Requests of one organization forwarded at once; 0: any number
    #[arg(long, env, default_value = "0", value_name = "N")]
    pub max_in_flight_per_org: Option<OsString>,
    /// Largest request body in bytes; 0 switches the bound off
    #[arg(long, env, default_value = "67108864", value_name = "BYTES")]
    pub max_body_bytes: Option<OsString>,
}

/// TLS.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub struct Encryption {
    /// Certificate chains (PEM), several with commas between; the first is for clients that ask for no known name. Unset: plain HTTP
    #[arg(long, env, value_name = "LIST")]
    pub tls_cert: Option<OsString>,
    /// Private keys (PEM), one for each certificate, in the same order
    #[arg(long, env, value_name = "LIST")]
    pub tls_key: Option<OsString>,
    /// Client certificates (PEM) that are trusted, or their authorities; unset: clients are not asked for one
    #[arg(long, env, value_name = "PATH")]
    pub tls_client_ca: Option<OsString>,
    /// Whether a client must show a certificate, with `TLS_CLIENT_CA`: `optional` or `required`
    #[arg(long, env, default_value = "required", value_name = "NAME")]
    pub tls_client_auth: Option<OsString>,
    /// Certificates (PEM) of `https` services, or of their authorities; unset: the system's authorities
    #[arg(long, env, value_name = "PATH")]
    pub upstream_ca: Option<OsString>,
    /// Certificate chain (PEM) that the gateway shows to `https` services that ask for one
    #[arg(long, env, value_name = "PATH")]
    pub upstream_cert: Option<OsString>,
    /// Its private key (PEM)
    #[arg(long, env, value_name = "PATH")]
    pub upstream_key: Option<OsString>,
}

/// Upstream services and Redis.
#[derive(Debug, Args)]
#[command(next_help_heading = "Services")]
pub struct Services {
    /// Service behind `/api/v1/*`, the path is kept: `http://host[:port][/path]`, or `https`; several endpoints with commas between
    #[arg(long, env, default_value = "http://backend:8000", value_name = "URLS")]
    pub backend_url: Option<OsString>,
    /// Path at the backend's root that answers 2xx while it is healthy
    #[arg(long, env, default_value = "/health", value_name = "PATH")]
    pub backend_health_path: Option<OsString>,
    /// `Host` that the backend is sent: `service` (its own, each endpoint's by its URL), `preserve` (the client's) or a name
    #[arg(long, env, default_value = "service", value_name = "NAME")]
    pub backend_host: Option<OsString>,
    /// Service behind `/analyzer/*`, the prefix is stripped: `http://host[:port][/path]`, or `https`; several with commas between
    #[arg(
        long,
        env,
        default_value = "http://ai-analyzer:8001",
        value_name = "URLS"
    )]
    pub ai_analyzer_url: Option<OsString>,
    /// Path at the analyzer's root that answers 2xx while it is healthy
    #[arg(long, env, default_value = "/health", value_name = "PATH")]
    pub ai_analyzer_health_path: Option<OsString>,
    /// `Host` that the analyzer is sent: `service`, `preserve` or a name
    #[arg(long, env, default_value = "service", value_name = "NAME")]
    pub ai_analyzer_host: Option<OsString>,
    /// Requests to a service that fail in a row, within 10 s, until it is left alone (503), per worker; 0: never
    #[arg(long, env, default_value = "20", value_name = "N")]
    pub breaker_failures: Option<OsString>,
    /// How long it is left alone; then one request at a time finds out whether it is back
    #[arg(long, env, default_value = "5", value_name = "SECONDS")]
    pub breaker_open_time: Option<OsString>,
    /// Redis that holds the limits of several gateways: `redis://[user:password@]host[:port][/db]`, `rediss` with TLS, or `valkey(s)`
    #[arg(long, env, default_value = "redis://redis:6379/0", value_name = "URL")]
    #[arg(hide_env_values = true)]
    pub redis_url: Option<OsString>,
    /// File with the Redis URL, in place of `REDIS_URL`
    #[arg(long, env, value_name = "PATH")]
    pub redis_url_file: Option<OsString>,
    /// Share the limits through Redis; `false`: each gateway counts for itself
    #[arg(long, env, default_value = "true", value_name = "BOOL")]
    pub redis_enabled: Option<OsString>,
    /// The URL names a node of a Redis Cluster
    #[arg(long, env, default_value = "false", value_name = "BOOL")]
    pub redis_cluster: Option<OsString>,
    /// Authorities (PEM) of the certificate of a `rediss` or `valkeys` URL; unset: the system's
    #[arg(long, env, value_name = "PATH")]
    pub redis_ca: Option<OsString>,
    /// Redis: to answer a call; then it counts as away. At least twice the time that an answer takes
    #[arg(long, env, default_value = "0.05", value_name = "SECONDS")]
    pub redis_timeout: Option<OsString>,
}

/// Tokens and roles.
#[derive(Debug, Args)]
#[command(next_help_heading = "Authentication")]
pub struct Authentication {
    /// Refuse requests without a valid token; `false`: they pass as anonymous
    #[arg(long, env, default_value = "true", value_name = "BOOL")]
    pub require_authentication: Option<OsString>,
    /// Secret that tokens are signed with, 32 bytes or more; a flag is visible to other users of the machine
    #[arg(long, env, value_name = "TEXT", hide_env_values = true)]
    pub jwt_secret_key: Option<OsString>,
    /// File with the secret, in place of `JWT_SECRET_KEY`
    #[arg(long, env, value_name = "PATH")]
    pub jwt_secret_key_file: Option<OsString>,
    /// How `JWT_SECRET_KEY` is written: `text` (its own bytes are the key), `base64`, `base64url` or `hex`; padding may be left out
    #[arg(long, env, default_value = "text", value_name = "NAME")]
    pub jwt_secret_encoding: Option<OsString>,
    /// Signature algorithm of all tokens: HS256, HS384 or HS512
    #[arg(long, env, default_value = "HS256", value_name = "NAME")]
    pub jwt_algorithm: Option<OsString>,
    /// Audiences of which a token must name one; unset: a token that names an audience is refused
    #[arg(long, env, value_name = "LIST")]
    pub jwt_audience: Option<OsString>,
    /// Issuers of which a token must name one; unset: any
    #[arg(long, env, value_name = "LIST")]
    pub jwt_issuer: Option<OsString>,
    /// Claims that may hold the organization, the first one present counts
    #[arg(
        long,
        env,
        default_value = "organization_id,org_id,tenant_id",
        value_name = "LIST"
    )]
    pub jwt_organization_claims: Option<OsString>,
    /// Claims that may hold the user, the first one present counts
    #[arg(long, env, default_value = "user_id,sub", value_name = "LIST")]
    pub jwt_user_claims: Option<OsString>,
    /// Claims that may hold the role, the first one present counts
    #[arg(long, env, default_value = "role,roles", value_name = "LIST")]
    pub jwt_role_claims: Option<OsString>,
    /// Roles that may use `/admin/*`; `none`: nobody. `org_admin` reaches only its own organization
    #[arg(
        long,
        env,
        default_value = "admin,super_admin,org_admin,superuser",
        value_name = "LIST"
    )]
    pub admin_roles: Option<OsString>,
    /// Further paths that need no token; a trailing `*` covers all that begins so
    #[arg(long, env, value_name = "LIST")]
    pub public_paths: Option<OsString>,
}

/// The token buckets.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rate limits")]
pub struct RateLimits {
    /// Requests per minute of each organization and of each client address, at least 1
    #[arg(long, env, default_value = "100", value_name = "N")]
    pub rate_limit_rpm: Option<OsString>,
    /// Requests on top of that which may come at once
    #[arg(long, env, default_value = "20", value_name = "N")]
    pub rate_limit_burst: Option<OsString>,
    /// Limit organizations
    #[arg(long, env, default_value = "true", value_name = "BOOL")]
    pub rate_limit_per_org: Option<OsString>,
    /// Limit client addresses (IPv6: the /64)
    #[arg(long, env, default_value = "true", value_name = "BOOL")]
    pub rate_limit_per_ip: Option<OsString>,
    /// How long a refused organization or address stays refused; 0: until its bucket refills
    #[arg(long, env, default_value = "60", value_name = "SECONDS")]
    pub rate_limit_block_duration: Option<OsString>,
    /// Organizations and addresses remembered at once: 64 bytes each from the start, 30 to 50 more once in use, with Redis 150 to 200
    #[arg(long, env, default_value = "262144", value_name = "N")]
    pub rate_limit_keys_max: Option<OsString>,
    /// While Redis is away: `share` (each gateway admits its part), `closed` (429) or `open` (no limit)
    #[arg(long, env, default_value = "share", value_name = "NAME")]
    pub rate_limit_on_outage: Option<OsString>,
    /// Gateways that share the limits, at least; more are counted by their heartbeats
    #[arg(long, env, default_value = "1", value_name = "N")]
    pub rate_limit_nodes: Option<OsString>,
}

/// Browsers and proxies in front.
#[derive(Debug, Args)]
#[command(next_help_heading = "Clients")]
pub struct Clients {
    /// Origins that browsers may call from: `*`, `none`, or `https://app.example.com,…`; `https://*.example.com`: all below that name
    #[arg(long, env, default_value = "*", value_name = "LIST")]
    pub cors_origins: Option<OsString>,
    /// Proxies whose `X-Forwarded-*` and `Forwarded` are believed: addresses or networks (`10.0.0.0/8`)
    #[arg(long, env, value_name = "LIST")]
    pub trusted_proxies: Option<OsString>,
    /// Every connection begins with a PROXY protocol header (version 1 or 2); with `TRUSTED_PROXIES` only theirs may name a client
    #[arg(long, env, default_value = "false", value_name = "BOOL")]
    pub proxy_protocol: Option<OsString>,
    /// Names that clients may call the gateway by (`Host`), without port; `*.example.com`: one label below. Others get 421. Unset: any
    #[arg(long, env, value_name = "LIST")]
    pub allowed_hosts: Option<OsString>,
    /// Fields that requests lose unless they come from `TRUSTED_PROXIES`, in place of the default list; `none`: no field
    #[arg(
        long,
        env,
        default_value = "X-Original-URL,X-Rewrite-URL,Proxy,X-Forwarded,X-Client-IP,X-Cluster-Client-IP,CF-Connecting-IP,\
                         True-Client-IP,X-Host,X-Original-Host,Remote-User,X-Remote-User,X-SSL-Cert,SSL-Client-Cert,X-Client-Cert",
        value_name = "LIST"
    )]
    pub drop_fields: Option<OsString>,
}

/// Time limits.
#[derive(Debug, Args)]
#[command(next_help_heading = "Time limits")]
pub struct Times {
    /// Client: a request's head, from its first byte (408)
    #[arg(long, env, default_value = "10", value_name = "SECONDS")]
    pub head_timeout: Option<OsString>,
    /// Client: TLS's handshake, from connecting (closed)
    #[arg(long, env, default_value = "10", value_name = "SECONDS")]
    pub handshake_timeout: Option<OsString>,
    /// Client: between requests on one connection (closed)
    #[arg(long, env, default_value = "75", value_name = "SECONDS")]
    pub idle_timeout: Option<OsString>,
    /// Client: between two pieces of a request body (408)
    #[arg(long, env, default_value = "30", value_name = "SECONDS")]
    pub body_timeout: Option<OsString>,
    /// Service: to connect, TLS's handshake included (504)
    #[arg(long, env, default_value = "2", value_name = "SECONDS")]
    pub connect_timeout: Option<OsString>,
    /// Service: to the first byte of the answer (504)
    #[arg(long, env, default_value = "30", value_name = "SECONDS")]
    pub response_timeout: Option<OsString>,
    /// Analyzer: to the first byte of the answer (504)
    #[arg(long, env, default_value = "120", value_name = "SECONDS")]
    pub analyzer_response_timeout: Option<OsString>,
    /// Service: between two pieces of the answer (cut off)
    #[arg(long, env, default_value = "60", value_name = "SECONDS")]
    pub read_timeout: Option<OsString>,
    /// Service: between two pieces of an event stream, `text/event-stream` (cut off)
    #[arg(long, env, default_value = "3600", value_name = "SECONDS")]
    pub stream_idle_timeout: Option<OsString>,
    /// WebSocket: without a byte in either direction (closed)
    #[arg(long, env, default_value = "3600", value_name = "SECONDS")]
    pub tunnel_idle_timeout: Option<OsString>,
    /// Client: to take a piece of the answer (cut off)
    #[arg(long, env, default_value = "60", value_name = "SECONDS")]
    pub write_timeout: Option<OsString>,
    /// Shutdown: for requests under way
    #[arg(long, env, default_value = "25", value_name = "SECONDS")]
    pub drain_timeout: Option<OsString>,
}

/// Log lines.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// Least level written: DEBUG, INFO, WARNING, ERROR or CRITICAL
    #[arg(long, env, default_value = "INFO", value_name = "LEVEL")]
    pub log_level: Option<OsString>,
    /// Write a line for each request
    #[arg(long, env, default_value = "true", value_name = "BOOL")]
    pub log_requests: Option<OsString>,
    /// Shape of the lines: `text` or `json`
    #[arg(long, env, default_value = "text", value_name = "FORMAT")]
    pub log_format: Option<OsString>,
}

/// What the command line itself said, by variable; neither defaults nor the environment, which rank lower and come later.
#[derive(Debug, Clone, Default)]
pub struct Raw(Vec<(String, OsString)>);

impl Raw {
    /// Takes the typed settings out of clap's matches.
    pub fn from_matches(matches: &ArgMatches) -> Self {
        let mut typed = Self::default();
        for row in super::table() {
            if matches.value_source(&row.id) != Some(ValueSource::CommandLine) {
                continue;
            }
            if let Some(value) = matches.get_raw(&row.id).and_then(|mut all| all.next()) {
                typed.set(&row.variable, value);
            }
        }
        typed
    }

    /// Sets a variable as if its flag had been typed.
    pub fn set(&mut self, variable: &str, value: impl Into<OsString>) {
        self.0.push((variable.to_owned(), value.into()));
    }

    /// What was typed for a variable; the last one counts.
    pub fn value(&self, variable: &str) -> Option<&OsString> {
        self.0
            .iter()
            .rev()
            .find(|(name, _)| name == variable)
            .map(|(_, value)| value)
    }
}
