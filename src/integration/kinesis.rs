//! `Kinesis-PutRecord`. The mapped bytes are the record; `decode_data: base64` is for callers that send base64, and
//! `aggregate: kpl` packs records of one shard into one.

mod aggregate;
mod batch;
mod shards;
mod wire;

use std::borrow::Cow;

use base64::Engine as _;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{Answered, NativeAnswer, Rendered, object};
use super::parameter::{Compiler, Flaw, MapError, Param, bytes, optional, text, utf8};
use super::reach::{Reached, ReachedKind};
use super::refusal::{Service, TargetError};
use super::{
    Aggregate, Called, DecodeData, Effect, Kind, OwnKeys, Payload, TargetName, Targets, called,
};
use crate::aws::Operation;
use crate::mapping::Sources;
use crate::model::request_id::RequestId;
use crate::model::text::Text;

pub(super) use self::shards::Aggregation;
pub use self::shards::AggregationCounts;

/// Data and partition key together: the most that any stream can be set to take; 1 MiB unless it is (reference, 13.2).
const RECORD_BYTES: usize = 10 * 1024 * 1024;

/// Puts one record into a stream.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Kinesis-PutRecord")]
pub struct PutRecord {
    /// The stream's name.
    #[serde(rename = "StreamName")]
    #[schemars(required)]
    stream_name: Option<Text>,
    /// The record: the mapped bytes as they are. `decode_data: base64` beside the tag decodes them first. With the key
    /// at most 10 MiB, 1 MiB unless the stream is set to take more.
    #[serde(rename = "Data")]
    #[schemars(required)]
    data: Option<Text>,
    /// Records with one key go to one shard. 1 to 256 characters.
    #[serde(rename = "PartitionKey")]
    #[schemars(required)]
    partition_key: Option<Text>,
    /// The sequence number that the record's own has to be greater than.
    #[serde(rename = "SequenceNumberForOrdering", default)]
    sequence_number_for_ordering: Option<Text>,
    /// The hash that chooses the shard, in place of the key's: a decimal number below 2^128.
    #[serde(rename = "ExplicitHashKey", default)]
    explicit_hash_key: Option<Text>,
    /// The region to call in; default `aws.region`.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
}

/// A compiled `Kinesis-PutRecord`.
#[derive(Clone, Debug)]
pub struct Compiled {
    stream_name: Param<String>,
    data: Param<Bytes>,
    partition_key: Param<String>,
    sequence_number_for_ordering: Option<Param<String>>,
    explicit_hash_key: Option<Param<String>>,
    region: Option<Param<String>>,
    aggregate: Option<Aggregate>,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(rename = "StreamName")]
    stream_name: String,
    #[serde(rename = "Data")]
    data: Payload,
    #[serde(rename = "PartitionKey")]
    partition_key: String,
    #[serde(
        rename = "SequenceNumberForOrdering",
        skip_serializing_if = "Option::is_none"
    )]
    sequence_number_for_ordering: Option<String>,
    #[serde(rename = "ExplicitHashKey", skip_serializing_if = "Option::is_none")]
    explicit_hash_key: Option<String>,
    #[serde(rename = "Region", skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// Ours, not the service's: whether others may be packed with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aggregate: Option<Aggregate>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    shard_id: String,
    sequence_number: String,
    encryption_type: Option<String>,
    /// Of a record in an aggregated one: `SEQUENCE:SUB`, with its place there from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
}

fn stream_name(bytes: Bytes) -> Result<String, Flaw> {
    let name = text::<1, 128>(bytes)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if name.bytes().all(allowed) {
        Ok(name)
    } else {
        Err(Flaw::Invalid(
            "is not a stream's name; allowed: letters, digits, `_`, `.` and `-`, up to 128 characters".to_owned(),
        ))
    }
}

fn digits(bytes: Bytes) -> Result<String, Flaw> {
    let text = utf8(bytes)?;
    if !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_digit()) {
        Ok(text)
    } else {
        Err(Flaw::Invalid(
            "must be a number in decimal digits".to_owned(),
        ))
    }
}

