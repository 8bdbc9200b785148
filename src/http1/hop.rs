//! The `Connection` field: what it says of this connection and which fields it consumes (RFC 9110 7.6.1). Not the fields that
//! are hop-by-hop by name (`Name::hop_by_hop`). Invariant: no client can make us drop a field that others decide by.

use super::fault::Fault;
use super::field::{Field, Name, elements};

/// Options in all `Connection` fields of a head. Each is compared with each field, so their number is bounded.
pub(super) const CONNECTION_OPTIONS_MAX: usize = 64;

/// What `Connection` said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Connection {
    close: bool,
    keep_alive: bool,
    pub(super) upgrade: bool,
    /// Options that name fields, so that these must be looked for.
    names: bool,
    options: usize,
}

impl Connection {
    /// Takes one `Connection` line.
    pub(super) fn take(&mut self, value: &[u8]) -> Result<(), Fault> {
        for option in elements(value) {
            self.options += 1;
            if self.options > CONNECTION_OPTIONS_MAX {
                return Err(Fault::ConnectionOptions);
            }
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.take_name(Name::of(option))?;
            }
        }
        Ok(())
    }

    /// The attack: `Connection: Authorization` would strip the credentials behind the check that saw them.
    fn take_name(&mut self, named: Name) -> Result<(), Fault> {
        if matches!(
            named,
            Name::Host | Name::ContentLength | Name::Authorization | Name::Cookie
        ) {
            return Err(Fault::ConnectionNames);
        }
        self.names = true;
        Ok(())
    }

    /// Whether this side means to go on: by default on 1.1, on demand on 1.0; `close` beats all.
    pub(super) const fn persists(self, minor: u8) -> bool {
        !self.close && (minor >= 1 || self.keep_alive)
    }

    /// Marks the fields that `Connection` names as consumed.
    #[inline]
    pub(super) fn consume(self, fields: &mut [Field<'_>]) {
        if self.names {
            mark(fields);
        }
    }
}

#[cold]
fn mark(fields: &mut [Field<'_>]) {
    for at in 0..fields.len() {
        let Some(&Field {
            value,
            kind: Name::Connection,
            ..
        }) = fields.get(at)
        else {
            continue;
        };
        for option in elements(value) {
            for field in fields
                .iter_mut()
                .filter(|field| field.name.eq_ignore_ascii_case(option))
            {
                field.hop = true;
            }
        }
    }
}
