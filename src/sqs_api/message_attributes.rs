//! Message attributes on their way in: the rules of SQS that hold for each (SendMessage, API reference), in its words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::model::message::{Attribute, AttributeValue, Attributes, sqs_text};

use super::fault::{Code, Fault};
use super::input::{AttributeInput, AttributeInputs};

/// The most attributes of a message.
const MOST: usize = 10;
/// The longest name and the longest data type.
const LONGEST: usize = 256;

/// The message attributes of a send.
pub fn message_attributes(inputs: Option<AttributeInputs>) -> Result<Attributes, Fault> {
    let inputs = inputs.unwrap_or_default();
    if inputs.len() > MOST {
        return Err(Code::InvalidParameterValue.because(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{MOST}].",
            inputs.len()
        )));
    }
    inputs
        .into_iter()
        .map(|(name, input)| {
            check_name(&name)?;
            let attribute = attribute(&name, input)?;
            Ok((name, attribute))
        })
        .collect()
}

/// The message system attributes of a send: there is only `AWSTraceHeader`.
pub fn system_attributes(inputs: Option<AttributeInputs>) -> Result<Attributes, Fault> {
    inputs
        .unwrap_or_default()
        .into_iter()
        .map(|(name, input)| {
            let attribute = attribute(&name, input)?;
            if name != "AWSTraceHeader" || attribute.data_type != "String" {
                return Err(Code::InvalidParameterValue.because(format!(
                    "Message system attribute name '{name}' is invalid: there is only AWSTraceHeader, a String."
                )));
            }
            Ok((name, attribute))
        })
        .collect()
}

fn check_name(name: &str) -> Result<(), Fault> {
    let refused = |why: &str| {
        Err(Code::InvalidParameterValue.because(format!(
            "The message attribute name '{name}' is invalid. {why}"
        )))
    };
    if name.is_empty() || name.len() > LONGEST {
        return refused("Attribute name must have 1 to 256 characters.");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    if !name.bytes().all(allowed) {
        return refused(
            "Attribute name can contain A-Z, a-z, 0-9, underscore (_), hyphen (-), and period (.) characters.",
        );
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return refused("Names that begin with 'AWS.' or 'Amazon.' are reserved.");
    }
    if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return refused(
            "Attribute name cannot start or end with a period, or have periods in succession.",
        );
    }
    Ok(())
}

fn attribute(name: &str, input: AttributeInput) -> Result<Attribute, Fault> {
    let refused = |why: String| Err(Code::InvalidParameterValue.because(why));
    let listed = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if listed(&input.string_list_values) || listed(&input.binary_list_values) {
        return Err(
            Code::UnsupportedOperation.because("Message attribute list values are not supported.")
        );
    }
    let Some(data_type) = input.data_type.filter(|data_type| !data_type.is_empty()) else {
        return refused(format!(
            "The message attribute '{name}' must contain non-empty message attribute type."
        ));
    };
    let base = data_type.split('.').next().unwrap_or_default();
    if !["String", "Number", "Binary"].contains(&base) {
        return refused(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String."
        ));
    }
    let text = sqs_text(data_type.as_bytes()).is_ok();
    if data_type.len() > LONGEST || data_type.ends_with('.') || !text {
        return refused(format!(
            "The message attribute '{name}' has an invalid message attribute type: up to 256 characters, with a label after the period."
        ));
    }
    let binary = base == "Binary";
    let (given, stranger) = if binary {
        (input.binary_value, input.string_value)
    } else {
        (input.string_value, input.binary_value)
    };
    let Some(value) = given.filter(|value| !value.is_empty()) else {
        return refused(format!(
            "The message attribute '{name}' must contain non-empty message attribute value for message attribute type '{data_type}'."
        ));
    };
    if stranger.is_some_and(|stranger| !stranger.is_empty()) {
        return refused(format!(
            "The message attribute '{name}' has more than one value for message attribute type '{data_type}'."
        ));
    }
    let value = if binary {
        let Ok(bytes) = STANDARD.decode(&value) else {
            return refused(format!(
                "The value of message attribute '{name}' is not base64."
            ));
        };
        AttributeValue::Binary(Bytes::from(bytes))
    } else {
        if sqs_text(value.as_bytes()).is_err() {
            return refused(format!(
                "The value of message attribute '{name}' holds a character that is not allowed."
            ));
        }
        if base == "Number" && !is_number(&value) {
            return refused(format!(
                "Can't cast the value of message attribute '{name}' to a number."
            ));
        }
        AttributeValue::String(value)
    };
    Ok(Attribute { data_type, value })
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
        && text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(data_type: &str, text: Option<&str>, binary: Option<&str>) -> AttributeInput {
        AttributeInput {
            data_type: Some(data_type.to_owned()),
            string_value: text.map(str::to_owned),
            binary_value: binary.map(str::to_owned),
            ..AttributeInput::default()
        }
    }

    fn one(name: &str, input: AttributeInput) -> Result<Attributes, Fault> {
        message_attributes(Some(AttributeInputs::from([(name.to_owned(), input)])))
    }

    #[test]
    fn texts_numbers_and_bytes_are_taken_with_labels_of_their_own() {
        assert!(one("a", input("String", Some("x"), None)).is_ok());
        assert!(one("a.b-c_1", input("String.label", Some("x"), Some(""))).is_ok());
        assert!(one("a", input("Number.float", Some("-1.5e3"), None)).is_ok());
        let taken = one("a", input("Binary.gif", None, Some("/wA="))).unwrap();
        assert_eq!(
            taken["a"].value,
            AttributeValue::Binary(Bytes::from_static(b"\xff\x00"))
        );
        assert_eq!(message_attributes(None), Ok(Attributes::new()));
    }

    #[test]
    fn what_sqs_refuses_is_refused() {
        for (name, input) in [
            ("a", AttributeInput::default()),
            ("a", input("", Some("x"), None)),
            ("a", input("Text", Some("x"), None)),
            ("a", input("String.", Some("x"), None)),
            ("a", input("String", Some(""), None)),
            ("a", input("String", None, Some("eA=="))),
            ("a", input("String", Some("x"), Some("eA=="))),
            ("a", input("String", Some("\u{1}"), None)),
            ("a", input("Number", Some("one"), None)),
            ("a", input("Number", Some("inf"), None)),
            ("a", input("Binary", None, Some("no base64!"))),
            ("", input("String", Some("x"), None)),
            ("a b", input("String", Some("x"), None)),
            ("AWS.x", input("String", Some("x"), None)),
            ("amazon.x", input("String", Some("x"), None)),
            (".a", input("String", Some("x"), None)),
            ("a..b", input("String", Some("x"), None)),
        ] {
            let refused = one(name, input).unwrap_err();
            assert_eq!(
                refused.code,
                Code::InvalidParameterValue,
                "{name}: {}",
                refused.message
            );
        }
        let eleven = (0..11).map(|n| (n.to_string(), input("String", Some("x"), None)));
        assert!(message_attributes(Some(eleven.collect())).is_err());
    }

    #[test]
    fn the_only_system_attribute_is_the_trace_header() {
        let of = |name: &str| {
            AttributeInputs::from([(name.to_owned(), input("String", Some("Root=1"), None))])
        };
        assert!(system_attributes(Some(of("AWSTraceHeader"))).is_ok());
        assert!(system_attributes(Some(of("Other"))).is_err());
    }
}