fn hash_key(bytes: Bytes) -> Result<String, Flaw> {
    let text = digits(bytes)?;
    match text.parse::<u128>() {
        Ok(_) => Ok(text),
        Err(_) => Err(Flaw::Invalid("must be a number below 2^128".to_owned())),
    }
}

fn from_base64(bytes: Bytes) -> Result<Bytes, Flaw> {
    base64::engine::general_purpose::STANDARD
        .decode(&bytes)
        .map(Bytes::from)
        .map_err(|error| Flaw::Invalid(format!("is not base64: {error}")))
}

impl Kind for PutRecord {
    const NAME: &'static str = "Kinesis-PutRecord";
    const SERVICE: Service = Service::Kinesis;
    const EFFECT: Effect = Effect::Stores;
    const FIELDS: &[&str] = &["sequenceNumber", "shardId", "subSequenceNumber"];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Put;

    fn compile(&self, own: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let parse = match own.decode_data {
            Some(DecodeData::Base64) => from_base64,
            None => bytes,
        };
        let stream = compiler.required("StreamName", &self.stream_name, stream_name);
        let data = compiler.required("Data", &self.data, parse);
        let key = compiler.required("PartitionKey", &self.partition_key, text::<1, 256>);
        let sequence_number_for_ordering = compiler.optional(
            "SequenceNumberForOrdering",
            &self.sequence_number_for_ordering,
            digits,
        );
        let explicit_hash_key =
            compiler.optional("ExplicitHashKey", &self.explicit_hash_key, hash_key);
        let region = compiler.region(&self.region);
        if own.aggregate.is_some() && self.sequence_number_for_ordering.is_some() {
            compiler.error(
                "SequenceNumberForOrdering",
                "a record with it cannot be aggregated with others".to_owned(),
                "leave it out, or `aggregate`",
            );
        }
        let (data, partition_key) = (data?, key?);
        if let (Some(data), Some(key)) = (data.constant(), partition_key.constant())
            && let Err(wrong) = within_limit(data, key)
        {
            compiler.error("Data", wrong.to_string(), "shorten it");
        }
        Some(Compiled {
            stream_name: stream?,
            data,
            partition_key,
            sequence_number_for_ordering,
            explicit_hash_key,
            region,
            aggregate: own.aggregate,
        })
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        let actions: &[&str] = match compiled.aggregate {
            None => &["kinesis:PutRecord", "kinesis:PutRecords"],
            Some(_) => &[
                "kinesis:ListShards",
                "kinesis:PutRecord",
                "kinesis:PutRecords",
            ],
        };
        let (stream, region) = (&compiled.stream_name, &compiled.region);
        Some(Reached::by(
            ReachedKind::Stream,
            "StreamName",
            stream,
            region,
            actions,
        ))
    }

    fn label(compiled: &Compiled) -> Option<String> {
        compiled.stream_name.constant().cloned()
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        let request = Request {
            stream_name: compiled.stream_name.value(sources)?,
            data: Payload(compiled.data.value(sources)?),
            partition_key: compiled.partition_key.value(sources)?,
            sequence_number_for_ordering: optional(
                &compiled.sequence_number_for_ordering,
                sources,
            )?,
            explicit_hash_key: optional(&compiled.explicit_hash_key, sources)?,
            region: optional(&compiled.region, sources)?,
            aggregate: compiled.aggregate,
        };
        within_limit(&request.data.0, &request.partition_key)?;
        Ok(request)
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Put>, TargetError> {
        let after = request.sequence_number_for_ordering.as_deref();
        let body = wire::single(&request.stream_name, &request.record(), after);
        let region = request.region.as_deref();
        let called: Called<wire::Taken> = called(
            targets,
            Operation::PutRecord,
            Service::Kinesis,
            region,
            body,
            deadline,
        )
        .await?;
        let taken = called.answer;
        let put = Put::confirmed(taken.sequence_number, taken.shard_id, taken.encryption_type);
        Ok(Called {
            answer: put?,
            request_id: called.request_id,
        })
    }
}

impl PutRecord {
    /// `None` where each request names the stream.
    pub(super) fn stream(compiled: &Compiled) -> Option<&str> {
        compiled.stream_name.constant().map(String::as_str)
    }
}

impl Request {
    pub(super) fn target(&self) -> TargetName {
        let region = self.region.as_deref();
        TargetName::new(Service::Kinesis, &self.stream_name, region)
    }

