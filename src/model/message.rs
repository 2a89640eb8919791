//! A message as SQS knows it: body, attributes, and the digests that SQS answers with.

use std::collections::BTreeMap;

use bytes::Bytes;
use md5::{Digest, Md5};
use serde::Serialize;

/// The value of a message attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum AttributeValue {
    /// `StringValue`: for the data types `String` and `Number` and their custom labels.
    #[serde(rename = "StringValue")]
    String(String),
    /// `BinaryValue`: for `Binary` and its custom labels.
    #[serde(rename = "BinaryValue", serialize_with = "as_base64")]
    Binary(Bytes),
}

fn as_base64<S: serde::Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    use base64::Engine as _;
    serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// A message attribute or message system attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attribute {
    /// `String`, `Number`, `Binary`, each with an optional label (`Number.float`).
    #[serde(rename = "DataType")]
    pub data_type: String,
    #[serde(flatten)]
    pub value: AttributeValue,
}

impl Attribute {
    /// The bytes that the attribute adds to the message's size, its name included.
    pub fn size(&self, name: &str) -> usize {
        let value = match &self.value {
            AttributeValue::String(text) => text.len(),
            AttributeValue::Binary(bytes) => bytes.len(),
        };
        name.len() + self.data_type.len() + value
    }
}

/// Attributes by name, in the order in which the digest takes them.
pub type Attributes = BTreeMap<String, Attribute>;

/// `MD5OfMessageBody`: hexadecimal MD5 of the body's bytes.
pub fn md5_of_body(body: &[u8]) -> String {
    hex(&Md5::digest(body))
}

/// `MD5OfMessageAttributes`: for each attribute by name, length and name, length and data type, `01` for text or `02`
/// for binary, length and value; lengths are 4 bytes, big-endian. `None` without attributes.
pub fn md5_of_attributes(attributes: &Attributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    for (name, attribute) in attributes {
        let (transport, value): (u8, &[u8]) = match &attribute.value {
            AttributeValue::String(text) => (1, text.as_bytes()),
            AttributeValue::Binary(bytes) => (2, bytes),
        };
        for part in [name.as_bytes(), attribute.data_type.as_bytes()] {
            digest.update((part.len() as u32).to_be_bytes());
            digest.update(part);
        }
        digest.update([transport]);
        digest.update((value.len() as u32).to_be_bytes());
        digest.update(value);
    }
    Some(hex(&digest.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pairs = bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    pairs.map(char::from).collect()
}

/// Whether SQS can hold the body: UTF-8, and of XML 1.0's characters only
/// (`#x9 #xA #xD #x20-#xD7FF #xE000-#xFFFD #x10000-#x10FFFF`; SendMessage, API reference). The error is the offset of
/// the first byte that it cannot hold.
pub fn sqs_text(body: &[u8]) -> Result<&str, usize> {
    let text = std::str::from_utf8(body).map_err(|error| error.valid_up_to())?;
    let refused = |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    match text.char_indices().find(|(_, c)| refused(*c)) {
        Some((offset, _)) => Err(offset),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(data_type: &str, value: &str) -> Attribute {
        Attribute {
            data_type: data_type.into(),
            value: AttributeValue::String(value.into()),
        }
    }

    #[test]
    fn digests_are_those_of_the_published_vectors() {
        assert_eq!(
            md5_of_body(b"hello world"),
            "5eb63bbbe01eeed093cb22bb8f5acdc3"
        );
        let attributes = Attributes::from([
            ("Attempt".to_owned(), text("Number", "3")),
            ("UserAgent".to_owned(), text("String", "curl/8.0")),
        ]);
        assert_eq!(
            md5_of_attributes(&attributes).as_deref(),
            Some("0b1795ec6506e31c86c4da394dcb52a3")
        );
        assert_eq!(md5_of_attributes(&Attributes::new()), None);
    }

    #[test]
    fn a_body_outside_the_character_set_of_sqs_is_found_at_its_offset() {
        assert_eq!(
            sqs_text("tab\tlf\ncr\r é 🎈".as_bytes()),
            Ok("tab\tlf\ncr\r é 🎈")
        );
        assert_eq!(sqs_text(b"ab\x01"), Err(2));
        assert_eq!(sqs_text(b"ab\xff"), Err(2));
        assert_eq!(sqs_text("a\u{ffff}".as_bytes()), Err(1));
    }
}
