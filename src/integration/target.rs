//! Who is called: a target's name among all services, which spools, breakers and settings go by; and what one call to it
//! may carry.

use std::fmt;

use super::refusal::Service;
use super::{
    Call, Compiled, Integration, Request, dynamodb, event_bridge, kinesis, sqs, step_functions,
};

/// A target among all services: service, the name under which routes know it, and the region where a call names one
/// that the name does not. Its text ([`TargetName::as_str`]) is kept beside spooled records and reads back with
/// [`TargetName::read`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetName {
    /// `sqs:https://sqs.eu-west-1.amazonaws.com/111122223333/orders`, `kinesis:clicks@eu-west-1`, `events:hooks`,
    /// `states:arn:aws:states:…`, `dynamodb:orders`.
    text: String,
    service: Service,
}

/// What one call may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    pub records: usize,
    /// As [`Request::size`] counts them, together.
    pub bytes: usize,
}

/// SendMessageBatch and DeleteMessageBatch (API reference): 10 messages, 1 MiB together.
const SQS: BatchLimits = BatchLimits {
    records: 10,
    bytes: 1_048_576,
};

/// PutEvents (API reference): 10 entries, 1 MB together.
const EVENT_BRIDGE: BatchLimits = BatchLimits {
    records: 10,
    bytes: 1_000_000,
};

/// PutRecords (API reference): 500 records. They may have 10 MiB together, partition keys included, and 5 MiB until
/// 2025; emulators refuse more than that, and base64 has its part in what they count.
const KINESIS: BatchLimits = BatchLimits {
    records: 500,
    bytes: 4_718_592,
};

/// One record a call.
const ONE: BatchLimits = BatchLimits {
    records: 1,
    bytes: usize::MAX,
};

/// How a service bills what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// By the bytes of a call, in steps of so many: records share steps.
    Call(usize),
    /// By the bytes of each record, in steps of so many, however many share a call.
    Record(usize),
}

impl Billing {
    /// What one call with records of these sizes is billed as.
    pub fn units(self, sizes: &[usize]) -> u64 {
        let units = |bytes: usize, step: usize| bytes.div_ceil(step).max(1) as u64;
        match self {
            Billing::Call(_) if sizes.is_empty() => 0,
            Billing::Call(step) => units(sizes.iter().sum(), step),
            Billing::Record(step) => sizes.iter().map(|bytes| units(*bytes, step)).sum(),
        }
    }

    /// What calls of one record each would be billed as.
    pub fn units_alone(self, sizes: &[usize]) -> u64 {
        let (Billing::Call(step) | Billing::Record(step)) = self;
        Billing::Record(step).units(sizes)
    }
}

impl TargetName {
    pub(super) fn new(service: Service, name: &str, region: Option<&str>) -> TargetName {
        let scheme = scheme(service);
        let text = match region {
            Some(region) => format!("{scheme}:{name}@{region}"),
            None => format!("{scheme}:{name}"),
        };
        TargetName { text, service }
    }

    /// Deletes from a queue, beside what is sent to it.
    pub(super) fn deletes(queue: &str, region: Option<&str>) -> TargetName {
        let TargetName { text, service } = TargetName::new(Service::Sqs, queue, region);
        TargetName {
            text: text.replacen("sqs:", "sqs-delete:", 1),
            service,
        }
    }

