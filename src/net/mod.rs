//! The only module that names the runtime: sockets, timers, the clock, drivers. Not a place for protocol: it moves bytes and
//! breaks connections off. Invariants: an operation in flight is never dropped on a connection that goes on living (a dropped
//! io_uring read loses bytes); a deadline is enforced by shutting the socket down, which both drivers report as an end.

mod bell;
mod buffer;
pub mod clock;
mod heap;
mod listen;
mod runtime;
mod secure;
mod streak;
mod stream;
mod sweep;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod tls_core;
mod tls_io;
#[cfg(test)]
mod tls_tests;

pub use bell::TcpBell;
#[cfg(test)]
pub(crate) use buffer::counted;
pub use buffer::{Buf, Pool};
pub use heap::give_back;
pub use listen::{Accept, Edge, Incoming, bind, listeners, out_of_descriptors};
pub use runtime::{
    Caught, Driver, bound_panic_messages, catch_panic, descriptors_raised, detect, pin_to_core,
    race, run, sleep_ms, spawn, told_within, usable_cpus, within,
};
pub use secure::Secure;
pub use stream::{Bell, Broken, Clock, Reader, Rung, Signal, Stream, Sweeping, Writer};
pub use sweep::{PARK_AFTER_MS, Sweep};
pub use tcp::{Tcp, TcpParked, TcpReader, TcpWriter};
pub use tls_io::{Greeting, Unshaken};
