use proptest::prelude::*;

use super::*;

fn matcher(keys: &[&str]) -> Matcher<String> {
    let mut matcher = Matcher::default();
    for key in keys {
        matcher
            .insert(&key.parse().unwrap(), (*key).to_owned())
            .unwrap();
    }
    matcher
}

fn found(matcher: &Matcher<String>, request: &str) -> (String, Vec<(String, String)>) {
    let (method, path) = request.split_once(' ').unwrap();
    match matcher.find(&method.parse().unwrap(), path, false) {
        Ok(found) => (
            found.route.clone(),
            found
                .variables
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
        ),
        Err(miss) => (
            format!(
                "miss {:?}",
                miss.allow.iter().map(Method::as_str).collect::<Vec<_>>()
            ),
            Vec::new(),
        ),
    }
}

fn route(matcher: &Matcher<String>, request: &str) -> String {
    found(matcher, request).0
}

#[test]
fn the_worked_set_of_the_reference_matches_row_by_row() {
    let matcher = matcher(&[
        "GET /pets/dog/1",
        "GET /pets/dog/{id}",
        "GET /pets/{proxy+}",
        "ANY /{proxy+}",
        "$default",
    ]);
    for (request, expected) in [
        ("GET /pets/dog/1", "GET /pets/dog/1"),
        ("GET /pets/dog/2", "GET /pets/dog/{id}"),
        ("GET /pets/cat/1", "GET /pets/{proxy+}"),
        ("POST /test/5", "ANY /{proxy+}"),
        ("POST /pets/dog/1", "ANY /{proxy+}"),
        ("GET /", "$default"),
    ] {
        assert_eq!(route(&matcher, request), expected, "{request}");
    }
}

#[test]
fn variables_capture_decoded_segments_and_an_encoded_slash_makes_none() {
    let matcher = matcher(&[
        "GET /orders/{id}",
        "GET /files/{proxy+}",
        "GET /a/{x}/b/{y}",
    ]);
    let one = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    assert_eq!(
        found(&matcher, "GET /orders/a%2Fb%20c").1,
        one("id", "a/b c")
    );
    assert_eq!(
        found(&matcher, "GET /files/x%20y/a%2Fb/z").1,
        one("proxy", "x y/a%2Fb/z")
    );
    assert_eq!(found(&matcher, "GET /files/x/").1, one("proxy", "x/"));
    assert_eq!(found(&matcher, "GET /orders/%FF").1, one("id", "%FF"));
    assert_eq!(
        found(&matcher, "GET /a/1/b/2").1,
        [one("x", "1"), one("y", "2")].concat()
    );
    assert_eq!(route(&matcher, "GET /orders/a/b"), "miss []");
    assert_eq!(route(&matcher, "GET /ord%65rs/1"), "GET /orders/{id}");
}

#[test]
fn a_greedy_variable_needs_a_segment_and_a_plain_one_is_never_empty() {
    let matcher = matcher(&["GET /pets/{proxy+}", "GET /x/{id}"]);
    assert_eq!(route(&matcher, "GET /pets"), "miss []");
    assert_eq!(route(&matcher, "GET /pets/"), "miss []");
    assert_eq!(route(&matcher, "GET /x/"), "miss []");
    assert_eq!(route(&matcher, "GET /x//"), "miss []");
    assert_eq!(route(&matcher, "GET //x/1"), "miss []");
}

#[test]
fn a_trailing_slash_is_another_path_unless_it_is_ignored() {
    let matcher = matcher(&["GET /hello", "GET /there/"]);
    assert_eq!(route(&matcher, "GET /hello/"), "miss []");
    assert_eq!(route(&matcher, "GET /there"), "miss []");
    assert_eq!(route(&matcher, "GET /there/"), "GET /there/");
    assert!(matcher.find(&Method::GET, "/hello/", true).is_ok());
    assert!(matcher.find(&Method::GET, "/there", true).is_ok());
}

#[test]
fn a_concrete_method_wins_over_any_and_a_miss_names_what_is_allowed() {
    let matcher = matcher(&["ANY /a", "GET /a", "POST /b", "PUT /b", "DELETE /{x}"]);
    assert_eq!(route(&matcher, "GET /a"), "GET /a");
    assert_eq!(route(&matcher, "PUT /a"), "ANY /a");
    assert_eq!(route(&matcher, "DELETE /b"), "DELETE /{x}");
    assert_eq!(
        route(&matcher, "GET /b"),
        r#"miss ["POST", "PUT", "DELETE"]"#
    );
    assert_eq!(route(&matcher, "GET /c/d"), "miss []");
    assert!(matcher.serves_literally(&Method::PUT, "/b", false));
    assert!(!matcher.serves_literally(&Method::PUT, "/a", false));
}

