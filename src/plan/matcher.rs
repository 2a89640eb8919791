//! Method and path to a route, by the vendor's precedence (reference, 1.3): a full match first, static segments before
//! variables, a concrete method before `ANY`; then the greedy match with the longest static prefix; then `$default`.
//!
//! A method that a specific path does not serve falls through to less specific ones, which is why this is a trie of
//! our own: segments are split before they are decoded, so an encoded slash never makes one.

use std::borrow::Cow;
use std::collections::HashMap;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::model::route_key::{METHODS, MethodKey, PathSegment, RouteKey};

/// Routes by method and path. `T` is what a match gives.
#[derive(Debug)]
pub struct Matcher<T> {
    nodes: Vec<Node<T>>,
    default: Option<T>,
}

#[derive(Debug)]
struct Node<T> {
    statics: HashMap<Box<str>, usize>,
    parameter: Option<usize>,
    /// Routes that end here, without and with a trailing slash.
    ends: Vec<Leaf<T>>,
    slash_ends: Vec<Leaf<T>>,
    /// Greedy routes that capture everything below.
    greedy: Vec<Leaf<T>>,
}

#[derive(Debug)]
struct Leaf<T> {
    method: MethodKey,
    names: Vec<Box<str>>,
    route: T,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node {
            statics: HashMap::new(),
            parameter: None,
            ends: Vec::new(),
            slash_ends: Vec::new(),
            greedy: Vec::new(),
        }
    }
}

/// The path's variables with their decoded values.
pub type Variables = Vec<(Box<str>, String)>;

/// A route that serves the request.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'m, T> {
    pub route: &'m T,
    pub variables: Variables,
}

/// No route serves the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The methods that the path does serve; empty where it serves none.
    pub allow: Vec<Method>,
}

/// A path, split and then decoded.
struct Path<'p> {
    raw: Vec<&'p str>,
    decoded: Vec<Cow<'p, str>>,
    trailing_slash: bool,
}

impl<'p> Path<'p> {
    fn split(path: &'p str) -> Path<'p> {
        let rest = path.strip_prefix('/').unwrap_or(path);
        let mut raw: Vec<&str> = if rest.is_empty() {
            Vec::new()
        } else {
            rest.split('/').collect()
        };
        let trailing_slash = raw.last() == Some(&"");
        if trailing_slash {
            raw.pop();
        }
        let decoded = raw.iter().map(|segment| decoded(segment)).collect();
        Path {
            raw,
            decoded,
            trailing_slash,
        }
    }
}

/// A segment, decoded once. One whose bytes are not UTF-8 stays as it was sent.
fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    percent_decode_str(segment)
        .decode_utf8()
        .unwrap_or(Cow::Borrowed(segment))
}

/// A greedy variable's segment: decoded, but for the slashes that were sent encoded.
fn decoded_within(segment: &str) -> String {
    segment
        .split_inclusive("%2F")
        .flat_map(|piece| piece.split_inclusive("%2f"))
        .map(|piece| {
            match piece
                .strip_suffix("%2F")
                .map(|stem| (stem, "%2F"))
                .or(piece.strip_suffix("%2f").map(|stem| (stem, "%2f")))
            {
                Some((stem, slash)) => format!("{}{slash}", decoded(stem)),
                None => decoded(piece).into_owned(),
            }
        })
        .collect()
}

impl<T> Default for Matcher<T> {
    fn default() -> Self {
        Matcher {
            nodes: vec![Node::default()],
            default: None,
        }
    }
}

impl<T> Matcher<T> {
    /// Adds a route. The error is the route that already serves the very same requests.
    pub fn insert(&mut self, key: &RouteKey, route: T) -> Result<(), &T> {
        let RouteKey::Path { method, path } = key else {
            return match &mut self.default {
                Some(taken) => Err(taken),
                empty => {
                    *empty = Some(route);
                    Ok(())
                }
            };
        };
        let mut at = 0;
        for segment in &path.segments {
            let known = match segment {
                PathSegment::Static(text) => self.nodes[at].statics.get(text.as_str()).copied(),
                PathSegment::Parameter(_) => self.nodes[at].parameter,
            };
            at = known.unwrap_or_else(|| {
                let next = self.nodes.len();
                self.nodes.push(Node::default());
                match segment {
                    PathSegment::Static(text) => {
                        self.nodes[at].statics.insert(text.as_str().into(), next);
                    }
                    PathSegment::Parameter(_) => self.nodes[at].parameter = Some(next),
                }
                next
            });
        }
        let node = &mut self.nodes[at];
        let leaves = match (&path.greedy, path.trailing_slash) {
            (Some(_), _) => &mut node.greedy,
            (None, true) => &mut node.slash_ends,
            (None, false) => &mut node.ends,
        };
        if let Some(taken) = leaves.iter().position(|leaf| leaf.method == *method) {
            return Err(&leaves[taken].route);
        }
        let names = key.variables().into_iter().map(Box::from).collect();
        leaves.push(Leaf {
            method: method.clone(),
            names,
            route,
        });
        Ok(())
    }

