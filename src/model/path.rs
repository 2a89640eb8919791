//! Where a value stands in the configuration: `routes."POST /orders".integration.SQS-SendMessage.QueueUrl`.

use std::fmt;

/// One step into the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A key of a map.
    Key(String),
    /// A position in a list, from 0.
    Index(usize),
}

/// A path from the root of the configuration. Its `Display` is what error messages show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConfigPath(pub Vec<Segment>);

impl ConfigPath {
    /// The root.
    pub fn root() -> ConfigPath {
        ConfigPath::default()
    }

    /// This path, one key deeper.
    pub fn key(&self, key: impl Into<String>) -> ConfigPath {
        let mut segments = self.0.clone();
        segments.push(Segment::Key(key.into()));
        ConfigPath(segments)
    }

    /// This path, one list item deeper.
    pub fn index(&self, index: usize) -> ConfigPath {
        let mut segments = self.0.clone();
        segments.push(Segment::Index(index));
        ConfigPath(segments)
    }

    /// The path one step up; `None` at the root.
    pub fn parent(&self) -> Option<ConfigPath> {
        let (_, rest) = self.0.split_last()?;
        Some(ConfigPath(rest.to_vec()))
    }

    /// Whether `self` is `other` or stands above it.
    pub fn is_prefix_of(&self, other: &ConfigPath) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) => {
                    if position > 0 {
                        f.write_str(".")?;
                    }
                    let plain = !key.is_empty()
                        && key
                            .bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b"_-$".contains(&b));
                    if plain {
                        f.write_str(key)?
                    } else {
                        write!(f, "{key:?}")?
                    }
                }
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_spaces_are_quoted_and_positions_are_bracketed() {
        let path = ConfigPath::root()
            .key("routes")
            .key("POST /orders")
            .key("authorizer")
            .index(1);
        assert_eq!(path.to_string(), "routes.\"POST /orders\".authorizer[1]");
    }
}
