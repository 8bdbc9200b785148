//! A chunked body: whole and split, by the strict reader, by monoio-http, and written anew. Not a head. Invariant: one reading,
//! or none.
#![no_main]

use dbpower_gateway_fuzz::{ours, seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: seeds::write(seeds::chunked()),
    |bytes: &[u8]| {
        ours::check_chunked(bytes);
    }
);
