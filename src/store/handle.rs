//! Receipt handles: opaque to whoever holds one, and good only for what they were given for. A handle names one
//! delivery of one message and carries a keyed digest, so that nobody can delete what they have not received.

use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const VERSION: u8 = 1;
const NAMED: usize = 25;
const DIGEST: usize = 12;

/// One delivery of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grip {
    pub queue: i64,
    pub seq: i64,
    /// Which delivery of the message this was; 1 is the first.
    pub receive_count: u32,
    /// Steady time of the delivery, from which the 12 hours of visibility count.
    pub taken_at: i64,
}

/// The key of one store's handles; it lives in the file, so handles outlive the process.
pub(super) struct HandleKey(hmac::Key);

impl HandleKey {
    pub fn new(secret: &[u8]) -> HandleKey {
        HandleKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The secret of a new store; `None` where the system has no randomness to give.
    pub fn fresh_secret() -> Option<[u8; 32]> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).ok()?;
        Some(secret)
    }

    /// The handle, in characters that need no escaping in a URL's path.
    pub fn seal(&self, grip: &Grip) -> String {
        let mut bytes = Vec::with_capacity(NAMED + DIGEST);
        bytes.push(VERSION);
        bytes.extend_from_slice(&(grip.queue as u32).to_be_bytes());
        bytes.extend_from_slice(&grip.seq.to_be_bytes());
        bytes.extend_from_slice(&grip.receive_count.to_be_bytes());
        bytes.extend_from_slice(&grip.taken_at.to_be_bytes());
        let digest = hmac::sign(&self.0, &bytes);
        bytes.extend_from_slice(&digest.as_ref()[..DIGEST]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a handle names; `None` if this store never gave it out.
    pub fn open(&self, handle: &str) -> Option<Grip> {
        let bytes = URL_SAFE_NO_PAD.decode(handle).ok()?;
        let (named, digest) = bytes.split_at_checked(NAMED)?;
        let expected = hmac::sign(&self.0, named);
        constant_time::verify_slices_are_equal(&expected.as_ref()[..DIGEST], digest).ok()?;
        let (version, rest) = named.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (queue, rest) = rest.split_first_chunk::<4>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (taken_at, _) = rest.split_first_chunk::<8>()?;
        Some(Grip {
            queue: i64::from(u32::from_be_bytes(*queue)),
            seq: i64::from_be_bytes(*seq),
            receive_count: u32::from_be_bytes(*count),
            taken_at: i64::from_be_bytes(*taken_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_opens_only_in_the_store_that_gave_it_and_only_unchanged() {
        let key = HandleKey::new(b"one");
        let grip = Grip {
            queue: 7,
            seq: 1 << 40,
            receive_count: 3,
            taken_at: 99,
        };
        let handle = key.seal(&grip);
        assert_eq!(key.open(&handle), Some(grip));
        assert_eq!(HandleKey::new(b"two").open(&handle), None);
        for at in 0..handle.len() {
            let mut changed = handle.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(key.open(&changed), None, "{changed}");
        }
        for nonsense in ["", "x", "not base64!", "AAAA", &handle[..20]] {
            assert_eq!(key.open(nonsense), None);
        }
    }
}