#[test]
fn a_method_that_no_route_key_can_name_is_left_to_the_default_route() {
    assert_eq!(
        route(&matcher(&["ANY /a", "$default"]), "TRACE /a"),
        "$default"
    );
    let matcher = matcher(&["ANY /a"]);
    assert_eq!(
        route(&matcher, "TRACE /a"),
        r#"miss ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]"#
    );
    assert_eq!(route(&matcher, "BREW /b"), "miss []");
}

#[test]
fn the_same_requests_cannot_be_served_twice() {
    let mut matcher = matcher(&["GET /a/{x}", "$default"]);
    let twice = |matcher: &mut Matcher<String>, key: &str| {
        matcher
            .insert(&key.parse().unwrap(), key.to_owned())
            .err()
            .cloned()
    };
    assert_eq!(
        twice(&mut matcher, "GET /a/{y}"),
        Some("GET /a/{x}".to_owned())
    );
    assert_eq!(twice(&mut matcher, "$default"), Some("$default".to_owned()));
    assert_eq!(twice(&mut matcher, "POST /a/{y}"), None);
}

#[test]
fn the_longest_static_prefix_wins_among_greedy_routes() {
    let matcher = matcher(&["GET /a/{x}/{p+}", "GET /a/b/{p+}", "GET /{p+}"]);
    assert_eq!(route(&matcher, "GET /a/b/c"), "GET /a/b/{p+}");
    assert_eq!(route(&matcher, "GET /a/z/c"), "GET /a/{x}/{p+}");
    assert_eq!(route(&matcher, "GET /z"), "GET /{p+}");
}

/// The rules of the reference, written down as slowly as they read.
fn naive<'k>(keys: &'k [String], method: &str, segments: &[String]) -> Option<&'k String> {
    let parsed: Vec<RouteKey> = keys.iter().map(|key| key.parse().unwrap()).collect();
    let rank = |index: &usize| {
        let RouteKey::Path { method, path } = &parsed[*index] else {
            return None;
        };
        let fixed = path.segments.len();
        let fits = if path.greedy.is_some() {
            segments.len() > fixed
        } else {
            segments.len() == fixed
        };
        let same = path
            .segments
            .iter()
            .zip(segments)
            .all(|(key, segment)| match key {
                PathSegment::Static(text) => text == segment,
                PathSegment::Parameter(_) => true,
            });
        let statics: Vec<bool> = path
            .segments
            .iter()
            .map(|key| matches!(key, PathSegment::Static(_)))
            .collect();
        (fits && same).then(|| {
            (
                path.greedy.is_none(),
                statics,
                matches!(method, MethodKey::One(_)),
            )
        })
    };
    let served = |index: &usize| match &parsed[*index] {
        RouteKey::Path {
            method: MethodKey::One(one),
            ..
        } => one.as_str() == method,
        _ => true,
    };
    (0..keys.len())
        .filter(served)
        .filter_map(|index| Some((rank(&index)?, index)))
        .max()
        .map(|(_, index)| &keys[index])
}

proptest! {
    #[test]
    fn the_trie_agrees_with_the_rules_written_naively(
        keys in prop::collection::btree_set("(GET|POST|ANY) (/(a|b|\\{x\\})){0,3}(/\\{p\\+\\})?", 1..12),
        method in "(GET|POST|PUT)",
        segments in prop::collection::vec("(a|b|c)", 0..4),
    ) {
        let mut matcher = Matcher::default();
        let mut kept = Vec::new();
        for key in keys {
            // Two variables of one name, or no path at all, are no route keys.
            let mut n = 0;
            let key: String = key.split("{x}").enumerate().map(|(i, piece)| { n = i; if i == 0 { piece.to_owned() } else { format!("{{x{i}}}{piece}") } }).collect();
            let key = if key.contains('/') { key } else { format!("{key}/") };
            if matcher.insert(&key.parse().unwrap(), key.clone()).is_ok() {
                kept.push(key);
            }
        }
        let path = format!("/{}", segments.join("/"));
        let found = matcher.find(&method.parse().unwrap(), &path, false).ok().map(|found| found.route.clone());
        prop_assert_eq!(found.as_ref(), naive(&kept, &method, &segments));
    }

    #[test]
    fn any_path_is_answered_without_a_panic(path in "/\\PC{0,40}", raw in "[/%a-f0-9{}+]{0,40}") {
        let matcher = matcher(&["GET /a/{x}", "GET /{p+}", "ANY /a/b/"]);
        let _ = matcher.find(&Method::GET, &path, false);
        let _ = matcher.find(&Method::GET, &raw, true);
    }
}
