//! JSON pointers (RFC 6901) into a raw body, without building the document. A name that stands twice where the pointer
//! passes makes the value ambiguous: whoever reads the body next might read the other one.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::mapping::Is;

/// A pointer into a document; without steps it is the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

/// What a pointer points at.
#[derive(Debug)]
pub(super) enum Found<'b> {
    /// Nothing, or the body is not JSON.
    Nothing,
    Value(&'b RawValue),
    Ambiguous,
}

impl FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Pointer(Vec::new()));
        }
        let rest = text
            .strip_prefix('/')
            .ok_or_else(|| format!("{text:?} is not a JSON pointer; write it as `/a/0/b`"))?;
        let steps = rest.split('/').map(|step| {
            let bare = step.replace("~0", "").replace("~1", "");
            if bare.contains('~') {
                return Err(format!(
                    "{text:?} is not a JSON pointer: `~` is written `~0`, `/` within a name `~1`"
                ));
            }
            Ok(step.replace("~1", "/").replace("~0", "~"))
        });
        Ok(Pointer(steps.collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            write!(f, "/{}", step.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

impl Pointer {
    /// The names on the way, unescaped.
    pub(super) fn steps(&self) -> &[String] {
        &self.0
    }

    /// The value in a body.
    pub(super) fn find<'b>(&self, body: &'b [u8]) -> Found<'b> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let found = Walk(&self.0).deserialize(&mut reader);
        match found.and_then(|found| reader.end().map(|()| found)) {
            Ok(found) => found,
            Err(_) => Found::Nothing,
        }
    }
}

/// The text of a value: a string as is, a number in its source spelling, `true` or `false`; empty for anything else.
pub(super) fn text_of(raw: &RawValue) -> String {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).unwrap_or_default(),
        Some(b'{' | b'[' | b'n') | None => String::new(),
        Some(_) => text.to_owned(),
    }
}

struct Walk<'s>(&'s [String]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            <&RawValue as de::Deserialize>::deserialize(deserializer).map(Found::Value)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

/// Scalars have no inside.
macro_rules! nothing_within {
    ($($method:ident: $type:ty),+) => {
        $(fn $method<E: de::Error>(self, _: $type) -> Result<Self::Value, E> {
            Ok(Found::Nothing)
        })+
    };
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((wanted, rest)) = self.0.split_first() else {
            return Ok(Found::Nothing);
        };
        let mut found: Option<Found<'de>> = None;
        while let Some(matches) = map.next_key_seed(Is(wanted))? {
            if !matches {
                map.next_value::<IgnoredAny>()?;
            } else if found.is_some() {
                map.next_value::<IgnoredAny>()?;
                found = Some(Found::Ambiguous);
            } else {
                found = Some(map.next_value_seed(Walk(rest))?);
            }
        }
        Ok(found.unwrap_or(Found::Nothing))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = Found::Nothing;
        if let Some((step, rest)) = self.0.split_first()
            && let Some(index) = index_of(step)
        {
            for _ in 0..index {
                if list.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(Found::Nothing);
                }
            }
            found = list
                .next_element_seed(Walk(rest))?
                .unwrap_or(Found::Nothing);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }

    nothing_within!(visit_str: &str, visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64);

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Found::Nothing)
    }
}

/// A position, which has no leading zeros (RFC 6901, 4).
fn index_of(step: &str) -> Option<usize> {
    let plain = step == "0" || (!step.starts_with('0') && step.bytes().all(|b| b.is_ascii_digit()));
    plain.then(|| step.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pointer: &str, body: &str) -> Option<String> {
        match pointer.parse::<Pointer>().unwrap().find(body.as_bytes()) {
            Found::Value(raw) => Some(text_of(raw)),
            Found::Nothing => None,
            Found::Ambiguous => Some("ambiguous".to_owned()),
        }
    }

    #[test]
    fn values_are_found_and_given_as_they_were_spelled() {
        let body = r#"{"a":[{"b":1.50e3},true],"c/d":"x\u00e9","e":null,"~":{"f":[]}}"#;
        assert_eq!(text("/a/0/b", body).as_deref(), Some("1.50e3"));
        assert_eq!(text("/a/1", body).as_deref(), Some("true"));
        assert_eq!(text("/c~1d", body).as_deref(), Some("xé"));
        assert_eq!(text("/e", body).as_deref(), Some(""));
        assert_eq!(text("/~0/f", body).as_deref(), Some(""));
        for nothing in ["/b", "/a/2", "/a/00", "/a/-", "/c~1d/x", "/e/x"] {
            assert_eq!(text(nothing, body), None, "{nothing}");
        }
        assert_eq!(text("/a", "{\"a\":1} x"), None, "what follows is not JSON");
        assert_eq!(text("/a", "a=1"), None);
    }

    #[test]
    fn a_name_that_stands_twice_on_the_way_is_ambiguous() {
        assert_eq!(text("/a", r#"{"a":1,"a":2}"#).as_deref(), Some("ambiguous"));
        assert_eq!(
            text("/a/b", r#"{"a":{"b":1},"a":{}}"#).as_deref(),
            Some("ambiguous")
        );
        assert_eq!(text("/a", r#"{"a":1,"b":2,"b":3}"#).as_deref(), Some("1"));
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        assert!("a/b".parse::<Pointer>().is_err());
        assert!("/a~2".parse::<Pointer>().is_err());
        assert_eq!("/a~1b/0".parse::<Pointer>().unwrap().to_string(), "/a~1b/0");
    }
}
