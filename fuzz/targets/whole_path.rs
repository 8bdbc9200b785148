//! A request from the client's bytes to the service's: parsed, admitted, written, and read again. Not a socket. Invariant: the
//! service reads one request, with the client's meaning, below its own route.
#![no_main]

use std::cell::RefCell;

use dbpower_gateway_fuzz::{seeds, upstream};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static GATEWAY: RefCell<upstream::Gateway> = RefCell::new(upstream::Gateway::new());
}

fuzz_target!(
    init: seeds::write(seeds::whole_paths()),
    |bytes: &[u8]| {
        GATEWAY.with_borrow_mut(|gateway| gateway.check(bytes));
    }
);
