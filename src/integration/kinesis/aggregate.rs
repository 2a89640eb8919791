//! The aggregated records of the Kinesis Producer Library: several records of callers in one record of the stream, which
//! the vendor's consumers take apart again. Pure: what goes together, and its bytes.
//!
//! The format ("KPL Aggregated Record Format", awslabs/amazon-kinesis-producer, aggregation-format.md): four bytes of
//! magic, a protobuf message, the MD5 of that message. The message has a table of partition keys, one of explicit hash
//! keys, and the records, which point into both.
//!
//! The vendor's consumer (KCL, `AggregatorUtil.deaggregate`) throws a *whole* aggregate away when one record of it hashes
//! to another shard than the one that it was read from. So only records of one shard go together, or, where the shards
//! are not known, records of one hash.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use md5::{Digest as _, Md5};

use super::Request;
use super::shards::ShardMap;
use super::wire;
use crate::integration::target::Billing;

/// What an aggregated record begins with.
const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
const MD5_BYTES: usize = 16;

/// The most bytes of an aggregated record, its own partition key included: `AggregationMaxSize` of the Kinesis Producer
/// Library, and two payload units. Larger ones save nothing and make each throttled entry dearer to send again.
pub(super) const MAX_BYTES: usize = 2 * UNIT_BYTES;

/// A PUT payload unit: what Kinesis bills a record by.
const UNIT_BYTES: usize = 25 * 1024;

/// The PUT payload units that Kinesis bills for a record of so many bytes.
pub(super) fn payload_units(bytes: usize) -> u64 {
    Billing::Record(UNIT_BYTES).units(&[bytes])
}

/// A record as the stream gets it: one of a caller as it is, or an aggregate of several.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) data: Bytes,
    pub(super) partition_key: &'a str,
    pub(super) explicit_hash_key: Option<Cow<'a, str>>,
    /// The places in the batch of the records that it carries, in their order: more than one in an aggregate.
    pub(super) members: Vec<usize>,
    /// Of an aggregate: from the lowest to the highest hash of its records.
    pub(super) hashes: Option<RangeInclusive<u128>>,
    /// Of an aggregate whose records have different hashes: the shard that all of them belong to.
    pub(super) shard: Option<Arc<str>>,
}

impl Entry<'_> {
    /// As it stands in a call.
    pub(super) fn record(&self) -> wire::Record<'_> {
        wire::Record {
            data: &self.data,
            partition_key: self.partition_key,
            explicit_hash_key: self.explicit_hash_key.as_deref(),
        }
    }

    /// The bytes that PutRecords counts, and bills.
    pub(super) fn size(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }
}

/// A record as it is.
pub(super) fn plain(place: usize, request: &Request) -> Entry<'_> {
    Entry {
        data: request.data.0.clone(),
        partition_key: &request.partition_key,
        explicit_hash_key: request.explicit_hash_key.as_deref().map(Cow::Borrowed),
        members: vec![place],
        hashes: None,
        shard: None,
    }
}

/// The hash that chooses the shard of a record: its explicit hash key, else the MD5 of its partition key as a number.
/// `None` if the explicit one is not a number below 2^128.
fn hash(request: &Request) -> Option<u128> {
    match &request.explicit_hash_key {
        Some(written) => written.parse().ok(),
        None => {
            let digest: [u8; MD5_BYTES] = Md5::digest(request.partition_key.as_bytes()).into();
            Some(u128::from_be_bytes(digest))
        }
    }
}

/// What records have in common that go into one aggregate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Home {
    /// One shard, by its place in the map.
    Shard(usize),
    /// One hash: wherever it is, they come to the same shard.
    Hash(u128),
}

/// The entries for a batch: records that may be aggregated and belong to one shard go together, up to [`MAX_BYTES`];
/// all others go as they are. Of two records of one shard, the earlier never comes to stand behind the later.
pub(super) fn pack<'a>(requests: &[&'a Request], map: Option<&ShardMap>) -> Vec<Entry<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::with_capacity(requests.len());
    let mut open: HashMap<Home, usize> = HashMap::new();
    for (place, request) in requests.iter().enumerate() {
        let request: &'a Request = request;
        let Some(hash) = hash(request) else {
            groups.push(Group::new(place, request, 0, Home::Hash(0)));
            continue;
        };
        let shard = map.and_then(|map| map.place_of(hash));
        let home = shard.map_or(Home::Hash(hash), Home::Shard);
        let slot = open.entry(home);
        if let Slot::Occupied(at) = &slot
            && let Some(group) = groups.get_mut(*at.get())
            && group.take(place, request, hash)
        {
            continue;
        }
        groups.push(Group::new(place, request, hash, home));
        slot.insert_entry(groups.len() - 1);
    }
    groups
        .into_iter()
        .map(|group| group.entry(requests, map))
        .collect()
}

/// An aggregate that grows.
struct Group<'a> {
    first: &'a Request,
    members: Vec<usize>,
    hashes: RangeInclusive<u128>,
    home: Home,
    keys: Table<'a>,
    hash_keys: Table<'a>,
    /// Bytes of the message's records.
    records: usize,
}

