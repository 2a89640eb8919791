//! What needs the body before it may be stored: signatures, payload hashes. No kind of verification is configured yet;
//! a payload can be made all the same only here, and only with a permit.

use bytes::Bytes;

use super::authorize::Permit;

/// A body that may be stored.
pub struct Payload(Bytes);

impl Payload {
    /// The bytes, as received.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// The body of a permitted request.
pub(super) fn payload(_permit: Permit, body: Bytes) -> Payload {
    Payload(body)
}
