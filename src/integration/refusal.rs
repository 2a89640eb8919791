//! What a target's refusal means (fine print, section 1): one class for each call that went wrong, decided here and
//! nowhere else. Class and code give the status in either dialect.

mod ours;

use std::time::Duration;

use bytes::Bytes;

use self::ours::{OUT_OF_TURN, TARGET_BUSY, WAITED_TOO_LONG};
use super::answer::Rendered;
use super::xml;
use crate::aws::{CallError, Refusal};
use crate::model::code::Code;
use crate::model::request_id::RequestId;

/// A service that integrations call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    Sqs,
    Kinesis,
    EventBridge,
    StepFunctions,
    AppConfig,
    DynamoDb,
    /// An HTTP backend.
    Http,
    /// No service: the answer is written in the configuration.
    Mock,
}

impl Service {
    /// Its name as people know it.
    pub fn name(self) -> &'static str {
        match self {
            Service::Sqs => "SQS",
            Service::Kinesis => "Kinesis",
            Service::EventBridge => "EventBridge",
            Service::StepFunctions => "Step Functions",
            Service::AppConfig => "AppConfig",
            Service::DynamoDb => "DynamoDB",
            Service::Http => "the backend",
            Service::Mock => "Mock",
        }
    }
}

/// What a failed call means for the record and for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The target has too much to do; it will take the record later.
    Throttled,
    /// The target cannot be reached, or says that it is not well (5xx).
    Unavailable,
    /// The call went out and no answer came: the record may be stored, or may not.
    OutcomeUnknown,
    /// A read did not answer in time; nothing is lost.
    Timeout,
    /// How we are set up stands in the way: credentials, permissions, a queue that does not exist, any code that we
    /// do not know. No record is at fault.
    Setup,
    /// The record, or what the request asked for, is refused for what it is.
    Record,
    /// The record is over a limit of its queue that only the queue knows.
    Limit,
    /// A synchronous workflow ran and failed.
    Failed,
    /// More waits for the embedded store's disk, or for calls to the target, than may wait. Nothing was sent.
    Overloaded,
    /// The embedded store takes no more.
    StoreFull,
    /// The embedded store does not work.
    StoreUnavailable,
}

/// A call that did not do what it was to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {code}: {message}", self.refuser())]
pub struct TargetError {
    pub class: Class,
    pub service: Service,
    /// The service's code, or our own word where the service did not answer (`ConnectFailed`).
    pub code: String,
    /// What the service said; for the log. May name accounts, roles, hosts.
    pub message: String,
    /// The service's status, where it answered.
    pub status: Option<u16>,
    /// The service's request id, where it answered.
    pub request_id: Option<String>,
    /// The service's own answer, where it speaks JSON.
    body: Option<Box<(String, Bytes)>>,
    /// The service failed, and may have carried the call out all the same.
    may_have_happened: bool,
    /// An embedded queue refused, in its service's place.
    embedded: bool,
}

/// What a lost answer means for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It only read: the caller can ask again.
    Harmless,
    /// It may have happened.
    MayHaveHappened,
}

