//! Step Functions: StartExecution of standard workflows, JSON 1.0.

use serde_json::{Value, json};

use super::super::place::{Place, Service};
use super::protocol::{Fault, last, text};
use super::store::{Arrival, Once, Outcome};

pub(super) const THROTTLED: Fault = Fault {
    status: 400,
    code: "ThrottlingException",
    message: "Rate exceeded",
};
pub(super) const INTERNAL: Fault = Fault {
    status: 500,
    code: "InternalFailure",
    message: "internal failure",
};
const EXISTS: Fault = Fault {
    status: 400,
    code: "ExecutionAlreadyExists",
    message: "Execution Already Exists",
};

/// An execution to start.
pub(super) fn arrival(input: &Value) -> Arrival {
    let name = text(input, "name");
    Arrival {
        place: Place::new(Service::StepFunctions, machine(input)),
        content: text(input, "input").into(),
        rest: name.to_owned(),
        group: None,
        once: (!name.is_empty()).then(|| Once::Named(name.to_owned())),
    }
}

/// The answer.
pub(super) fn started(input: &Value, outcome: Outcome) -> Result<Value, Fault> {
    let (Outcome::Stored(number) | Outcome::Again(number)) = outcome else {
        return Err(EXISTS);
    };
    let machine = text(input, "stateMachineArn").replace(":stateMachine:", ":execution:");
    let name = match text(input, "name") {
        "" => number.to_string(),
        name => name.to_owned(),
    };
    // The number stands for the time of the start: a repetition gets the first one's.
    Ok(json!({ "executionArn": format!("{machine}:{name}"), "startDate": 1_700_000_000 + number }))
}

fn machine(input: &Value) -> &str {
    last(text(input, "stateMachineArn"), &[':'])
}
