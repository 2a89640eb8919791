//! What goes together, and that a reader of the format finds every record again. The bytes themselves are checked with
//! the vendor's de-aggregator in `tests/blackbox/test_kinesis_aggregation.py`.

use proptest::prelude::*;

use super::*;
use crate::integration::kind::{Aggregate, Payload};

/// A record of an aggregate: partition key, explicit hash key, data.
type Taken = (String, Option<String>, Vec<u8>);

fn request(key: &str, hash_key: Option<&str>, data: &[u8], aggregate: bool) -> Request {
    Request {
        stream_name: "s".into(),
        data: Payload(Bytes::copy_from_slice(data)),
        partition_key: key.into(),
        sequence_number_for_ordering: None,
        explicit_hash_key: hash_key.map(str::to_owned),
        region: None,
        aggregate: aggregate.then_some(Aggregate::Kpl),
    }
}

fn number(bytes: &mut &[u8]) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

fn field<'b>(bytes: &mut &'b [u8]) -> (usize, usize, &'b [u8]) {
    let key = number(bytes);
    let value = number(bytes);
    if key & 7 == 0 {
        return (key >> 3, value, &[]);
    }
    assert_eq!(key & 7, 2);
    let (taken, rest) = bytes.split_at(value);
    *bytes = rest;
    (key >> 3, 0, taken)
}

/// Takes an aggregate apart, as the format's description says it.
pub(crate) fn unpack(data: &[u8]) -> Vec<Taken> {
    let (magic, rest) = data.split_at(MAGIC.len());
    assert_eq!(magic, MAGIC);
    let (mut message, digest) = rest.split_at(rest.len() - MD5_BYTES);
    assert_eq!(Md5::digest(message)[..], *digest);
    let (mut keys, mut hash_keys, mut taken) = (Vec::new(), Vec::new(), Vec::new());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    while !message.is_empty() {
        match field(&mut message) {
            (1, _, bytes) => keys.push(text(bytes)),
            (2, _, bytes) => hash_keys.push(text(bytes)),
            (3, _, mut record) => {
                let mut found = (String::new(), None, Vec::new());
                while !record.is_empty() {
                    match field(&mut record) {
                        (1, index, _) => found.0 = keys[index].clone(),
                        (2, index, _) => found.1 = Some(hash_keys[index].clone()),
                        (3, _, data) => found.2 = data.to_vec(),
                        other => panic!("{other:?}"),
                    }
                }
                taken.push(found);
            }
            other => panic!("{other:?}"),
        }
    }
    taken
}

fn as_taken(request: &Request) -> Taken {
    (
        request.partition_key.clone(),
        request.explicit_hash_key.clone(),
        request.data.0.to_vec(),
    )
}

fn members(requests: &[Request], map: Option<&ShardMap>) -> Vec<Vec<usize>> {
    let requests: Vec<&Request> = requests.iter().collect();
    let entries = pack(&requests, map);
    entries.into_iter().map(|entry| entry.members).collect()
}

fn halves() -> ShardMap {
    let middle = u128::MAX / 2;
    ShardMap::new([
        (0, middle, "low".to_owned()),
        (middle + 1, u128::MAX, "high".to_owned()),
    ])
}

#[test]
fn records_of_one_shard_go_together_and_a_record_alone_goes_as_it_is() {
    let high = u128::MAX.to_string();
    let requests = [
        request("a", Some("1"), b"1", true),
        request("b", Some(&high), b"2", true),
        request("c", Some("2"), b"3", true),
        request("a", Some("1"), b"4", true),
    ];
    assert_eq!(
        members(&requests, Some(&halves())),
        [vec![0, 2, 3], vec![1]]
    );
    let all: Vec<&Request> = requests.iter().collect();
    let entries = pack(&all, Some(&halves()));
    assert_eq!(
        unpack(&entries[0].data),
        [0, 2, 3].map(|place: usize| as_taken(all[place]))
    );
    assert_eq!(entries[0].shard.as_deref(), Some("low"));
    assert_eq!(entries[0].explicit_hash_key.as_deref(), Some("1"));
    assert_eq!(entries[0].hashes, Some(1..=2));
    assert_eq!(
        (
            &entries[1].data[..],
            entries[1].explicit_hash_key.as_deref()
        ),
        (&b"2"[..], Some(high.as_str()))
    );
}

