//! The backend's URL: what is written, with the request's own words in the places that are left for them. They cannot
//! leave those places: a value is one path segment, a variable is what the path had, and neither can go up.

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::changes::Changes;
use crate::integration::parameter::{Compiler, MapError};
use crate::mapping::{Expression, Part, Reference, Source, Sources};
use crate::model::path::ConfigPath;
use crate::model::route_key::{PathKey, PathSegment};
use crate::model::text::Text;

/// All that is not unreserved (RFC 3986, 2.3), but for the colon, which may stand in a segment and before a port.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b':')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A compiled URL.
#[derive(Clone, Debug)]
pub(super) struct Url {
    parts: Pieces,
    /// `host:port`, where requests do not name it.
    authority: Option<String>,
    https: bool,
}

/// Text in which the request's words have places.
#[derive(Clone, Debug)]
pub(super) struct Pieces(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Literal(String),
    /// What the request's path has there, as it was sent.
    Variable(Place),
    Value(Reference),
}

/// Where a variable stands in a path: its segment, or all from a segment on.
#[derive(Clone, Copy, Debug)]
enum Place {
    Segment(usize),
    From(usize),
}

impl Place {
    fn of(name: &str, path: &PathKey) -> Option<Place> {
        let segment = path.segments.iter().position(
            |segment| matches!(segment, PathSegment::Parameter(variable) if variable == name),
        );
        let greedy = path.greedy.as_deref() == Some(name);
        segment
            .map(Place::Segment)
            .or_else(|| greedy.then_some(Place::From(path.segments.len())))
    }

    fn raw(self, path: &str) -> &str {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (skipped, rest) = match self {
            Place::Segment(place) => (place, false),
            Place::From(place) => (place, true),
        };
        let mut left = path;
        for _ in 0..skipped {
            left = left.split_once('/').map_or("", |(_, left)| left);
        }
        match rest {
            true => left,
            false => left.split('/').next().unwrap_or_default(),
        }
    }
}

impl Pieces {
    /// `braces`: whether `{name}` stands for a variable.
    pub(super) fn compile(
        text: &Text,
        braces: bool,
        at: &ConfigPath,
        compiler: &mut Compiler<'_, '_>,
    ) -> Option<Pieces> {
        let expression: Expression = compiler.expression(at, text)?;
        let path = compiler.scope.path;
        let place = |name: &str| path.and_then(|path| Place::of(name, path));
        let mut pieces = Vec::new();
        for part in expression.parts() {
            match part {
                Part::Reference(reference) => {
                    let variable = match &reference.source {
                        Source::PathVariable(name) => place(name),
                        _ => None,
                    };
                    pieces.push(match variable {
                        Some(place) => Piece::Variable(place),
                        None => Piece::Value(reference.clone()),
                    });
                }
                Part::Literal(text) if braces => {
                    let mut rest = text.as_str();
                    while let Some((before, after)) = rest.split_once('{') {
                        let (name, after) = after.split_once('}').unwrap_or((after, ""));
                        let name = name.trim_end_matches('+');
                        let Some(place) = place(name) else {
                            let known = compiler.scope.mapping.path_variables.join(", ");
                            let problem = compiler.problems.error(
                                at,
                                format!("`{{{name}}}`: the route key has no such variable"),
                            );
                            problem.help(match known.is_empty() {
                                true => "the route key has no variables at all".to_owned(),
                                false => format!("its variables are {known}"),
                            });
                            return None;
                        };
                        pieces.push(Piece::Literal(before.to_owned()));
                        pieces.push(Piece::Variable(place));
                        rest = after;
                    }
                    pieces.push(Piece::Literal(rest.to_owned()));
                }
                Part::Literal(text) => pieces.push(Piece::Literal(text.clone())),
            }
        }
        Some(Pieces(pieces))
    }

    /// The text for a request; `parameter` is who asks.
    pub(super) fn value(&self, parameter: &str, sources: &dyn Sources) -> Result<String, MapError> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Variable(place) => {
                    let path = sources.get(&Source::Path).ok().flatten();
                    let path = path.unwrap_or_default();
                    text.push_str(place.raw(&String::from_utf8_lossy(&path)));
                }
                Piece::Value(reference) => {
                    let value = reference.value(parameter, sources)?;
                    match reference.source {
                        // as it was sent, so in URL's spelling
                        Source::Path => text.push_str(&String::from_utf8_lossy(&value)),
                        _ => text.extend(percent_encode(&value, SEGMENT)),
                    }
                }
            }
        }
        Ok(text)
    }

    fn is_constant(&self) -> bool {
        let mut pieces = self.0.iter();
        pieces.all(|piece| matches!(piece, Piece::Literal(_)))
    }

    /// With a stand-in for what requests bring.
    fn sample(&self) -> String {
        let pieces = self.0.iter();
        pieces
            .map(|piece| match piece {
                Piece::Literal(text) => text.as_str(),
                Piece::Variable(_) | Piece::Value(_) => "x",
            })
            .collect()
    }
}