impl TargetError {
    /// Of a class, without an answer of the service.
    pub(super) fn new(
        class: Class,
        service: Service,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> TargetError {
        TargetError {
            class,
            service,
            code: code.into(),
            message: message.into(),
            status: None,
            request_id: None,
            body: None,
            may_have_happened: false,
            embedded: false,
        }
    }

    /// A success without what proves it: an id, most often. Nobody may be told that the record is safe.
    pub(super) fn no_receipt(service: Service, missing: &str) -> TargetError {
        TargetError::new(
            Class::OutcomeUnknown,
            service,
            "MissingReceipt",
            format!("the target answered without {missing}"),
        )
    }

    /// A read that succeeded without a piece that every answer has: what came is not the service's.
    pub(super) fn incomplete(service: Service, missing: &str) -> TargetError {
        TargetError::new(
            Class::Unavailable,
            service,
            "IncompleteAnswer",
            format!("the target answered without {missing}"),
        )
    }

    /// Another request with the same idempotency key was faster; nothing was stored for this one.
    pub fn known_already() -> TargetError {
        TargetError::new(
            Class::Record,
            Service::Sqs,
            "IdempotencyKeyKnown",
            "another request with the same idempotency key was faster",
        )
        .of_embedded_queue()
    }

    /// As a service that answers in its own protocol; the embedded queues do.
    pub(super) fn answered(self, status: u16) -> TargetError {
        TargetError {
            status: Some(status),
            ..self
        }
    }

    /// From a call to AWS.
    pub(super) fn from_call(service: Service, lost: Lost, error: CallError) -> TargetError {
        match error {
            CallError::NotSent { reason } => {
                TargetError::new(Class::Unavailable, service, "ConnectFailed", reason)
            }
            CallError::Lost { reason } => match lost {
                Lost::Harmless => {
                    TargetError::new(Class::Unavailable, service, "ConnectionLost", reason)
                }
                Lost::MayHaveHappened => {
                    TargetError::new(Class::OutcomeUnknown, service, "ConnectionLost", reason)
                }
            },
            CallError::Setup { code, reason } => {
                TargetError::new(Class::Setup, service, code, reason)
            }
            CallError::Refused(refusal) => TargetError::refused(service, lost, *refusal),
        }
    }

    /// The deadline passed while the call was under way.
    pub(super) fn timed_out(service: Service, lost: Lost) -> TargetError {
        let class = match lost {
            Lost::Harmless => Class::Timeout,
            Lost::MayHaveHappened => Class::OutcomeUnknown,
        };
        TargetError::new(
            class,
            service,
            "DeadlineExceeded",
            "the target did not answer within the route's timeout",
        )
    }

    fn refused(service: Service, lost: Lost, refusal: Refusal) -> TargetError {
        let class = match service {
            Service::DynamoDb if refusal.code == "ValidationException" => {
                of_validation(&refusal.message)
            }
            _ => classify(refusal.status, &refusal.code, &refusal.message),
        };
        // a proxy on the way answers too, in HTML and without a code: that is not for our callers
        let body = refusal
            .content_type
            .filter(|content_type| content_type.contains("json") && !refusal.code.is_empty())
            .map(|content_type| Box::new((content_type, refusal.body)));
        let code = if refusal.code.is_empty() {
            format!("HTTP{}", refusal.status)
        } else {
            refusal.code
        };
        TargetError {
            class,
            service,
            code,
            message: refusal.message,
            status: Some(refusal.status),
            request_id: refusal.request_id,
            body,
            // a service that says 503 has not begun; any other failure can come after the write
            may_have_happened: class == Class::Unavailable
                && lost == Lost::MayHaveHappened
                && refusal.status != 503,
            embedded: false,
        }
    }

    /// Of one entry of a batch that was answered as a whole.
    pub(super) fn of_entry(
        service: Service,
        status: u16,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> TargetError {
        let (code, message) = (code.into(), message.into());
        let class = classify(status, &code, &message);
        TargetError {
            may_have_happened: class == Class::Unavailable && !code.contains("ServiceUnavailable"),
            ..TargetError::new(class, service, code, message)
        }
    }

    /// Whether the service has refused with this code.
    pub(super) fn says(&self, code: &str) -> bool {
        self.code.rsplit(['.', '#']).next() == Some(code)
    }

    /// The service's own answer, where it speaks JSON.
    pub(super) fn answer(&self) -> Option<&[u8]> {
        self.body.as_deref().map(|(_, answer)| &answer[..])
    }

    /// Of an embedded queue, not of the service that it stands for.
    pub(super) fn of_embedded_queue(self) -> TargetError {
        TargetError {
            embedded: true,
            ..self
        }
    }

    /// Who refused, for messages.
    fn refuser(&self) -> &'static str {
        match self.embedded {
            true => "the embedded queue",
            false => self.service.name(),
        }
    }

    /// The reason code.
    pub fn reason(&self) -> Code {
        match self.class {
            Class::Throttled => Code::TargetThrottled,
            Class::Unavailable if self.may_have_happened => Code::OutcomeUnknown,
            Class::Unavailable => Code::TargetUnavailable,
            Class::OutcomeUnknown => Code::OutcomeUnknown,
            Class::Timeout => Code::Timeout,
            Class::Setup => Code::TargetSetup,
            Class::Record | Class::Failed => Code::TargetRefusedRecord,
            Class::Limit => Code::TargetLimit,
            Class::Overloaded => Code::Overloaded,
            Class::StoreFull => Code::StoreFull,
            Class::StoreUnavailable => Code::StoreUnavailable,
        }
    }

    /// The status in the native dialect.
    pub fn native_status(&self) -> u16 {
        match self.class {
            Class::Timeout if self.service == Service::Http => 504,
            Class::Unavailable
                if self.service == Service::Http
                    && self.status.is_none()
                    && self.code != "ConnectFailed" =>
            {
                502
            }
            Class::Limit => 413,
            Class::Record => 422,
            Class::Setup | Class::Failed => 502,
            _ => 503,
        }
    }

    /// What `Retry-After` should say; every refusal that is not the caller's fault has one.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = match self.class {
            Class::Record | Class::Limit => return None,
            Class::Throttled if self.code.ends_with("PurgeQueueInProgress") => 60,
            Class::Setup => 30,
            Class::StoreFull => 10,
            Class::StoreUnavailable => 5,
            _ => 1,
        };
        Some(Duration::from_secs(seconds))
    }

    /// Whether the record may be stored although the call failed: a resend can make a duplicate.
    pub fn may_be_stored(&self) -> bool {
        match self.class {
            Class::OutcomeUnknown => true,
            Class::Unavailable => self.may_have_happened,
            Class::StoreUnavailable => self.code == "StoreUnavailable",
            _ => false,
        }
    }

    /// Whether the same call can succeed later without anyone changing anything.
    pub fn is_transient(&self) -> bool {
        !matches!(
            self.class,
            Class::Setup | Class::Record | Class::Limit | Class::Failed
        )
    }

    /// What the caller may read: the service and its code; its words only where they are about the caller's record.
    pub fn detail(&self) -> String {
        let service = self.refuser();
        match self.class {
            Class::Failed => format!("the workflow failed: {}", self.code),
            Class::Record if !self.message.is_empty() => {
                format!("{service} refused it: {}: {}", self.code, self.message)
            }
            Class::Record => format!("{service} refused it: {}", self.code),
            Class::Setup => format!("{service} cannot be used as it is set up: {}", self.code),
            Class::Throttled => format!("{service} is throttling: {}", self.code),
            Class::Unavailable if self.may_have_happened => format!(
                "{service} failed ({}): the record may or may not be stored",
                self.code
            ),
            Class::Unavailable if self.status.is_none() && self.code == OUT_OF_TURN => {
                "Earlier records with the same order key wait in the spool for the target; this one has to come after them. Nothing was stored."
                    .to_owned()
            }
            Class::Unavailable => format!("{service} is not available: {}", self.code),
            Class::OutcomeUnknown => format!(
                "{service} has not confirmed it ({}): the record may or may not be stored",
                self.code
            ),
            Class::Timeout => format!("{service} did not answer in time"),
            Class::Limit => format!("over a limit of the queue: {}", self.message),
            Class::Overloaded if self.code == TARGET_BUSY => {
                "More records wait for the target than it takes in time. Nothing was stored.".to_owned()
            }
            Class::Overloaded if self.code == WAITED_TOO_LONG => {
                "The record waited for its target until its time was over, and was not sent. Nothing was stored."
                    .to_owned()
            }
            Class::Overloaded => {
                "The gateway's store has more to write than its disk keeps up with. Nothing was stored."
                    .to_owned()
            }
            Class::StoreFull if self.code == "QueueFull" => {
                "The queue is full: it is as large as it may become. Nothing was stored.".to_owned()
            }
            Class::StoreFull => {
                "The gateway's store is full: it takes no more until there is room. Nothing was stored."
                    .to_owned()
            }
            Class::StoreUnavailable if self.may_be_stored() => {
                "The gateway's store does not work: the record may or may not be stored.".to_owned()
            }
            Class::StoreUnavailable => {
                "The gateway's store cannot be used now. This request has stored nothing.".to_owned()
            }
        }
    }

    /// The response in the aws dialect: the service's own where it answered with an error, else what the vendor's
    /// gateway says.
    pub fn aws(&self, id: &RequestId) -> Rendered {
        if self.class == Class::Limit {
            return Rendered::message(413, "Request Entity Too Large");
        }
        let codeless = self.code.starts_with("HTTP") && self.body.is_none();
        let errors = if codeless { 400..=499 } else { 400..=599 };
        let status = self.status.filter(|status| errors.contains(status));
        match (status, &self.body) {
            (Some(status), _) if self.service == Service::Sqs => {
                let request_id = self.request_id.as_deref().unwrap_or(id.as_str());
                Rendered::new(
                    status,
                    xml::CONTENT_TYPE,
                    xml::error(status, self.wire_code(), &self.message, request_id),
                )
            }
            (Some(status), Some(answer)) => {
                let (content_type, body) = &**answer;
                Rendered::new(status, content_type, body.clone())
            }
            (Some(status), None) => {
                let body = serde_json::json!({ "__type": self.code, "message": self.message });
                Rendered::new(status, "application/x-amz-json-1.1", body.to_string())
            }
            (None, _) if self.class == Class::Setup => {
                Rendered::message(500, "Internal Server Error")
            }
            (None, _) => Rendered::message(503, "Service Unavailable"),
        }
    }

    /// The code as SQS's Query protocol has it: a few differ from those of its JSON protocol.
    fn wire_code(&self) -> &str {
        match self.code.as_str() {
            "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
            "PurgeQueueInProgress" => "AWS.SimpleQueueService.PurgeQueueInProgress",
            "UnsupportedOperation" => "AWS.SimpleQueueService.UnsupportedOperation",
            code => code,
        }
    }
}

