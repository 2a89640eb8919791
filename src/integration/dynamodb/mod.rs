//! `DynamoDB-GetItem` and `DynamoDB-PutItem`: one item of a table, in the service's own words.

mod attribute;
mod get_item;
mod put_item;

use bytes::Bytes;
use indexmap::IndexMap;

pub use self::get_item::GetItem;
pub use self::put_item::PutItem;
pub(super) use self::put_item::{Put, Request as PutRequest};

use super::MapError;
use super::parameter::{Compiler, Flaw, Param, optional, text};
use super::refusal::Service;
use super::target::TargetName;
use crate::mapping::{Expression, Sources};
use crate::model::text::Text;

/// The content type of the service's answers.
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// A table's name, or its ARN (GetItem, API reference).
fn table(bytes: Bytes) -> Result<String, Flaw> {
    let name = text::<1, 1024>(bytes)?;
    if name.starts_with("arn:") {
        return match arn_parts(&name) {
            Some(_) => Ok(name),
            None => Err(Flaw::Invalid(
                "is not an ARN of a table; write arn:aws:dynamodb:REGION:ACCOUNT:table/NAME"
                    .to_owned(),
            )),
        };
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if (3..=255).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(name)
    } else {
        Err(Flaw::Invalid(
            "is not a table's name; allowed: letters, digits, `_`, `.` and `-`, 3 to 255 characters"
                .to_owned(),
        ))
    }
}

/// Region and name in `arn:aws:dynamodb:REGION:ACCOUNT:table/NAME`.
fn arn_parts(arn: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", _, "dynamodb", region, _, resource] => {
            let name = resource.strip_prefix("table/")?;
            (!name.is_empty()).then_some((*region, name))
        }
        _ => None,
    }
}

/// The table's name alone: the label of metrics.
fn label(table: &str) -> String {
    arn_parts(table).map_or(table, |(_, name)| name).to_owned()
}

/// The region to call in: `Region`, else the ARN's own.
fn region(
    asked: &Option<Param<String>>,
    table: &str,
    sources: &dyn Sources,
) -> Result<Option<String>, MapError> {
    let of_arn = || {
        let (region, _) = arn_parts(table)?;
        crate::aws::is_region(region).then(|| region.to_owned())
    };
    Ok(optional(asked, sources)?.or_else(of_arn))
}

/// `Region`; a table that is named by its ARN needs none.
fn compiled_region(
    table: Option<&Param<String>>,
    written: &Option<Text>,
    compiler: &mut Compiler<'_, '_>,
) -> Option<Param<String>> {
    let by_arn = table
        .and_then(Param::constant)
        .is_some_and(|table| arn_parts(table).is_some());
    match by_arn {
        true => compiler.optional("Region", written, super::parameter::region),
        false => compiler.region(written),
    }
}

/// An ARN says its region.
fn target(table: &str, region: Option<&str>) -> TargetName {
    let own = arn_parts(table).map(|(region, _)| region);
    let other = region.filter(|region| own != Some(region));
    TargetName::new(Service::DynamoDb, table, other)
}

/// `true` or `false`.
fn boolean(bytes: Bytes) -> Result<bool, Flaw> {
    match &bytes[..] {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(Flaw::Invalid("must be true or false".to_owned())),
    }
}

fn one_of(bytes: Bytes, words: &[&str]) -> Result<String, Flaw> {
    let found = words.iter().find(|word| word.as_bytes() == &bytes[..]);
    found.map(|word| (*word).to_owned()).ok_or_else(|| {
        Flaw::Invalid(format!(
            "is not a word for it; allowed: {}",
            words.join(", ")
        ))
    })
}

fn capacity(bytes: Bytes) -> Result<String, Flaw> {
    one_of(bytes, &["NONE", "TOTAL", "INDEXES"])
}

/// An expression of the service's: at most 4 KB (service quotas).
fn expression(bytes: Bytes) -> Result<String, Flaw> {
    const MOST: usize = 4_096;
    let text = super::parameter::utf8(bytes)?;
    match text.len() {
        0 => Err(Flaw::Invalid("is empty".to_owned())),
        length if length > MOST => Err(Flaw::Limit(format!(
            "{length} bytes, at most {MOST} (4 KB) are allowed"
        ))),
        _ => Ok(text),
    }
}

/// Compiled `ExpressionAttributeNames`: placeholders and the names that they stand for.
type Names = Vec<(String, Expression)>;

fn compiled_names(names: &IndexMap<String, Text>, compiler: &mut Compiler<'_, '_>) -> Names {
    const PARAMETER: &str = "ExpressionAttributeNames";
    let at = compiler.at.key(PARAMETER);
    let mut compiled = Names::new();
    for (name, text) in names {
        if !placeholder(name, '#') {
            compiler
                .problems
                .error(&at.key(name), format!("{name:?} is not a placeholder"))
                .help("it begins with `#`: `#year: year`");
        }
        let expression = compiler.expression(&at.key(name), text);
        compiled.extend(expression.map(|expression| (name.clone(), expression)));
    }
    compiled
}

/// Whether it can stand in an expression for a name (`#`) or a value (`:`).
fn placeholder(name: &str, sign: char) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.strip_prefix(sign)
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(word))
}

fn names(names: &Names, sources: &dyn Sources) -> Result<IndexMap<String, String>, MapError> {
    let mut found = IndexMap::with_capacity(names.len());
    for (name, expression) in names {
        let parameter = format!("ExpressionAttributeNames.{name}");
        let bytes = expression.resolve(&parameter, sources)?;
        let text = String::from_utf8(Vec::from(bytes))
            .map_err(|_| MapError::parameter(parameter, None, "is not UTF-8"))?;
        found.insert(name.clone(), text);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_by_its_name_or_its_arn() {
        let of = |text: &str| table(Bytes::copy_from_slice(text.as_bytes()));
        let arn = "arn:aws:dynamodb:eu-west-1:111122223333:table/winners";
        assert!(of("winners").is_ok() && of("shop.winners-2_a").is_ok() && of(arn).is_ok());
        for wrong in [
            "ab",
            "a b c",
            "arn:aws:sqs:eu-west-1:1:winners",
            "arn:aws:dynamodb:eu-west-1:1:index/x",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        assert_eq!(label(arn), "winners");
        assert_eq!(
            target(arn, Some("eu-west-1")).as_str(),
            format!("dynamodb:{arn}")
        );
        assert_eq!(
            target("winners", Some("eu-west-1")).as_str(),
            "dynamodb:winners@eu-west-1"
        );
    }

    #[test]
    fn placeholders_begin_with_their_sign() {
        assert!(placeholder("#a1", '#') && placeholder(":v_1", ':'));
        for wrong in ["a", "#", "#a b", ":a"] {
            assert!(!placeholder(wrong, '#'), "{wrong}");
        }
    }
}
