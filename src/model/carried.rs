//! Where a request carries something that is nobody else's business: a credential, a signature, or what an operator says.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Carried {
    Header(HeaderName),
    /// Case-sensitive.
    Query(String),
    /// The whole body.
    Body,
    /// Somewhere in the bodies that a webhook's authorizer has verified: `source` is its name.
    BodyOf(String),
    /// A value in such bodies, which are JSON. The step [`Carried::EACH`] stands for all elements of a list.
    Member {
        source: String,
        path: Vec<String>,
    },
}

impl Carried {
    /// The step to every element of a list.
    pub const EACH: &'static str = "*";
}

impl FromStr for Carried {
    type Err = String;

    /// What people write: `header:NAME`, `query:NAME`, `body`.
    fn from_str(text: &str) -> Result<Carried, String> {
        let refused =
            || format!("{text:?} is not a place; write `header:NAME`, `query:NAME`, or `body`");
        match text.split_once(':') {
            Some(("header", name)) => name.parse().map(Carried::Header).map_err(|_| refused()),
            Some(("query", name)) if !name.is_empty() => Ok(Carried::Query(name.to_owned())),
            None if text == "body" => Ok(Carried::Body),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Carried::Header(name) => write!(f, "header:{name}"),
            Carried::Query(name) => write!(f, "query:{name}"),
            Carried::Body | Carried::BodyOf(_) => f.write_str("body"),
            Carried::Member { path, .. } => write!(f, "json:/{}", path.join("/")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_written_the_same() {
        for text in ["header:x-session", "query:sid", "body"] {
            assert_eq!(text.parse::<Carried>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "header:",
            "header:a b",
            "query:",
            "cookie:x",
            "body:x",
            "json:/a",
        ] {
            assert!(wrong.parse::<Carried>().is_err(), "{wrong}");
        }
    }
}
