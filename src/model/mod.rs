//! The vocabulary: plain values that every other room speaks in. No input or output happens here.

pub mod call;
pub mod carried;
pub mod certificate;
pub mod cidr;
pub mod code;
pub mod context;
pub mod deprecation;
pub mod distinguished_name;
pub mod forwarded;
pub mod header;
pub mod identity;
pub mod message;
pub mod path;
pub mod peer;
pub mod phase;
pub mod problem;
pub mod request_id;
pub mod route_key;
pub mod secret;
pub mod text;
pub mod value;
