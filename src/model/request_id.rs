//! The id of a request: minted here, never taken from the caller, safe as an SQS id and as an execution name.

use std::fmt;

/// 32 lower-case hexadecimal digits holding 122 random bits: fits `[A-Za-z0-9_-]{1,80}`, the alphabet that SQS batch
/// ids and Step Functions execution names share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// A new id.
    pub fn mint() -> RequestId {
        let mut text = [0u8; 32];
        uuid::Uuid::new_v4().simple().encode_lower(&mut text);
        RequestId(text)
    }

    /// An id that was kept as text; `None` if it is none of ours.
    pub fn read(text: &str) -> Option<RequestId> {
        let digits: [u8; 32] = text.as_bytes().try_into().ok()?;
        let lower = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        digits.iter().all(lower).then_some(RequestId(digits))
    }

    /// A number from 0 up to, but not, 1, by the id's random bits: always the same for an id. `die`: 0 or 1, for two
    /// numbers that have nothing to do with each other.
    pub fn chance(&self, die: usize) -> f64 {
        // The digits 12 and 16 of a random UUID are not random (RFC 9562, 5.4).
        let at = if die == 0 { 0 } else { 17 };
        let digits = self.0[at..at + 12].iter();
        let value = digits.fold(0u64, |value, digit| {
            let digit = (*digit as char).to_digit(16).unwrap_or(0);
            value << 4 | u64::from(digit)
        });
        value as f64 / (1u64 << 48) as f64
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Ids are ASCII digits alone.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_safe_as_an_sqs_id_and_as_an_execution_name() {
        let id = RequestId::mint();
        assert_eq!(id.as_str().len(), 32);
        assert!(id.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
        assert_ne!(id, RequestId::mint());
        assert_eq!(RequestId::read(id.as_str()), Some(id));
        assert_eq!(id.chance(0), id.chance(0));
        assert!((0.0..1.0).contains(&id.chance(0)) && id.chance(0) != id.chance(1));
        for other in ["", "x", "ABCDEFABCDEFABCDEFABCDEFABCDEFAB"] {
            assert_eq!(RequestId::read(other), None);
        }
    }
}
