//! Limits by number: token buckets, one for all or one for each caller, and what the process can bear (`admission`).
//!
//! Every bucket is kept as the one number that the generic cell rate algorithm needs: the moment at which the bucket is
//! full again (`gcra`). Those that several instances share are kept by Redis (`shared`). `clock` tells the time, so that
//! tests can. `usage` is what API keys may use by their usage plans, and `period` the calendar of its quotas.

pub mod admission;
mod bucket;
pub mod clock;
mod gcra;
mod keyed;
pub mod period;
mod places;
mod rate_limits;
pub mod shared;
pub mod usage;

pub use bucket::Bucket;
pub use clock::Clock;
pub use gcra::{BucketSpec, Empty, Level};
pub use keyed::{CallerTable, KeyedBuckets};
pub use places::{Place, Places};
pub use rate_limits::RateLimits;