    /// The target, if it is the same for every request.
    pub(super) fn target_of(compiled: &Compiled) -> Option<TargetName> {
        let region = Param::constant_if_any(&compiled.region)?.map(String::as_str);
        let stream = compiled.stream_name.constant()?;
        Some(TargetName::new(Service::Kinesis, stream, region))
    }

    /// As calls carry it.
    fn record(&self) -> wire::Record<'_> {
        wire::Record {
            data: &self.data.0,
            partition_key: &self.partition_key,
            explicit_hash_key: self.explicit_hash_key.as_deref(),
        }
    }

    pub(super) fn partition_key(&self) -> &str {
        &self.partition_key
    }

    /// Whether it may stand in one record of the stream with others.
    fn aggregates(&self) -> bool {
        self.aggregate.is_some()
    }

    /// Data and partition key, as PutRecords counts them.
    pub(super) fn size(&self) -> usize {
        self.data.0.len() + self.partition_key.len()
    }
}

impl Put {
    /// What a caller is told whose record is spooled.
    pub(super) fn spooled(id: &str) -> Put {
        Put {
            shard_id: "spooled".to_owned(),
            sequence_number: id.to_owned(),
            encryption_type: None,
            message_id: None,
        }
    }

    /// The answer for the record at a place of an aggregated one, of which this is the answer.
    fn member(&self, place: usize) -> Put {
        Put {
            message_id: Some(format!("{}:{place}", self.sequence_number)),
            ..self.clone()
        }
    }

    /// The record's place in an aggregated one, from 0.
    fn sub_sequence_number(&self) -> Option<&str> {
        let (_, place) = self.message_id.as_ref()?.rsplit_once(':')?;
        Some(place)
    }

    /// What Kinesis said of a record.
    fn confirmed(
        sequence_number: Option<String>,
        shard_id: Option<String>,
        encryption_type: Option<String>,
    ) -> Result<Put, TargetError> {
        let told = |text: Option<String>| text.filter(|text| !text.is_empty());
        match (told(sequence_number), told(shard_id)) {
            (Some(sequence_number), Some(shard_id)) => Ok(Put {
                shard_id,
                sequence_number,
                encryption_type,
                message_id: None,
            }),
            _ => {
                let missing = "a sequence number and a shard";
                Err(TargetError::no_receipt(Service::Kinesis, missing))
            }
        }
    }
}

fn within_limit(data: &[u8], key: &str) -> Result<(), MapError> {
    let size = data.len() + key.len();
    if size <= RECORD_BYTES {
        return Ok(());
    }
    Err(MapError::Limit {
        target: "Kinesis",
        parameter: "Data".to_owned(),
        limit: format!(
            "{size} bytes with the partition key, at most {RECORD_BYTES} (10 MiB) are allowed"
        ),
    })
}

impl Answered for Put {
    fn native(&self) -> NativeAnswer {
        let id = self.message_id.as_deref().unwrap_or(&self.sequence_number);
        let number = self.sequence_number.as_str();
        NativeAnswer::Stored(object([
            ("messageId", Some(Value::from(id))),
            ("sequenceNumber", Some(Value::from(number))),
            ("shardId", Some(Value::from(self.shard_id.as_str()))),
            (
                "subSequenceNumber",
                self.sub_sequence_number().map(Value::from),
            ),
        ]))
    }

