//! Data that more than one kind of test shares. Not code under test, not used by the gateway itself. Invariant: values only,
//! so that the parser's test and the end-to-end test judge by the same rows.

pub mod conformance;
#[cfg(test)]
mod simulation;