#[test]
fn without_a_map_only_records_of_one_hash_go_together() {
    let requests = ["a", "b", "a", "b", "c"].map(|key| request(key, None, key.as_bytes(), true));
    assert_eq!(members(&requests, None), [vec![0, 2], vec![1, 3], vec![4]]);
    let all: Vec<&Request> = requests.iter().collect();
    let entries = pack(&all, None);
    // wherever its hash lives, all of its records do: no shard can be the wrong one
    assert_eq!(entries[0].shard, None);
    // MD5("a"), from RFC 1321
    let expected = 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661_u128.to_string();
    assert_eq!(entries[0].explicit_hash_key.as_deref(), Some(&*expected));
}

#[test]
fn what_cannot_stand_in_an_aggregate_ends_the_one_before_it_so_that_order_holds() {
    let big = vec![b'x'; MAX_BYTES];
    let requests = [
        request("a", None, b"1", true),
        request("a", None, b"2", true),
        request("a", None, &big, true),
        request("a", None, b"3", true),
        request("a", None, b"4", true),
        request("a", None, b"not ours", false),
        request("a", None, b"5", true),
    ];
    assert_eq!(
        members(&requests, Some(&halves())),
        [vec![0, 1], vec![2], vec![3, 4], vec![5], vec![6]]
    );
}

#[test]
fn records_with_and_without_an_explicit_hash_key_never_share_an_aggregate() {
    let zero = request("a", None, b"", true);
    let same = hash(&zero).unwrap().to_string();
    let requests = [
        zero.clone(),
        request("a", Some(&same), b"", true),
        request("a", Some(&same), b"", true),
        zero,
    ];
    assert_eq!(members(&requests, None), [vec![0], vec![1, 2], vec![3]]);
}

#[test]
fn a_record_is_billed_by_units_of_25_kib() {
    for (bytes, units) in [(0, 1), (1, 1), (25_600, 1), (25_601, 2), (51_200, 2)] {
        assert_eq!(payload_units(bytes), units, "{bytes}");
    }
}

fn written() -> impl Strategy<Value = Request> {
    let data = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..40),
        2 => (0usize..60_000).prop_map(|len| vec![7; len]),
    ];
    let hash_key = prop::option::weighted(0.3, prop_oneof![any::<u128>(), 0u128..4]);
    ("[a-dé]{1,3}", hash_key, data, prop::bool::weighted(0.9)).prop_map(
        |(key, hash_key, data, aggregate)| {
            let hash_key = hash_key.map(|number| number.to_string());
            request(&key, hash_key.as_deref(), &data, aggregate)
        },
    )
}

proptest! {
    #[test]
    fn every_record_comes_out_once_unchanged_in_order_and_of_its_own_shard(
        requests in prop::collection::vec(written(), 0..60),
        mut cuts in prop::collection::vec(any::<u128>(), 0..6),
        mapped in any::<bool>(),
    ) {
        cuts.push(0);
        cuts.sort_unstable();
        cuts.dedup();
        let ends = cuts.iter().skip(1).map(|cut| cut - 1).chain([u128::MAX]);
        let ranges: Vec<(u128, u128)> = cuts.iter().copied().zip(ends).collect();
        let named = ranges.iter().enumerate().map(|(n, (first, last))| (*first, *last, n.to_string()));
        let map = mapped.then(|| ShardMap::new(named));
        let shard = |request: &Request| {
            let hash = hash(request).unwrap();
            ranges.iter().position(|(first, last)| (*first..=*last).contains(&hash)).unwrap()
        };
        let all: Vec<&Request> = requests.iter().collect();
        let entries = pack(&all, map.as_ref());
        let mut by_shard = vec![Vec::new(); ranges.len()];
        for entry in &entries {
            let of: Vec<usize> = entry.members.iter().map(|place| shard(all[*place])).collect();
            prop_assert!(of.iter().all(|one| *one == of[0]));
            by_shard[of[0]].extend(&entry.members);
            if let [place] = entry.members[..] {
                prop_assert_eq!(&entry.data, &all[place].data.0);
                prop_assert_eq!(entry.explicit_hash_key.as_deref(), all[place].explicit_hash_key.as_deref());
            } else {
                prop_assert!(entry.size() <= MAX_BYTES);
                let taken: Vec<Taken> = entry.members.iter().map(|place| as_taken(all[*place])).collect();
                prop_assert_eq!(unpack(&entry.data), taken);
                let own: u128 = entry.explicit_hash_key.as_deref().unwrap().parse().unwrap();
                prop_assert!((ranges[of[0]].0..=ranges[of[0]].1).contains(&own));
                if let Some(name) = &entry.shard {
                    prop_assert_eq!(name.to_string(), of[0].to_string());
                }
            }
        }
        let mut seen: Vec<usize> = by_shard.iter().flatten().copied().collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..all.len()).collect::<Vec<_>>());
        if mapped {
            prop_assert!(by_shard.iter().all(|places| places.is_sorted()));
        }
    }
}
