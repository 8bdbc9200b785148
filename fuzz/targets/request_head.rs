//! A request's head: whole and split, by the strict reader, by monoio-http. Not its body. Invariant: one reading, or none.
#![no_main]

use dbpower_gateway_fuzz::{ours, seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: seeds::write(seeds::request_heads()),
    |bytes: &[u8]| {
        ours::check_request(bytes);
    }
);
