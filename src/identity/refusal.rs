//! Why a caller is not let in, as one small `Copy` value. Not here: the HTTP answer made of it (`reject`).
//! Invariant: every text is static, so that a flood of bad tokens allocates nothing for its 401s.

use super::{DateClaim, DateFault};

/// Why no identity came out; the answer is 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No `Authorization` field.
    MissingHeader,
    /// Not exactly one `Authorization: Bearer <token>`.
    BadHeaderFormat,
    /// A genuine token whose `exp` has come.
    Expired,
    /// Anything else that is wrong with the token.
    Invalid(Why),
}

/// What is wrong with a token that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Longer than [`super::TOKEN_BYTES_MAX`].
    TooLong,
    /// Not three base64url parts that hold two JSON objects.
    Malformed,
    /// A name stands twice in the header or the claims.
    DuplicateName,
    /// `alg` is not the configured algorithm.
    Algorithm,
    /// The signature does not match.
    Signature,
    /// The header demands extensions (`crit`).
    Critical,
    /// The token is for refreshing, not for access.
    Refresh,
    /// No `exp`.
    NoExpiry,
    /// A date is no number of seconds: which claim, and what it looks like.
    Date(DateClaim, DateFault),
    /// `nbf` is in the future.
    NotYetValid,
    /// `iat` is in the future.
    IssuedInFuture,
    /// It has an `aud`, and `JWT_AUDIENCE` is not set.
    AudienceUnset,
    /// `aud` is missing or names none of `JWT_AUDIENCE`.
    Audience,
    /// `iss` is missing or is none of `JWT_ISSUER`.
    Issuer,
    /// The organization claim has a type or a length that is not taken.
    Organization,
}

impl Refusal {
    /// The `message` of the 401's body.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::MissingHeader => "Missing Authorization header",
            Self::BadHeaderFormat => "Invalid Authorization header format",
            Self::Expired => "Token has expired",
            Self::Invalid(why) => why.message(),
        }
    }

    /// The value of the `reason` label in the metrics; a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_header",
            Self::BadHeaderFormat => "bad_header_format",
            Self::Expired => "expired",
            Self::Invalid(why) => why.label(),
        }
    }

    /// Whether `WWW-Authenticate` says `error="invalid_token"` (RFC 6750, 3.1: only if a token was sent).
    #[must_use]
    pub const fn token_was_sent(self) -> bool {
        match self {
            Self::MissingHeader | Self::BadHeaderFormat => false,
            Self::Expired | Self::Invalid(_) => true,
        }
    }
}

impl Why {
    /// The whole message, "Invalid token: …".
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::TooLong => "Invalid token: longer than 8192 bytes",
            Self::Malformed => "Invalid token: not a JSON Web Token",
            Self::DuplicateName => "Invalid token: a name occurs twice in it",
            Self::Algorithm => "Invalid token: not signed with the configured algorithm",
            Self::Signature => "Invalid token: signature verification failed",
            Self::Critical => "Invalid token: it demands extensions (crit)",
            Self::Refresh => "Invalid token: a refresh token gives no access",
            Self::NoExpiry => "Invalid token: exp is missing",
            Self::Date(claim, fault) => date_message(claim, fault),
            Self::NotYetValid => "Invalid token: not valid yet (nbf)",
            Self::IssuedInFuture => "Invalid token: issued in the future (iat)",
            Self::AudienceUnset => {
                "Invalid token: it has an audience (aud), but JWT_AUDIENCE is not set"
            }
            Self::Audience => "Invalid token: its audience (aud) is not in JWT_AUDIENCE",
            Self::Issuer => "Invalid token: its issuer (iss) is not in JWT_ISSUER",
            Self::Organization => {
                "Invalid token: the organization (JWT_ORGANIZATION_CLAIMS) must be an integer or 1 to 128 characters \
                 without control characters"
            }
        }
    }

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::DuplicateName => "duplicate_name",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Critical => "crit",
            Self::Refresh => "refresh_token",
            Self::NoExpiry => "no_expiry",
            Self::Date(..) => "date",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::AudienceUnset | Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::Organization => "organization",
        }
    }
}

/// The message about a date that is none.
const fn date_message(claim: DateClaim, fault: DateFault) -> &'static str {
    match (claim, fault) {
        (DateClaim::Exp, DateFault::Milliseconds) => {
            "Invalid token: exp looks like milliseconds, it must be in seconds"
        }
        (DateClaim::Nbf, DateFault::Milliseconds) => {
            "Invalid token: nbf looks like milliseconds, it must be in seconds"
        }
        (DateClaim::Iat, DateFault::Milliseconds) => {
            "Invalid token: iat looks like milliseconds, it must be in seconds"
        }
        (DateClaim::Exp, DateFault::Text) => {
            "Invalid token: exp is a text, it must be a number of seconds"
        }
        (DateClaim::Nbf, DateFault::Text) => {
            "Invalid token: nbf is a text, it must be a number of seconds"
        }
        (DateClaim::Iat, DateFault::Text) => {
            "Invalid token: iat is a text, it must be a number of seconds"
        }
        (DateClaim::Exp, DateFault::Other) => "Invalid token: exp is not a date in seconds",
        (DateClaim::Nbf, DateFault::Other) => "Invalid token: nbf is not a date in seconds",
        (DateClaim::Iat, DateFault::Other) => "Invalid token: iat is not a date in seconds",
    }
}

impl From<Why> for Refusal {
    fn from(why: Why) -> Self {
        Self::Invalid(why)
    }
}
