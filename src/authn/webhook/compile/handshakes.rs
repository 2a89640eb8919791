//! Handshakes, as written.

use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::super::SchemeSpec;
use super::super::handshake::{Body, Check, Json, Reply, Rule};
use super::super::jwt::KeySource;
use super::super::reference::{self, Reference};
use super::super::scheme::SignedKind;
use super::super::template::{Filter, Template};
use super::super::written::{Auth, Condition, Handshake, Reply as WrittenReply, When};
use super::{Known, note, noted};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::route_key::METHODS;

/// What an answer may be, so that nothing that is echoed is ever run.
const TYPES: [&str; 2] = ["text/plain", "application/json"];

/// The rules that can be compiled. `keyed`: there are secrets for keyed filters.
pub(super) fn compile(
    written: &[Handshake],
    known: &Known<'_>,
    keyed: bool,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Vec<Rule> {
    let rules = written.iter().enumerate();
    rules
        .filter_map(|(place, rule)| one(rule, known, keyed, &at.index(place), problems))
        .collect()
}

/// Whether somebody who proves nothing is given MACs of tokens that could be what a delivery signs: the filters' MAC is
/// HMAC-SHA256 with the source's own secret.
pub(super) fn refuses_tokens(
    rules: &[Rule],
    scheme: &Option<SchemeSpec>,
    at: &ConfigPath,
    problems: &mut Problems,
) -> bool {
    let signs = |rule: &Rule| {
        let templates = rule.reply.templates();
        let mut holes = templates.iter().flat_map(|template| template.holes());
        rule.auth == Auth::None && holes.any(|hole| hole.filters.iter().any(|f| f.is_keyed()))
    };
    if !rules.iter().any(signs) {
        return false;
    }
    match scheme {
        Some(SchemeSpec::Signed(signed)) => {
            signed.kind == SignedKind::Mac(32) && signed.template.could_be_token()
        }
        Some(SchemeSpec::Jwt(jwt)) if jwt.keys == KeySource::Secrets => {
            problems
                .error(at, "the answer is signed with the secret that signs the sender's tokens, and a token's head and claims could be asked for")
                .help("write `auth: verified` in that rule");
            false
        }
        _ => false,
    }
}

fn one(
    written: &Handshake,
    known: &Known<'_>,
    keyed: bool,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Option<Rule> {
    let method = method(&written.when, &at.key("when"), problems);
    let conditions = conditions(&written.when, &at.key("when"), problems);
    if written.when.method.is_none() && conditions.is_empty() {
        problems
            .error(
                &at.key("when"),
                "it holds for every request, so no delivery would be stored",
            )
            .help("write what tells the question from a delivery");
    }
    let check = written.check.as_ref().and_then(|check| {
        let at = at.key("check");
        let brought = noted(Reference::parse(&check.reference), &at.key("ref"), problems);
        let wanted = noted(Reference::parse(&check.equals), &at.key("equals"), problems);
        let otherwise = check.otherwise.unwrap_or(403);
        if !(400..=499).contains(&otherwise) {
            problems
                .error(
                    &at.key("else"),
                    format!("{otherwise} is not the status of a refusal"),
                )
                .help("allowed: 400 to 499");
        }
        for reference in [&brought, &wanted].into_iter().flatten() {
            known.check(reference, false, &at, problems);
        }
        Some(Check {
            brought: brought?,
            wanted: wanted?,
            otherwise,
        })
    });
    let capture = written.capture.as_ref().and_then(|text| {
        if written.auth == Auth::Verified {
            problems
                .error(
                    &at.key("capture"),
                    "a secret cannot be captured from a request that it verifies",
                )
                .help("leave `auth` out");
        }
        noted(Reference::parse(text), &at.key("capture"), problems)
    });
    let reply = reply(&written.reply, &at.key("reply"), problems)?;
    for template in reply.templates() {
        check_template(
            template,
            &conditions,
            known,
            keyed,
            &at.key("reply"),
            problems,
        );
    }
    Some(Rule {
        method,
        conditions,
        auth: written.auth,
        check,
        capture,
        reply,
    })
}

fn check_template(
    template: &Template,
    conditions: &[(Reference, Condition)],
    known: &Known<'_>,
    keyed: bool,
    at: &ConfigPath,
    problems: &mut Problems,
) {
    for hole in template.holes() {
        let reference = &hole.reference;
        known.check(reference, true, at, problems);
        if *reference == Reference::Secret {
            problems.error(at, "an answer cannot hold the secret");
        }
        if !hole.filters.iter().any(|filter| filter.is_keyed()) {
            continue;
        }
        if hole.filters.contains(&Filter::HeaderValues) {
            problems
                .error(
                    at,
                    format!("`{reference}` names what is signed, so that anything would be"),
                )
                .help("leave `header-values` out");
        }
        let constrained = conditions
            .iter()
            .any(|(known, condition)| known == reference && *condition == Condition::Token);
        if !constrained {
            problems
                .error(at, format!("`{reference}` is signed for whoever asks: a forged delivery sent as a question would come back with its signature"))
                .help("let `when` hold only where it is a `token`");
        }
        if !keyed {
            problems
                .error(
                    at,
                    "the answer is keyed with the source's secret, and there is none",
                )
                .help("write `secrets`");
        }
    }
}

fn method(when: &When, at: &ConfigPath, problems: &mut Problems) -> Option<Method> {
    let name = when.method.as_ref()?;
    if !METHODS.contains(&name.as_str()) {
        problems
            .error(&at.key("method"), format!("{name:?} is not a method"))
            .help(match nearest(&name.to_uppercase(), METHODS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("allowed: {}", METHODS.join(", ")),
            });
        return None;
    }
    name.parse().ok()
}

fn conditions(
    when: &When,
    at: &ConfigPath,
    problems: &mut Problems,
) -> Vec<(Reference, Condition)> {
    let mut conditions = Vec::new();
    for (kind, written) in [
        ("header", &when.header),
        ("query", &when.query),
        ("form", &when.form),
        ("json", &when.json),
    ] {
        for (name, condition) in written {
            let at = at.key(kind).key(name);
            let reference = match kind {
                "header" => reference::header_name(name).map(|name| Reference::Header(vec![name])),
                "json" => reference::pointer(name).map(Reference::Json),
                "query" => Ok(Reference::Query(name.clone())),
                _ => Ok(Reference::Form(name.clone())),
            };
            if *condition == Condition::EmptyList && kind != "json" {
                problems
                    .error(&at, "only a value of the JSON body can be an empty list")
                    .help("write a text, `present`, `absent` or `token`");
            }
            if let Some(reference) = noted(reference, &at, problems) {
                conditions.push((reference, condition.clone()));
            }
        }
    }
    conditions
}

fn reply(written: &WrittenReply, at: &ConfigPath, problems: &mut Problems) -> Option<Reply> {
    let status = written.status.unwrap_or(200);
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(StatusCode::is_success);
    if status.is_none() {
        problems
            .error(&at.key("status"), "it is not a success")
            .help("allowed: 200 to 299");
    }
    let body = match (&written.body, &written.json) {
        (Some(_), Some(_)) => {
            problems
                .error(&at.key("json"), "`body` and `json` stand side by side")
                .help("leave one of them out");
            return None;
        }
        (Some(text), None) if text.is_empty() => Body::Empty,
        (Some(text), None) => Body::Text(noted(Template::parse(text), &at.key("body"), problems)?),
        (None, Some(value)) => Body::Json(json(value, &at.key("json"), problems)?),
        (None, None) => Body::Empty,
    };
    let content_type = match (written.content_type.as_deref(), &body) {
        (None, Body::Empty) => None,
        (None, Body::Text(_)) => Some(TYPES[0]),
        (None, Body::Json(_)) => Some(TYPES[1]),
        (Some(written), _) => {
            let found = TYPES.into_iter().find(|known| *known == written);
            if found.is_none() {
                problems
                    .error(
                        &at.key("type"),
                        format!("an answer cannot be {written:?}: what it echoes might be run"),
                    )
                    .help("allowed: text/plain, application/json");
            }
            found
        }
    };
    let mut headers = Vec::new();
    for (name, text) in &written.headers {
        let at = at.key("headers").key(name);
        let Some(name) = noted(reference::header_name(name), &at, problems) else {
            continue;
        };
        if is_reserved(&name) {
            problems
                .error(
                    &at,
                    format!("the header `{name}` is not for answers to handshakes"),
                )
                .help("the content type is `type`");
        }
        let template = noted(Template::parse(text), &at, problems);
        if let Some(template) = &template
            && template.holes().next().is_none()
            && HeaderValue::from_str(text).is_err()
        {
            let wrong =
                reference::Wrong::new("it cannot stand in a header", "use visible characters");
            note(wrong, &at, problems);
        }
        headers.extend(template.map(|template| (name, template)));
    }
    Some(Reply {
        status: status?,
        content_type,
        headers,
        body,
    })
}

fn is_reserved(name: &HeaderName) -> bool {
    [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "location",
        "set-cookie",
        "transfer-encoding",
        "upgrade",
    ]
    .contains(&name.as_str())
}

fn json(value: &Value, at: &ConfigPath, problems: &mut Problems) -> Option<Json> {
    Some(match value {
        Value::String(text) => Json::Text(noted(Template::parse(text), at, problems)?),
        Value::Array(items) => {
            let items = items.iter().map(|item| json(item, at, problems));
            Json::List(items.collect::<Option<_>>()?)
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, member)| Some((name.clone(), json(member, &at.key(name), problems)?)));
            Json::Object(members.collect::<Option<_>>()?)
        }
        plain => Json::Plain(plain.clone()),
    })
}
