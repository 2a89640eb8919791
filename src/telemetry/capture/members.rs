//! Single values struck out of a JSON body, with every other byte as it came.

use std::ops::Range;

use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::strike::STRUCK;
use crate::model::carried::Carried;

/// The body without the values at a path; `None` where the body is not what the path is for, so that nobody knows what
/// is in it. A body that has no such value stays as it is.
pub(super) fn without(body: &str, path: &[String]) -> Option<String> {
    let root: &RawValue = serde_json::from_str(body).ok()?;
    let mut found = Vec::new();
    collect(root, path, body, &mut found)?;
    let mut left = body.to_owned();
    // From the end, so that the places before stay where they are.
    found.sort_by_key(|place: &Range<usize>| place.start);
    for place in found.into_iter().rev() {
        left.replace_range(place, &format!("\"{STRUCK}\""));
    }
    Some(left)
}

/// Collects where the values stand. A name that stands twice counts twice.
fn collect(
    value: &RawValue,
    path: &[String],
    body: &str,
    found: &mut Vec<Range<usize>>,
) -> Option<()> {
    let Some((step, rest)) = path.split_first() else {
        let start = value
            .get()
            .as_ptr()
            .addr()
            .checked_sub(body.as_ptr().addr())?;
        found.push(start..start + value.get().len());
        return Some(());
    };
    let mut reader = serde_json::Deserializer::from_str(value.get());
    match value.get().as_bytes().first() {
        Some(b'{') => {
            let members = reader.deserialize_map(Members).ok()?;
            for (_, below) in members.iter().filter(|(name, _)| name == step) {
                collect(below, rest, body, found)?;
            }
        }
        Some(b'[') => {
            let elements = reader.deserialize_seq(Elements).ok()?;
            for (at, below) in elements.iter().enumerate() {
                if step == Carried::EACH || *step == at.to_string() {
                    collect(below, rest, body, found)?;
                }
            }
        }
        _ => {}
    }
    Some(())
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn struck(body: &str, path: &[&str]) -> Option<String> {
        let path: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
        without(body, &path)
    }

    #[test]
    fn one_value_goes_and_every_other_byte_stays() {
        assert_eq!(
            struck(
                r#"{ "a":1,"s" : {"x": "geheim\"" , "y":[ ] } }"#,
                &["s", "x"]
            )
            .unwrap(),
            r#"{ "a":1,"s" : {"x": "struck-out" , "y":[ ] } }"#
        );
        assert_eq!(struck(r#"{"a":1}"#, &["s", "x"]).unwrap(), r#"{"a":1}"#);
    }

    #[test]
    fn a_name_that_stands_twice_and_every_element_of_a_list_are_struck() {
        assert_eq!(
            struck(r#"{"s":"one","s":{"two":2}}"#, &["s"]).unwrap(),
            r#"{"s":"struck-out","s":"struck-out"}"#
        );
        assert_eq!(
            struck(r#"{"v":[{"c":"k1"},{"d":0},{"c":"k2"}]}"#, &["v", "*", "c"]).unwrap(),
            r#"{"v":[{"c":"struck-out"},{"d":0},{"c":"struck-out"}]}"#
        );
        assert_eq!(
            struck(r#"{"v":[{"c":"k1"},{"c":"k2"}]}"#, &["v", "0", "c"]).unwrap(),
            r#"{"v":[{"c":"struck-out"},{"c":"k2"}]}"#
        );
    }

    #[test]
    fn of_a_body_that_is_no_json_nobody_knows_what_is_in_it() {
        for body in ["", "{", "s=geheim", "{\"s\":\"x\"} more"] {
            assert_eq!(struck(body, &["s"]), None, "{body}");
        }
    }
}
