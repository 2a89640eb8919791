//! The vendor's request mapping (reference, 3.1): what is appended, overwritten and removed on the way to the backend.
//! Values are those of the request as it came, whatever is removed. One that does not resolve changes nothing.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use indexmap::IndexMap;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::url::Pieces;
use crate::integration::parameter::Compiler;
use crate::mapping::{Expression, Sources};
use crate::model::header::is_reserved;
use crate::model::problem::nearest;
use crate::model::text::Text;

/// What happens to one thing.
#[derive(Clone, Debug)]
enum Change {
    Append(Expression),
    Overwrite(Expression),
    Remove,
}

/// The changes, compiled.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    headers: Vec<(HeaderName, Change)>,
    query: Vec<(String, Change)>,
    path: Option<Pieces>,
}

const ALLOWED: [&str; 7] = [
    "append:header.NAME",
    "overwrite:header.NAME",
    "remove:header.NAME",
    "append:querystring.NAME",
    "overwrite:querystring.NAME",
    "remove:querystring.NAME",
    "overwrite:path",
];

impl Changes {
    pub(super) fn compile(
        written: &IndexMap<String, Text>,
        compiler: &mut Compiler<'_, '_>,
    ) -> Changes {
        let mut changes = Changes::default();
        for (key, text) in written {
            let at = compiler.at.key("request_parameters").key(key);
            if key == "overwrite:path" {
                changes.path = Pieces::compile(text, false, &at, compiler);
                continue;
            }
            let change = key.split_once(':').and_then(|(change, place)| {
                let place = place
                    .strip_prefix("header.")
                    .map(|name| (true, name))
                    .or_else(|| Some((false, place.strip_prefix("querystring.")?)));
                let known = ["append", "overwrite", "remove"].contains(&change);
                place
                    .filter(|(_, name)| known && !name.is_empty())
                    .map(|(header, name)| (change, header, name))
            });
            let Some((change, is_header, name)) = change else {
                let near = nearest(key, ALLOWED).map(|near| format!("did you mean `{near}`?"));
                compiler
                    .problems
                    .error(&at, format!("{key:?} is no change of a request"))
                    .help(near.unwrap_or_else(|| format!("allowed: {}", ALLOWED.join(", "))));
                continue;
            };
            let change = match change {
                "remove" => Some(Change::Remove),
                "append" => compiler.expression(&at, text).map(Change::Append),
                _ => compiler.expression(&at, text).map(Change::Overwrite),
            };
            if !is_header {
                changes
                    .query
                    .extend(change.map(|change| (name.to_owned(), change)));
                continue;
            }
            match name.parse::<HeaderName>() {
                Err(_) => {
                    compiler
                        .problems
                        .error(&at, format!("{name:?} is not a header name"));
                }
                Ok(header) if is_reserved(&header) && header != AUTHORIZATION => {
                    compiler.problems.error(
                        &at,
                        format!("the header `{header}` is reserved and cannot be mapped to"),
                    );
                }
                Ok(header) => changes
                    .headers
                    .extend(change.map(|change| (header, change))),
            }
        }
        changes
    }

    pub(super) fn to_headers(&self, headers: &mut HeaderMap, sources: &dyn Sources) {
        for (name, change) in &self.headers {
            let value = |expression: &Expression| {
                let bytes = expression.resolve(name.as_str(), sources).ok()?;
                HeaderValue::from_maybe_shared(bytes).ok()
            };
            match change {
                Change::Remove => {
                    headers.remove(name);
                }
                Change::Append(expression) => {
                    if let Some(value) = value(expression) {
                        headers.append(name, value);
                    }
                }
                Change::Overwrite(expression) => {
                    if let Some(value) = value(expression) {
                        headers.insert(name, value);
                    }
                }
            }
        }
    }

    /// The path in the place of the URL's.
    pub(super) fn to_path(&self, sources: &dyn Sources) -> Option<String> {
        self.path.as_ref()?.value("path", sources).ok()
    }

    /// The URL's own query, then the request's, as it was sent but for what is changed.
    pub(super) fn to_query(&self, own: &str, brought: &str, sources: &dyn Sources) -> String {
        let pairs = |query: &str| -> Vec<String> {
            let pairs = query.split('&').filter(|pair| !pair.is_empty());
            pairs.map(str::to_owned).collect()
        };
        let mut query = pairs(own);
        let fixed = query.len();
        query.extend(pairs(brought));
        for (name, change) in &self.query {
            let expression = match change {
                Change::Remove => None,
                Change::Append(expression) | Change::Overwrite(expression) => Some(expression),
            };
            let value = match expression.map(|expression| expression.resolve(name, sources)) {
                Some(Err(_)) => continue,
                Some(Ok(value)) => Some(value),
                None => None,
            };
            if !matches!(change, Change::Append(_)) {
                let mut place = 0;
                query.retain(|pair| {
                    place += 1;
                    place <= fixed || name_of(pair) != name.as_bytes()
                });
            }
            if let Some(value) = value {
                let name = percent_encode(name.as_bytes(), NON_ALPHANUMERIC);
                query.push(format!(
                    "{name}={}",
                    percent_encode(&value, NON_ALPHANUMERIC)
                ));
            }
        }
        query.join("&")
    }
}

/// The name in a pair of a query, decoded.
fn name_of(pair: &str) -> Vec<u8> {
    let name = pair.split('=').next().unwrap_or_default();
    percent_decode_str(&name.replace('+', " ")).collect()
}
