//! PutRecord and PutRecords in the service's JSON protocol.

use bytes::Bytes;
use serde::Deserialize;

use crate::aws::Body;

/// One record of a call.
pub(super) struct Record<'a> {
    pub(super) data: &'a [u8],
    pub(super) partition_key: &'a str,
    pub(super) explicit_hash_key: Option<&'a str>,
}

impl Record<'_> {
    /// The bytes that it takes in a body, and a few more.
    fn room(&self) -> usize {
        128 + self.data.len().div_ceil(3) * 4 + self.partition_key.len() * 2
    }

    fn write(&self, body: &mut Body) {
        body.raw("\"Data\":").blob(self.data);
        body.member("PartitionKey").text(self.partition_key);
        body.text_if_any("ExplicitHashKey", self.explicit_hash_key);
    }
}

/// The body of PutRecord.
pub(super) fn single(stream: &str, record: &Record<'_>, after: Option<&str>) -> Bytes {
    let mut body = Body::with_capacity(256 + stream.len() + record.room());
    body.raw("{");
    record.write(&mut body);
    body.text_if_any("SequenceNumberForOrdering", after);
    body.member("StreamName").text(stream).raw("}");
    body.finish()
}

/// The body of PutRecords.
pub(super) fn batch(stream: &str, records: &[Record<'_>]) -> Bytes {
    let rooms = records.iter().map(Record::room);
    let mut body = Body::with_capacity(64 + stream.len() + rooms.sum::<usize>());
    body.raw("{\"StreamName\":")
        .text(stream)
        .raw(",\"Records\":");
    let mut before = "[{";
    for record in records {
        body.raw(before);
        record.write(&mut body);
        before = "},{";
    }
    body.raw("}]}");
    body.finish()
}

/// The answer to PutRecord.
#[derive(Debug, Deserialize)]
pub(super) struct Taken {
    #[serde(rename = "SequenceNumber")]
    pub(super) sequence_number: Option<String>,
    #[serde(rename = "ShardId")]
    pub(super) shard_id: Option<String>,
    #[serde(rename = "EncryptionType")]
    pub(super) encryption_type: Option<String>,
}

/// The answer to PutRecords.
#[derive(Debug, Deserialize)]
pub(super) struct Verdicts {
    #[serde(rename = "EncryptionType")]
    pub(super) encryption_type: Option<String>,
    #[serde(rename = "Records")]
    pub(super) records: Option<Vec<Verdict>>,
}

/// What became of one record.
#[derive(Debug, Deserialize)]
pub(super) struct Verdict {
    #[serde(rename = "SequenceNumber")]
    pub(super) sequence_number: Option<String>,
    #[serde(rename = "ShardId")]
    pub(super) shard_id: Option<String>,
    #[serde(rename = "ErrorCode")]
    pub(super) error_code: Option<String>,
    #[serde(rename = "ErrorMessage")]
    pub(super) error_message: Option<String>,
}
