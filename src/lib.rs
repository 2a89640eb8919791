//! Penstock: a storage-first HTTP ingestion gateway. A request comes in, and its payload is durable before anyone says so.
//!
//! # The map
//!
//! Modules stand in reading order. What people write is `config`; what the gateway runs is `plan`; the life of a
//! request is `listen`, `stack`, `pipeline`; the closed families of kinds are `authn` and `integration`; what is kept
//! is kept by `store`, what is on its way to a target is with `forward`, and `sqs_api` lets others consume.
//!
//! A request lives `listen → admit → route → cors → throttle(route) → authenticate → authorize → throttle(caller) →
//! receive → verify → map → store → respond → log`. The phases carry these names in the access log, metrics, traces
//! and refusals.
//!
//! # The arrows
//!
//! `a ← b` means that b may use a and everything before a; nothing points back (`tests/it/arrows.rs` checks it):
//!
//! ```text
//! model ← decode, mapping, deploy ← telemetry ← store, limit, outbound, aws, listen ← authn, integration ← forward, sqs_api ← config ← plan
//!       ← pipeline ← stack ← admin ← app ← drill ← cli
//! ```

// vocabulary: plain values, no input or output
pub mod decode;
pub mod deploy;
pub mod mapping;
pub mod model;
pub mod telemetry;

// what a request needs along its way
pub mod aws;
pub mod limit;
pub mod listen;
pub mod outbound;
pub mod store;

// closed families of kinds: one file each
pub mod authn;
pub mod integration;

// from the store to targets and to consumers
pub mod forward;
pub mod sqs_api;

// from what people write to what the gateway runs
pub mod config;
pub mod plan;

// the life of a request
pub mod pipeline;
pub mod stack;

// the process
pub mod admin;
pub mod app;
pub mod cli;
pub mod drill;
