//! The way of a request through the gateway: parsed, admitted and written as a worker does it, and read again as a service would.
//! Not a socket, not a body. Invariant: what reaches a service is one request with the client's meaning, and nothing it forged.

use std::net::IpAddr;
use std::sync::Arc;

use dbpower_gateway::config::{self, Config, Rules, Snapshot, Sources};
use dbpower_gateway::http1::{HEAD_BYTES_MAX, Scratch, head_end, parse_request};
use dbpower_gateway::net::Tcp;
use dbpower_gateway::route::{Match, Rule};
use dbpower_gateway::worker::{Admitted, Checks, Source, Ticket, admit, write_request};
use dbpower_gateway::{identity, limit, presence};

use crate::chunks::folded;
use crate::ours::differ;
use crate::strict::{self, Line, Request};
use crate::{Read, paths};

/// An input that says this as a token gets a valid one in its place: no mutation finds a signature.
const TOKEN: &[u8] = b"TOKEN";
const ID_LINE: &[u8] = b"X-Request-ID: 0123456789abcdef\r\n";
const PUBLIC_EXACT: [&str; 3] = [
    "/api/v1/auth/login",
    "/api/v1/auth/register",
    "/api/v1/auth/refresh",
];
const PUBLIC_START: &str = "/api/v1/public/";
const OWN: [&str; 8] = [
    "/health",
    "/livez",
    "/readyz",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/rate-limit/info",
    "/admin/rate-limit/reset",
];

/// The default of `DROP_FIELDS`.
const DROPPED: [&str; 15] = [
    "x-original-url",
    "x-rewrite-url",
    "proxy",
    "x-forwarded",
    "x-client-ip",
    "x-cluster-client-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "x-host",
    "x-original-host",
    "remote-user",
    "x-remote-user",
    "x-ssl-cert",
    "ssl-client-cert",
    "x-client-cert",
];

/// A gateway without threads: the routes of the shipped configuration, anonymous callers allowed, limits off.
pub struct Gateway {
    snapshot: Snapshot,
    checks: Checks,
    token: Vec<u8>,
}

