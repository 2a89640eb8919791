//! The store against a model of it.
