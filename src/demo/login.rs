//! Signs the token that the demo backend's login hands out. Not authentication: any name and password will do, which is why
//! only the demo services have it. Invariant: such a token speaks for the demo organization as a plain user, never an admin.

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use super::{ORGANIZATION, USER};
use crate::config::Algorithm;

/// Lifetime of a token: long enough to try things out, short enough not to be kept.
const LIFETIME_S: u64 = 3_600;

/// What the login endpoint signs with.
#[derive(Clone)]
pub struct Login {
    /// The gateway's `JWT_SECRET_KEY`, decoded.
    pub key: Vec<u8>,
    /// The gateway's `JWT_ALGORITHM`.
    pub algorithm: Algorithm,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key.
        f.debug_struct("Login")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    user_id: u64,
    organization_id: u64,
    role: &'static str,
    iat: u64,
    exp: u64,
}

impl Login {
    /// A token for `name` and its lifetime in seconds; `None` when the key cannot sign.
    pub(super) fn token(&self, name: &str) -> Option<(String, u64)> {
        let algorithm = match self.algorithm {
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::Hs384 => jsonwebtoken::Algorithm::HS384,
            Algorithm::Hs512 => jsonwebtoken::Algorithm::HS512,
        };
        // The library's own clock: these threads are not the gateway's, whose `net::clock` they do not share.
        let now = jsonwebtoken::get_current_timestamp();
        let claims = Claims {
            sub: name,
            user_id: USER,
            organization_id: ORGANIZATION,
            role: "user",
            iat: now,
            exp: now + LIFETIME_S,
        };
        let key = EncodingKey::from_secret(&self.key);
        let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).ok()?;
        Some((token, LIFETIME_S))
    }
}
