//! From the text of an expression to its parts.

use http::HeaderName;

use super::{Part, Reference, Scope, Selector, Side, Source};
use crate::model::context::{ContextVariable, WebhookField};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::text::{Piece, Text};

/// The roots that a source can start with, for the nearest spelling.
const ROOTS: [&str; 10] = [
    "request.header",
    "request.querystring",
    "request.path",
    "request.body",
    "context",
    "stageVariables",
    "webhook",
    "integration",
    "response.header",
    "response.body",
];

/// The parts of a text. What is wrong is noted and left out.
pub(super) fn parts(
    text: &Text,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Vec<Part> {
    let mut parts = Vec::new();
    if let [Piece::Written(whole)] = text.0.as_slice()
        && whole.starts_with('$')
        && !whole.starts_with("${")
    {
        parts.extend(part(&whole[1..], None, at, scope, problems));
        return parts;
    }
    for piece in &text.0 {
        match piece {
            Piece::Literal(literal) => parts.push(Part::Literal(literal.clone())),
            Piece::Written(written) => interpolated(written, at, scope, problems, &mut parts),
        }
    }
    parts
}

fn interpolated(
    written: &str,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
    parts: &mut Vec<Part>,
) {
    let mut rest = written;
    while let Some(start) = rest.find("${") {
        if start > 0 {
            parts.push(Part::Literal(rest[..start].to_owned()));
        }
        let inner = &rest[start + 2..];
        let Some(end) = closing_brace(inner) else {
            problems
                .error(at, format!("`{}` has no closing `}}`", &rest[start..]))
                .help("write `${request.header.x}`, or `$${` for a literal `${`");
            return;
        };
        let (name, default) = split_default(&inner[..end]);
        parts.extend(part(name, default.map(str::to_owned), at, scope, problems));
        rest = &inner[end + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
}

/// The `}` that ends an interpolation; one inside quotes (`['a}b']`) does not count.
fn closing_brace(inner: &str) -> Option<usize> {
    outside_quotes(inner)
        .find(|(at, _)| inner[*at..].starts_with('}'))
        .map(|(at, _)| at)
}

/// The name and the default after `:-`; one inside brackets (`['a:-b']`) does not count.
fn split_default(inner: &str) -> (&str, Option<&str>) {
    outside_quotes(inner)
        .find(|(at, in_brackets)| !in_brackets && inner[*at..].starts_with(":-"))
        .map_or((inner, None), |(at, _)| {
            (&inner[..at], Some(&inner[at + 2..]))
        })
}

/// Where the characters stand that are not inside the quotes of `['…']`, and whether those are inside brackets.
fn outside_quotes(inner: &str) -> impl Iterator<Item = (usize, bool)> + '_ {
    let mut quote = None;
    let mut bracket = false;
    inner.char_indices().filter_map(move |(at, c)| {
        match (quote, c) {
            (Some(open), c) => {
                if c == open {
                    quote = None;
                }
                return None;
            }
            (None, '\'' | '"') if bracket => {
                quote = Some(c);
                return None;
            }
            (None, '[') => bracket = true,
            (None, ']') => bracket = false,
            _ => {}
        }
        Some((at, bracket))
    })
}

fn part(
    name: &str,
    default: Option<String>,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Option<Part> {
    if let Some(variable) = name.strip_prefix("stageVariables.") {
        return stage_variable(variable, default, at, scope, problems);
    }
    let source = source(name, at, scope, problems)?;
    Some(Part::Reference(Reference {
        source,
        written: format!("${name}"),
        default,
    }))
}

/// Stage variables do not change while a plan lives, so their text is put in here.
fn stage_variable(
    name: &str,
    default: Option<String>,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Option<Part> {
    match scope
        .stage_variables
        .get(name)
        .filter(|value| !value.is_empty())
        .cloned()
        .or(default)
    {
        Some(value) => Some(Part::Literal(value)),
        None if scope.stage_variables.contains_key(name) => {
            problems
                .error(at, format!("the stage variable `{name}` is empty"))
                .help(format!(
                    "give it a value, or a default: `${{stageVariables.{name}:-text}}`"
                ));
            None
        }
        None => {
            let problem =
                problems.error(at, format!("the stage variable `{name}` is not declared"));
            let known = scope.stage_variables.keys().map(String::as_str);
            problem.help(match nearest(name, known) {
                Some(near) => format!("did you mean `$stageVariables.{near}`?"),
                None => "declare it under `stage_variables`, or give it a default: `${stageVariables.x:-text}`".to_owned(),
            });
            None
        }
    }
}

fn source(
    name: &str,
    at: &ConfigPath,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Option<Source> {
    let found = match scope.side {
        Side::Log => None,
        Side::Request | Side::Response => shared_source(name, scope, at, problems),
    };
    let found = found.or_else(|| match scope.side {
        Side::Response => response_source(name, scope, at, problems),
        _ => None,
    });
    let found = found.or_else(|| webhook_source(name, scope, at, problems));
    let found = found.or_else(|| context_source(name, scope, at, problems));
    match found {
        Some(Ok(source)) => Some(source),
        Some(Err(())) => None,
        None => {
            unknown(name, at, scope, problems);
            None
        }
    }
}

/// `None`: not a source of this kind. `Some(Err)`: it is, and what is wrong with it has been noted.
type Found = Option<Result<Source, ()>>;

fn shared_source(name: &str, scope: &Scope<'_>, at: &ConfigPath, problems: &mut Problems) -> Found {
    if let Some(header) = name.strip_prefix("request.header.") {
        return Some(header_name(header, at, problems).map(Source::Header));
    }
    if let Some(parameter) = name
        .strip_prefix("request.querystring.")
        .filter(|parameter| !parameter.is_empty())
    {
        return Some(Ok(Source::Query(parameter.to_owned())));
    }
    if name == "request.path" {
        return Some(Ok(Source::Path));
    }
    if let Some(variable) = name
        .strip_prefix("request.path.")
        .filter(|variable| !variable.is_empty())
    {
        if scope.path_variables.contains(&variable) {
            return Some(Ok(Source::PathVariable(variable.to_owned())));
        }
        let problem = problems.error(
            at,
            format!("`${name}`: the route key has no variable `{{{variable}}}`"),
        );
        match nearest(variable, scope.path_variables.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `$request.path.{near}`?")),
            None => problem.help(match scope.path_variables {
                [] => "the route key has no variables at all".to_owned(),
                known => format!("its variables are {}", known.join(", ")),
            }),
        };
        return Some(Err(()));
    }
    let selector = after(name, "request.body")?;
    Some(if selector.is_empty() {
        Ok(Source::Body)
    } else {
        field(name, selector, at, problems).map(Source::BodyField)
    })
}

fn response_source(
    name: &str,
    scope: &Scope<'_>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Found {
    if let Some(header) = name.strip_prefix("response.header.") {
        return Some(header_name(header, at, problems).map(Source::ResponseHeader));
    }
    if let Some(field) = name
        .strip_prefix("integration.")
        .filter(|field| !field.is_empty())
    {
        let known = scope.integration_fields.unwrap_or_default();
        if scope.integration_fields.is_some() && !known.contains(&field) {
            let problem = problems.error(
                at,
                format!("`${name}`: the answer of this integration has no such field"),
            );
            problem.help(match nearest(field, known.iter().copied()) {
                Some(near) => format!("did you mean `$integration.{near}`?"),
                None => format!("its fields are {}", known.join(", ")),
            });
            return Some(Err(()));
        }
        return Some(Ok(Source::Integration(field.to_owned())));
    }
    let selector = after(name, "response.body")?;
    Some(if selector.is_empty() {
        Ok(Source::ResponseBody)
    } else {
        field(name, selector, at, problems).map(Source::ResponseField)
    })
}

/// `$webhook.NAME`, which `$context.webhook.NAME` is too.
fn webhook_source(
    name: &str,
    scope: &Scope<'_>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Found {
    let field = match scope.side {
        Side::Log => None,
        Side::Request | Side::Response => name
            .strip_prefix("context.")
            .unwrap_or(name)
            .strip_prefix("webhook."),
    }?;
    let Some(known) = WebhookField::named(field) else {
        let problem = problems.error(at, format!("`${name}`: a delivery has no such field"));
        problem.help(match nearest(field, WebhookField::NAMES.iter().copied()) {
            Some(near) => format!("did you mean `$webhook.{near}`?"),
            None => format!("its fields are {}", WebhookField::NAMES.join(", ")),
        });
        return Some(Err(()));
    };
    match scope.webhook {
        None => {
            problems
                .error(
                    at,
                    format!("`${name}`: the route has no webhook authorizer"),
                )
                .help("name one under `authorizer`, or leave this out");
            Some(Err(()))
        }
        Some(webhook) if known == WebhookField::Attestation && !webhook.attested => {
            problems
                .error(
                    at,
                    format!("`${name}`: the authorizer has no key to sign it with"),
                )
                .help("write `attestation: { key: … }` in the authorizer");
            Some(Err(()))
        }
        Some(_) => Some(Ok(Source::Context(ContextVariable::Webhook(known)))),
    }
}

fn context_source(
    name: &str,
    scope: &Scope<'_>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Found {
    let variable = name.strip_prefix("context.")?;
    let Some(found) = ContextVariable::named(variable) else {
        let problem = problems.error(at, format!("`${name}` is not a context variable"));
        if let Some(near) = nearest(variable, ContextVariable::names()) {
            problem.help(format!("did you mean `$context.{near}`?"));
        }
        return Some(Err(()));
    };
    let (known, place) = match scope.side {
        Side::Request => (found.known_before_the_answer(), "the target has answered"),
        Side::Response => (found.known_in_the_response(), "the response is on its way"),
        Side::Log => (true, ""),
    };
    if !known {
        problems
            .error(at, format!("`${name}` is not known before {place}"))
            .help(match found.known_in_the_response() {
                true => "it can stand in `access_log.format` and in the route's `response`",
                false => "it can stand in `access_log.format`",
            });
        return Some(Err(()));
    }
    Some(Ok(Source::Context(found)))
}

/// The rest of `name` after `root`, if what follows is nothing, `.` or `[`.
fn after<'a>(name: &'a str, root: &str) -> Option<&'a str> {
    name.strip_prefix(root)
        .filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn header_name(name: &str, at: &ConfigPath, problems: &mut Problems) -> Result<HeaderName, ()> {
    name.parse().map_err(|_| {
        problems.error(at, format!("{name:?} is not a header name"));
    })
}

fn field(
    name: &str,
    selector: &str,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Result<Selector, ()> {
    selector.parse().map_err(|reason: String| {
        problems.error(at, format!("`${name}`: {reason}"));
    })
}

fn unknown(name: &str, at: &ConfigPath, scope: &Scope<'_>, problems: &mut Problems) {
    if name.starts_with("integration.") || name.starts_with("response.") {
        problems
            .error(
                at,
                format!("`${name}` can only stand in the route's `response`"),
            )
            .help("the target has not answered yet where this is used");
        return;
    }
    let problem = problems.error(at, format!("`${name}` is not a source of values"));
    let cut = name
        .match_indices('.')
        .nth(1)
        .map_or(name, |(cut, _)| &name[..cut]);
    let first = name.split('.').next().unwrap_or(name);
    let near = nearest(cut, ROOTS).or_else(|| nearest(first, ROOTS));
    problem.help(match (scope.side, near) {
        (Side::Log, _) => "the access log knows `$context` variables only".to_owned(),
        (_, Some(near)) => format!("did you mean `${near}`?"),
        (_, None) => "allowed: $request.header.NAME, $request.querystring.NAME, $request.path, $request.path.NAME, $request.body, \
                      $request.body.FIELD, $context.NAME, $stageVariables.NAME, $webhook.NAME; a literal `${` is written `$${`"
            .to_owned(),
    });
}
