//! New keys. They are text that nobody needs to quote or escape: `psk_` and 160 random bits in hexadecimal digits.

use std::fmt::Write as _;

use aws_lc_rs::rand;

use super::hash::Salt;
use crate::model::secret::Secret;

/// Random bytes of a key: 160 bits, where 128 are asked for.
const SECRET: usize = 20;

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// A new key.
pub fn mint() -> Result<Secret<String>, NoRandomness> {
    let mut key = "psk_".to_owned();
    append(&mut key)?;
    Ok(Secret::new(key))
}

/// A new key that its id can be read from, as salted hashes need it.
pub fn mint_salted(id: &str) -> Result<Secret<String>, NoRandomness> {
    let mut key = format!("psk_{id}_");
    append(&mut key)?;
    Ok(Secret::new(key))
}

/// A new salt.
pub fn salt() -> Result<Salt, NoRandomness> {
    let mut salt = Salt::default();
    rand::fill(&mut salt).map_err(|_| NoRandomness)?;
    Ok(salt)
}

fn append(key: &mut String) -> Result<(), NoRandomness> {
    let mut secret = zeroize::Zeroizing::new([0; SECRET]);
    rand::fill(&mut *secret).map_err(|_| NoRandomness)?;
    for byte in *secret {
        // Writing to a String cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::hash::id_in;
    use super::*;

    #[test]
    fn keys_are_long_and_never_the_same() {
        let (one, other) = (mint().unwrap(), mint().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.expose().len(), 4 + 40);
        let salted = mint_salted("acme_eu").unwrap();
        assert_eq!(id_in(salted.expose().as_bytes()), Some(&b"acme_eu"[..]));
    }
}