/// Scheme, `host:port`, and the rest.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some((scheme, &rest[..end], &rest[end..]))
}

impl Url {
    pub(super) fn compile(text: &Text, compiler: &mut Compiler<'_, '_>) -> Option<Url> {
        const ALLOWED: &str =
            "write http://HOST/PATH or https://HOST/PATH, without a user or a fragment";
        let at = compiler.at.key("url");
        let parts = Pieces::compile(text, true, &at, compiler)?;
        let sample = parts.sample();
        let (scheme, authority, rest) = split(&sample).unwrap_or(("", "", ""));
        let fits = ["http", "https"].contains(&scheme)
            && !authority.is_empty()
            && !authority.contains('@')
            && !rest.contains('#')
            && sample.parse::<Uri>().is_ok();
        if !fits {
            compiler.error("url", "is not the URL of a backend", ALLOWED);
            return None;
        }
        // known where the first literal goes past the host, or is all there is
        let written = match parts.0.first() {
            Some(Piece::Literal(first)) => split(first),
            _ => None,
        };
        let known = written.filter(|(_, _, rest)| !rest.is_empty() || parts.is_constant());
        let authority = known.map(|(_, authority, _)| authority.to_owned());
        let https = scheme == "https";
        if !https && !authority.as_deref().is_some_and(is_loopback) {
            compiler
                .problems
                .warning(
                    &at,
                    "plain HTTP to another machine: requests are passed on unencrypted",
                )
                .help("write https:// where the backend offers it");
        }
        Some(Url {
            parts,
            authority,
            https,
        })
    }

    /// `None`: requests name the host.
    pub(super) fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    pub(super) fn is_https_of_the_operator(&self) -> bool {
        self.https && self.authority.is_some()
    }

    /// The URL for a request with this query, as the changes have it.
    pub(super) fn value(
        &self,
        changes: &Changes,
        query: &str,
        sources: &dyn Sources,
    ) -> Result<String, MapError> {
        let wrong = |reason: &str| MapError::parameter("url", None, reason);
        let text = self.parts.value("url", sources)?;
        let (scheme, authority, rest) = split(&text).ok_or_else(|| wrong("is not a URL"))?;
        let host_fits = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
        if self.authority.is_none() && (authority.is_empty() || !authority.bytes().all(host_fits)) {
            return Err(wrong("does not name a host"));
        }
        let (path, own_query) = rest.split_once('?').unwrap_or((rest, ""));
        let overwritten = changes.to_path(sources);
        let path = match &overwritten {
            Some(path) => path.as_str(),
            None => path,
        };
        let brought = overwritten.is_some() || !self.parts.is_constant();
        if brought && goes_up(path) {
            return Err(wrong(
                "would leave its path: it holds a `.` or `..` segment",
            ));
        }
        let query = changes.to_query(own_query, query, sources);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{scheme}://{authority}{slash}{path}{mark}{query}");
        match url.parse::<Uri>() {
            Ok(_) => Ok(url),
            Err(_) => Err(wrong("is not a URL")),
        }
    }
}

/// Whether a segment is `.` or `..`, in whatever spelling.
fn goes_up(path: &str) -> bool {
    path.split(['/', '\\']).any(|segment| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        plain == "." || plain == ".."
    })
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_what_the_path_has_in_their_places() {
        assert_eq!(Place::Segment(1).raw("/a/b%2Fc/d"), "b%2Fc");
        assert_eq!(Place::From(1).raw("/a/b%20c/d/"), "b%20c/d/");
        assert_eq!(Place::From(0).raw("/x"), "x");
        assert_eq!(Place::Segment(5).raw("/x"), "");
    }

    #[test]
    fn no_spelling_of_dots_goes_up() {
        for path in [
            "/..",
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/./a",
            "a\\..\\b",
        ] {
            assert!(goes_up(path), "{path}");
        }
        for path in ["/a..b", "/...", "/.well-known/x", "/a/b"] {
            assert!(!goes_up(path), "{path}");
        }
    }
}
