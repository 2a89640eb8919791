//! Documents → configuration, and what is said of them.
