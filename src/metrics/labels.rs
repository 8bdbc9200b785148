//! The closed sets of label values. Not free text: a label that a peer could choose would let it grow the tables.

/// Methods with a label of their own; any other token is counted as the last.
pub const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other",
];

/// The label index of a method as it stands in the head (methods are case-sensitive, RFC 9110 9.1).
pub fn method_index(method: &[u8]) -> usize {
    match method {
        b"GET" => 0,
        b"HEAD" => 1,
        b"POST" => 2,
        b"PUT" => 3,
        b"PATCH" => 4,
        b"DELETE" => 5,
        b"OPTIONS" => 6,
        _ => 7,
    }
}

/// Status classes 1xx to 5xx; anything that is no status at all is counted as our own fault.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

pub(super) fn class_index(status: u16) -> usize {
    match status {
        100..=199 => 0,
        200..=299 => 1,
        300..=399 => 2,
        400..=499 => 3,
        _ => 4,
    }
}

/// Why a downstream connection was closed: the field of the log line and the label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// End of stream between two requests: the ordinary end.
    ClientClosed,
    /// The client left, or reset the connection, with a request or an answer under way.
    ClientReset,
    /// The answer said `Connection: close` (or the request was HTTP/1.0 without keep-alive).
    KeepAliveOff,
    /// Nothing came for `IDLE_TIMEOUT`; in a tunnel, for `TUNNEL_IDLE_TIMEOUT`.
    IdleTimeout,
    /// A head was begun and not completed within `HEAD_TIMEOUT`.
    HeadTimeout,
    /// A request body stood still for `BODY_TIMEOUT`.
    BodyTimeout,
    /// The client did not take its answer for `WRITE_TIMEOUT`.
    WriteTimeout,
    /// The bytes could not be read as one request, so nothing after them can be trusted.
    BadRequest,
    /// An answer was refused while its request body was pending, and the rest of that body was too long to drop.
    BodyAbandoned,
    /// The upstream broke off in the middle of its answer.
    UpstreamBroken,
    /// The service ended a tunnel.
    UpstreamClosed,
    /// The token that a tunnel was opened with has expired.
    TokenExpired,
    /// The client's certificate has expired.
    CertificateExpired,
    /// The gateway shuts down.
    Draining,
    /// More than `MAX_CONNECTIONS`, or no descriptor left.
    Overload,
    /// More than `MAX_CONNECTIONS_PER_IP` of its address.
    AddressFull,
    /// TLS's handshake was refused, broken off or too slow.
    TlsHandshake,
    /// It did not begin with a PROXY protocol header that may be believed (`PROXY_PROTOCOL`).
    ProxyHeader,
    /// A panic was caught around this connection.
    Panic,
    /// The socket failed in another way.
    Failed,
}

impl CloseReason {
    /// Every reason, in the order of the label index.
    pub const ALL: [Self; 20] = [
        Self::ClientClosed,
        Self::ClientReset,
        Self::KeepAliveOff,
        Self::IdleTimeout,
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::WriteTimeout,
        Self::BadRequest,
        Self::BodyAbandoned,
        Self::UpstreamBroken,
        Self::UpstreamClosed,
        Self::TokenExpired,
        Self::CertificateExpired,
        Self::Draining,
        Self::Overload,
        Self::AddressFull,
        Self::TlsHandshake,
        Self::ProxyHeader,
        Self::Panic,
        Self::Failed,
    ];

    /// The name in logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::ClientReset => "client_reset",
            Self::KeepAliveOff => "keep_alive_off",
            Self::IdleTimeout => "idle_timeout",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::BadRequest => "bad_request",
            Self::BodyAbandoned => "body_abandoned",
            Self::UpstreamBroken => "upstream_broken",
            Self::UpstreamClosed => "upstream_closed",
            Self::TokenExpired => "token_expired",
            Self::CertificateExpired => "certificate_expired",
            Self::Draining => "draining",
            Self::Overload => "overload",
            Self::AddressFull => "address_full",
            Self::TlsHandshake => "tls_handshake",
            Self::ProxyHeader => "proxy_header",
            Self::Panic => "panic",
            Self::Failed => "failed",
        }
    }
}

/// Which key a limiter decision was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitPolicy {
    /// The client address.
    Ip,
    /// The organization of the token.
    Organization,
}

impl LimitPolicy {
    pub(super) const LABELS: [&'static str; 2] = ["ip", "organization"];
}

/// What the limiter decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitOutcome {
    /// Tokens were taken.
    Admitted,
    /// 429: the bucket was short, which may have begun a block.
    Refused,
    /// 429 from a block, or another cached refusal, that stood already.
    Blocked,
}

impl LimitOutcome {
    pub(super) const LABELS: [&'static str; 3] = ["admitted", "refused", "blocked"];
}

/// Why a caller was not identified (401).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFailure {
    /// No `Authorization` field.
    Missing,
    /// The field is not one `Bearer <token>`.
    Format,
    /// `exp` has passed.
    Expired,
    /// The signature does not match the secret.
    Signature,
    /// Not the configured algorithm.
    Algorithm,
    /// `aud`, `iss`, `nbf`, `iat`, `typ`, `crit` or an identity claim was refused.
    Claims,
    /// Not a JWT, or too long to be read.
    Malformed,
}

impl AuthFailure {
    pub(super) const LABELS: [&'static str; 7] = [
        "missing",
        "format",
        "expired",
        "signature",
        "algorithm",
        "claims",
        "malformed",
    ];
}

/// What happened between a worker and an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamEvent {
    /// A new connection stood.
    Connected,
    /// A pooled connection was taken.
    Reused,
    /// A connect was refused or found no way.
    ConnectFailed,
    /// A connect exceeded `CONNECT_TIMEOUT`.
    ConnectTimeout,
    /// No response byte within the service's response time.
    ResponseTimeout,
    /// The response could not be read as HTTP (502).
    Malformed,
    /// The connection broke with a response under way.
    Broken,
    /// A request was sent again, because the connection had died before its first response byte.
    Retried,
    /// An endpoint was left out after failures.
    Ejected,
    /// The breaker opened, or stayed open after a trial.
    BreakerOpened,
    /// A request was refused because the breaker was open (503).
    BreakerRefused,
}

impl UpstreamEvent {
    pub(super) const LABELS: [&'static str; 11] = [
        "connected",
        "reused",
        "connect_failed",
        "connect_timeout",
        "response_timeout",
        "malformed",
        "broken",
        "retried",
        "ejected",
        "breaker_opened",
        "breaker_refused",
    ];
}

/// What the exchange of leases counts.
pub const LEASE_EVENTS: [&str; 9] = [
    "calls", "waited", "lost", "repeated", "short", "granted", "returned", "expired", "owed",
];

/// Where the limiter judged a key: in a core's slice, at the node's bucket, at a bucket that keys share, by the store after a wait, or
/// by a refusal that was known.
pub const LIMIT_LEVELS: [&str; 5] = ["slice", "node", "overflow", "waited", "cached_refusal"];