/// The class of a service's error. Codes that are not listed are a matter of setup: nothing is thrown away for them.
pub(super) fn classify(status: u16, code: &str, message: &str) -> Class {
    let code = code.rsplit(['.', '#']).next().unwrap_or(code);
    match code {
        _ if (300..400).contains(&status) => Class::Setup, // somebody on the way, or the wrong address
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "ProvisionedThroughputExceededException"
        | "BandwidthLimitExceeded"
        | "SlowDown"
        | "KMSThrottlingException"
        | "KmsThrottlingException"
        | "KmsThrottled"
        | "ExecutionLimitExceeded"
        | "OverLimit"
        | "PurgeQueueInProgress"
        // another write to the same item was under way: nothing was written
        | "TransactionConflictException"
        | "ReplicatedWriteConflictException" => Class::Throttled,
        "InternalError"
        | "InternalFailure"
        | "InternalFailureException"
        | "InternalException"
        | "InternalServerError"
        | "InternalServerException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout" => Class::Unavailable,
        "InvalidMessageContents"
        | "MalformedDetail"
        | "InvalidExecutionInput"
        | "SerializationException"
        | "InvalidName"
        | "InvalidIdFormat"
        | "ReceiptHandleIsInvalid"
        | "ExecutionAlreadyExists"
        | "ExecutionDoesNotExist"
        | "ConditionalCheckFailedException"
        | "ItemCollectionSizeLimitExceededException"
        | "RequestEntityTooLarge" => Class::Record,
        _ if status == 413 => Class::Record,
        // under any other code such words may be about a header, a rate, a quota: nothing is thrown away for them
        "InvalidParameterValue"
        | "InvalidParameterValueException"
        | "InvalidArgumentException"
        | "ValidationError"
        | "ValidationException"
            if (400..500).contains(&status) && says_too_large(message) =>
        {
            Class::Record
        }
        _ if status == 429 => Class::Throttled,
        _ if status >= 500 => Class::Unavailable,
        _ => Class::Setup,
    }
}

/// DynamoDB refuses under one code what is wrong with an item and what is wrong with the call's expressions or its table,
/// which are the configuration's.
fn of_validation(message: &str) -> Class {
    const SETUP: [&str; 5] = [
        "Expression",
        "tableName",
        "TableName",
        "ConsistentRead",
        "expression",
    ];
    match SETUP.iter().any(|word| message.contains(word)) {
        true => Class::Setup,
        false => Class::Record,
    }
}

/// A target with a limit of its own below the service's (a queue's `MaximumMessageSize`, a stream's record size) says
/// so under a general code. The same words about the name of the target are about the setup.
fn says_too_large(message: &str) -> bool {
    let folded = message.to_ascii_lowercase();
    let names_target = [
        "streamname",
        "streamarn",
        "eventbusname",
        "statemachinearn",
        "queueurl",
    ]
    .iter()
    .any(|parameter| folded.contains(parameter));
    !names_target
        && [
            "must be shorter than",
            "length less than or equal to",
            "over the limit",
            "too large",
            "exceeds the maximum",
        ]
        .iter()
        .any(|words| folded.contains(words))
}

#[cfg(test)]
mod tests;
