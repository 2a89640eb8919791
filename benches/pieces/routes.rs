//! Method and path to a route.

use std::hint::black_box;

use http::Method;
use penstock::plan::matcher::Matcher;

use super::{Work, built};

/// Finds another one of so many routes each time; a tenth of them have variables.
pub fn find(routes: usize) -> Work {
    let mut matcher = Matcher::default();
    let mut paths = Vec::new();
    for route in 0..routes {
        let (key, path) = match route % 10 {
            0 => (
                format!("GET /r{route}/{{id}}/items/{{item}}"),
                format!("/r{route}/7/items/9"),
            ),
            _ => {
                let path = format!("/area{}/r{route}/list", route % 97);
                (format!("GET {path}"), path)
            }
        };
        if matcher
            .insert(&built(key.parse(), "a route key"), route)
            .is_err()
        {
            panic!("{key} is there twice");
        }
        paths.push(path);
    }
    let mut next = 0;
    Box::new(move || {
        // A step that visits all of them in no order that a cache would know.
        next = (next + 7_919) % paths.len();
        black_box(matcher.find(&Method::GET, &paths[next], false).is_ok());
    })
}
