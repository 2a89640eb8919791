//! What the listener refuses with: the codes of SQS, as each protocol spells them, and what the store's refusals mean.

use std::fmt;

use crate::authn::sigv4::Refused;
use crate::store::StoreError;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    /// For the caller; nothing of ours is in it.
    pub message: String,
}

/// How a code is spelled: the JSON protocol's shape, the Query protocol's code, and the status of both.
pub struct Spelling {
    /// The shape, with its namespace: `com.amazonaws.sqs#QueueDoesNotExist`.
    pub shape: &'static str,
    /// `AWS.SimpleQueueService.NonExistentQueue`.
    pub query: &'static str,
    pub status: u16,
}

macro_rules! codes {
    ($($variant:ident: $namespace:literal $shape:literal, $query:literal, $status:literal;)+) => {
        /// The closed set of refusals.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($variant,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$variant,)+];

            /// The name in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => stringify!($variant),)+ }
            }

            /// How it goes over the wire.
            pub const fn spelling(self) -> Spelling {
                match self {
                    $(Code::$variant => Spelling { shape: concat!($namespace, "#", $shape), query: $query, status: $status },)+
                }
            }
        }
    };
}

// The shapes of `com.amazonaws.sqs` with their Query codes and statuses are those of the service's model; the rest are
// the errors that are common to AWS services (SQS API reference, Common Errors).
codes! {
    QueueDoesNotExist: "com.amazonaws.sqs" "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 400;
    QueueNameExists: "com.amazonaws.sqs" "QueueNameExists", "QueueAlreadyExists", 400;
    EmptyBatchRequest: "com.amazonaws.sqs" "EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest", 400;
    TooManyEntriesInBatchRequest: "com.amazonaws.sqs" "TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest", 400;
    BatchEntryIdsNotDistinct: "com.amazonaws.sqs" "BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", 400;
    InvalidBatchEntryId: "com.amazonaws.sqs" "InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId", 400;
    BatchRequestTooLong: "com.amazonaws.sqs" "BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong", 400;
    MessageNotInflight: "com.amazonaws.sqs" "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", 400;
    PurgeQueueInProgress: "com.amazonaws.sqs" "PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress", 403;
    UnsupportedOperation: "com.amazonaws.sqs" "UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", 400;
    ReceiptHandleIsInvalid: "com.amazonaws.sqs" "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404;
    InvalidAttributeName: "com.amazonaws.sqs" "InvalidAttributeName", "InvalidAttributeName", 400;
    InvalidAttributeValue: "com.amazonaws.sqs" "InvalidAttributeValue", "InvalidAttributeValue", 400;
    InvalidMessageContents: "com.amazonaws.sqs" "InvalidMessageContents", "InvalidMessageContents", 400;
    InvalidAddress: "com.amazonaws.sqs" "InvalidAddress", "InvalidAddress", 404;
    OverLimit: "com.amazonaws.sqs" "OverLimit", "OverLimit", 403;
    ResourceNotFound: "com.amazonaws.sqs" "ResourceNotFoundException", "ResourceNotFoundException", 404;
    InvalidParameterValue: "com.amazon.coral.service" "InvalidParameterValueException", "InvalidParameterValue", 400;
    MissingParameter: "com.amazon.coral.service" "MissingRequiredParameterException", "MissingParameter", 400;
    MalformedInput: "com.amazon.coral.service" "SerializationException", "MalformedInput", 400;
    InvalidAction: "com.amazon.coral.service" "UnknownOperationException", "InvalidAction", 400;
    MissingAction: "com.amazon.coral.service" "UnknownOperationException", "MissingAction", 400;
    MethodNotAllowed: "com.amazon.coral.service" "UnknownOperationException", "InvalidAction", 405;
    RequestTooLarge: "com.amazon.coral.service" "RequestEntityTooLargeException", "RequestEntityTooLarge", 413;
    RequestTimeout: "com.amazon.coral.service" "RequestTimeoutException", "RequestTimeout", 408;
    MissingAuthenticationToken: "com.amazon.coral.service" "MissingAuthenticationTokenException", "MissingAuthenticationToken", 403;
    IncompleteSignature: "com.amazon.coral.service" "IncompleteSignatureException", "IncompleteSignature", 400;
    InvalidClientTokenId: "com.amazon.coral.service" "UnrecognizedClientException", "InvalidClientTokenId", 403;
    SignatureDoesNotMatch: "com.amazon.coral.service" "InvalidSignatureException", "SignatureDoesNotMatch", 403;
    RequestExpired: "com.amazon.coral.service" "RequestExpired", "RequestExpired", 400;
    ServiceUnavailable: "com.amazon.coral.service" "ServiceUnavailableException", "ServiceUnavailable", 503;
    InternalFailure: "com.amazon.coral.service" "InternalFailure", "InternalFailure", 500;
}

impl Code {
    /// Whether the caller has to change something, rather than to try again.
    pub const fn is_sender(self) -> bool {
        self.spelling().status < 500
    }

    /// A fault with this code.
    pub fn because(self, message: impl Into<String>) -> Fault {
        Fault {
            code: self,
            message: message.into(),
        }
    }
}

impl Fault {
    /// A required parameter is not there.
    pub fn missing(parameter: &str) -> Fault {
        Code::MissingParameter.because(format!(
            "The request must contain the parameter {parameter}."
        ))
    }

    /// A parameter's value is not allowed.
    pub fn value(parameter: &str, value: impl fmt::Display, reason: &str) -> Fault {
        Code::InvalidParameterValue.because(format!(
            "Value {value} for parameter {parameter} is invalid. Reason: {reason}"
        ))
    }

    /// No queue of that name.
    pub fn no_queue() -> Fault {
        Code::QueueDoesNotExist.because("The specified queue does not exist.")
    }
}

/// What the store's refusal means to a caller. What passes by itself is a 503, which SDKs repeat.
impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        match error {
            StoreError::UnknownQueue(_) => Fault::no_queue(),
            StoreError::ReceiptHandleInvalid => {
                Code::ReceiptHandleIsInvalid.because("The input receipt handle is invalid.")
            }
            StoreError::ReceiptHandleExpired => Code::InvalidParameterValue.because(
                "The value for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
            ),
            StoreError::MessageNotInFlight => Code::MessageNotInflight
                .because("The message referred to is not in flight, or does not exist any more."),
            StoreError::MessageTooLarge { limit } => Code::InvalidParameterValue.because(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
            )),
            StoreError::MissingGroupId => Fault::missing("MessageGroupId"),
            StoreError::MissingDeduplicationId => Code::InvalidParameterValue.because(
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
            ),
            StoreError::InvalidParameter(reason) => Code::InvalidParameterValue.because(reason),
            StoreError::QueueFull { .. }
            | StoreError::Full(_)
            | StoreError::TooManySpools { .. }
            | StoreError::Overloaded
            | StoreError::Unavailable { .. }
            | StoreError::Closed => Code::ServiceUnavailable.because(error.to_string()),
        }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Fault {
        let code = match &refused {
            Refused::Missing => Code::MissingAuthenticationToken,
            Refused::Incomplete(_) => Code::IncompleteSignature,
            Refused::UnknownToken => Code::InvalidClientTokenId,
            Refused::Expired(_) | Refused::NotYet(_) => Code::RequestExpired,
            Refused::Scope(_) | Refused::Mismatch | Refused::Payload | Refused::Unsigned => {
                Code::SignatureDoesNotMatch
            }
        };
        code.because(refused.to_string())
    }
}
