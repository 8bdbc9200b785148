//! The DBPower API gateway as a library; `main.rs` opens its door. This page is the architecture: what stands where, which way a
//! request takes, what always holds, and what the words mean. It is not the manual (README.md is).
//!
//! # The rooms
//!
//! ```text
//!  main ── cli ── config            arguments → checked Config; what is misconfigured never starts
//!            │
//!         gateway                   binds the ports, starts the threads, supervises, drains
//!    ┌───────┴──────────────┐
//!  worker × n            control    the two wings; they never name each other
//!  hot: monoio           cold: tokio, one thread
//!    │   └─── mailboxes ────▶ │     own endpoints, names to look up again; tokens that a core does not have
//!    └─▶ limit · metrics · Snapshot ◀─┘    the tables that cross threads
//! ```
//!
//! * **Hot wing**, [`worker`]: one thread per worker, each with its own listener, connections, upstream pool, token cache and
//!   slices. It waits for sockets and its timer, for nothing else. The story of a request is `worker/connection.rs`.
//! * **Cold wing**, [`control`]: health, documentation, metrics, limit info and reset, DNS, health probes, and the threads that
//!   write the logs. No proxied request waits for it.
//! * **Pure rooms**: [`http1`] (heads, framing, chunks), [`route`], [`cors`], [`forwarded`] (the client's address), [`identity`]
//!   (JWT), [`limit`], [`balance`] (which endpoint is asked next), [`presence`] (who is here), [`reject`] (every refusal's answer),
//!   [`rewrite`] (redirects and cookies of a service as the client needs them),
//!   [`proxy_protocol`], [`access_log`], [`metrics`]. Values in, values out: no I/O, no
//!   clock, and none knows another.
//! * **Ground**, [`net`]: the only room that names monoio, reads a clock, or holds `unsafe`.
//! * **Papers**, [`tls`]: certificates and keys from files, which `net` then speaks with; who is trusted, and why TLS failed; renewed
//!   while the gateway runs.
//! * Beside the way of a request: [`mailbox`] (the letters between the wings), [`demo`] (services to try the gateway with),
//!   [`testing`] (rows that several kinds of test share), [`throttle`] (how often a log line may come).
//!
//! Workers and the control thread share [`limit::Node`] (the buckets), [`metrics::Registry`] with [`metrics::State`] (counters,
//! health, draining), and the current [`config::Snapshot`], immutable and swapped whole; each worker reads a copy of its own.
//! Workers alone share [`presence::Presence`] (connections of the process, and what is bounded per address and organization).
//! Beside these only letters and log lines cross, in bounded channels; a log line without room is dropped and counted.
//!
//! # A request's way
//!
//! One line of each step, with the file in `worker/` that tells the rest:
//!
//! 1. *Accept* (`mod`). Beyond `MAX_CONNECTIONS` a worker gives up its longest idle one, or turns the newcomer away: 503. A connection
//!    that idles is parked: an entry in a table (`lot`) until its next byte.
//!    With `PROXY_PROTOCOL` it says first whose it is (`preamble`, [`proxy_protocol`]); over TLS the handshake comes next (`tls_handshake`).
//! 2. *Read the head* (`connection`) into a pooled buffer, within `HEAD_TIMEOUT` and [`http1::HEAD_BYTES_MAX`].
//! 3. *Decide* (`decide`), without waiting: parse, find the client's address, and `admit`. All fields that go out are written
//!    here, so that no borrow of the head outlives the step.
//! 4. *Admit* (`admit`), the order of checks, once. A step's refusal is final:
//!    route (a path with two readings: 400) → preflight (free) → the address's limit, looked at → identity (401, charged to the
//!    address; public routes skip it) → organization and address charged, both or none (429) → no route (404).
//!    Health is exempt; limit info and reset need a valid token and are not charged.
//! 5. *Forward* (`forward`, `endpoints`, `upstream`): of the service's endpoints choose a less busy one that has not failed lately
//!    (`balance`), reuse its youngest quiet connection or open one, send, and read the answer's head. A
//!    pooled connection that proves dead is replaced by a fresh one where sending again cannot do anything twice.
//!    Or *own* (`answer`): through the mailbox to the control thread; a full mailbox is an answer, 503.
//!    A WebSocket's handshake is a request like others; after the service's 101 (`handshake`) it is a *tunnel* (`tunnel`, `lane`).
//! 6. *Relay* (`upload`, `download`, `relay`): both bodies at once, a piece at a time; the next piece is read when the last one is written.
//! 7. *Record* (`shard`): counters, access line, buffers back to the pool; then the next head, or a `CloseReason`.
//!
//! # What always holds
//!
//! * A request that was not admitted is not forwarded: `forward` takes an `Exchange`, which holds a `Ticket`, and only `admit` can
//!   make one. [`limit::Permit`] and [`identity::Identity`] are such witnesses too.
//! * Two servers cannot read a forwarded message differently: what is ambiguous is refused, never repaired, and every head is
//!   written anew from its parsed parts.
//! * An upstream connection returns to the pool only after a complete answer with nothing unread: nobody gets another's answer.
//! * No limit is exceeded by the number of cores or of nodes: a slice's tokens have left the bucket before they are spent, and a
//!   lease's tokens the store ([`limit`] has the proof).
//! * Everything is bounded, and each bound is a named constant or a setting; where two depend on each other, the compiler checks.
//! * An operation in flight on a living connection is never dropped; a deadline shuts the socket down ([`net`] says why).
//! * Each connection ends with one [`metrics::CloseReason`]: the log's field and the metric's label.
//! * A peer's bytes reach no panic. One that happens all the same ends its connection alone and is counted; a thread that dies
//!   ends the process.
//! * A body that broke off is never ended as if it were whole.
//!
//! `tests/house.rs` checks of all this what can be read off the source; `tests/e2e_*` the rest, over real sockets.
//!
//! # Lexicon
//!
//! | word | here |
//! |---|---|
//! | downstream, upstream | the client's side; the service's side, or one connection to a service |
//! | head, field | first line and fields up to the empty line; one `Name: value` of it |
//! | target, path | the request line's second word as it came; what routes are matched on |
//! | endpoint | one address of a service |
//! | route, service | a prefix and what is done with it; a base URL that routes lead to |
//! | own endpoint | a path that the gateway answers itself (`/health`, `/docs`, `/rate-limit/info`, …) |
//! | shard | all that one worker owns: pools, caches, slices, its copy of the snapshot |
//! | snapshot | rules and addresses that hold now; a change is a new one |
//! | slot, bucket | the place of one key in the node's table; the tokens counted there |
//! | slice | tokens that a worker took from a bucket ahead of need: spent without a shared write, settled within a tick |
//! | lease | exclusive use for a while: of an upstream connection, by one exchange; of tokens, by one node |
//! | permit, ticket | proof that the limits were charged; proof that all checks were passed |
//! | tunnel, lane | a WebSocket after its 101; one of its two directions |
//! | exchange, reject | an admitted request on its way; a refusal before it has become an answer |
#![deny(unsafe_code)]

pub mod access_log;
pub mod balance;
pub mod cli;
pub mod config;
pub mod control;
pub mod cors;
pub mod demo;
pub mod forwarded;
pub mod gateway;
pub mod http1;
pub mod identity;
pub mod limit;
pub mod mailbox;
pub mod metrics;
pub mod net;
pub mod presence;
pub mod proxy_protocol;
pub mod reject;
pub mod rewrite;
pub mod route;
pub mod testing;
pub mod throttle;
pub mod tls;
pub mod worker;
