//! IAM policy documents over `execute-api:Invoke`: those of users, of request authorizers, and resource policies
//! (reference, 6.3 and 12.1).

/// A policy document, compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {}
