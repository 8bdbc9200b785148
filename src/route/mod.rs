//! Where a request goes: a raw target goes in, an own endpoint, an upstream rule or nothing comes out.
//! Not here: services' addresses, methods, tokens. Invariant: a target of which two servers could make different routes,
//! or a public and a private one, is [`Ambiguous`] and reaches nobody.
//!
//! A plain path (no `%`, `;`, `\`, `//`, dot segment) has one reading and is matched as it stands, without an
//! allocation. Any other is read in every way that some server is known to read it (`readings`), over the tree of
//! all paths that matter (`tree`); the verdict counts only if all readings agree.

mod hosts;
mod readings;
mod table;
#[cfg(test)]
mod tests;
mod tree;

pub use hosts::Hosts;
pub use readings::Ambiguous;
pub use table::{Match, Own, RouteError, Rule, Table, Upstream};
