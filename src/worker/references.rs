//! `Location`, `Content-Location` and `Set-Cookie` of a service's answer, written as the client needs them. Not the mapping (`rewrite`).
//! Invariant: an answer without these fields pays for one test per field.

use std::cell::Cell;
use std::net::SocketAddr;

use super::answer::Facts;
use super::shard::Shard;
use crate::http1::{Name, Response};
use crate::metrics::ROUTE_RULES;
use crate::net::Stream;
use crate::rewrite::Mapping;

/// Whether an answer has such fields; filled while its other fields are copied.
#[derive(Default)]
pub(super) struct References(Cell<bool>);

impl References {
    /// True for a field that is written by `write`.
    #[inline]
    pub(super) fn take(&self, name: Name) -> bool {
        let is_one = is_reference(name);
        if is_one {
            self.0.set(true);
        }
        is_one
    }

    pub(super) fn found(&self) -> bool {
        self.0.get()
    }
}

fn is_reference(name: Name) -> bool {
    matches!(
        name,
        Name::Location | Name::ContentLocation | Name::SetCookie
    )
}

/// Writes them in their order.
#[cold]
pub(super) fn write<S: Stream>(
    response: &Response<'_, '_>,
    (facts, from): (&Facts, SocketAddr),
    shard: &Shard<S>,
    out: &mut Vec<u8>,
) {
    let snapshot = shard.snapshot();
    let rules = &snapshot.rules;
    let route = facts.route.checked_sub(ROUTE_RULES);
    let rule = route.and_then(|route| rules.routes.rule(route));
    let service = rule.and_then(|rule| rules.config.services.get(rule.service));
    let mapping = rule.zip(service).map(|(rule, service)| {
        let (host, authority) = facts.names_used();
        let endpoint = snapshot.endpoint(rule.service, from);
        Mapping {
            prefix: &rule.prefix,
            strip: rule.strip,
            base: &rule.base_path,
            endpoints: rules.authorities(rule.service),
            host_sent: endpoint.map_or("", |endpoint| service.host_for(endpoint, authority)),
            https: facts.names.https,
            host,
        }
    });
    let fields = response.fields.iter().filter(|field| !field.hop);
    for field in fields.filter(|field| is_reference(field.kind)) {
        out.extend_from_slice(field.name);
        out.extend_from_slice(b": ");
        match &mapping {
            Some(mapping) if field.kind == Name::SetCookie => mapping.set_cookie(field.value, out),
            Some(mapping) => mapping.location(field.value, out),
            None => out.extend_from_slice(field.value),
        }
        out.extend_from_slice(b"\r\n");
    }
}
