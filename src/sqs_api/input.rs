//! What a request says, whichever protocol it came in: read into the structures of the service's model.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fault::{Code, Fault};

/// The parameters of a request, before they are read.
#[derive(Debug)]
pub enum Input {
    /// The body of a JSON request.
    Json(Bytes),
    /// A Query request, brought into the JSON protocol's shape.
    Query(Value),
}

impl Input {
    /// Reads the parameters of an action. Names that the action does not know are passed over, as the service does.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Fault> {
        let read = match self {
            Input::Json(body) if body.iter().all(u8::is_ascii_whitespace) => {
                serde_json::from_slice(b"{}")
            }
            Input::Json(body) => serde_json::from_slice(&body),
            Input::Query(value) => serde_json::from_value(value),
        };
        read.map_err(|error| {
            Code::MalformedInput.because(format!("The request cannot be read: {error}"))
        })
    }
}

/// The value of a required parameter; an empty text is none.
pub fn required(value: Option<String>, name: &str) -> Result<String, Fault> {
    value
        .filter(|text| !text.is_empty())
        .ok_or_else(|| Fault::missing(name))
}

/// A number within its bounds, if it was given.
pub fn within(value: Option<i64>, name: &str, low: i64, high: i64) -> Result<Option<u64>, Fault> {
    match value {
        None => Ok(None),
        Some(number) if (low..=high).contains(&number) => Ok(Some(number.unsigned_abs())),
        Some(number) => Err(Fault::value(
            name,
            number,
            &format!("Must be between {low} and {high}, if provided."),
        )),
    }
}

/// A queue, and nothing else.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OfQueue {
    pub queue_url: Option<String>,
}

/// A message attribute as it is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttributeInput {
    pub data_type: Option<String>,
    pub string_value: Option<String>,
    /// Base64.
    pub binary_value: Option<String>,
    pub string_list_values: Option<Vec<String>>,
    pub binary_list_values: Option<Vec<String>>,
}

/// Attributes by name.
pub type AttributeInputs = BTreeMap<String, AttributeInput>;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "PascalCase")]
    struct Sample {
        queue_url: Option<String>,
        delay_seconds: Option<i64>,
    }

    #[test]
    fn a_body_that_is_no_object_or_holds_wrong_types_is_malformed() {
        for body in [
            "[]",
            "{",
            "nonsense",
            "{\"DelaySeconds\":\"x\"}",
            "{\"DelaySeconds\":1.5}",
            "\u{1}",
            "{\"QueueUrl\":\"a\",\"QueueUrl\":\"b\"}",
        ] {
            let read = Input::Json(Bytes::from(body)).read::<Sample>();
            assert_eq!(
                read.map_err(|fault| fault.code),
                Err(Code::MalformedInput),
                "{body}"
            );
        }
        let deep = "[".repeat(100_000);
        assert!(Input::Json(Bytes::from(deep)).read::<Value>().is_err());
    }

    #[test]
    fn strangers_are_passed_over_and_an_empty_body_is_an_empty_object() {
        let read =
            Input::Json(Bytes::from_static(b"{\"QueueUrl\":\"u\",\"New\":[1]}")).read::<Sample>();
        let expected = Sample {
            queue_url: Some("u".into()),
            delay_seconds: None,
        };
        assert_eq!(read, Ok(expected));
        assert!(
            Input::Json(Bytes::from_static(b" "))
                .read::<Sample>()
                .is_ok()
        );
    }

    #[test]
    fn a_number_out_of_bounds_says_its_bounds() {
        assert_eq!(within(Some(10), "X", 1, 10), Ok(Some(10)));
        assert_eq!(within(None, "X", 1, 10), Ok(None));
        let fault = within(Some(11), "MaxNumberOfMessages", 1, 10).unwrap_err();
        assert_eq!(
            fault.message,
            "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided."
        );
        assert!(within(Some(-1), "X", 0, 10).is_err());
        assert!(within(Some(i64::MIN), "X", 0, 10).is_err());
    }
}
