//! What the verifier must know: algorithm, secret, expected audience and issuer, names of claims.
//! Not here: where these come from (that is `config`). Invariant: the secret never shows in `Debug`.

use std::fmt;

use jsonwebtoken::Algorithm;

/// The symmetric algorithms; the one in use is chosen by the configuration, never by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hmac {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

impl Hmac {
    /// Every algorithm, for error messages and for `token why`.
    pub const ALL: [Self; 3] = [Self::Hs256, Self::Hs384, Self::Hs512];

    /// The name in a token's header (RFC 7518, 3.1), which is case-sensitive.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    pub(super) const fn algorithm(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Hs384 => Algorithm::HS384,
            Self::Hs512 => Algorithm::HS512,
        }
    }
}

impl fmt::Display for Hmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// All that decides whether a token is accepted and what it says.
#[derive(Clone)]
pub struct Settings {
    /// The only algorithm accepted.
    pub algorithm: Hmac,
    /// `JWT_SECRET_KEY`, decoded; empty is refused by [`super::Verifier::new`].
    pub secret: Vec<u8>,
    /// The same before it was decoded: `token why` tries the other encodings of it.
    pub secret_text: String,
    /// `JWT_AUDIENCE`: a token must name one of them; empty: a token must name none.
    pub audience: Vec<String>,
    /// `JWT_ISSUER`: a token must come from one of them; empty: any or none.
    pub issuer: Vec<String>,
    /// Claims that may hold the organization; the first one present counts.
    pub organization_claims: Vec<String>,
    /// Claims that may hold the user; the first one present counts.
    pub user_claims: Vec<String>,
    /// Claims that may hold one role or a list of roles; all that are present count.
    pub role_claims: Vec<String>,
    /// Roles that open the admin endpoints.
    pub admin_roles: Vec<String>,
}

impl Settings {
    /// The seed's defaults: its claim names and admin roles, no audience, no issuer.
    #[must_use]
    pub fn with_secret(algorithm: Hmac, secret: impl Into<Vec<u8>>) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let secret = secret.into();
        Self {
            algorithm,
            secret_text: String::from_utf8_lossy(&secret).into_owned(),
            secret,
            audience: Vec::new(),
            issuer: Vec::new(),
            organization_claims: owned(&["organization_id", "org_id", "tenant_id"]),
            user_claims: owned(&["user_id", "sub"]),
            role_claims: owned(&["role", "roles"]),
            admin_roles: owned(&["admin", "super_admin", "org_admin", "superuser"]),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("algorithm", &self.algorithm)
            .field("secret", &format_args!("[{} bytes]", self.secret.len()))
            .field("audience", &self.audience)
            .field("issuer", &self.issuer)
            .field("organization_claims", &self.organization_claims)
            .field("user_claims", &self.user_claims)
            .field("role_claims", &self.role_claims)
            .field("admin_roles", &self.admin_roles)
            .finish()
    }
}

/// Why a verifier cannot be built; the gateway does not start then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// An empty key would sign anybody's token (jsonwebtoken accepts it).
    EmptySecret,
    /// The cryptography refused a token that it had just signed.
    SelfTestRefused,
    /// The cryptography accepted a token with a broken signature.
    SelfTestForged,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptySecret => "the JWT secret is empty",
            Self::SelfTestRefused => "the self-test failed: a freshly signed token was refused",
            Self::SelfTestForged => "the self-test failed: a forged token was accepted",
        })
    }
}

impl std::error::Error for SetupError {}