impl Gateway {
    #[allow(
        clippy::new_without_default,
        reason = "it mints a token and reads a configuration"
    )]
    pub fn new() -> Self {
        let mut sources = Sources::default();
        for (name, value) in [
            ("JWT_SECRET_KEY", "a secret of at least thirty-two bytes"),
            ("REQUIRE_AUTHENTICATION", "false"),
            ("REDIS_ENABLED", "false"),
            ("RATE_LIMIT_PER_ORG", "false"),
            ("RATE_LIMIT_PER_IP", "false"),
            ("BACKEND_URL", "http://backend:8000"),
            ("AI_ANALYZER_URL", "http://ai-analyzer:8001/api/v1"),
            ("PUBLIC_PATHS", "/api/v1/auth/refresh,/api/v1/public/*"),
            ("TRUSTED_PROXIES", "10.0.0.0/8"),
        ] {
            sources.environment.push((name.into(), value.into()));
        }
        let config = Arc::new(
            Config::from_sources(&sources)
                .expect("valid settings")
                .config,
        );
        let settings = config::identity_settings(&config.auth).expect("a secret");
        let mut claims = serde_json::Map::new();
        claims.insert("organization_id".into(), 1.into());
        claims.insert("user_id".into(), 123.into());
        claims.insert("role".into(), "admin".into());
        claims.insert("exp".into(), 4_000_000_000_u64.into());
        let token = identity::mint(&settings, claims)
            .expect("a token")
            .into_bytes();
        let node = limit::Node::new(config::limit_settings(&config));
        Self {
            snapshot: Snapshot {
                rules: Arc::new(Rules::new(config).expect("valid rules")),
                addresses: Vec::new(),
            },
            checks: Checks {
                limits: limit::Core::new(node, 0),
                tokens: identity::Cache::new(),
                presence: Arc::new(presence::Presence::new(presence::Bounds {
                    connections_max: 1,
                    per_address_max: 0,
                    per_organization_max: 0,
                })),
                heard: None,
            },
            token,
        }
    }

    /// Everything that must hold of what a service gets to see of these bytes.
    pub fn check(&mut self, bytes: &[u8]) {
        let bytes = &self.with_token(bytes);
        let Ok(Some(end)) = head_end(bytes, &mut 0, HEAD_BYTES_MAX) else {
            return;
        };
        let Read::Whole(came) = strict::request(bytes) else {
            return;
        };
        for (peer, trusted) in [("192.0.2.1", false), ("10.0.0.1", true)] {
            let peer: IpAddr = peer.parse().expect("an address");
            let mut scratch = Scratch::new();
            let Ok(request) = parse_request(&bytes[..end], &mut scratch) else {
                return;
            };
            let Ok(source) = Source::of(&request, peer, &self.snapshot.rules) else {
                assert!(trusted, "a stranger's fields were looked at");
                continue;
            };
            let Ok(Admitted::Forward(ticket)) =
                admit::<Tcp>(&request, &source, &self.snapshot.rules, &mut self.checks)
            else {
                continue;
            };
            let mut out = Vec::new();
            let lines = (ID_LINE, None);
            write_request(&request, &ticket, &source, lines, &self.snapshot, &mut out);
            let Ok(Match::Upstream(hit)) = self.snapshot.rules.routes.find(request.path) else {
                differ(bytes, "admitted without a route");
            };
            let sent = Sent {
                bytes,
                came: &came,
                out: &out,
                rule: hit.rule,
                public: hit.public,
                peer,
                trusted,
                identity: identity_lines(&ticket, hit.public, &came),
            };
            sent.check();
        }
    }

    fn with_token(&self, bytes: &[u8]) -> Vec<u8> {
        match bytes
            .windows(TOKEN.len())
            .position(|window| window == TOKEN)
        {
            Some(at) => [&bytes[..at], &self.token, &bytes[at + TOKEN.len()..]].concat(),
            None => bytes.to_vec(),
        }
    }
}

/// Whether the service is told who it is. A public route looks at no token.
fn identity_lines(ticket: &Ticket, public: bool, came: &Request<'_>) -> bool {
    let told = format!("{ticket:?}").contains("identity: Some");
    let tokens: Vec<&[u8]> = strict::named(&came.fields, "authorization").collect();
    let said = tokens.len() == 1 || offers_token(came);
    assert!(!told || (!public && said), "who is that?");
    told
}

/// The subprotocols that a client offers.
fn offers<'r>(request: &'r Request<'_>) -> impl Iterator<Item = &'r [u8]> {
    strict::named(&request.fields, "sec-websocket-protocol").flat_map(strict::list)
}

/// A WebSocket handshake whose token stands among its subprotocols: these go on without it.
fn offers_token(came: &Request<'_>) -> bool {
    strict::asks_websocket(came)
        && strict::named(&came.fields, "authorization")
            .next()
            .is_none()
        && offers(came).any(|offer| offer == b"bearer")
}

/// One request as a service gets it, with all that it came from.
struct Sent<'a> {
    bytes: &'a [u8],
    came: &'a Request<'a>,
    out: &'a [u8],
    rule: &'a Rule,
    public: bool,
    peer: IpAddr,
    trusted: bool,
    identity: bool,
}

