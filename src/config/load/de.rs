//! A serde deserializer over the located tree. The target's type decides what a scalar means; every failure knows
//! where it arose; what was refused before is passed over.

use std::borrow::Cow;

use serde::de::{self, Deserializer, Visitor};

use super::access::{Choice, Entries, Items, Pieces, kept};
use super::fault::{Fault, list, quote, wanted};
use super::tree::{Entry, Kind, Node, Reading, Scalar};
use crate::model::text::{JSON_TOKEN, Piece, TEXT_TOKEN, TEXTS_TOKEN};

/// Reads values from a node.
#[derive(Clone, Copy)]
pub struct Reader<'de>(pub &'de Node);

/// What a plain scalar looks like by YAML's core schema.
pub(super) enum Plain {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text,
}

/// Numbers that would lose something as numbers (leading zeros, more digits than fit, infinities) stay text.
pub(super) fn plain(text: &str) -> Plain {
    match text {
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        _ => {}
    }
    let digits = text.trim_start_matches(['-', '+']);
    if text.len() - digits.len() > 1
        || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return Plain::Text;
    }
    if digits.len() > 1 && digits.bytes().all(|b| b.is_ascii_digit()) && digits.starts_with('0') {
        return Plain::Text;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(number) = text.strip_prefix(prefix)
            && number.bytes().all(|b| b.is_ascii_alphanumeric())
            && let Ok(number) = u64::from_str_radix(number, radix)
        {
            return Plain::Unsigned(number);
        }
    }
    if let Ok(number) = text.parse::<u64>() {
        return Plain::Unsigned(number);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Plain::Signed(number);
    }
    let looks_like_float = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || b".eE+-".contains(&b))
        && !digits.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(number) if looks_like_float && number.is_finite() => Plain::Float(number),
        _ => Plain::Text,
    }
}

/// Hands over text. A `${…}` that nothing substituted would silently become data, so it is refused.
fn visit_text<'de, V: Visitor<'de>>(scalar: &'de Scalar, visitor: V) -> Result<V::Value, Fault> {
    let left_over = scalar.pieces.iter().find_map(|piece| match piece {
        Piece::Written(text) => text.find("${").map(|at| &text[at..]),
        Piece::Literal(_) => None,
    });
    if let Some(text) = left_over {
        let end = text.find('}').map_or(text.len(), |end| end + 1);
        let message = format!("`{}` cannot be used in this value", &text[..end]);
        return Err(<Fault as de::Error>::custom(message).with_help(
            "allowed: `${env:NAME}`, `${env:NAME:-default}`, `${file:path}`, `${aws-secretsmanager:NAME}`, `${aws-ssm:NAME}`; a literal `${` is written `$${`",
        ));
    }
    match scalar.text() {
        Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
        Cow::Owned(text) => visitor.visit_string(text),
    }
}

fn visit_plain<'de, V: Visitor<'de>>(scalar: &'de Scalar, visitor: V) -> Result<V::Value, Fault> {
    match plain(&scalar.text()) {
        Plain::Bool(value) => visitor.visit_bool(value),
        Plain::Unsigned(number) => visitor.visit_u64(number),
        Plain::Signed(number) => visitor.visit_i64(number),
        Plain::Float(number) => visitor.visit_f64(number),
        Plain::Text => visit_text(scalar, visitor),
    }
}

fn visit_entries<'de, V: Visitor<'de>>(
    entries: &'de [Entry],
    visitor: V,
) -> Result<V::Value, Fault> {
    visitor
        .visit_map(Entries::of(entries))
        .map_err(|fault| fault.out_of(entries))
}

fn visit_items<'de, V: Visitor<'de>>(items: &'de [Node], visitor: V) -> Result<V::Value, Fault> {
    visitor.visit_seq(Items::of(items))
}

/// Whether a scalar's other reading might be taken: it could be a number or a boolean, and could be text.
pub fn has_two_readings(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar(scalar) => {
            scalar.may_be_plain() && !matches!(plain(&scalar.text()), Plain::Text)
        }
        _ => false,
    }
}

impl<'de> Reader<'de> {
    /// What stands here, for a message.
    pub(super) fn found(self) -> String {
        match &self.0.kind {
            Kind::Null => "nothing".to_owned(),
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a mapping".to_owned(),
            Kind::Scalar(scalar) if scalar.quoted => {
                format!("the text {}", quote(&scalar.text()))
            }
            Kind::Scalar(scalar) => quote(&scalar.text()),
        }
    }

