//! Refusals in an API's own words, compiled: by code, else by class (reference, 0.2 and 14.2: gateway responses).

use std::fmt::Write as _;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use indexmap::IndexMap;

use crate::config::ErrorResponse;
use crate::model::call::Call;
use crate::model::code::Code;
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};

/// Headers that belong to the connection, or that the gateway answers for.
const OURS: [&str; 6] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "x-request-id",
    "apigw-requestid",
    "keep-alive",
];

/// The refusals of an API that are answered in its own words.
#[derive(Clone, Debug, Default)]
pub struct ErrorResponses {
    by_code: Vec<(Code, Words)>,
    client: Option<Words>,
    server: Option<Words>,
}

#[derive(Clone, Debug)]
struct Words {
    status: Option<StatusCode>,
    headers: Vec<(HeaderName, Template)>,
    body: Option<Template>,
    content_type: HeaderValue,
    escape: Escape,
}

/// How values stand in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    Json,
    Markup,
    None,
}

#[derive(Clone, Debug)]
struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Value(Variable),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Message,
    MessageString,
    Code,
    Status,
    ResponseType,
    Validation,
    RequestId,
    ApiId,
    Stage,
    Path,
    Method,
    Domain,
}

/// By length, so that the longest name that fits is taken; `ErrorResponse::VARIABLES` are the same names.
const VARIABLES: [(&str, Variable); 12] = [
    ("$context.error.validationErrorString", Variable::Validation),
    ("$context.error.messageString", Variable::MessageString),
    ("$context.error.responseType", Variable::ResponseType),
    ("$context.error.message", Variable::Message),
    ("$context.error.status", Variable::Status),
    ("$context.error.code", Variable::Code),
    ("$context.domainName", Variable::Domain),
    ("$context.httpMethod", Variable::Method),
    ("$context.requestId", Variable::RequestId),
    ("$context.apiId", Variable::ApiId),
    ("$context.stage", Variable::Stage),
    ("$context.path", Variable::Path),
];

/// A refusal, for the words about it.
pub struct Refused<'r> {
    pub call: &'r Call,
    pub api: &'r str,
    pub stage: &'r str,
    pub code: Code,
    pub status: StatusCode,
    /// What the caller is told.
    pub message: &'r str,
    /// What was found wrong with the request, where it was held against a schema.
    pub validation: &'r str,
}

impl ErrorResponses {
    /// Checks what was written; `None` where nothing was.
    pub(super) fn compile(
        written: &IndexMap<String, ErrorResponse>,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<ErrorResponses> {
        if written.is_empty() {
            return None;
        }
        let mut responses = ErrorResponses::default();
        for (name, response) in written {
            let at = at.key(name);
            let code = Code::ALL.into_iter().find(|code| code.name() == name);
            let classes: &[u16] = match (name.as_str(), code) {
                ("default_4xx", _) => &[4],
                ("default_5xx", _) => &[5],
                (_, Some(code)) => classes_of(code),
                (_, None) => {
                    let names = Code::ALL.map(Code::name);
                    let known = names.into_iter().chain(["default_4xx", "default_5xx"]);
                    let problem = problems.error(&at, format!("there is no refusal `{name}`"));
                    match nearest(name, known) {
                        Some(near) => problem.help(format!("did you mean `{near}`?")),
                        None => problem.help(
                            "write `default_4xx`, `default_5xx` or a code of docs/statuses.md",
                        ),
                    };
                    continue;
                }
            };
            let words = Words::compile(response, classes, &at, problems);
            match (name.as_str(), code) {
                (_, Some(code)) => responses.by_code.push((code, words)),
                ("default_4xx", None) => responses.client = Some(words),
                (_, None) => responses.server = Some(words),
            }
        }
        Some(responses)
    }

    fn words(&self, code: Code, status: StatusCode) -> Option<&Words> {
        let own = self.by_code.iter().find(|(known, _)| *known == code);
        own.map(|(_, words)| words).or(match status {
            status if status.is_client_error() => self.client.as_ref(),
            status if status.is_server_error() => self.server.as_ref(),
            _ => None,
        })
    }

    /// Changes the answer to a refusal; `false` where it stays as it is. `body`: what takes the place of its own.
    pub fn apply(
        &self,
        refused: &Refused<'_>,
        status: &mut StatusCode,
        headers: &mut HeaderMap,
    ) -> Option<String> {
        let words = self.words(refused.code, refused.status)?;
        // A fault of ours never looks like the caller's, nor the other way round.
        if let Some(own) = words.status
            && own.as_u16() / 100 == status.as_u16() / 100
        {
            *status = own;
        }
        for (name, value) in &words.headers {
            let value = value.written(refused, *status, Escape::None);
            // A value that no header can hold is left out.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        let body = words.body.as_ref()?;
        headers.insert(CONTENT_TYPE, words.content_type.clone());
        Some(body.written(refused, *status, words.escape))
    }
}

/// The classes of status that a code comes with.
fn classes_of(code: Code) -> &'static [u16] {
    match code {
        Code::TargetUnavailable
        | Code::TargetThrottled
        | Code::OutcomeUnknown
        | Code::TargetSetup
        | Code::StoreFull
        | Code::StoreUnavailable
        | Code::VersionsUnavailable
        | Code::Draining
        | Code::Overloaded
        | Code::Internal => &[5],
        Code::Timeout | Code::TargetRefusedRecord => &[4, 5],
        _ => &[4],
    }
}

/// What the vendor calls the kind of refusal.
fn response_type(code: Code, status: StatusCode) -> &'static str {
    match code {
        Code::Unauthorized => "UNAUTHORIZED",
        Code::Forbidden => "ACCESS_DENIED",
        Code::ApiKeyRefused => "INVALID_API_KEY",
        Code::SignatureRefused => "INVALID_SIGNATURE",
        Code::Throttled => "THROTTLED",
        Code::QuotaExceeded => "QUOTA_EXCEEDED",
        Code::BodyTooLarge => "REQUEST_TOO_LARGE",
        Code::SchemaInvalid => "BAD_REQUEST_BODY",
        Code::ParametersInvalid => "BAD_REQUEST_PARAMETERS",
        Code::NoRoute => "RESOURCE_NOT_FOUND",
        Code::TargetUnavailable => "INTEGRATION_FAILURE",
        Code::BadRequest if status == StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            "UNSUPPORTED_MEDIA_TYPE"
        }
        _ if status.is_server_error() => "DEFAULT_5XX",
        _ => "DEFAULT_4XX",
    }
}