    /// The target of a text that was kept; `None` if no version of ours wrote it.
    pub fn read(text: &str) -> Option<TargetName> {
        let (scheme, name) = text.split_once(':')?;
        let service = match scheme {
            "sqs" => Service::Sqs,
            "kinesis" => Service::Kinesis,
            "events" => Service::EventBridge,
            "states" => Service::StepFunctions,
            "dynamodb" => Service::DynamoDb,
            _ => return None,
        };
        (!name.is_empty()).then(|| TargetName {
            text: text.to_owned(),
            service,
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The service that is called.
    pub fn service(&self) -> Service {
        self.service
    }

    /// What `targets:` of the configuration may call it: the queue's URL, the ARN, or the name.
    pub fn plain(&self) -> &str {
        let name = self.text.split_once(':').map_or("", |(_, name)| name);
        match name.rsplit_once('@') {
            Some((name, region)) if crate::aws::is_region(region) => name,
            _ => name,
        }
    }

    /// What one call to it may carry.
    pub fn batch_limits(&self) -> BatchLimits {
        match self.service {
            Service::Sqs => SQS,
            Service::EventBridge => EVENT_BRIDGE,
            Service::Kinesis => KINESIS,
            Service::StepFunctions
            | Service::DynamoDb
            | Service::AppConfig
            | Service::Http
            | Service::Mock => ONE,
        }
    }
}

impl TargetName {
    /// What calls to it cost: SQS bills every API action, each 64 KiB of its payload as one request (SQS pricing page);
    /// EventBridge each 64 KiB of an event as one event (EventBridge pricing page); Kinesis with provisioned shards each
    /// 25 KiB of a record as one PUT payload unit (Kinesis Data Streams pricing page); DynamoDB each 1 KB of an item as one
    /// write request unit (DynamoDB pricing page); Step Functions by what happens after the call.
    pub fn billing(&self) -> Billing {
        match self.service {
            Service::Sqs => Billing::Call(65_536),
            Service::EventBridge => Billing::Record(65_536),
            Service::Kinesis => Billing::Record(25_600),
            Service::DynamoDb => Billing::Record(1_024),
            Service::StepFunctions | Service::AppConfig | Service::Http | Service::Mock => {
                Billing::Record(usize::MAX)
            }
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn scheme(service: Service) -> &'static str {
    match service {
        Service::Sqs => "sqs",
        Service::Kinesis => "kinesis",
        Service::EventBridge => "events",
        Service::StepFunctions => "states",
        Service::AppConfig => "appconfig",
        Service::DynamoDb => "dynamodb",
        Service::Http => "http",
        Service::Mock => "mock",
    }
}

impl Integration {
    /// The target, for calls that store a record at AWS, if it is the same for every request.
    pub fn target(&self) -> Option<TargetName> {
        match &self.0.compiled {
            Compiled::SqsSendMessage(compiled) => sqs::SendRequest::target_of(compiled),
            Compiled::KinesisPutRecord(compiled) => kinesis::Request::target_of(compiled),
            Compiled::EventBridgePutEvents(compiled) => event_bridge::Request::target_of(compiled),
            Compiled::StepFunctionsStartExecution(compiled) => {
                step_functions::StartRequest::target_of(compiled)
            }
            Compiled::DynamoDbPutItem(compiled) => dynamodb::PutRequest::target_of(compiled),
            _ => None,
        }
    }
}

impl Request {
    /// The target, for calls that store a record; `None` for others.
    pub fn target(&self) -> Option<TargetName> {
        match &self.call {
            Call::SqsSendMessage(request) => Some(request.target()),
            Call::KinesisPutRecord(request) => Some(request.target()),
            Call::EventBridgePutEvents(request) => Some(request.target()),
            Call::StepFunctionsStartExecution(request) => Some(request.target()),
            Call::DynamoDbPutItem(request) => Some(request.target()),
            _ => None,
        }
    }

    /// Whom the call may share calls with, and whose breaker hears how it went: the target, or for deletes the queue
    /// under a name of its own (`sqs-delete:URL`), so that neither waits behind the other. `None` for calls that are made
    /// one by one.
    pub fn called_target(&self) -> Option<TargetName> {
        match &self.call {
            Call::SqsDeleteMessage(request) => Some(request.target()),
            _ => self.target(),
        }
    }

    /// Whether the target is an embedded queue.
    pub fn is_embedded(&self) -> bool {
        match &self.call {
            Call::SqsSendMessage(request) => request.is_embedded(),
            Call::SqsDeleteMessage(request) => request.is_embedded(),
            _ => false,
        }
    }

    /// What keeps the record in order: the message group of a FIFO queue, the partition key of a stream.
    pub fn order_key(&self) -> Option<&str> {
        match &self.call {
            Call::SqsSendMessage(request) => request.order_key(),
            Call::KinesisPutRecord(request) => Some(request.partition_key()),
            _ => None,
        }
    }

    /// Whether the target itself keeps records of one key in order: a FIFO queue does.
    pub fn is_ordered_by_target(&self) -> bool {
        matches!(&self.call, Call::SqsSendMessage(request) if request.order_key().is_some())
    }

    /// The bytes that the record takes of a batch's, as its service counts them.
    pub fn size(&self) -> usize {
        match &self.call {
            Call::SqsSendMessage(request) => request.size(),
            Call::KinesisPutRecord(request) => request.size(),
            Call::EventBridgePutEvents(request) => request.size(),
            Call::StepFunctionsStartExecution(request) => request.size(),
            Call::SqsDeleteMessage(request) => request.size(),
            Call::DynamoDbPutItem(request) => request.size(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integration::tests::{compile, map};

    fn request(json: &str) -> Request {
        map(&compile(json), b"{}").unwrap()
    }

    #[test]
    fn a_target_is_named_by_service_name_and_the_region_that_the_name_does_not_say() {
        for (json, text, plain) in [
            (
                r#"{"SQS-SendMessage":{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/orders","MessageBody":"$request.body"}}"#,
                "sqs:https://sqs.eu-west-1.amazonaws.com/1/orders",
                "https://sqs.eu-west-1.amazonaws.com/1/orders",
            ),
            (
                r#"{"SQS-SendMessage":{"QueueUrl":"http://127.0.0.1:4566/1/orders","MessageBody":"$request.body","Region":"us-east-1"}}"#,
                "sqs:http://127.0.0.1:4566/1/orders@us-east-1",
                "http://127.0.0.1:4566/1/orders",
            ),
            (
                r#"{"Kinesis-PutRecord":{"StreamName":"clicks","Data":"x","PartitionKey":"k","Region":"eu-west-1"}}"#,
                "kinesis:clicks@eu-west-1",
                "clicks",
            ),
            (
                r#"{"EventBridge-PutEvents":{"Detail":"{}","DetailType":"t","Source":"s"}}"#,
                "events:default",
                "default",
            ),
            (
                r#"{"StepFunctions-StartExecution":{"StateMachineArn":"arn:aws:states:eu-west-1:1:stateMachine:flow"}}"#,
                "states:arn:aws:states:eu-west-1:1:stateMachine:flow",
                "arn:aws:states:eu-west-1:1:stateMachine:flow",
            ),
            (
                r#"{"StepFunctions-StartExecution":{"StateMachineArn":"arn:aws:states:eu-west-1:1:stateMachine:flow","Region":"us-east-1"}}"#,
                "states:arn:aws:states:eu-west-1:1:stateMachine:flow@us-east-1",
                "arn:aws:states:eu-west-1:1:stateMachine:flow",
            ),
        ] {
            let name = request(json).target().unwrap();
            assert_eq!((name.as_str(), name.plain()), (text, plain));
            assert_eq!(compile(json).target(), Some(name.clone()));
            assert_eq!(TargetName::read(text), Some(name));
        }
        assert_eq!(request(r#"{"Mock":{}}"#).target(), None);
        let named_by_requests = r#"{"Kinesis-PutRecord":{"StreamName":"$request.header.x-a","Data":"x","PartitionKey":"k"}}"#;
        assert_eq!(compile(named_by_requests).target(), None);
        for stranger in ["", "sqs", "sqs:", "ftp:x"] {
            assert_eq!(TargetName::read(stranger), None);
        }
    }

    #[test]
    fn order_keys_are_those_that_the_targets_know() {
        let key = |json: &str| {
            let request = request(json);
            (
                request.order_key().map(str::to_owned),
                request.is_ordered_by_target(),
            )
        };
        assert_eq!(
            key(
                r#"{"SQS-SendMessage":{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/l.fifo","MessageBody":"$request.body","MessageGroupId":"g","MessageDeduplicationId":"d"}}"#
            ),
            (Some("g".into()), true)
        );
        assert_eq!(
            key(
                r#"{"SQS-SendMessage":{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/l","MessageBody":"$request.body","MessageGroupId":"g"}}"#
            ),
            (None, false)
        );
        assert_eq!(
            key(
                r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"x","PartitionKey":"$request.header.x-a"}}"#
            ),
            (Some("alpha".into()), false)
        );
    }
}
