//! Who a verified token speaks for. Not here: whether the token may be believed (`verify` asks that first).
//! Invariant: an `Identity` has no public constructor; to hold one is to know that a token was verified.

use std::collections::HashSet;

use serde_json::Value;

use super::claims::{ClaimValue, member};
use super::compact::Object;
use super::{Settings, Why, rules};

/// Up to so many roles, comparing each with the others is cheaper than a set of them. There is no bound but the token's length.
const FEW_ROLES: usize = 16;

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

    /// May use the admin endpoints: has one of `ADMIN_ROLES`; `is_admin` and `is_superuser` count as the roles `admin` and `superuser`.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.rank > Rank::User
    }

    /// May reset everything: `super_admin`, `superuser` or `is_superuser`, as far as `ADMIN_ROLES` lists the role.
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

    /// `X-User-ID`, `X-Organization-ID` and `X-User-Role` as complete lines, each with its CRLF; roles joined by commas; names
    /// percent-encoded as [`ClaimValue::write_encoded`] says.
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
        let user = user(claims, settings).usable();
        let (roles, _) = roles(claims, settings);
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

/// What a token's claims of one kind say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Absent,
    Usable(ClaimValue),
    /// Present, and neither an integer nor a name.
    Unusable,
}

impl Found {
    fn usable(self) -> Option<ClaimValue> {
        match self {
            Self::Usable(value) => Some(value),
            Self::Absent | Self::Unusable => None,
        }
    }
}

/// An organization that cannot be read is refused: as nobody's, its requests would escape the organization's limit.
pub(super) fn organization(
    claims: &Object<'_>,
    settings: &Settings,
) -> Result<Option<ClaimValue>, Why> {
    match first_of(claims, &settings.organization_claims) {
        Found::Unusable => Err(Why::Organization),
        found @ (Found::Absent | Found::Usable(_)) => Ok(found.usable()),
    }
}

/// A user that cannot be read is none: the gateway passes it on and needs it for nothing.
pub(super) fn user(claims: &Object<'_>, settings: &Settings) -> Found {
    first_of(claims, &settings.user_claims)
}

/// The first claim present decides, also when it is unusable: to go on to the next one
/// would make another caller of a token that was only written badly. An empty string is an absent claim.
fn first_of(claims: &Object<'_>, names: &[String]) -> Found {
    let present = |name: &String| {
        let value = member(claims, name);
        value.filter(|value| value.as_str() != Some(""))
    };
    match names.iter().find_map(present) {
        Some(value) => ClaimValue::parse(value).map_or(Found::Unusable, Found::Usable),
        None => Found::Absent,
    }
}

/// The roles of all role claims, and how many values in them were none. A string holds roles with commas or blanks between
/// (RFC 8693 4.2 writes scopes so); in a list each text is one role, but one with a comma: joined by commas, the one role
/// `a,admin` would read upstream as two.
pub(super) fn roles(claims: &Object<'_>, settings: &Settings) -> (Vec<ClaimValue>, usize) {
    let (mut roles, mut unusable) = (Vec::new(), 0);
    let mut take = |role: Option<ClaimValue>| match role {
        Some(role) => roles.push(role),
        None => unusable += 1,
    };
    let present = settings.role_claims.iter();
    for value in present.filter_map(|name| member(claims, name)) {
        match value {
            Value::String(text) => {
                let words = text.split([',', ' ', '\t']).filter(|word| !word.is_empty());
                words.for_each(|word| take(ClaimValue::of_text(word)));
            }
            Value::Array(values) => values.iter().for_each(|value| take(listed_role(value))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                take(listed_role(value));
            }
        }
    }
    (without_repeated(roles), unusable)
}

fn listed_role(value: &Value) -> Option<ClaimValue> {
    let is_two = value.as_str().is_some_and(|text| text.contains(','));
    ClaimValue::parse(value).filter(|_| !is_two)
}

fn without_repeated(roles: Vec<ClaimValue>) -> Vec<ClaimValue> {
    if roles.len() < 2 {
        return roles;
    }
    let is_first: Vec<bool> = if roles.len() <= FEW_ROLES {
        let is_first = |(at, role)| !roles.iter().take(at).any(|other| other == role);
        roles.iter().enumerate().map(is_first).collect()
    } else {
        let mut seen = HashSet::with_capacity(roles.len());
        roles.iter().map(|role| seen.insert(role)).collect()
    };
    let kept = roles.into_iter().zip(is_first).filter(|(_, first)| *first);
    kept.map(|(role, _)| role).collect()
}

/// The highest rank that a role of `ADMIN_ROLES` gives. A flag counts as the role of its name, and is only ever `true` itself.
fn rank(claims: &Object<'_>, roles: &[ClaimValue], settings: &Settings) -> Rank {
    let by_role = roles.iter().map(|role| rank_of(&role.text(), settings));
    let by_flag = [("is_admin", "admin"), ("is_superuser", "superuser")]
        .into_iter()
        .filter(|(flag, _)| claims.get(flag) == Some(&Value::Bool(true)))
        .map(|(_, role)| rank_of(role, settings));
    by_role.chain(by_flag).max().unwrap_or(Rank::User)
}

fn rank_of(role: &str, settings: &Settings) -> Rank {
    match role {
        role if !settings.admin_roles.iter().any(|admin| admin == role) => Rank::User,
        ORGANIZATION_ROLE => Rank::OrganizationAdmin,
        role if SUPER_ROLES.contains(&role) => Rank::SuperAdmin,
        _ => Rank::Admin,
    }
}

fn field_lines(
    user: Option<&ClaimValue>,
    organization: Option<&ClaimValue>,
    roles: &[ClaimValue],
) -> Box<[u8]> {
    let mut lines = String::with_capacity(LINES_BYTES);
    let named = [("X-User-ID: ", user), ("X-Organization-ID: ", organization)];
    for (name, value) in named {
        if let Some(value) = value {
            lines.push_str(name);
            value.write_encoded(&mut lines);
            lines.push_str("\r\n");
        }
    }
    for (at, role) in roles.iter().enumerate() {
        lines.push_str(if at == 0 { "X-User-Role: " } else { "," });
        role.write_encoded(&mut lines);
    }
    if !roles.is_empty() {
        lines.push_str("\r\n");
    }
    lines.into_bytes().into_boxed_slice()
}
