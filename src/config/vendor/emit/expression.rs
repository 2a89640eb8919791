//! The values of a request's template as expressions of ours, and what is to be said of those that differ.

use super::Emitter;
use super::aws::{Refused, Request, refused};
use super::velocity::{Coding, Source};
use crate::config::vendor::findings::Verdict;
use crate::model::context::ContextVariable;

impl Emitter<'_> {
    pub(super) fn json_expression(
        &mut self,
        request: &Request<'_>,
        marked: &str,
    ) -> Result<String, Refused> {
        let taken = [Coding::Plain, Coding::Escaped];
        self.written(request, marked, &taken, true)
    }

    /// A text with marks as an expression of ours. `taken`: how values may be written there.
    pub(super) fn expression(
        &mut self,
        request: &Request<'_>,
        marked: &str,
        taken: &[Coding],
    ) -> Result<String, Refused> {
        self.written(request, marked, taken, false)
    }

    fn written(
        &mut self,
        request: &Request<'_>,
        marked: &str,
        taken: &[Coding],
        json: bool,
    ) -> Result<String, Refused> {
        let only = alone(request, marked).is_some();
        let mut made = String::new();
        let mut rest = marked;
        while let Some((before, number, after)) = mark(rest) {
            made.push_str(before);
            rest = after;
            let Some(value) = request.values.get(number) else {
                break;
            };
            let whole = matches!(value.source, Source::Body { .. } | Source::Json(_));
            if !taken.contains(&value.coding) {
                let how = match value.coding {
                    Coding::Plain => "as it is",
                    Coding::Url => "in URL encoding",
                    Coding::Escaped => "escaped for JSON",
                    Coding::Base64 => "as base64",
                };
                return refused(
                    &request.at,
                    format!("a value stands {how} where the service takes it otherwise"),
                );
            }
            let for_json = taken.contains(&Coding::Escaped);
            if whole && for_json && value.coding == Coding::Plain {
                let reason = "the body stands in a JSON text without `$util.escapeJavaScript`";
                return refused(&request.at, reason);
            }
            let source = self.source(request, &value.source.clone(), json)?;
            match only {
                true => made.push_str(&format!("${source}")),
                false => made.push_str(&format!("${{{source}}}")),
            }
        }
        made.push_str(rest);
        Ok(made)
    }

    /// The name that a source has in our expressions.
    fn source(
        &mut self,
        request: &Request<'_>,
        source: &Source,
        json: bool,
    ) -> Result<String, Refused> {
        let at = &request.at;
        Ok(match source {
            Source::Body { anew } => {
                if *anew {
                    self.findings.note(
                        Verdict::Ignored,
                        &at.mark,
                        &at.path,
                        "the vendor writes the body's JSON anew (`$input.json('$')`); here it is passed on as it was sent, and may be no JSON",
                    );
                }
                "request.body".to_owned()
            }
            Source::Path(path) if path.is_empty() => {
                return refused(at, "`$input.path('$')` is no text");
            }
            Source::Path(path) => format!("request.body{path}"),
            Source::Json(path) if json => format!("request.body{path}"),
            Source::Json(path) => {
                return refused(
                    at,
                    format!(
                        "`$input.json('${path}')` writes a text with its quotes, which no mapping does"
                    ),
                );
            }
            Source::Of("header", name) => format!("request.header.{name}"),
            Source::Of(place, name) => format!("request.{place}.{name}"),
            Source::Parameter(name) => self.parameter(request, name),
            Source::Context(name) if ContextVariable::named(name).is_some() => {
                format!("context.{name}")
            }
            Source::Context(name) => {
                return refused(at, format!("`$context.{name}` is not known here"));
            }
            Source::StageVariable(name) => format!("stageVariables.{name}"),
        })
    }

    /// `$input.params('NAME')` looks in the path, the query and the headers, in this order.
    fn parameter(&mut self, request: &Request<'_>, name: &str) -> String {
        let at = &request.at;
        let of_path = [format!("{{{name}}}"), format!("{{{name}+}}")];
        if of_path.iter().any(|part| request.route.key.contains(part)) {
            return format!("request.path.{name}");
        }
        let declared = request.route.at.get("parameters");
        let declared = declared.map(|all| all.items()).unwrap_or_default();
        let place = declared.iter().find_map(|parameter| {
            let this = parameter.get("name")?.text()?.eq_ignore_ascii_case(name);
            this.then(|| parameter.get("in").map(|place| place.word()))?
        });
        self.findings.note(
            Verdict::Ignored,
            &at.mark,
            &at.path,
            "a parameter that a request lacks is an empty text there; here the request is refused with 400",
        );
        match place.as_deref() {
            Some("header") => format!("request.header.{name}"),
            Some("query") => format!("request.querystring.{name}"),
            _ => {
                // nothing declares it: the operation's callers know
                let (place, ours) = match name.contains('-') {
                    true => ("header", "request.header"),
                    false => ("query parameter", "request.querystring"),
                };
                self.findings.note(
                    Verdict::Ignored,
                    &at.mark,
                    &at.path,
                    format!("`$input.params('{name}')` is taken for the {place} `{name}`, for no `parameters` of the operation say which it is; the vendor looks in the query and in the headers"),
                );
                format!("{ours}.{name}")
            }
        }
    }

    /// Says that a form holds a body that is not encoded.
    pub(super) fn not_encoded(&mut self, request: &Request<'_>, marked: &str) {
        let mut rest = marked;
        while let Some((_, number, after)) = mark(rest) {
            rest = after;
            let plain = request.values.get(number).is_some_and(|value| {
                value.coding == Coding::Plain && matches!(value.source, Source::Body { .. })
            });
            if plain {
                self.findings.note(
                    Verdict::Ignored,
                    &request.at.mark,
                    &request.at.path,
                    "the template does not encode the body (`$util.urlEncode`), so that `&`, `+` and `%` in it damage it there; here it arrives as it was sent",
                );
            }
        }
    }
}

/// What stands around the number of a value: letters that no document holds.
pub const FIRST: char = '\u{E000}';
pub const LAST: char = '\u{E001}';

/// The first mark of a text: what is before it, its number, what is after it.
pub fn mark(text: &str) -> Option<(&str, usize, &str)> {
    let (before, rest) = text.split_once(FIRST)?;
    let (number, after) = rest.split_once(LAST)?;
    Some((before, number.parse().ok()?, after))
}

/// The source that is the whole of a text.
pub fn alone<'r>(request: &'r Request<'_>, marked: &str) -> Option<&'r Source> {
    match mark(marked)? {
        ("", number, "") => request.values.get(number).map(|value| &value.source),
        _ => None,
    }
}