    /// The route that serves the request. `path` is as received, without the stage. With `ignore_slash` a slash at the
    /// end makes no difference.
    pub fn find(
        &self,
        method: &Method,
        path: &str,
        ignore_slash: bool,
    ) -> Result<Match<'_, T>, Miss> {
        let path = Path::split(path);
        let mut search = Search {
            nodes: &self.nodes,
            path: &path,
            ignore_slash,
            captured: Vec::new(),
        };
        let mut take = |leaves| serving(leaves, method);
        if let Some(leaf) = search.full(0, 0, &mut take) {
            let variables = leaf.names.iter().cloned().zip(search.values()).collect();
            return Ok(Match {
                route: &leaf.route,
                variables,
            });
        }
        search.captured.clear();
        if let Some((leaf, from)) = search.greedy(0, 0, &mut take) {
            let mut values = search.values();
            values.push(path.rest(from));
            let variables = leaf.names.iter().cloned().zip(values).collect();
            return Ok(Match {
                route: &leaf.route,
                variables,
            });
        }
        if let Some(route) = &self.default {
            return Ok(Match {
                route,
                variables: Variables::new(),
            });
        }
        Err(Miss {
            allow: self.allow(&path, ignore_slash),
        })
    }

    /// The route whose key names this very method, not `ANY`, on a path that matches.
    pub fn serves_literally(&self, method: &Method, path: &str, ignore_slash: bool) -> bool {
        let path = Path::split(path);
        let mut search = Search {
            nodes: &self.nodes,
            path: &path,
            ignore_slash,
            captured: Vec::new(),
        };
        let mut literal = |leaves: &'_ [Leaf<T>]| {
            leaves
                .iter()
                .any(|leaf| leaf.method == MethodKey::One(method.clone()))
                .then_some(())
        };
        search.full(0, 0, &mut literal).is_some() || search.greedy(0, 0, &mut literal).is_some()
    }

    /// The methods that some route serves on this path.
    fn allow(&self, path: &Path<'_>, ignore_slash: bool) -> Vec<Method> {
        let mut seen: Vec<MethodKey> = Vec::new();
        let mut search = Search {
            nodes: &self.nodes,
            path,
            ignore_slash,
            captured: Vec::new(),
        };
        // Nothing is ever taken, so every leaf on the way is seen.
        let mut collect = |leaves: &'_ [Leaf<T>]| -> Option<()> {
            seen.extend(leaves.iter().map(|leaf| leaf.method.clone()));
            None
        };
        search.full(0, 0, &mut collect);
        search.greedy(0, 0, &mut collect);
        let any = seen.contains(&MethodKey::Any);
        let methods = METHODS
            .iter()
            .filter_map(|name| name.parse::<Method>().ok());
        methods
            .filter(|method| any || seen.contains(&MethodKey::One(method.clone())))
            .collect()
    }
}

impl Path<'_> {
    /// The rest of the path from a segment on, as a greedy variable captures it.
    fn rest(&self, from: usize) -> String {
        let mut rest = self.raw[from..]
            .iter()
            .map(|segment| decoded_within(segment))
            .collect::<Vec<_>>()
            .join("/");
        if self.trailing_slash {
            rest.push('/');
        }
        rest
    }
}

/// The leaf that serves a method: a concrete one before `ANY`. A method that no route key can name (`TRACE`) is left
/// to `$default`.
fn serving<'l, T>(leaves: &'l [Leaf<T>], method: &Method) -> Option<&'l Leaf<T>> {
    if !METHODS.contains(&method.as_str()) {
        return None;
    }
    let concrete = leaves
        .iter()
        .find(|leaf| matches!(&leaf.method, MethodKey::One(one) if one == method));
    concrete.or_else(|| leaves.iter().find(|leaf| leaf.method == MethodKey::Any))
}

/// A walk through the trie; `captured` holds the positions of the segments that variables took.
struct Search<'s, 'p, T> {
    nodes: &'s [Node<T>],
    path: &'p Path<'p>,
    ignore_slash: bool,
    captured: Vec<usize>,
}

impl<'s, T> Search<'s, '_, T> {
    fn values(&self) -> Vec<String> {
        self.captured
            .iter()
            .map(|position| self.path.decoded[*position].clone().into_owned())
            .collect()
    }

    /// The first end of the path that `take` takes, static segments before variables.
    fn full<F>(
        &mut self,
        at: usize,
        depth: usize,
        take: &mut impl FnMut(&'s [Leaf<T>]) -> Option<F>,
    ) -> Option<F> {
        let node = &self.nodes[at];
        let Some(segment) = self.path.decoded.get(depth) else {
            let (first, second) = if self.path.trailing_slash {
                (&node.slash_ends, &node.ends)
            } else {
                (&node.ends, &node.slash_ends)
            };
            return take(first).or_else(|| {
                if self.ignore_slash {
                    take(second)
                } else {
                    None
                }
            });
        };
        if let Some(next) = node.statics.get(segment.as_ref())
            && let Some(found) = self.full(*next, depth + 1, take)
        {
            return Some(found);
        }
        let next = node.parameter.filter(|_| !segment.is_empty())?;
        self.captured.push(depth);
        let found = self.full(next, depth + 1, take);
        if found.is_none() {
            self.captured.pop();
        }
        found
    }

    /// The deepest greedy route that `take` takes, and the segment from which it captures.
    fn greedy<F>(
        &mut self,
        at: usize,
        depth: usize,
        take: &mut impl FnMut(&'s [Leaf<T>]) -> Option<F>,
    ) -> Option<(F, usize)> {
        let node = &self.nodes[at];
        let segment = self.path.decoded.get(depth)?;
        if let Some(next) = node.statics.get(segment.as_ref())
            && let Some(found) = self.greedy(*next, depth + 1, take)
        {
            return Some(found);
        }
        if let Some(next) = node.parameter.filter(|_| !segment.is_empty()) {
            self.captured.push(depth);
            if let Some(found) = self.greedy(next, depth + 1, take) {
                return Some(found);
            }
            self.captured.pop();
        }
        take(&node.greedy).map(|found| (found, depth))
    }
}

#[cfg(test)]
mod tests;
