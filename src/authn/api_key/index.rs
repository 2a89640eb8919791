//! A set of digests, found in constant time and kept in little more than their own bytes: they are sorted, and, being
//! random, spread evenly, so that a table of where each prefix begins leaves one or two to compare.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::hash::Digest;

/// Prefixes of at most so many bits: 64 MiB of table would serve sixteen million digests.
const MOST_BITS: u32 = 24;

/// Digests in order. A digest's position is its number.
#[derive(Debug, Default)]
pub(super) struct Index {
    digests: Box<[Digest]>,
    /// Where the digests of each prefix begin; one entry more than there are prefixes.
    starts: Box<[u32]>,
    bits: u32,
}

impl Index {
    /// `digests` must be sorted, and at most `u32::MAX`.
    pub fn new(digests: Vec<Digest>) -> Index {
        let bits = digests.len().max(1).ilog2().min(MOST_BITS);
        let mut starts = vec![0u32; (1 << bits) + 1];
        for digest in &digests {
            starts[prefix(digest, bits) + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        Index {
            digests: digests.into(),
            starts: starts.into(),
            bits,
        }
    }

    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// The number of a digest.
    pub fn find(&self, digest: &Digest) -> Option<u32> {
        let at = prefix(digest, self.bits);
        let (start, end) = (*self.starts.get(at)?, *self.starts.get(at + 1)?);
        (start..end).find(|number| {
            self.digests
                .get(*number as usize)
                .is_some_and(|own| verify_slices_are_equal(own, digest).is_ok())
        })
    }
}

fn prefix(digest: &Digest, bits: u32) -> usize {
    let first = u64::from(u32::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3],
    ]));
    (first >> (32 - bits)) as usize
}

#[cfg(test)]
mod tests {
    use super::super::hash::sha256;
    use super::*;

    #[test]
    fn every_digest_is_found_where_it_stands_and_no_other_is() {
        for count in [0u32, 1, 2, 3, 100, 5_000] {
            let mut digests: Vec<Digest> =
                (0..count).map(|n| sha256(&[&n.to_be_bytes()])).collect();
            digests.sort_unstable();
            let index = Index::new(digests.clone());
            for (number, digest) in digests.iter().enumerate() {
                assert_eq!(index.find(digest), Some(number as u32));
            }
            assert_eq!(index.find(&sha256(&[b"stranger"])), None);
            assert_eq!(index.find(&[0; 32]), None);
            assert_eq!(index.find(&[255; 32]), None);
        }
    }
}
