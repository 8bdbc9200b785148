//! Who is calling: a bearer token goes in, an [`Identity`] or a [`Refusal`] comes out.
//! Not here: reading headers off the wire, limits, and any clock (`now` is an argument, in unix milliseconds).
//! Invariant: an [`Identity`] exists only for a token whose signature and rules were all checked by [`Verifier::verify`].
//!
//! ```text
//! Authorization ──bearer──► token ──Cache──► Arc<Identity>
//!                                    │ miss
//!                                    ▼
//!                Verifier: compact → alg → signature → rules → claims
//! ```
//! Nothing but the signature is believed before the signature: what a 401 tells about dates, audiences
//! and claims, it tells only to those who hold a token that is really ours.

mod bearer;
mod cache;
mod claims;
mod compact;
mod encoding;
mod explain;
mod mint;
mod principal;
mod refusal;
mod rules;
mod settings;
mod signature;
pub mod subprotocol;
#[cfg(test)]
mod tests;
mod verify;

pub use bearer::bearer;
pub use cache::{CACHE_ENTRIES_MAX, CACHE_MS_MAX, Cache};
pub use claims::{ClaimValue, DateClaim, DateFault, is_name};
pub use compact::TOKEN_BYTES_MAX;
pub use encoding::SecretEncoding;
pub use explain::why;
pub use mint::{MintError, mint};
pub use principal::Identity;
pub use refusal::{Refusal, Why};
pub use settings::{Hmac, Settings, SetupError};
pub use verify::Verifier;
