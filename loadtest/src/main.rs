//! The load-test harness (room to be furnished).

fn main() {}
