//! Tokens as the backend would issue them, and as an attacker would forge them. Not the gateway's verification: signing is
//! done with jsonwebtoken directly. Invariant: without further words a token is valid for an hour and has no organization.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value};

/// The secret of every gateway that a test starts.
pub const SECRET: &str = "an-end-to-end-secret-of-48-bytes-0123456789abcdef";

/// A token in the making.
#[derive(Debug, Clone)]
pub struct Token {
    claims: Map<String, Value>,
    header: Header,
    secret: String,
}

/// A token that is valid for an hour.
pub fn token() -> Token {
    Token {
        claims: Map::new(),
        header: Header::new(Algorithm::HS256),
        secret: SECRET.to_owned(),
    }
    .expires_in(3600)
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a clock before the year 292 billion")
}

impl Token {
    pub fn org(self, id: impl Into<Value>) -> Self {
        self.claim("organization_id", id)
    }

    pub fn user(self, id: impl Into<Value>) -> Self {
        self.claim("user_id", id)
    }

    pub fn role(self, role: &str) -> Self {
        self.claim("role", role)
    }

    pub fn expires_in(self, seconds: i64) -> Self {
        let at = now() + seconds;
        self.claim("exp", at)
    }

    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Signed with another secret.
    pub fn forged(mut self) -> Self {
        self.secret = "another-secret-that-the-gateway-does-not-know".to_owned();
        self
    }

    /// Signed with this secret.
    pub fn secret(mut self, secret: &str) -> Self {
        self.secret = secret.to_owned();
        self
    }

    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.header.alg = algorithm;
        self
    }

    pub fn typ(mut self, typ: &str) -> Self {
        self.header.typ = Some(typ.to_owned());
        self
    }

    /// The compact form.
    pub fn mint(&self) -> String {
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        encode(&self.header, &self.claims, &key).expect("a token can be signed")
    }
}
