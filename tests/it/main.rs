//! The integration tests: one binary, one file a promise. What needs real servers and clients is in `tests/blackbox`.

// Helpers outside `#[test]` functions may unwrap too: this whole crate is tests.
#![allow(clippy::unwrap_used)]

mod arrows;
mod check;
mod docs;
mod fuzz;
mod generated;
mod sqs_wire;
