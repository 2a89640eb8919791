//! The drill: a gateway as a child, a target that fails on purpose, clients that count; and in the end the ledger.
