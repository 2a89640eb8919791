//! Numbers that look random and are a pure function of a seed: SplitMix64 (Steele, Lea, Flood, 2014). What a drill
//! does can be done again, on any machine.

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to a seed and a place: the same parts give the same numbers.
    pub fn of(seed: u64, place: &[u64]) -> Random {
        let mut random = Random(seed);
        for part in place {
            random = Random(random.next() ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        random
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` up to, and not including, `high`; `low` where there is nothing between them.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        match high.saturating_sub(low) {
            0 => low,
            span => low + self.next() % span,
        }
    }

    /// True this often in a hundred times.
    pub fn percent(&mut self, often: u64) -> bool {
        self.next() % 100 < often
    }

    /// Puts them in another order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for at in (1..things.len()).rev() {
            let other = self.between(0, at as u64 + 1) as usize;
            things.swap(at, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_published_algorithm() {
        // The reference implementation's first numbers for the seed 1234567.
        let mut random = Random(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_same_parts_give_the_same_numbers_and_others_give_others() {
        let first = |parts: &[u64]| Random::of(7, parts).next();
        assert_eq!(first(&[1, 2]), first(&[1, 2]));
        assert_ne!(first(&[1, 2]), first(&[2, 1]));
        assert_ne!(first(&[1]), Random::of(8, &[1]).next());
    }

    #[test]
    fn a_shuffle_keeps_everything_and_a_range_its_ends() {
        let mut random = Random::of(1, &[]);
        let mut things: Vec<u32> = (0..50).collect();
        random.shuffle(&mut things);
        assert_ne!(things, (0..50).collect::<Vec<_>>());
        things.sort_unstable();
        assert_eq!(things, (0..50).collect::<Vec<_>>());
        assert!((0..1000).all(|_| (3..5).contains(&random.between(3, 5))));
        assert_eq!(random.between(9, 9), 9);
    }
}
