//! What a generator sends: a request in pieces, most of which are the same for all. Not when, not where. A pure value once it is made.
//! Invariant: what is sent as the `turn`th depends on the turn alone.

use std::io;

use dbpower_gateway::{config, identity, net};

use super::{Load, SECRET};

/// Tokens made for one run; each is some 250 bytes.
const KEYS_MAX: u64 = 500_000;
/// The day after a run its tokens are worth nothing.
const TOKEN_SECONDS: u64 = 86_400;
pub(crate) const PIECES: usize = 6;
/// `1xx.1xx.1xx.1xx`: seven bits in each place, so that all addresses are of one length.
pub(crate) const ADDRESS_BYTES: usize = 15;

/// A request in the pieces that it is sent from: everything but the token and the address is the same for all.
#[derive(Debug)]
pub(crate) struct Requests {
    before: Vec<u8>,
    tokens: Vec<String>,
    /// Before the address; empty: none is named.
    forwarded: &'static [u8],
    after: Vec<u8>,
    body: Vec<u8>,
    addresses: u64,
}

impl Requests {
    pub(crate) fn new(load: &Load) -> io::Result<Self> {
        let settings = settings()?;
        let expires = net::clock::unix_ms() / 1000 + TOKEN_SECONDS;
        let first = load.first_key;
        let made = if load.users > 1 {
            (0..load.users.min(KEYS_MAX))
                .map(|user| signed(&settings, first, (first + 100 + user, "user"), expires))
                .collect::<io::Result<_>>()?
        } else {
            (first..first + load.keys.clamp(1, KEYS_MAX))
                .map(|key| signed(&settings, key, (key + 100, "user"), expires))
                .collect::<io::Result<_>>()?
        };
        let method = if load.upload_bytes == 0 {
            "GET"
        } else {
            "POST"
        };
        let target = &load.target;
        let before = format!(
            "{method} {target} HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer "
        );
        let mut after = "\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) load test\r\nAccept: application/json\r\n\
             Accept-Encoding: gzip, deflate\r\n"
            .to_owned();
        if load.upload_bytes > 0 {
            after.push_str("Content-Type: application/octet-stream\r\n");
            after.push_str(&format!("Content-Length: {}\r\n", load.upload_bytes));
        }
        if !load.keep_alive {
            after.push_str("Connection: close\r\n");
        }
        after.push_str("\r\n");
        Ok(Self {
            before: before.into_bytes(),
            tokens: made,
            forwarded: if load.addresses > 0 {
                b"\r\nX-Forwarded-For: "
            } else {
                b""
            },
            after: after.into_bytes(),
            body: vec![b'u'; load.upload_bytes],
            addresses: load.addresses,
        })
    }

    /// The address that the `turn`th request names: all of them in order once, then any of them at random.
    pub(crate) fn address(&self, turn: u64) -> [u8; ADDRESS_BYTES] {
        if self.addresses == 0 {
            return [b'0'; ADDRESS_BYTES];
        }
        let number = if turn <= self.addresses {
            turn % self.addresses
        } else {
            mixed(turn) % self.addresses
        };
        let mut text = *b"100.100.100.100";
        for place in 0..4 {
            let octet = 100 + ((number >> (7 * place)) & 0x7f);
            for (at, unit) in [(0, 100), (1, 10), (2, 1)] {
                let digit = u8::try_from(octet / unit % 10).unwrap_or(0);
                if let Some(byte) = text.get_mut(4 * place + at) {
                    *byte = b'0' + digit;
                }
            }
        }
        text
    }

    /// The pieces of the request that is sent as the `turn`th.
    pub(crate) fn pieces<'a>(
        &'a self,
        turn: u64,
        address: &'a [u8; ADDRESS_BYTES],
    ) -> [&'a [u8]; PIECES] {
        let turns = u64::try_from(self.tokens.len()).unwrap_or(1).max(1);
        let index = usize::try_from(turn % turns).unwrap_or(0);
        let token = self
            .tokens
            .get(index)
            .map_or(&b""[..], |token| token.as_bytes());
        let address = if self.forwarded.is_empty() {
            &[][..]
        } else {
            address
        };
        [
            &self.before,
            token,
            self.forwarded,
            address,
            &self.after,
            &self.body,
        ]
    }
}

/// A number of which all bits depend on all of `turn`'s (splitmix64's last steps).
fn mixed(turn: u64) -> u64 {
    let mut word = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A token of organization `key`, as the backend would make it; `expires` in seconds since 1970.
pub(crate) fn token(key: u64, expires: u64) -> io::Result<String> {
    signed(&settings()?, key, (key + 100, "user"), expires)
}

/// A token of somebody who may reset limits.
pub(crate) fn admin_token(expires: u64) -> io::Result<String> {
    signed(&settings()?, 1, (101, "admin"), expires)
}

fn signed(
    settings: &identity::Settings,
    organization: u64,
    (user, role): (u64, &str),
    expires: u64,
) -> io::Result<String> {
    let mut claims = serde_json::Map::new();
    claims.insert("organization_id".into(), organization.into());
    claims.insert("user_id".into(), user.into());
    claims.insert("role".into(), role.into());
    claims.insert("exp".into(), expires.into());
    identity::mint(settings, claims).map_err(io::Error::other)
}

fn settings() -> io::Result<identity::Settings> {
    let mut sources = config::Sources::default();
    for (name, value) in [("JWT_SECRET_KEY", SECRET), ("REDIS_ENABLED", "false")] {
        sources.environment.push((name.into(), value.into()));
    }
    let problem = || io::Error::other("the settings of the tokens are refused");
    let loaded = config::Config::from_sources(&sources).map_err(|_| problem())?;
    config::identity_settings(&loaded.config.auth).ok_or_else(problem)
}
