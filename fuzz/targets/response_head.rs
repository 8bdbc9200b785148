//! A response's head, to GET and to HEAD: whole and split, by the strict reader, by monoio-http. Not its body. Invariant: one
//! reading, or none.
#![no_main]

use dbpower_gateway_fuzz::{ours, seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: seeds::write(seeds::response_heads()),
    |bytes: &[u8]| {
        ours::check_response(bytes, false);
        ours::check_response(bytes, true);
    }
);
