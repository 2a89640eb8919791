use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

fn spec(rate: f64, burst: u32) -> BucketSpec {
    BucketSpec {
        rate,
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

fn table(entries: usize) -> (Arc<CallerTable>, Clock) {
    let clock = Clock::standing();
    let table = CallerTable::new(entries, clock.clone());
    (Arc::new(table), clock)
}

#[test]
fn each_caller_has_a_bucket_and_each_throttle_its_own_callers() {
    let (table, clock) = table(1_024);
    let buckets = KeyedBuckets::new(&table, "POST /a", spec(1.0, 2));
    let others = KeyedBuckets::new(&table, "POST /b", spec(1.0, 2));
    assert_eq!(buckets.peek(b"ann").unwrap().remaining, 2);
    assert_eq!(buckets.take(b"ann").unwrap().remaining, 1);
    assert_eq!(buckets.take(b"ann").unwrap().remaining, 0);
    let empty = buckets.take(b"ann").unwrap_err();
    assert_eq!(empty.wait, Some(Duration::from_secs(1)));
    assert!(buckets.peek(b"ann").is_err());
    assert_eq!(buckets.take(b"bob").unwrap().remaining, 1);
    assert_eq!(others.take(b"ann").unwrap().remaining, 1);
    // The next plan's buckets are these where nothing about them has changed.
    let next = KeyedBuckets::new(&table, "POST /a", spec(1.0, 2));
    assert!(next.peek(b"ann").is_err());
    let changed = KeyedBuckets::new(&table, "POST /a", spec(2.0, 2));
    assert!(changed.peek(b"ann").is_ok());
    clock.advance(Duration::from_secs(1));
    assert_eq!(buckets.take(b"ann").unwrap().remaining, 0);
    buckets.give_back(b"ann");
    assert!(buckets.take(b"ann").is_ok() && buckets.take(b"ann").is_err());
}

#[test]
fn a_rate_of_zero_refuses_every_caller_and_keeps_nothing() {
    let (table, _) = table(1_024);
    let buckets = KeyedBuckets::new(&table, "", spec(0.0, 9));
    for caller in 0..100_000u32 {
        assert_eq!(buckets.take(&caller.to_le_bytes()).unwrap_err().wait, None);
    }
    assert_eq!(table.bytes(), SHARDS * FIRST_SETS * WAYS * 16);
}

#[test]
fn a_million_callers_are_all_remembered_in_half_of_the_memory_they_may_take() {
    let (table, _) = table(CallerTable::ENTRIES);
    let buckets = KeyedBuckets::new(&table, "", spec(1.0, 1));
    for caller in 0..1_000_000u32 {
        assert!(buckets.take(&caller.to_le_bytes()).is_ok());
    }
    assert_eq!(table.bytes(), 32 << 20);
    let forgotten = (0..1_000_000u32)
        .filter(|caller| buckets.take(&caller.to_le_bytes()).is_ok())
        .count();
    assert_eq!(forgotten, 0);
}

#[test]
fn the_table_never_grows_past_its_bound() {
    let (table, _) = table(4_096);
    let buckets = KeyedBuckets::new(&table, "", spec(1.0, 1));
    for caller in 0..200_000u32 {
        assert!(buckets.take(&caller.to_le_bytes()).is_ok());
    }
    assert_eq!(table.bytes(), 4_096 * 16);
}

#[test]
fn callers_that_come_once_and_long_after_one_another_take_no_more_than_the_first_pages() {
    let (table, clock) = table(CallerTable::ENTRIES);
    let buckets = KeyedBuckets::new(&table, "", spec(10.0, 1));
    for caller in 0..100_000u32 {
        assert!(buckets.take(&caller.to_le_bytes()).is_ok());
        clock.advance(Duration::from_millis(1));
    }
    // A hundred buckets at a time are not full.
    assert!(table.bytes() <= 64 << 10, "{}", table.bytes());
}

#[test]
fn an_abuser_stays_limited_while_callers_without_number_come_once() {
    let (table, clock) = table(1_024);
    let buckets = KeyedBuckets::new(&table, "", spec(10.0, 20));
    // A table of 1,024, and 2,000 strangers in the time of one token: each leaves a bucket that is almost full.
    let (mut taken, mut stranger) = (0, 0u64);
    for _ in 0..100 {
        for _ in 0..2_000 {
            stranger += 1;
            assert!(buckets.take(&stranger.to_le_bytes()).is_ok());
        }
        for _ in 0..50 {
            taken += u32::from(buckets.take(b"abuser").is_ok());
        }
        clock.advance(Duration::from_millis(100));
    }
    // Ten seconds at ten a second, and the burst.
    assert!((115..=120).contains(&taken), "{taken}");
}

#[test]
fn among_emptied_buckets_the_one_that_is_asked_all_the_time_goes_last() {
    let (table, clock) = table(1_024);
    let buckets = KeyedBuckets::new(&table, "", spec(1.0, 1));
    // Every stranger empties its bucket, half as many a second as the table holds.
    let (mut taken, mut stranger) = (0, 0u64);
    for _ in 0..2_000 {
        for _ in 0..5 {
            stranger += 1;
            assert!(buckets.take(&stranger.to_le_bytes()).is_ok());
        }
        taken += u32::from(buckets.take(b"abuser").is_ok());
        clock.advance(Duration::from_millis(10));
    }
    assert!((20..=21).contains(&taken), "{taken}");
}

#[test]
fn an_emptied_bucket_goes_after_all_that_are_fuller() {
    let mut shard = Shard {
        entries: vec![Entry::default(); 2 * WAYS],
    };
    let now = 1_000;
    // Fifteen entries in all shades, of two sizes: an exponent of 10 is a burst of about 1,000, one of 20 of a million.
    for at in 0..2 * WAYS {
        let (exponent, burst) = if at % 2 == 0 {
            (10, 1_000)
        } else {
            (20, 1_000_000)
        };
        shard.entries[at] = Entry {
            tag: ((at as u64 + 1) << 6) | exponent,
            full_at: now + burst * (at as u64 + 1) / 20,
        };
    }
    // The first set is that of even numbers, the second that of odd halves; a tag of 1 in both sees all sixteen.
    let tag = 1 << 6;
    assert_eq!(shard.sets(tag), [WAYS, 0]);
    for fullest in 0..2 * WAYS {
        assert_eq!(shard.place(tag, now, 2), fullest);
        shard.entries[fullest].full_at = u64::MAX;
    }
}

proptest! {
    /// Growing loses nobody, and what the table says is what a bucket of each caller's own would say.
    #[test]
    fn a_table_is_as_good_as_a_map_of_buckets(
        steps in proptest::collection::vec((0u16..600, 0u64..200), 1..2_000),
        rate in 0.5f64..50.0,
        burst in 1u32..5,
    ) {
        let (table, clock) = table(65_536);
        let buckets = KeyedBuckets::new(&table, "", spec(rate, burst));
        let gcra = Gcra::new(spec(rate, burst));
        let mut naive: HashMap<u16, u64> = HashMap::new();
        for (caller, millis) in steps {
            clock.advance(Duration::from_millis(millis % 20));
            let full_at = naive.entry(caller).or_default();
            let expected = gcra.take(*full_at, clock.now());
            prop_assert_eq!(buckets.peek(&caller.to_le_bytes()).is_ok(), expected.is_ok());
            let taken = buckets.take(&caller.to_le_bytes());
            prop_assert_eq!(taken, expected.map(|(_, level)| level));
            if let Ok((after, _)) = expected {
                *full_at = after;
            }
        }
    }
}