impl Words {
    fn compile(
        written: &ErrorResponse,
        classes: &[u16],
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Words {
        let status = written.status.and_then(|status| {
            let known = StatusCode::from_u16(status).ok();
            let fits = known.filter(|_| classes.contains(&(status / 100)));
            if fits.is_none() {
                let allowed: Vec<String> =
                    classes.iter().map(|class| format!("{class}xx")).collect();
                problems
                    .error(
                        &at.key("status"),
                        format!("{status} would tell the caller that somebody else is at fault"),
                    )
                    .help(format!("allowed: {}", allowed.join(" or ")));
            }
            fits
        });
        let mut headers = Vec::new();
        for (name, value) in &written.headers {
            let at = at.key("headers").key(name);
            match name.parse::<HeaderName>() {
                Ok(header) if OURS.contains(&header.as_str()) => {
                    problems.error(&at, format!("`{header}` is the gateway's own"));
                }
                Ok(header) => headers.push((header, Template::compile(value, &at, problems))),
                Err(_) => {
                    problems.error(&at, format!("{name:?} is not a header name"));
                }
            }
        }
        let kind = written
            .content_type
            .as_deref()
            .unwrap_or("application/json");
        let content_type = HeaderValue::from_str(kind).unwrap_or_else(|_| {
            let at = at.key("content_type");
            problems.error(&at, format!("{kind:?} is not a content type"));
            HeaderValue::from_static("application/json")
        });
        let essence = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let escape = if essence.ends_with("json") {
            Escape::Json
        } else if essence.ends_with("html") || essence.ends_with("xml") {
            Escape::Markup
        } else {
            Escape::None
        };
        let body = written.body.as_ref();
        Words {
            status,
            headers,
            body: body.map(|body| Template::compile(body, &at.key("body"), problems)),
            content_type,
            escape,
        }
    }
}

impl Template {
    fn compile(text: &str, at: &ConfigPath, problems: &mut Problems) -> Template {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("$context.") {
            let (before, from) = rest.split_at(start);
            parts.push(Part::Text(before.to_owned()));
            let named = from[1..]
                .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.')
                .map_or(from, |end| &from[..=end]);
            let name = named.trim_end_matches('.');
            match VARIABLES.iter().find(|(known, _)| *known == name) {
                Some((_, variable)) => parts.push(Part::Value(*variable)),
                None => {
                    let known = VARIABLES.map(|(known, _)| known);
                    let problem = problems.error(at, format!("`{name}` is not known of a refusal"));
                    match nearest(name, known) {
                        Some(near) => problem.help(format!("did you mean `{near}`?")),
                        None => problem.help(format!("allowed: {}", known.join(", "))),
                    };
                }
            }
            rest = &from[name.len()..];
        }
        parts.push(Part::Text(rest.to_owned()));
        Template(parts)
    }

    fn written(&self, refused: &Refused<'_>, status: StatusCode, escape: Escape) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(written) => text.push_str(written),
                Part::Value(variable) => variable.write(&mut text, refused, status, escape),
            }
        }
        text
    }
}