impl<'a> Group<'a> {
    fn new(place: usize, request: &'a Request, hash: u128, home: Home) -> Group<'a> {
        let mut group = Group {
            first: request,
            members: vec![place],
            hashes: hash..=hash,
            home,
            keys: Table::default(),
            hash_keys: Table::default(),
            records: 0,
        };
        let (key, hash_key) = group.indexes(request);
        group.add(request, key, hash_key);
        group
    }

    /// Takes one more record, if the two may stand in one aggregate and it has room.
    ///
    /// Either all records have an explicit hash key or none has: the vendor's Python module reads one for every record
    /// as soon as the table has any.
    fn take(&mut self, place: usize, request: &'a Request, hash: u128) -> bool {
        let alike = self.first.explicit_hash_key.is_some() == request.explicit_hash_key.is_some();
        if !(alike && self.first.aggregates() && request.aggregates()) {
            return false;
        }
        let (key, hash_key) = self.indexes(request);
        let grown = self.size()
            + self.keys.growth(&request.partition_key)
            + hash_key.map_or(0, |_| {
                let text = request.explicit_hash_key.as_deref().unwrap_or_default();
                self.hash_keys.growth(text)
            })
            + field_len(record_len(request, key, hash_key));
        if grown > MAX_BYTES {
            return false;
        }
        self.add(request, key, hash_key);
        self.members.push(place);
        let (low, high) = (*self.hashes.start(), *self.hashes.end());
        self.hashes = low.min(hash)..=high.max(hash);
        true
    }

    fn indexes(&self, request: &Request) -> (usize, Option<usize>) {
        let key = self.keys.index(&request.partition_key);
        let hash_key = request.explicit_hash_key.as_deref();
        (key, hash_key.map(|text| self.hash_keys.index(text)))
    }

    fn add(&mut self, request: &'a Request, key: usize, hash_key: Option<usize>) {
        self.keys.add(&request.partition_key);
        if let Some(text) = &request.explicit_hash_key {
            self.hash_keys.add(text);
        }
        self.records += field_len(record_len(request, key, hash_key));
    }

    /// The bytes of the aggregate, with its own partition key.
    fn size(&self) -> usize {
        let message = self.keys.bytes + self.hash_keys.bytes + self.records;
        MAGIC.len() + message + MD5_BYTES + self.first.partition_key.len()
    }

    fn entry(self, requests: &[&'a Request], map: Option<&ShardMap>) -> Entry<'a> {
        if let [place] = self.members[..] {
            return plain(place, self.first);
        }
        let hash = self.first.explicit_hash_key.as_deref();
        let hash = hash.map_or_else(|| Cow::Owned(hash_text(self.first)), Cow::Borrowed);
        let several = self.hashes.start() != self.hashes.end();
        let shard = match self.home {
            Home::Shard(place) if several => map.and_then(|map| map.name(place)),
            _ => None,
        };
        Entry {
            data: self.encode(requests),
            partition_key: &self.first.partition_key,
            explicit_hash_key: Some(hash),
            hashes: Some(self.hashes),
            members: self.members,
            shard,
        }
    }

    fn encode(&self, requests: &[&'a Request]) -> Bytes {
        let mut out = BytesMut::with_capacity(self.size());
        out.put_slice(&MAGIC);
        for (field, table) in [(1, &self.keys), (2, &self.hash_keys)] {
            for text in &table.texts {
                put_bytes(&mut out, field, text.as_bytes());
            }
        }
        for request in self.members.iter().filter_map(|place| requests.get(*place)) {
            let (key, hash_key) = self.indexes(request);
            put_key(&mut out, 3, 2);
            put_varint(&mut out, record_len(request, key, hash_key) as u64);
            put_key(&mut out, 1, 0);
            put_varint(&mut out, key as u64);
            if let Some(index) = hash_key {
                put_key(&mut out, 2, 0);
                put_varint(&mut out, index as u64);
            }
            put_bytes(&mut out, 3, &request.data.0);
        }
        let digest = Md5::digest(&out[MAGIC.len()..]);
        out.put_slice(&digest);
        out.freeze()
    }
}

fn hash_text(request: &Request) -> String {
    hash(request).map_or_else(String::new, |hash| hash.to_string())
}

/// A table of texts, each once.
#[derive(Default)]
struct Table<'a> {
    texts: Vec<&'a str>,
    known: HashMap<&'a str, usize>,
    /// Its bytes in the message.
    bytes: usize,
}

impl<'a> Table<'a> {
    /// Where the text stands, or would.
    fn index(&self, text: &str) -> usize {
        self.known.get(text).copied().unwrap_or(self.texts.len())
    }

    /// The bytes by which it would grow.
    fn growth(&self, text: &str) -> usize {
        match self.known.contains_key(text) {
            true => 0,
            false => field_len(text.len()),
        }
    }

    fn add(&mut self, text: &'a str) {
        self.bytes += self.growth(text);
        if let Slot::Vacant(new) = self.known.entry(text) {
            new.insert(self.texts.len());
            self.texts.push(text);
        }
    }
}

/// The bytes of `Record`: two indexes and the data.
fn record_len(request: &Request, key: usize, hash_key: Option<usize>) -> usize {
    let index = |index: usize| 1 + varint_len(index as u64);
    index(key) + hash_key.map_or(0, index) + field_len(request.data.0.len())
}

/// The bytes of a field of so many bytes, with its key (one byte for fields 1 to 15) and its length.
fn field_len(bytes: usize) -> usize {
    1 + varint_len(bytes as u64) + bytes
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// A field's number and how it is written: 0 a number, 2 bytes with their length.
fn put_key(out: &mut BytesMut, field: u8, wire_type: u8) {
    out.put_u8(field << 3 | wire_type);
}

fn put_bytes(out: &mut BytesMut, field: u8, bytes: &[u8]) {
    put_key(out, field, 2);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

#[cfg(test)]
pub(super) mod tests;
