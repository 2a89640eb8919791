//! What made one reading of a tree fail: serde's complaint in the words of the people who write configurations, and
//! where it arose.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::de::{self, Expected, Unexpected};

use super::tree::{Entry, Mark};
use crate::model::path::{ConfigPath, Segment};
use crate::model::problem::nearest;

/// What kind of trouble it is; decides what counts as its echo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A required key is not there.
    Missing(&'static str),
    /// A key or a variant that nobody knows.
    Unknown {
        written: String,
        meant: Option<String>,
    },
    /// A value in another form than the type takes.
    Form,
    /// Anything else that a type says about its value.
    Value,
}

/// One failed reading. Boxed: results that carry it stay small.
#[derive(Clone, Debug)]
pub struct Fault(Box<Detail>);

/// What is known of a failed reading.
#[derive(Clone, Debug)]
pub struct Detail {
    pub reason: Reason,
    pub message: String,
    pub help: Option<String>,
    /// Whether it is about the key that the path ends in, not about its value.
    pub about_key: bool,
    /// Where a reader should look; the innermost place that it passed.
    pub mark: Option<Mark>,
    /// The steps from the root, innermost first.
    steps: Vec<Segment>,
}

impl Deref for Fault {
    type Target = Detail;
    fn deref(&self) -> &Detail {
        &self.0
    }
}

impl DerefMut for Fault {
    fn deref_mut(&mut self) -> &mut Detail {
        &mut self.0
    }
}

impl Fault {
    fn new(reason: Reason, message: String, help: Option<String>) -> Fault {
        Fault(Box::new(Detail {
            reason,
            message,
            help,
            about_key: false,
            mark: None,
            steps: Vec::new(),
        }))
    }

    /// A value in a form that is not taken.
    pub fn form(found: &str, expected: &str) -> Fault {
        let message = format!("found {found}, expected {expected}");
        Fault::new(Reason::Form, message, None)
    }

    /// The same, with what to write instead.
    pub fn with_help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    /// The same trouble at the same place, said in another way.
    pub fn reworded(mut self, message: String, help: Option<String>) -> Fault {
        self.message = message;
        self.help = help;
        self
    }

    /// Passes out of the value of `entry`.
    pub fn below(mut self, entry: &Entry) -> Fault {
        self.mark.get_or_insert_with(|| entry.mark().clone());
        self.steps.push(Segment::Key(entry.key.text.clone()));
        self
    }

    /// Passes out of the key of `entry`.
    pub fn about(mut self, entry: &Entry) -> Fault {
        self.about_key = true;
        self.mark = Some(entry.key.mark.clone());
        self.steps.push(Segment::Key(entry.key.text.clone()));
        self
    }

    /// Passes out of item `index` of a list.
    pub fn item(mut self, index: usize, mark: &Mark) -> Fault {
        self.mark.get_or_insert_with(|| mark.clone());
        self.steps.push(Segment::Index(index));
        self
    }

    /// Passes out of a mapping: a type that read the keys by itself names an unknown one without its place.
    pub fn out_of(self, entries: &[Entry]) -> Fault {
        if let Reason::Unknown { written, .. } = &self.reason
            && self.steps.is_empty()
            && let Some(entry) = entries.iter().find(|entry| entry.key.text == *written)
        {
            return self.about(entry);
        }
        self
    }

    /// Where it arose.
    pub fn path(&self) -> ConfigPath {
        ConfigPath(self.steps.iter().rev().cloned().collect())
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Fault {
        Fault::new(Reason::Value, message.to_string(), None)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        Fault::form(&in_words(found), &wanted(expected))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        let message = format!("found {}, expected {}", in_words(found), wanted(expected));
        Fault::new(Reason::Value, message, None)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Fault {
        let message = format!("found {length} items, expected {}", wanted(expected));
        Fault::new(Reason::Value, message, None)
    }

    fn unknown_variant(written: &str, allowed: &'static [&'static str]) -> Fault {
        unknown(written, allowed, format!("{written:?} is not known here"))
    }

    fn unknown_field(written: &str, allowed: &'static [&'static str]) -> Fault {
        unknown(written, allowed, format!("unknown key `{written}`"))
    }

    fn missing_field(field: &'static str) -> Fault {
        let message = format!("the key `{field}` is missing");
        Fault::new(Reason::Missing(field), message, None)
    }

    fn duplicate_field(field: &'static str) -> Fault {
        let message = format!("`{field}` is written twice, under two of its names");
        Fault::new(Reason::Value, message, None)
    }
}

fn unknown(written: &str, allowed: &'static [&'static str], message: String) -> Fault {
    let meant = nearest(written, allowed.iter().copied()).map(str::to_owned);
    let help = match (&meant, allowed) {
        (_, []) => "no key is allowed here".to_owned(),
        (Some(meant), [_]) => format!("did you mean `{meant}`?"),
        (Some(meant), _) => format!("did you mean `{meant}`? allowed: {}", list(allowed)),
        (None, _) => format!("allowed: {}", list(allowed)),
    };
    let reason = Reason::Unknown {
        written: written.to_owned(),
        meant,
    };
    Fault::new(reason, message, Some(help))
}

/// Names as a list for people.
pub fn list(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Text as a message shows it: quoted, shortened.
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn in_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Str(text) => quote(text),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq | Unexpected::TupleVariant => "a list".to_owned(),
        Unexpected::Map | Unexpected::StructVariant => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// What a type expects, in words that are not Rust's.
pub fn wanted(expected: &dyn Expected) -> String {
    let words = expected.to_string();
    let plain = match words.as_str() {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "nonzero u8" | "a nonzero u8" => "a whole number from 1 to 255",
        "nonzero u16" | "a nonzero u16" => "a whole number from 1 to 65535",
        "nonzero u32" | "nonzero u64" | "nonzero usize" | "a nonzero u32" | "a nonzero u64"
        | "a nonzero usize" => "a whole number, 1 or more",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" | "a borrowed string" | "path string" => "text",
        "a character" => "one character",
        "a boolean" => "true or false",
        "a map" => "a mapping",
        "a sequence" | "a set" => "a list",
        "unit" => "nothing",
        other => {
            let form = other.split(' ').next().unwrap_or_default();
            return match form {
                "struct" => "a mapping".to_owned(),
                "tuple" => "a list".to_owned(),
                _ => words,
            };
        }
    };
    plain.to_owned()
}
