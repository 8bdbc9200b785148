//! Who a verified token speaks for. Not here: whether the token may be believed (`verify` asks that first).
//! Invariant: an `Identity` has no public constructor; to hold one is to know that a token was verified.

use std::fmt::Write as _;

use serde_json::Value;

use super::claims::{ClaimValue, member};
use super::compact::Object;
use super::{Settings, Why, rules};

/// How many roles a token may carry; the header line made of them must fit an upstream's limits.
pub(super) const ROLES_MAX: usize = 128;

/// The roles that stand above an organization.
const SUPER_ROLES: [&str; 2] = ["super_admin", "superuser"];
/// The role that administers its own organization only.
const ORGANIZATION_ROLE: &str = "org_admin";

/// Room for the lines of most tokens.
const LINES_BYTES: usize = 128;

/// Who a verified token speaks for.
#[derive(Debug)]
pub struct Identity {
    organization: Option<ClaimValue>,
    /// The limiter's spelling of `organization`.
    organization_key: Option<Box<str>>,
    user: Option<ClaimValue>,
    roles: Box<[ClaimValue]>,
    rank: Rank,
    /// Unix milliseconds of `exp`; always in the future when this was made.
    expires_ms: u64,
    /// Complete field lines, ready to be copied into an upstream head.
    upstream_fields: Box<[u8]>,
}

/// What the admin endpoints allow; in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    User,
    OrganizationAdmin,
    Admin,
    SuperAdmin,
}

impl Identity {
    /// The organization, if the token names one.
    #[must_use]
    pub fn organization(&self) -> Option<&ClaimValue> {
        self.organization.as_ref()
    }

    /// The user, if the token names one.
    #[must_use]
    pub fn user(&self) -> Option<&ClaimValue> {
        self.user.as_ref()
    }

    /// All roles, in the token's order.
    #[must_use]
    pub fn roles(&self) -> &[ClaimValue] {
        &self.roles
    }

    /// May use the admin endpoints: has one of `ADMIN_ROLES`, or `is_admin` or `is_superuser` is `true`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.rank > Rank::User
    }

    /// May reset everything: `super_admin` or `superuser` (as far as `ADMIN_ROLES` lists them), or `is_superuser`.
    #[must_use]
    pub fn is_super_admin(&self) -> bool {
        self.rank == Rank::SuperAdmin
    }

    /// Is an admin by `org_admin` alone, so only of the own organization.
    #[must_use]
    pub fn is_org_admin_only(&self) -> bool {
        self.rank == Rank::OrganizationAdmin
    }

    /// When the token ends, in unix milliseconds.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// `X-User-ID`, `X-Organization-ID` and `X-User-Role` as complete lines, each with its CRLF; roles joined by commas.
    #[must_use]
    pub fn upstream_fields(&self) -> &[u8] {
        &self.upstream_fields
    }

    /// The organization as the limiter knows it.
    ///
    /// The integer 1 and the string "1" are the same key: the upstream sees `X-Organization-ID: 1` for both, so they
    /// are one organization there, and were they two here, whoever gets both kinds of tokens had twice the limit.
    #[must_use]
    pub fn organization_key(&self) -> Option<&str> {
        self.organization_key.as_deref()
    }

    /// Only `verify` calls this, after the signature and all rules.
    pub(super) fn from_claims(claims: &Object<'_>, settings: &Settings) -> Result<Self, Why> {
        let organization = organization(claims, settings)?;
        let user = user(claims, settings)?;
        let roles = roles(claims, settings)?;
        Ok(Self {
            organization_key: organization.as_ref().map(|value| value.text().into()),
            upstream_fields: field_lines(user.as_ref(), organization.as_ref(), &roles),
            rank: rank(claims, &roles, settings),
            expires_ms: rules::expiry_ms(claims)?,
            organization,
            user,
            roles: roles.into_boxed_slice(),
        })
    }
}

pub(super) fn organization(
    claims: &Object<'_>,
    settings: &Settings,
) -> Result<Option<ClaimValue>, Why> {
    first_of(claims, &settings.organization_claims, Why::Organization)
}

pub(super) fn user(claims: &Object<'_>, settings: &Settings) -> Result<Option<ClaimValue>, Why> {
    first_of(claims, &settings.user_claims, Why::User)
}

/// The first claim present decides, also when it is unusable: to go on to the next one
/// would make another caller of a token that was only written badly.
fn first_of(
    claims: &Object<'_>,
    names: &[String],
    otherwise: Why,
) -> Result<Option<ClaimValue>, Why> {
    match names.iter().find_map(|name| member(claims, name)) {
        Some(value) => ClaimValue::parse(value).map(Some).ok_or(otherwise),
        None => Ok(None),
    }
}

/// The roles of all role claims, each of which is one role or a list of them.
pub(super) fn roles(claims: &Object<'_>, settings: &Settings) -> Result<Vec<ClaimValue>, Why> {
    let mut roles = Vec::new();
    for name in &settings.role_claims {
        let listed = match member(claims, name) {
            None => continue,
            Some(Value::Array(values)) => values.as_slice(),
            Some(single) => std::slice::from_ref(single),
        };
        for value in listed {
            let role = ClaimValue::parse(value).ok_or(Why::Role)?;
            // Joined by commas, the one role `a,admin` would read upstream as two.
            if matches!(&role, ClaimValue::Text(text) if text.contains(',')) {
                return Err(Why::Role);
            }
            if !roles.contains(&role) {
                roles.push(role);
            }
            if roles.len() > ROLES_MAX {
                return Err(Why::TooManyRoles);
            }
        }
    }
    Ok(roles)
}

/// The highest rank that a role of `ADMIN_ROLES` or a boolean gives; a boolean is only ever `true` itself.
fn rank(claims: &Object<'_>, roles: &[ClaimValue], settings: &Settings) -> Rank {
    let by_role = roles.iter().map(|role| {
        let role = role.text();
        match &*role {
            name if !settings.admin_roles.iter().any(|admin| admin == name) => Rank::User,
            ORGANIZATION_ROLE => Rank::OrganizationAdmin,
            name if SUPER_ROLES.contains(&name) => Rank::SuperAdmin,
            _ => Rank::Admin,
        }
    });
    let by_flag = [
        ("is_admin", Rank::Admin),
        ("is_superuser", Rank::SuperAdmin),
    ]
    .into_iter()
    .filter(|(name, _)| claims.get(name) == Some(&Value::Bool(true)))
    .map(|(_, rank)| rank);
    by_role.chain(by_flag).max().unwrap_or(Rank::User)
}

fn field_lines(
    user: Option<&ClaimValue>,
    organization: Option<&ClaimValue>,
    roles: &[ClaimValue],
) -> Box<[u8]> {
    let mut lines = String::with_capacity(LINES_BYTES);
    // Writing to a `String` cannot fail.
    if let Some(user) = user {
        let _ = write!(lines, "X-User-ID: {user}\r\n");
    }
    if let Some(organization) = organization {
        let _ = write!(lines, "X-Organization-ID: {organization}\r\n");
    }
    if let Some((first, others)) = roles.split_first() {
        let _ = write!(lines, "X-User-Role: {first}");
        for role in others {
            let _ = write!(lines, ",{role}");
        }
        lines.push_str("\r\n");
    }
    lines.into_bytes().into_boxed_slice()
}
