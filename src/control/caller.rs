//! Who calls an own endpoint, in the terms that the endpoints ask in. The one file of the cold wing that reads `Identity`.
//! Invariant: it is made from what the worker verified, never from fields of the request.

use std::net::IpAddr;

use serde_json::Value;

use crate::identity::Identity;
use crate::mailbox::Caller;

/// What a caller may do, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Nothing beyond its own limits.
    User,
    /// Reset its own organization.
    OrgAdmin,
    /// Reset any organization or address.
    Admin,
    /// Reset everything.
    SuperAdmin,
}

/// An organization as a key and as it stood in the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Organization {
    /// The id as text, which is what the limiter's key holds.
    pub(super) text: String,
    /// The id with its JSON type, which replies keep.
    pub(super) value: Value,
}

/// A verified caller.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) address: IpAddr,
    pub(super) organization: Option<Organization>,
    pub(super) role: Role,
}

impl Subject {
    /// The subject of a call, if its token was verified.
    pub(super) fn of(caller: &Caller) -> Option<Self> {
        let identity = caller.identity.as_deref()?;
        let organization = identity
            .organization_key()
            .zip(identity.organization())
            .map(|(key, claim)| Organization {
                text: key.to_owned(),
                value: claim.to_json(),
            });
        Some(Self {
            address: caller.address.to_canonical(),
            organization,
            role: Role::of(identity),
        })
    }
}

impl Role {
    fn of(identity: &Identity) -> Self {
        if identity.is_super_admin() {
            Self::SuperAdmin
        } else if identity.is_org_admin_only() {
            Self::OrgAdmin
        } else if identity.is_admin() {
            Self::Admin
        } else {
            Self::User
        }
    }
}

#[cfg(test)]
mod tests {
    //! What a verified token becomes, and that nobody without one is anybody.
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::identity::{Hmac, Settings, Verifier, mint};

    const NOW_S: u64 = 1_705_314_600;

    fn caller(claims: Value) -> Caller {
        let settings = Settings::with_secret(Hmac::Hs256, "0123456789abcdef0123456789abcdef");
        let mut claims = claims.as_object().unwrap().clone();
        claims.insert("exp".to_owned(), (NOW_S + 60).into());
        let token = mint(&settings, claims).unwrap();
        let verifier = Verifier::new(settings).unwrap();
        let identity = verifier.verify(token.as_bytes(), NOW_S * 1000).unwrap();
        Caller {
            address: "::ffff:192.0.2.1".parse().unwrap(),
            identity: Some(Arc::new(identity)),
            public: true,
        }
    }

    #[test]
    fn tokens_become_subjects() {
        for (claims, role, key, value) in [
            (json!({"organization_id": 1}), Role::User, "1", json!(1)),
            (
                json!({"organization_id": "1", "role": "user"}),
                Role::User,
                "1",
                json!("1"),
            ),
            (
                json!({"organization_id": 7, "role": "org_admin"}),
                Role::OrgAdmin,
                "7",
                json!(7),
            ),
            (
                json!({"organization_id": 7, "roles": ["org_admin", "admin"]}),
                Role::Admin,
                "7",
                json!(7),
            ),
            (
                json!({"organization_id": -7, "role": "admin"}),
                Role::Admin,
                "-7",
                json!(-7),
            ),
            (
                json!({"organization_id": "a b", "role": "super_admin"}),
                Role::SuperAdmin,
                "a b",
                json!("a b"),
            ),
        ] {
            let subject = Subject::of(&caller(claims.clone())).unwrap();
            assert_eq!(subject.role, role, "{claims}");
            let organization = Organization {
                text: key.to_owned(),
                value,
            };
            assert_eq!(subject.organization, Some(organization), "{claims}");
            assert_eq!(subject.address.to_string(), "192.0.2.1");
        }
        let nowhere = Subject::of(&caller(json!({"sub": "u"}))).unwrap();
        assert_eq!(nowhere.organization, None);
        let anonymous = Caller {
            identity: None,
            ..caller(json!({"role": "admin"}))
        };
        assert!(Subject::of(&anonymous).is_none());
    }
}