    fn number_or_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Scalar(scalar) if scalar.may_be_plain() => visit_plain(scalar, visitor),
            Kind::Scalar(scalar) => {
                let is_text = matches!(plain(&scalar.text()), Plain::Text);
                visit_text(scalar, visitor).map_err(|fault| {
                    if is_text {
                        fault
                    } else {
                        fault.with_help("write it without quotes")
                    }
                })
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn mapping<V: Visitor<'de>>(self, help: String, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Mapping(entries) => visit_entries(entries, visitor),
            Kind::Null => Err(Fault::form("nothing", "a mapping")
                .with_help("write `{}` for a mapping with no key of its own")),
            _ => {
                let fault = Fault::form(&self.found(), "a mapping");
                Err(if help.is_empty() {
                    fault
                } else {
                    fault.with_help(help)
                })
            }
        }
    }
}

/// Methods that all do what one of them does.
macro_rules! forward {
    ($to:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.$to(visitor)
        })*
    };
}

pub(super) use forward;

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Sequence(items) => visit_items(items, visitor),
            Kind::Mapping(entries) => visit_entries(entries, visitor),
            Kind::Scalar(scalar) => {
                // what was substituted is text first, so that a secret of digits stays a secret of digits
                let second = scalar.reading == Reading::Second;
                let as_plain = scalar.may_be_plain() && scalar.origins.is_empty() != second;
                if as_plain {
                    visit_plain(scalar, visitor)
                } else {
                    visit_text(scalar, visitor)
                }
            }
        }
    }

    forward!(number_or_any: deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64);
    forward!(deserialize_string: deserialize_char deserialize_str deserialize_identifier);
    forward!(deserialize_seq: deserialize_bytes deserialize_byte_buf);

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Scalar(scalar) => visit_text(scalar, visitor),
            _ => Err(Fault::form(&self.found(), &wanted(&visitor))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    /// Under [`TEXT_TOKEN`] a scalar is handed over as its pieces, with its text as written, and a mapping as a
    /// mapping, for types that take either; under [`TEXTS_TOKEN`] a list as a list, too; under [`JSON_TOKEN`] everything
    /// as what it is.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == JSON_TOKEN {
            return match &self.0.kind {
                Kind::Scalar(scalar) if !scalar.origins.is_empty() || !has_two_readings(self.0) => {
                    visitor.visit_some(self)
                }
                Kind::Scalar(scalar) => visit_plain(scalar, visitor),
                _ => self.deserialize_any(visitor),
            };
        }
        if name != TEXT_TOKEN && name != TEXTS_TOKEN {
            return visitor.visit_newtype_struct(self);
        }
        match &self.0.kind {
            Kind::Scalar(scalar) => visitor.visit_seq(Pieces(scalar.pieces.iter())),
            Kind::Mapping(entries) => visit_entries(entries, visitor),
            Kind::Null => {
                Err(Fault::form("nothing", &wanted(&visitor))
                    .with_help("write \"\" for an empty text"))
            }
            Kind::Sequence(items) if name == TEXTS_TOKEN => visit_items(items, visitor),
            Kind::Sequence(_) => Err(Fault::form("a list", &wanted(&visitor))),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Sequence(items) => visit_items(items, visitor),
            // a type that takes one or several says so itself
            _ => {
                let list = Fault::form(&self.found(), &wanted(&visitor));
                match self.deserialize_any(visitor) {
                    Err(fault) if fault.path().0.is_empty() && fault.message == list.message => {
                        Err(list
                            .with_help("a list is written `[a, b]`, or with one `- item` a line"))
                    }
                    result => result,
                }
            }
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.mapping(String::new(), visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.mapping(format!("its keys are {}", list(fields)), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Scalar(_) => visitor.visit_enum(Choice::Word(self)),
            Kind::Mapping(entries) => {
                let kept: Vec<&Entry> = kept(entries).collect();
                match kept.as_slice() {
                    [entry] => visitor
                        .visit_enum(Choice::Tagged(entry))
                        .map_err(|fault| fault.out_of(entries)),
                    [] => Err(Fault::form(
                        "an empty mapping",
                        &format!("one of {}", list(variants)),
                    )),
                    several => {
                        let keys: Vec<&str> = several
                            .iter()
                            .map(|entry| entry.key.text.as_str())
                            .collect();
                        Err(Fault::form(
                            &format!("{} keys ({})", keys.len(), list(&keys)),
                            &format!("exactly one of {}", list(variants)),
                        ))
                    }
                }
            }
            _ => Err(Fault::form(
                &self.found(),
                &format!("one of {}", list(variants)),
            )),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}
