//! Route keys: `POST /orders`, `ANY /legacy/{proxy+}`, `$default`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};

/// The methods that a route key may name, `ANY` apart.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Which requests a route answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RouteKey {
    /// Anything that no other route matches, every method.
    Default,
    /// A method and a path.
    Path { method: MethodKey, path: PathKey },
}

/// The method part of a route key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MethodKey {
    /// `ANY`: every method that has no route of its own on that path.
    Any,
    One(http::Method),
}

/// The path part of a route key, by segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathKey {
    pub segments: Vec<PathSegment>,
    /// The name in `{name+}` at the end: captures the rest, at least one segment.
    pub greedy: Option<String>,
    /// Whether the key ends in `/` (and is not `/` itself).
    pub trailing_slash: bool,
}

/// One segment of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathSegment {
    Static(String),
    /// `{name}`: exactly one whole, non-empty segment.
    Parameter(String),
}

impl RouteKey {
    /// The names of the path's variables, in order.
    pub fn variables(&self) -> Vec<&str> {
        let RouteKey::Path { path, .. } = self else {
            return Vec::new();
        };
        let parameters = path.segments.iter().filter_map(|segment| match segment {
            PathSegment::Parameter(name) => Some(name.as_str()),
            PathSegment::Static(_) => None,
        });
        parameters.chain(path.greedy.as_deref()).collect()
    }
}

impl FromStr for RouteKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "$default" {
            return Ok(RouteKey::Default);
        }
        let (method, path) = text
            .split_once(' ')
            .ok_or_else(|| format!("{text:?} is not a route key; write a method and a path, such as `POST /orders`, or `$default`"))?;
        let method = match method {
            "ANY" => MethodKey::Any,
            known if METHODS.contains(&known) => MethodKey::One(
                known
                    .parse()
                    .map_err(|_| format!("{known:?} is not a method"))?,
            ),
            other => {
                let upper = other.to_ascii_uppercase();
                let nearest = super::problem::nearest(&upper, METHODS.into_iter().chain(["ANY"]));
                let hint = nearest
                    .map(|name| format!("; did you mean `{name} {path}`?"))
                    .unwrap_or_default();
                return Err(format!(
                    "{other:?} is not a method of a route key; allowed: {}, ANY{hint}",
                    METHODS.join(", ")
                ));
            }
        };
        Ok(RouteKey::Path {
            method,
            path: path.parse()?,
        })
    }
}

impl FromStr for PathKey {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        let rest = path
            .strip_prefix('/')
            .ok_or_else(|| format!("the path {path:?} must start with `/`"))?;
        let mut key = PathKey {
            segments: Vec::new(),
            greedy: None,
            trailing_slash: false,
        };
        if rest.is_empty() {
            return Ok(key);
        }
        let rest = rest
            .strip_suffix('/')
            .inspect(|_| key.trailing_slash = true)
            .unwrap_or(rest);
        let mut names: Vec<String> = Vec::new();
        let pieces: Vec<&str> = rest.split('/').collect();
        for (position, piece) in pieces.iter().enumerate() {
            if piece.is_empty() {
                return Err(format!("the path {path:?} has an empty segment"));
            }
            if piece.contains(['?', '#', ' ', '%']) {
                return Err(format!(
                    "the segment {piece:?} holds a character that cannot stand in a route key (write it decoded; no ?, #, % or space)"
                ));
            }
            let Some(inner) = piece.strip_prefix('{').and_then(|p| p.strip_suffix('}')) else {
                if piece.contains(['{', '}']) {
                    return Err(format!(
                        "{piece:?}: a variable is one whole segment, such as `{{id}}`"
                    ));
                }
                key.segments.push(PathSegment::Static((*piece).to_owned()));
                continue;
            };
            let greedy = inner.ends_with('+');
            let name = inner.trim_end_matches('+');
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
            {
                return Err(format!(
                    "{piece:?}: the name of a variable holds letters, digits, `_`, `-` and `.`"
                ));
            }
            if names.iter().any(|known| known == name) {
                return Err(format!("the variable {{{name}}} stands twice in {path:?}"));
            }
            names.push(name.to_owned());
            if !greedy {
                key.segments.push(PathSegment::Parameter(name.to_owned()));
            } else if position + 1 == pieces.len() && !key.trailing_slash {
                key.greedy = Some(name.to_owned());
            } else {
                return Err(format!(
                    "{piece:?}: a greedy variable can only be the last segment"
                ));
            }
        }
        Ok(key)
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteKey::Default => f.write_str("$default"),
            RouteKey::Path {
                method: MethodKey::Any,
                path,
            } => write!(f, "ANY {path}"),
            RouteKey::Path {
                method: MethodKey::One(method),
                path,
            } => write!(f, "{method} {path}"),
        }
    }
}

impl fmt::Display for PathKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                PathSegment::Static(text) => write!(f, "/{text}")?,
                PathSegment::Parameter(name) => write!(f, "/{{{name}}}")?,
            }
        }
        if let Some(name) = &self.greedy {
            write!(f, "/{{{name}+}}")?;
        }
        if self.trailing_slash || (self.segments.is_empty() && self.greedy.is_none()) {
            f.write_str("/")?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for RouteKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for RouteKey {
    fn schema_name() -> Cow<'static, str> {
        "RouteKey".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A method and a path (`POST /orders/{id}`, `ANY /legacy/{proxy+}`), or `$default`.",
            "type": "string",
            "pattern": "^(\\$default|(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|ANY) /.*)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_key_is_printed_as_it_was_written() {
        for key in [
            "$default",
            "GET /",
            "POST /orders",
            "GET /pets/{id}",
            "ANY /legacy/{proxy+}",
            "GET /a/",
        ] {
            assert_eq!(key.parse::<RouteKey>().unwrap().to_string(), key);
        }
    }

    #[test]
    fn what_cannot_be_a_route_key_is_refused_with_the_reason() {
        for (key, reason) in [
            ("/orders", "write a method and a path"),
            ("FETCH /orders", "is not a method"),
            ("post /orders", "did you mean `POST /orders`?"),
            ("GET orders", "must start with `/`"),
            ("GET /pets/x{id}", "one whole segment"),
            ("GET /{proxy+}/x", "only be the last segment"),
            ("GET /{a}/{a}", "stands twice"),
            ("GET //a", "empty segment"),
            ("GET /{}", "name of a variable"),
            ("GET /a%20b", "decoded"),
        ] {
            let refusal = key.parse::<RouteKey>().unwrap_err();
            assert!(refusal.contains(reason), "{key}: {refusal}");
        }
    }
}