impl Sent<'_> {
    #[track_caller]
    fn wrong(&self, why: &str) -> ! {
        let out = self.out.escape_ascii();
        differ(self.bytes, &format!("{why}\nsent:  {out}"));
    }

    #[track_caller]
    fn must(&self, holds: bool, why: &str) {
        if !holds {
            self.wrong(why);
        }
    }

    fn check(&self) {
        let Read::Whole(read) = strict::request(self.out) else {
            self.wrong("the service cannot read it");
        };
        self.must(read.len == self.out.len(), "more than one request");
        self.must(self.out.starts_with(read.method), "something ahead of it");
        self.must(read.minor == 1, "version");
        self.must(read.method == self.came.method, "method");
        let expected = if strict::asks_websocket(self.came) {
            strict::Body::None
        } else {
            self.came.body
        };
        self.must(read.body == expected, "framing");
        self.target(&read);
        self.one_connection(&read);
        self.callers(&read);
        self.forwarding(&read);
        self.others(&read);
    }

    fn target(&self, read: &Request<'_>) {
        let came = &self.came.target[..];
        let expected = if self.rule.strip {
            let Some(rest) = came.strip_prefix(self.rule.prefix.as_bytes()) else {
                self.wrong("stripped of a prefix that is not there");
            };
            [self.rule.base_path.as_bytes(), rest].concat()
        } else {
            [self.rule.base_path.as_bytes(), came].concat()
        };
        self.must(read.target == expected, "target");
        let home = if self.rule.strip {
            self.rule.base_path.clone()
        } else {
            format!("{}{}", self.rule.base_path, self.rule.prefix)
        };
        for reading in paths::readings(path(&read.target)) {
            if !paths::is_under(&reading, &home) {
                self.wrong(&format!(
                    "leaves {home}: {}",
                    paths::text(&reading).escape_ascii()
                ));
            }
        }
        for reading in paths::readings(path(came)) {
            let text = paths::text(&reading);
            let says = |path: &str| text == path.as_bytes();
            let public = PUBLIC_EXACT.iter().any(|path| says(path))
                || text.starts_with(PUBLIC_START.as_bytes());
            let same = paths::is_under(&reading, &self.rule.prefix)
                && public == self.public
                && !OWN.iter().any(|path| says(path));
            if !same {
                self.wrong(&format!("also reads {}", text.escape_ascii()));
            }
        }
    }

    /// RFC 9110 7.6.1: nothing of the client's connection goes on to the service's.
    fn one_connection(&self, read: &Request<'_>) {
        let values = |name| strict::named(&read.fields, name).collect::<Vec<_>>();
        let authority: &[u8] = if self.rule.strip {
            b"ai-analyzer:8001"
        } else {
            b"backend:8000"
        };
        self.must(values("host") == [authority], "Host");
        let trailers = strict::named(&self.came.fields, "te")
            .flat_map(strict::list)
            .any(|member| member.eq_ignore_ascii_case(b"trailers"));
        if strict::asks_websocket(self.came) {
            self.must(values("connection") == [b"Upgrade"], "Connection");
            self.must(values("upgrade") == [b"websocket"], "Upgrade");
            self.must(values("te").is_empty(), "TE");
        } else if trailers {
            self.must(values("te") == [b"trailers"], "TE");
            self.must(values("connection") == [b"TE"], "Connection");
        } else {
            self.must(
                values("te").is_empty() && values("connection").is_empty(),
                "TE",
            );
        }
        for name in [
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "proxy-authorization",
            "trailer",
        ] {
            self.must(values(name).is_empty(), name);
        }
        self.must(
            strict::asks_websocket(self.came) || values("upgrade").is_empty(),
            "upgrade",
        );
        if offers_token(self.came) {
            let before = std::iter::once(&b""[..]).chain(offers(self.came));
            let kept = offers(self.came)
                .zip(before)
                .filter(|pair| pair.0 != b"bearer" && pair.1 != b"bearer")
                .map(|pair| pair.0);
            self.must(offers(read).eq(kept), "subprotocols");
        }
        let framings = values("content-length").len() + values("transfer-encoding").len();
        let framed = usize::from(read.body != strict::Body::None);
        self.must(framings == framed, "one framing");
    }

    /// What the service believes about who is calling comes from the token alone.
    fn callers(&self, read: &Request<'_>) {
        let said = |name: &str| -> Vec<&[u8]> {
            let named = |line: &&Line<'_>| folded(line.0) == name.as_bytes();
            read.fields
                .iter()
                .filter(named)
                .map(|line| line.1)
                .collect()
        };
        let expected: [&[&[u8]]; 3] = if self.identity {
            [&[b"123"], &[b"1"], &[b"admin"]]
        } else {
            [&[], &[], &[]]
        };
        for (name, values) in ["x-user-id", "x-organization-id", "x-user-role"]
            .iter()
            .zip(expected)
        {
            self.must(said(name) == values, name);
        }
        self.must(
            said("x-request-id") == [b"0123456789abcdef"],
            "X-Request-ID",
        );
    }

    /// Whom the service believes about the way the request took: us, and a trusted proxy.
    fn forwarding(&self, read: &Request<'_>) {
        let mut seen = Vec::new();
        for (name, value) in &read.fields {
            let name = folded(name);
            let about_the_way = name.starts_with(b"x-forwarded-")
                || name == b"forwarded"
                || name == b"x-real-ip";
            if about_the_way {
                seen.push((name, *value));
            }
        }
        let peer = self.peer.to_string();
        let of = |name: &str| -> Vec<&[u8]> {
            let named = |line: &&(Vec<u8>, &[u8])| line.0 == name.as_bytes();
            seen.iter().filter(named).map(|line| line.1).collect()
        };
        let chain = of("x-forwarded-for");
        self.must(
            chain.len() == 1 && chain[0].ends_with(peer.as_bytes()),
            "X-Forwarded-For",
        );
        self.must(of("forwarded").is_empty(), "Forwarded is told in X-Forwarded-*");
        let prefix = of("x-forwarded-prefix");
        let expected: &[&[u8]] = if self.rule.strip {
            &[b"/analyzer"]
        } else {
            &[]
        };
        self.must(prefix == expected, "X-Forwarded-Prefix");
        if !self.trusted {
            self.must(chain[0] == peer.as_bytes(), "X-Forwarded-For of a stranger");
            self.must(of("x-forwarded-proto") == [b"http"], "X-Forwarded-Proto");
            let host = of("x-forwarded-host");
            let known = usize::from(!self.came.authority.is_empty());
            self.must(
                host.len() == known && host.iter().all(|host| *host == self.came.authority),
                "X-Forwarded-Host",
            );
            let ours = 2 + known + expected.len();
            self.must(seen.len() == ours, "forged forwarding fields");
        }
    }

    /// All other end-to-end fields, unchanged and in order.
    fn others(&self, read: &Request<'_>) {
        let hop_in_1_0 = |name: &[u8]| self.came.minor == 0 && name.eq_ignore_ascii_case(b"expect");
        let came = self
            .came
            .fields
            .iter()
            .filter(|(name, _)| !strict::is_hop(&self.came.fields, name) && !hop_in_1_0(name));
        // Judged by `one_connection`.
        let rewritten = |name: &[u8]| {
            offers_token(self.came) && name.eq_ignore_ascii_case(b"sec-websocket-protocol")
        };
        let dropped = |name: &[u8]| {
            !self.trusted && DROPPED.iter().any(|dropped| folded(name) == dropped.as_bytes())
        };
        let none_dropped = read.fields.iter().all(|(name, _)| !dropped(name));
        self.must(none_dropped, "fields that strangers may not send");
        let is_same =
            |line: &&Line<'_>| is_plain(line.0) && !rewritten(line.0) && !dropped(line.0);
        let came: Vec<_> = came.filter(is_same).collect();
        let sent = read.fields.iter().filter(is_same);
        self.must(
            sent.eq(came),
            "fields that are the client's and the service's alone",
        );
    }
}

/// A field that the gateway neither writes nor judges.
fn is_plain(name: &[u8]) -> bool {
    const OURS: [&str; 12] = [
        "host",
        "connection",
        "te",
        "content-length",
        "transfer-encoding",
        "forwarded",
        "x-real-ip",
        "x-user-id",
        "x-organization-id",
        "x-user-role",
        "x-request-id",
        "upgrade",
    ];
    let name = folded(name);
    !name.starts_with(b"x-forwarded-") && !OURS.iter().any(|ours| name == ours.as_bytes())
}

fn path(target: &[u8]) -> &[u8] {
    target
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or_default()
}
