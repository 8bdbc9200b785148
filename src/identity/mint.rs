//! Makes tokens, for `token mint`, the demo, the self-test and tests. Not here: any decision who deserves one.
//! Invariant: what is minted with some settings passes their algorithm, signature, audience and issuer rules.

use std::fmt;

use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value};

use super::Settings;

/// Why no token was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MintError {
    /// There is no secret to sign with.
    EmptySecret,
    /// The cryptography failed.
    Signing,
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptySecret => "the JWT secret is empty",
            Self::Signing => "the token could not be signed",
        })
    }
}

impl std::error::Error for MintError {}

/// Signs `claims` as they are, with the first configured `aud` and `iss` added where they are absent.
/// The caller sets `exp`; without it the token is refused.
///
/// # Errors
/// An empty secret, or cryptography that fails.
pub fn mint(settings: &Settings, mut claims: Map<String, Value>) -> Result<String, MintError> {
    if settings.secret.is_empty() {
        return Err(MintError::EmptySecret);
    }
    for (name, configured) in [("aud", &settings.audience), ("iss", &settings.issuer)] {
        if let Some(first) = configured.first() {
            claims
                .entry(name)
                .or_insert_with(|| Value::from(first.as_str()));
        }
    }
    install_provider();
    let header = Header::new(settings.algorithm.algorithm());
    let key = EncodingKey::from_secret(&settings.secret);
    jsonwebtoken::encode(&header, &claims, &key).map_err(|_| MintError::Signing)
}

/// Once per process; a second installation is refused by the crate, which changes nothing.
fn install_provider() {
    let _ = aws_lc::DEFAULT_PROVIDER.install_default();
}