impl Variable {
    fn write(self, text: &mut String, refused: &Refused<'_>, status: StatusCode, escape: Escape) {
        let call = refused.call;
        let status = status.as_u16().to_string();
        let value = match self {
            Variable::MessageString => {
                let _ = write!(text, "{}", serde_json::Value::from(refused.message));
                return;
            }
            Variable::Message => refused.message,
            Variable::Validation => refused.validation,
            Variable::Code => refused.code.name(),
            Variable::Status => &status,
            Variable::ResponseType => response_type(refused.code, refused.status),
            Variable::RequestId => call.id.as_str(),
            Variable::ApiId => refused.api,
            Variable::Stage => refused.stage,
            Variable::Path => call.raw_path(),
            Variable::Method => call.method.as_str(),
            Variable::Domain => call.host().unwrap_or_default(),
        };
        match escape {
            Escape::None => text.push_str(value),
            Escape::Json => {
                let quoted = serde_json::Value::from(value).to_string();
                text.push_str(&quoted[1..quoted.len() - 1]);
            }
            Escape::Markup => {
                for letter in value.chars() {
                    match letter {
                        '&' => text.push_str("&amp;"),
                        '<' => text.push_str("&lt;"),
                        '>' => text.push_str("&gt;"),
                        '"' => text.push_str("&quot;"),
                        '\'' => text.push_str("&#39;"),
                        letter => text.push(letter),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::model::peer::Peer;

    #[test]
    fn what_texts_may_name_is_one_list() {
        assert_eq!(VARIABLES.map(|(name, _)| name), ErrorResponse::VARIABLES);
    }

    fn compiled(yaml: serde_json::Value) -> (Option<ErrorResponses>, Vec<String>) {
        let written = serde_json::from_value(yaml).unwrap();
        let mut problems = Problems::default();
        let compiled = ErrorResponses::compile(&written, &ConfigPath::root(), &mut problems);
        let lines = problems.0.iter().map(ToString::to_string).collect();
        (compiled, lines)
    }

    fn answer(responses: &ErrorResponses, code: Code, status: u16) -> (u16, Option<String>) {
        let head = http::Request::get("/a\"b").body(()).unwrap().into_parts().0;
        let any = "127.0.0.1:1".parse().unwrap();
        let call = Call::new(head, Arc::new(Peer::tcp(any, any, "public")));
        let mut status = StatusCode::from_u16(status).unwrap();
        let refused = Refused {
            call: &call,
            api: "shop",
            stage: "$default",
            code,
            status,
            message: "No \"route\".",
            validation: "",
        };
        let mut headers = HeaderMap::new();
        let body = responses.apply(&refused, &mut status, &mut headers);
        (status.as_u16(), body)
    }

    #[test]
    fn a_code_goes_before_its_class_and_values_are_escaped_for_the_content_type() {
        let (responses, lines) = compiled(serde_json::json!({
            "no_route": { "status": 410, "body": "{\"m\":$context.error.messageString,\"n\":\"$context.error.message\",\"p\":\"$context.path.\"}" },
            "default_4xx": { "content_type": "text/html", "body": "<p>$context.error.message $context.error.responseType</p>" },
            "default_5xx": { "status": 500 },
        }));
        assert_eq!(lines, Vec::<String>::new());
        let responses = responses.unwrap();
        assert_eq!(
            answer(&responses, Code::NoRoute, 404),
            (
                410,
                Some(r#"{"m":"No \"route\".","n":"No \"route\".","p":"/a\"b."}"#.to_owned())
            )
        );
        assert_eq!(
            answer(&responses, Code::Throttled, 429),
            (
                429,
                Some("<p>No &quot;route&quot;. THROTTLED</p>".to_owned())
            )
        );
        assert_eq!(answer(&responses, Code::Draining, 503), (500, None));
    }

    #[test]
    fn a_fault_of_ours_is_never_made_the_caller_s() {
        for (name, status) in [
            ("internal", 404),
            ("default_5xx", 200),
            ("default_4xx", 500),
            ("unauthorized", 302),
        ] {
            let (_, lines) = compiled(serde_json::json!({ name: { "status": status } }));
            assert!(lines[0].contains("somebody else is at fault"), "{lines:?}");
        }
        let (responses, lines) = compiled(serde_json::json!({ "timeout": { "status": 504 } }));
        assert_eq!(lines, Vec::<String>::new());
        let responses = responses.unwrap();
        assert_eq!(answer(&responses, Code::Timeout, 408), (408, None));
        assert_eq!(answer(&responses, Code::Timeout, 503), (504, None));
    }

    #[test]
    fn what_is_not_known_of_a_refusal_is_refused() {
        let (_, lines) = compiled(serde_json::json!({
            "no_rout": {},
            "no_route": { "body": "$context.error.mesage", "headers": { "connection": "x", "a b": "x" } },
        }));
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[0].ends_with("did you mean `no_route`?"), "{lines:?}");
    }
}
