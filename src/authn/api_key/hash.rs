//! What a configuration holds in place of a key: its hash, in one of two forms.
//!
//! `sha256:<64 hex>` is the SHA-256 of the key's text. Keys hold at least 128 random bits, so nothing is gained by
//! slowing it down, and one look-up finds a key among millions.
//!
//! `sha256-salted:<32 hex>:<64 hex>` is a salt of 16 bytes and the SHA-256 of salt and key, for keys of the form
//! `psk_<id>_<secret>` alone: they are looked up by the id in them, which is the name that the key goes by.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{constant_time, digest};

/// A SHA-256.
pub type Digest = [u8; 32];

/// The salt of one key.
pub type Salt = [u8; 16];

/// A key, as a configuration knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyHash {
    Plain(Digest),
    Salted { salt: Salt, hash: Digest },
}

/// SHA-256 of several pieces, one after the other.
pub fn sha256(pieces: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for piece in pieces {
        context.update(piece);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The id in a key of the form `psk_<id>_<secret>`. Ids may hold `_`, secrets do not.
pub fn id_in(key: &[u8]) -> Option<&[u8]> {
    let rest = key.strip_prefix(b"psk_")?;
    let end = rest.iter().rposition(|byte| *byte == b'_')?;
    (end > 0 && end + 1 < rest.len()).then(|| &rest[..end])
}

/// Whether an id can stand in a key: 1 to 64 letters, digits, `_`, `-` and `.`.
pub fn is_id_of_a_key(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

impl KeyHash {
    /// The hash of a key.
    pub fn of(key: &[u8]) -> KeyHash {
        KeyHash::Plain(sha256(&[key]))
    }

    /// The salted hash of a key.
    pub fn salted(key: &[u8], salt: Salt) -> KeyHash {
        KeyHash::Salted {
            salt,
            hash: sha256(&[&salt, key]),
        }
    }

    /// The name that a key goes by, where it stands in it: `psk_<name>_<secret>`.
    pub fn name_in(key: &str) -> Option<&str> {
        let name = id_in(key.as_bytes())?;
        key.get("psk_".len()..)?.get(..name.len())
    }

    /// Whether it is the hash of this key. Takes as long when it is not.
    pub fn is_of(&self, key: &[u8]) -> bool {
        let (own, given) = match self {
            KeyHash::Plain(hash) => (hash, sha256(&[key])),
            KeyHash::Salted { salt, hash } => (hash, sha256(&[salt, key])),
        };
        constant_time::verify_slices_are_equal(own, &given).is_ok()
    }
}

/// Why a text is no hash of a key.
const FORMS: &str = "write `sha256:` and the 64 hexadecimal digits of the key's SHA-256, or what `penstock keys hash` \
                     prints";

impl FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<KeyHash, &'static str> {
        if let Some(digits) = text.strip_prefix("sha256:") {
            return bytes_of(digits).map(KeyHash::Plain).ok_or(FORMS);
        }
        let (salt, hash) = text
            .strip_prefix("sha256-salted:")
            .and_then(|rest| rest.split_once(':'))
            .ok_or(FORMS)?;
        match (bytes_of(salt), bytes_of(hash)) {
            (Some(salt), Some(hash)) => Ok(KeyHash::Salted { salt, hash }),
            _ => Err(
                "write `sha256-salted:`, the salt's 32 hexadecimal digits, `:` and the hash's 64",
            ),
        }
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| {
            bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        match self {
            KeyHash::Plain(hash) => {
                f.write_str("sha256:")?;
                digits(f, hash)
            }
            KeyHash::Salted { salt, hash } => {
                f.write_str("sha256-salted:")?;
                digits(f, salt)?;
                f.write_str(":")?;
                digits(f, hash)
            }
        }
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The bytes of exactly so many hexadecimal digits, of either case.
fn bytes_of<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        let good = format!("sha256:{}", "0F".repeat(32));
        assert_eq!(good.parse(), Ok(KeyHash::Plain([15; 32])));
        for wrong in [
            "",
            "sha256:",
            "md5:00",
            "sha256-salted:",
            &format!("sha256:{}", "g".repeat(64)),
            &format!("sha256:{}", "é".repeat(32)),
            &format!("sha256:+{}", "f".repeat(63)),
            &format!("sha256-salted:{}", "0".repeat(64)),
            &format!("sha256-salted:{}:{}", "0".repeat(30), "0".repeat(64)),
        ] {
            assert!(wrong.parse::<KeyHash>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hash_is_written_as_it_is_read() {
        for hash in [KeyHash::of(b"k"), KeyHash::salted(b"k", [7; 16])] {
            assert_eq!(hash.to_string().parse(), Ok(hash));
            assert!(hash.is_of(b"k"));
            assert!(!hash.is_of(b"K"));
        }
        assert_ne!(
            KeyHash::salted(b"k", [7; 16]),
            KeyHash::salted(b"k", [8; 16])
        );
    }

    #[test]
    fn the_id_of_a_key_ends_at_the_last_underscore() {
        for (key, id) in [
            ("psk_acme_0123", Some("acme")),
            ("psk_acme_eu_0123", Some("acme_eu")),
            ("psk_0123", None),
            ("psk__0123", None),
            ("psk_acme_", None),
            ("acme_0123", None),
        ] {
            assert_eq!(id_in(key.as_bytes()), id.map(str::as_bytes), "{key}");
        }
    }
}
