//! What the access log will say of a request, kept from its head until its end. Not the formatting (`access_log` is).
//! Invariant: one pooled buffer per request, and none when the log is off.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use crate::access_log::Line;
use crate::identity::Identity;
use crate::net::{Buf, Pool};

/// A request's words, one after the other in one buffer.
pub(super) struct Draft {
    pub(super) text: Buf,
    method_end: usize,
    path_end: usize,
    id_end: usize,
    address_end: usize,
    identity: Option<Arc<Identity>>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Draft {
    /// Copies what the log needs; the head's own buffer moves on with the body.
    pub(super) fn new(
        mut text: Buf,
        method: &[u8],
        path: &[u8],
        id: &[u8],
        client: IpAddr,
    ) -> Self {
        let out = text.out();
        out.extend_from_slice(method);
        let method_end = out.len();
        out.extend_from_slice(path);
        let path_end = out.len();
        out.extend_from_slice(id);
        let id_end = out.len();
        // Writing to memory does not fail.
        let _ = write!(out, "{client}");
        let address_end = out.len();
        Self {
            text,
            method_end,
            path_end,
            id_end,
            address_end,
            identity: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Notes who it was, once.
    pub(super) fn identify(&mut self, identity: Option<&Arc<Identity>>) {
        if let Some(user) = identity.and_then(|identity| identity.user()) {
            let _ = write!(self.text.out(), "{user}");
        }
        self.identity = identity.cloned();
    }

    /// Gives its pooled buffer back and keeps a copy of just its words: for a request that lasts for hours.
    pub(super) fn shrink(&mut self, buffers: &Pool) {
        let mut text = Buf::with_capacity(self.text.len());
        text.out().extend_from_slice(self.text.filled());
        buffers.put(std::mem::replace(&mut self.text, text));
    }

    /// The line, once the outcome is known.
    pub(super) fn line<'a>(
        &'a self,
        status: u16,
        micros: u64,
        route: &'a str,
        closed: Option<&'a str>,
    ) -> Line<'a> {
        let text = self.text.filled();
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        let words = |from: usize, to: usize| std::str::from_utf8(part(from, to)).ok();
        let identity = self.identity.as_deref();
        Line {
            method: part(0, self.method_end),
            path: part(self.method_end, self.path_end),
            org: identity.and_then(Identity::organization_key),
            user: identity
                .and_then(Identity::user)
                .and(words(self.address_end, text.len())),
            status,
            micros,
            request_id: part(self.path_end, self.id_end),
            client_ip: words(self.id_end, self.address_end).unwrap_or("-"),
            route,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            closed,
        }
    }
}
