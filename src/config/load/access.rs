//! The parts of a mapping, a list, a text or a choice, as serde asks for them one by one.

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::de::{Plain, Reader, forward, plain};
use super::fault::Fault;
use super::tree::{Entry, Kind, Node};
use crate::model::text::Piece;

/// The entries that were not refused.
pub(super) fn kept(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|entry| entry.value.refused.is_none())
}

/// The entries of a mapping that were not refused.
pub(super) struct Entries<'de> {
    rest: std::slice::Iter<'de, Entry>,
    value: Option<&'de Entry>,
}

impl<'de> Entries<'de> {
    pub(super) fn of(entries: &'de [Entry]) -> Entries<'de> {
        Entries {
            rest: entries.iter(),
            value: None,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.rest.find(|entry| entry.value.refused.is_none()) else {
            return Ok(None);
        };
        self.value = Some(entry);
        seed.deserialize(Word(&entry.key.text))
            .map(Some)
            .map_err(|fault| fault.about(entry))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let entry = self
            .value
            .take()
            .ok_or_else(|| <Fault as de::Error>::custom("a value was asked for before its key"))?;
        seed.deserialize(Reader(&entry.value))
            .map_err(|fault| fault.below(entry))
    }
}

/// The items of a list that were not refused, with the positions they are written at.
pub(super) struct Items<'de> {
    rest: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> Items<'de> {
    pub(super) fn of(items: &'de [Node]) -> Items<'de> {
        Items {
            rest: items.iter().enumerate(),
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some((index, item)) = self.rest.find(|(_, item)| item.refused.is_none()) else {
            return Ok(None);
        };
        seed.deserialize(Reader(item))
            .map(Some)
            .map_err(|fault| fault.item(index, &item.mark))
    }
}

/// The pieces of a text, as pairs of (is it literal?, text).
pub(super) struct Pieces<'de>(pub(super) std::slice::Iter<'de, Piece>);

impl<'de> SeqAccess<'de> for Pieces<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some(piece) = self.0.next() else {
            return Ok(None);
        };
        let (literal, text) = match piece {
            Piece::Written(text) => (false, text.as_str()),
            Piece::Literal(text) => (true, text.as_str()),
        };
        seed.deserialize(Pair(literal, text)).map(Some)
    }
}

struct Pair<'de>(bool, &'de str);

impl<'de> Deserializer<'de> for Pair<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let pair = [PairPart::Literal(self.0), PairPart::Text(self.1)];
        visitor.visit_seq(de::value::SeqDeserializer::new(pair.into_iter()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

enum PairPart<'de> {
    Literal(bool),
    Text(&'de str),
}

impl<'de> de::IntoDeserializer<'de, Fault> for PairPart<'de> {
    type Deserializer = PairPart<'de>;
    fn into_deserializer(self) -> PairPart<'de> {
        self
    }
}

impl<'de> Deserializer<'de> for PairPart<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self {
            PairPart::Literal(literal) => visitor.visit_bool(literal),
            PairPart::Text(text) => visitor.visit_borrowed_str(text),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A key, or the name of a variant: text, or a number where the type wants one.
struct Word<'de>(&'de str);

impl<'de> Word<'de> {
    fn number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match plain(self.0) {
            Plain::Bool(value) => visitor.visit_bool(value),
            Plain::Unsigned(number) => visitor.visit_u64(number),
            Plain::Signed(number) => visitor.visit_i64(number),
            Plain::Float(number) => visitor.visit_f64(number),
            Plain::Text => visitor.visit_borrowed_str(self.0),
        }
    }
}

impl<'de> Deserializer<'de> for Word<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.0)
    }

    forward!(number: deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64);

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(de::value::BorrowedStrDeserializer::new(self.0))
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// An externally tagged value: a bare word, or a mapping with one key.
pub(super) enum Choice<'de> {
    Word(Reader<'de>),
    Tagged(&'de Entry),
}

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = Fault;
    type Variant = Choice<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let name = match &self {
            Choice::Word(reader) => seed.deserialize(*reader)?,
            Choice::Tagged(entry) => seed
                .deserialize(Word(&entry.key.text))
                .map_err(|fault| fault.about(entry))?,
        };
        Ok((name, self))
    }
}

impl<'de> Choice<'de> {
    /// What stands under the tag.
    fn content<T>(self, read: impl FnOnce(Reader<'de>) -> Result<T, Fault>) -> Result<T, Fault> {
        match self {
            Choice::Tagged(entry) => read(Reader(&entry.value)).map_err(|fault| fault.below(entry)),
            Choice::Word(reader) => {
                let found = reader.found();
                Err(Fault::form(
                    &format!("only the name {found}"),
                    "a mapping with this name as its one key",
                ))
            }
        }
    }
}

impl<'de> VariantAccess<'de> for Choice<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        let Choice::Tagged(entry) = self else {
            return Ok(());
        };
        match &entry.value.kind {
            Kind::Null => Ok(()),
            Kind::Mapping(entries) if kept(entries).next().is_none() => Ok(()),
            _ => {
                let found = Reader(&entry.value).found();
                Err(Fault::form(&found, "nothing: this name stands alone").below(entry))
            }
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        self.content(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.content(|reader| reader.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.content(|reader| reader.deserialize_struct("", fields, visitor))
    }
}
