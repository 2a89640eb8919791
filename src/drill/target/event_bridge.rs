//! EventBridge: PutEvents, JSON 1.1.

use serde_json::{Value, json};

use super::super::place::{Place, Service};
use super::protocol::{Fault, last, text};
use super::store::{Arrival, Outcome};

pub(super) const THROTTLED: Fault = Fault {
    status: 400,
    code: "ThrottlingException",
    message: "Rate exceeded",
};
pub(super) const INTERNAL: Fault = Fault {
    status: 500,
    code: "InternalException",
    message: "This exception occurs due to unexpected causes.",
};

/// An event.
pub(super) fn arrival(entry: &Value) -> Arrival {
    let bus = match text(entry, "EventBusName") {
        "" => "default",
        name => last(name, &['/']),
    };
    Arrival {
        place: Place::new(Service::EventBridge, bus),
        content: text(entry, "Detail").into(),
        rest: format!("{} {}", text(entry, "DetailType"), text(entry, "Source")),
        group: None,
        once: None,
    }
}

/// The answer.
pub(super) fn put(outcomes: &[Outcome]) -> Value {
    let entries: Vec<Value> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Stored(number) | Outcome::Again(number) => {
                json!({ "EventId": format!("00000000-0000-4000-8000-{number:012x}") })
            }
            Outcome::Exists | Outcome::Failed => {
                json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "try again" })
            }
        })
        .collect();
    let failed = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::Failed);
    json!({ "FailedEntryCount": failed.count(), "Entries": entries })
}
