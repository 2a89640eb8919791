//! JSON selectors: `.name`, `[n]`, `['any name']` out of a body, without building the document.
//!
//! The whole body is read, not its first 100 KB, and nothing but the selected value is kept. The rest is checked to be
//! JSON all the same: a selector on a broken document has no value. Where a name stands twice the last one counts, as
//! in most JSON readers.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A step into a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Name(String),
    Index(usize),
}

/// A path into a JSON document; has at least one step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector(Vec<Step>);

impl FromStr for Selector {
    type Err = String;

    /// Reads what follows `$request.body`: `.a.b[0]['c d']`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if rest.starts_with("..") {
                return Err("recursive descent (`..`) is not supported".to_owned());
            }
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let name = &after[..end];
                if name.is_empty() {
                    return Err("a name is missing after `.`".to_owned());
                }
                if name.contains(['*', '?', '(', ')', '@', ']']) {
                    return Err(format!(
                        "{name:?}: wildcards and filters are not supported; write an unusual name as ['{name}']"
                    ));
                }
                steps.push(Step::Name(name.to_owned()));
                rest = &after[end..];
                continue;
            }
            let after = rest
                .strip_prefix('[')
                .ok_or_else(|| format!("expected `.` or `[` before {rest:?}"))?;
            if let Some(quote @ ('\'' | '"')) = after.chars().next() {
                let (name, tail) = after[1..]
                    .split_once(quote)
                    .and_then(|(name, tail)| Some((name, tail.strip_prefix(']')?)))
                    .ok_or_else(|| format!("`[{quote}` is not closed by `{quote}]`"))?;
                steps.push(Step::Name(name.to_owned()));
                rest = tail;
            } else {
                let (index, tail) = after.split_once(']').ok_or("`[` is not closed by `]`")?;
                let index = index.parse().map_err(|_| {
                    format!(
                        "[{index}]: only a position from 0 or a quoted name can stand in brackets"
                    )
                })?;
                steps.push(Step::Index(index));
                rest = tail;
            }
        }
        if steps.is_empty() {
            Err("the selector is empty".to_owned())
        } else {
            Ok(Selector(steps))
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            match step {
                // what reads back: in the quotes that it does not hold, or, with both, as it can only have been written
                Step::Name(name) if !name.contains('\'') => write!(f, "['{name}']")?,
                Step::Name(name) if !name.contains('"') => write!(f, "[\"{name}\"]")?,
                Step::Name(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The selected value: a string without its quotes, anything else as compact JSON text, its numbers as they were
/// sent. `Ok(None)`: the document has no such value, or it is `null`. `Err`: the body is not JSON.
pub fn select(selector: &Selector, body: &[u8]) -> Result<Option<Bytes>, String> {
    let Some(raw) = select_json(selector, body)? else {
        return Ok(None);
    };
    match raw.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => {
            let text: String = serde_json::from_str(raw)
                .map_err(|error| format!("the body is not JSON: {error}"))?;
            Ok(Some(Bytes::from(text)))
        }
        Some(b'{' | b'[') => Ok(Some(Bytes::from(compact(raw)))),
        _ => Ok(Some(Bytes::copy_from_slice(raw.as_bytes()))),
    }
}

/// The selected value as it stands in the document: a string with its quotes and escapes. `Ok(None)`: the document has no
/// such value; `null` is one. `Err`: the body is not JSON.
pub fn select_json<'b>(selector: &Selector, body: &'b [u8]) -> Result<Option<&'b str>, String> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let found = Walk(&selector.0)
        .deserialize(&mut reader)
        .and_then(|found| reader.end().map(|()| found));
    match found {
        Ok(found) => Ok(found.map(RawValue::get)),
        Err(_) if body.is_empty() => Err("the body is empty".to_owned()),
        Err(error) => Err(format!("the body is not JSON: {error}")),
    }
}

/// JSON text without the white space between its tokens.
pub(super) fn compact(json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for byte in json.bytes() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte.is_ascii_whitespace() {
            continue;
        } else {
            quoted = byte == b'"';
        }
        out.push(byte);
    }
    out
}

/// Walks down the remaining steps.
struct Walk<'s>(&'s [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            <&RawValue as de::Deserialize>::deserialize(deserializer).map(Some)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((Step::Name(wanted), rest)) = self.0.split_first() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        let mut found = None;
        while let Some(matches) = map.next_key_seed(Is(wanted))? {
            if matches {
                found = map.next_value_seed(Walk(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        if let Some((Step::Index(index), rest)) = self.0.split_first() {
            for _ in 0..*index {
                if list.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
            }
            found = list.next_element_seed(Walk(rest))?.flatten();
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a key of a JSON object is the wanted one, without keeping it.
pub struct Is<'s>(pub &'s str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
