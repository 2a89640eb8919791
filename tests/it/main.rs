//! The integration tests: one binary, one file a promise. What needs real servers and clients is in `tests/blackbox`.

mod arrows;
mod check;
mod docs;
mod generated;
