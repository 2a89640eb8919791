//! The vendor's documents as configuration. A document is read into a [`model`] of the API that it describes, each
//! value with its place, and the model becomes the located tree that a route file would have given: from there on both
//! go through the same reading, the same checks and the same messages.

pub mod findings;
pub mod model;
pub mod value;
