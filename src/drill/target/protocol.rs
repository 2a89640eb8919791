//! The JSON protocols of the services: which operation a call is, and how an answer or a refusal is written.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, request};
use http_body_util::Full;
use serde_json::{Value, json};

use super::store::{Arrival, Outcome};
use super::{event_bridge, kinesis, sqs, step_functions};

/// What the fake can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    SendMessage,
    SendMessageBatch,
    PutRecord,
    PutRecords,
    PutEvents,
    StartExecution,
}

/// A call that was read.
pub(super) struct Call {
    pub operation: Operation,
    pub input: Value,
}

/// Why a call as a whole is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Throttled,
    /// A 500: whether the call was carried out, it does not say.
    Internal,
}

/// An error as a service writes it.
pub(super) struct Fault {
    pub status: u16,
    pub code: &'static str,
    pub message: &'static str,
}

impl Call {
    /// From a request; `None` for what the fake does not do.
    pub(super) fn read(head: &request::Parts, body: Bytes) -> Option<Call> {
        let target = head.headers.get("x-amz-target")?.to_str().ok()?;
        let operation = match target {
            "AmazonSQS.SendMessage" => Operation::SendMessage,
            "AmazonSQS.SendMessageBatch" => Operation::SendMessageBatch,
            "Kinesis_20131202.PutRecord" => Operation::PutRecord,
            "Kinesis_20131202.PutRecords" => Operation::PutRecords,
            "AWSEvents.PutEvents" => Operation::PutEvents,
            "AWSStepFunctions.StartExecution" => Operation::StartExecution,
            _ => return None,
        };
        let input = serde_json::from_slice(&body).ok()?;
        Some(Call { operation, input })
    }

    /// The records of the call, in order.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        let input = &self.input;
        match self.operation {
            Operation::SendMessage => vec![sqs::arrival(input, input)],
            Operation::SendMessageBatch => entries(input, "Entries")
                .map(|entry| sqs::arrival(input, entry))
                .collect(),
            Operation::PutRecord => vec![kinesis::arrival(input, input)],
            Operation::PutRecords => entries(input, "Records")
                .map(|entry| kinesis::arrival(input, entry))
                .collect(),
            Operation::PutEvents => entries(input, "Entries")
                .map(event_bridge::arrival)
                .collect(),
            Operation::StartExecution => vec![step_functions::arrival(input)],
        }
    }

    /// The answer to what became of the records, in their order.
    pub(super) fn answer(&self, outcomes: &[Outcome]) -> Response<Full<Bytes>> {
        let input = &self.input;
        let single = outcomes.first().copied().unwrap_or(Outcome::Failed);
        let answer = match self.operation {
            Operation::SendMessage => Ok(sqs::sent(input, single)),
            Operation::SendMessageBatch => Ok(sqs::sent_batch(input, outcomes)),
            Operation::PutRecord => Ok(kinesis::put(single)),
            Operation::PutRecords => Ok(kinesis::put_batch(outcomes)),
            Operation::PutEvents => Ok(event_bridge::put(outcomes)),
            Operation::StartExecution => step_functions::started(input, single),
        };
        match answer {
            Ok(answer) => written(StatusCode::OK, self.version(), &answer),
            Err(fault) => self.fault(&fault),
        }
    }

    /// The whole call is refused.
    pub(super) fn refuse(&self, refusal: Refusal) -> Response<Full<Bytes>> {
        let (throttled, internal) = match self.operation {
            Operation::SendMessage | Operation::SendMessageBatch => (sqs::THROTTLED, sqs::INTERNAL),
            Operation::PutRecord | Operation::PutRecords => (kinesis::THROTTLED, kinesis::INTERNAL),
            Operation::PutEvents => (event_bridge::THROTTLED, event_bridge::INTERNAL),
            Operation::StartExecution => (step_functions::THROTTLED, step_functions::INTERNAL),
        };
        self.fault(match refusal {
            Refusal::Throttled => &throttled,
            Refusal::Internal => &internal,
        })
    }

    fn fault(&self, fault: &Fault) -> Response<Full<Bytes>> {
        let body = json!({ "__type": fault.code, "message": fault.message });
        let status =
            StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = written(status, self.version(), &body);
        let code = fault.code.rsplit('#').next().unwrap_or(fault.code);
        if matches!(
            self.operation,
            Operation::SendMessage | Operation::SendMessageBatch
        ) && let Ok(value) = HeaderValue::from_str(&format!("{code};Sender"))
        {
            response.headers_mut().insert("x-amzn-query-error", value);
        }
        response
    }

    fn version(&self) -> &'static str {
        match self.operation {
            Operation::SendMessage | Operation::SendMessageBatch | Operation::StartExecution => {
                "application/x-amz-json-1.0"
            }
            _ => "application/x-amz-json-1.1",
        }
    }
}

/// For what the fake does not do: reads, removals, other services.
pub(super) fn unknown_operation() -> Response<Full<Bytes>> {
    let body = json!({ "__type": "UnknownOperationException", "message": "the drill's target only stores" });
    written(StatusCode::BAD_REQUEST, "application/x-amz-json-1.1", &body)
}

/// A list of the input; empty where there is none.
pub(super) fn entries<'v>(input: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    input
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// A text of the input; empty where there is none.
pub(super) fn text<'v>(input: &'v Value, name: &str) -> &'v str {
    input.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What stands behind the last of these marks: a queue's name in its URL, a bus's in its ARN.
pub(super) fn last<'t>(text: &'t str, marks: &[char]) -> &'t str {
    text.rsplit(marks).next().unwrap_or(text)
}

fn written(status: StatusCode, content_type: &'static str, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static(content_type),
    );
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