    fn aws(&self, _: &str) -> Rendered {
        let body = object([
            (
                "EncryptionType",
                self.encryption_type.as_deref().map(Value::from),
            ),
            (
                "SequenceNumber",
                Some(Value::from(self.sequence_number.as_str())),
            ),
            ("ShardId", Some(Value::from(self.shard_id.as_str()))),
            // ours: PutRecord has no word for it, and its clients pass over what they do not know
            (
                "SubSequenceNumber",
                self.sub_sequence_number().map(Value::from),
            ),
        ]);
        Rendered::new(
            200,
            "application/x-amz-json-1.1",
            Value::Object(body).to_string(),
        )
    }

    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "sequenceNumber" => Some(Cow::Borrowed(self.sequence_number.as_str())),
            "shardId" => Some(Cow::Borrowed(self.shard_id.as_str())),
            "subSequenceNumber" => self.sub_sequence_number().map(Cow::Borrowed),
            _ => None,
        }
    }

    fn message_id(&self) -> Option<&str> {
        Some(self.message_id.as_ref().unwrap_or(&self.sequence_number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integration::tests::{compile, map, problems};

    #[test]
    fn every_parameter_stands_in_the_call_and_the_bytes_are_the_record() {
        let yaml = r#"{"Kinesis-PutRecord": {"StreamName": "clicks", "Data": "$request.body", "PartitionKey": "$request.header.x-a",
            "SequenceNumberForOrdering": "12", "ExplicitHashKey": "0", "Region": "us-east-1"}}"#;
        let request = map(&compile(yaml), "{\"a\":1}".as_bytes()).unwrap();
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"Kinesis-PutRecord":{"StreamName":"clicks","Data":"{\"a\":1}","PartitionKey":"alpha","SequenceNumberForOrdering":"12","ExplicitHashKey":"0","Region":"us-east-1"}}"#
        );
        let binary = map(&compile(yaml), b"\xff\x00").unwrap();
        assert!(
            serde_json::to_string(&binary)
                .unwrap()
                .contains(r#""Data":{"base64":"/wA="}"#)
        );
    }

    #[test]
    fn decode_data_decodes_and_refuses_what_is_not_base64() {
        let yaml = r#"{"Kinesis-PutRecord": {"StreamName": "clicks", "Data": "$request.body", "PartitionKey": "k"}, "decode_data": "base64"}"#;
        let request = map(&compile(yaml), b"/wA=").unwrap();
        assert!(
            serde_json::to_string(&request)
                .unwrap()
                .contains(r#""Data":{"base64":"/wA="}"#)
        );
        let wrong = map(&compile(yaml), b"/wA").unwrap_err();
        assert!(
            wrong.to_string().starts_with("Data is not base64"),
            "{wrong}"
        );
        assert_eq!(wrong.status(), 400);
    }

    #[test]
    fn limits_are_checked_before_the_call() {
        let yaml = r#"{"Kinesis-PutRecord": {"StreamName": "clicks", "Data": "$request.body", "PartitionKey": "key"}}"#;
        assert!(map(&compile(yaml), &vec![b'x'; RECORD_BYTES - 3]).is_ok());
        let wrong = map(&compile(yaml), &vec![b'x'; RECORD_BYTES - 2]).unwrap_err();
        assert_eq!(wrong.status(), 413);
        assert_eq!(
            wrong.to_string(),
            "Data is over a limit of Kinesis: 10485761 bytes with the partition key, at most 10485760 (10 MiB) are allowed"
        );
        let long = format!(
            r#"{{"Kinesis-PutRecord": {{"StreamName": "a b", "Data": "x", "PartitionKey": "{}", "ExplicitHashKey": "{}"}}}}"#,
            "k".repeat(257),
            u128::MAX
        );
        assert_eq!(
            problems(&long),
            [
                "error: integration.Kinesis-PutRecord.StreamName: \"a b\" is not a stream's name; allowed: letters, digits, `_`, `.` and `-`, up to 128 characters",
                "error: integration.Kinesis-PutRecord.PartitionKey: over a limit of Kinesis: 257 characters, at most 256 are allowed",
            ]
        );
    }

    #[test]
    fn both_dialects_name_the_sequence_number() {
        let put = Put {
            shard_id: "shardId-000000000000".into(),
            sequence_number: "4954".into(),
            encryption_type: Some("KMS".into()),
            message_id: None,
        };
        assert_eq!(
            &put.aws("r").body[..],
            &br#"{"EncryptionType":"KMS","SequenceNumber":"4954","ShardId":"shardId-000000000000"}"#[..]
        );
        assert_eq!(put.native().status(), 202);
        assert_eq!(
            put.field("shardId").as_deref(),
            Some("shardId-000000000000")
        );
    }
}
