//! Who calls an own endpoint, in the terms that the endpoints ask in. The one file of the cold wing that reads `Identity`.
//! Invariant: it is made from what the worker verified, never from fields of the request.

use std::net::IpAddr;

use serde_json::Value;

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
        let _identity = caller.identity.as_ref()?;
        Some(Self {
            address: caller.address.to_canonical(),
            organization: None,
            role: Role::User,
        })
    }
}
