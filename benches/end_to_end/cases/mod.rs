//! One idea a file.

pub mod accept;
pub mod consumer;
pub mod door;
pub mod growth;
pub mod guard;
pub mod idle;
pub mod integrity;
pub mod kinesis;
pub mod overload;
pub mod peers;
pub mod receive;
pub mod soak;
pub mod spool;
pub mod sqs;
pub mod tls;
