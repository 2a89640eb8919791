//! Which route a request finds. Input: route keys, a line each, and `METHOD path` as the last line.
//!
//! The trie has to agree with a search that tries every route, by the precedence as the reference (1.3) says it.

use http::Method;
use penstock::model::route_key::{METHODS, MethodKey, PathKey, PathSegment, RouteKey};
use penstock::plan::Matcher;
use percent_encoding::percent_decode_str;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Some((keys, request)) = text.rsplit_once('\n') else {
        return;
    };
    let (ignore_slash, request) = match request.strip_prefix('~') {
        Some(request) => (true, request),
        None => (false, request),
    };
    let Some((method, path)) = request.split_once(' ') else {
        return;
    };
    let Ok(method) = method.parse::<Method>() else {
        return;
    };
    let mut matcher = Matcher::default();
    let mut routes: Vec<RouteKey> = Vec::new();
    for key in keys.lines().take(64) {
        let Ok(key) = key.parse::<RouteKey>() else {
            continue;
        };
        if matcher.insert(&key, routes.len()).is_ok() {
            routes.push(key);
        }
    }
    let best = naive(&routes, &method, path, ignore_slash);
    match (matcher.find(&method, path, ignore_slash), best) {
        (Ok(found), Some(best)) => {
            assert_eq!(*found.route, best, "{}: another route", routes[best]);
            let names: Vec<&str> = found.variables.iter().map(|(name, _)| &**name).collect();
            assert_eq!(names, routes[best].variables());
            if let RouteKey::Path { path: key, .. } = &routes[best] {
                assert_eq!(
                    found
                        .variables
                        .into_iter()
                        .map(|(_, value)| value)
                        .collect::<Vec<_>>(),
                    values(key, path)
                );
            }
        }
        (Err(miss), None) => {
            let mut allowed: Vec<&str> = METHODS.to_vec();
            allowed.retain(|method| {
                naive(&routes, &method.parse().unwrap(), path, ignore_slash).is_some()
            });
            let said: Vec<&str> = miss.allow.iter().map(Method::as_str).collect();
            assert_eq!(said, allowed);
        }
        (found, best) => panic!("the matcher finds {found:?}, the search {best:?}"),
    }
}

/// Segments as they were sent, and whether a slash stands at the end.
fn split(path: &str) -> (Vec<&str>, bool) {
    let rest = path.strip_prefix('/').unwrap_or(path);
    let mut segments: Vec<&str> = match rest {
        "" => Vec::new(),
        rest => rest.split('/').collect(),
    };
    let slash = segments.last() == Some(&"");
    if slash {
        segments.pop();
    }
    (segments, slash)
}

fn decoded(segment: &str) -> String {
    match percent_decode_str(segment).decode_utf8() {
        Ok(text) => text.into_owned(),
        Err(_) => segment.to_owned(),
    }
}

/// The place of the route that is to serve the request.
fn naive(routes: &[RouteKey], method: &Method, path: &str, ignore_slash: bool) -> Option<usize> {
    let (segments, slash) = split(path);
    let rank = |key: &RouteKey| -> Option<(u8, Vec<u8>, bool, bool)> {
        let RouteKey::Path {
            method: of,
            path: key,
        } = key
        else {
            return Some((2, Vec::new(), false, false));
        };
        let any = match of {
            MethodKey::Any => METHODS.contains(&method.as_str()),
            MethodKey::One(one) => one == method,
        };
        if !any || key.segments.len() > segments.len() {
            return None;
        }
        // static before variable before greedy, segment by segment
        let mut kinds = Vec::new();
        for (wanted, sent) in key.segments.iter().zip(&segments) {
            match wanted {
                PathSegment::Static(text) if *text == decoded(sent) => kinds.push(0),
                PathSegment::Parameter(_) if !decoded(sent).is_empty() => kinds.push(1),
                _ => return None,
            }
        }
        let is_any = *of == MethodKey::Any;
        if key.greedy.is_some() {
            kinds.push(2);
            return (segments.len() > key.segments.len()).then_some((1, kinds, false, is_any));
        }
        let other_slash = key.trailing_slash != slash;
        let whole = key.segments.len() == segments.len() && (!other_slash || ignore_slash);
        whole.then_some((0, kinds, other_slash, is_any))
    };
    let ranked = routes.iter().enumerate();
    let ranked = ranked.filter_map(|(place, key)| Some((rank(key)?, place)));
    ranked.min().map(|(_, place)| place)
}

/// What the variables of a key that matches hold.
fn values(key: &PathKey, path: &str) -> Vec<String> {
    let (segments, slash) = split(path);
    let zipped = key.segments.iter().zip(&segments);
    let parameters = zipped.filter(|(wanted, _)| matches!(wanted, PathSegment::Parameter(_)));
    let mut values: Vec<String> = parameters.map(|(_, sent)| decoded(sent)).collect();
    if key.greedy.is_some() {
        let rest = segments[key.segments.len()..].iter().map(|segment| {
            // encoded slashes stay as they were sent
            let upper: Vec<String> = segment
                .split("%2F")
                .map(|piece| {
                    piece
                        .split("%2f")
                        .map(decoded)
                        .collect::<Vec<_>>()
                        .join("%2f")
                })
                .collect();
            upper.join("%2F")
        });
        let mut rest = rest.collect::<Vec<_>>().join("/");
        if slash {
            rest.push('/');
        }
        values.push(rest);
    }
    values
}
