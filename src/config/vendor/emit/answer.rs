//! What REST's `aws` integrations answer: the response that their `responses` choose for a success, as the route's
//! `response`, and what is to be said of the others.

use serde_json::Value as Json;

use super::Emitter;
use super::velocity::{self, Coding, Piece, Source};
use crate::config::load::tree::Node;
use crate::config::vendor::build::{Mapping, list, plain, text};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::{Integration, Route};
use crate::config::vendor::value::{Named, Value};

/// Which types of bodies the request template is for, and what becomes of others.
const PASSTHROUGH: &str = "passthroughBehavior";

/// The vendor's answer to a message that was sent, in the JSON that SQS gives it.
const SENT: [(&str, &str); 4] = [
    (
        "MD5OfMessageAttributes",
        "$integration.md5OfMessageAttributes",
    ),
    ("MD5OfMessageBody", "$integration.md5OfMessageBody"),
    ("MessageId", "$integration.messageId"),
    ("SequenceNumber", "$integration.sequenceNumber"),
];

impl Emitter<'_> {
    /// Adds what is answered, and which content types are taken. `name`: our integration.
    pub(super) fn aws_answer(
        &mut self,
        route: &Route,
        integration: &Integration,
        name: &str,
        node: &mut Mapping,
    ) {
        self.content_types(route, integration, node);
        let at = &integration.at;
        let responses = integration
            .responses
            .as_ref()
            .map(Value::entries)
            .unwrap_or_default();
        let Some(chosen) = chosen(&responses) else {
            self.findings.note(
                Verdict::Differs,
                &at.mark,
                &at.path,
                "`responses` has none for a success, and the vendor answers 500 after the call; here the service's own answer is passed on",
            );
            return;
        };
        let others = responses
            .iter()
            .any(|response| response.name != chosen.name);
        if others || chosen.name == "default" {
            let reason = match others {
                true => {
                    "the statuses that `responses` gives to failures of the service are not taken over: a failure keeps its own"
                }
                false => {
                    "the vendor answers with the response `default` when the service fails, too; here a failure stays one"
                }
            };
            self.findings
                .note(Verdict::Ignored, &chosen.mark, &chosen.value.path, reason);
        }
        let mut response = Mapping::new(&chosen.mark);
        let status = chosen.value.get("statusCode");
        match status.as_ref().and_then(Value::number) {
            Some(200) | None => {}
            Some(number @ 201..=299) => {
                response.put(
                    "status",
                    &chosen.mark,
                    plain(number.to_string(), &chosen.mark),
                );
            }
            Some(number) => {
                self.findings.note(
                    Verdict::Differs,
                    &chosen.mark,
                    &chosen.value.path,
                    format!("a success is answered with {number} there; here an answer to a success is 2xx"),
                );
            }
        }
        let mut headers = self.answer_headers(&chosen.value);
        if let Some(body) = self.answer_body(&chosen.value, name, &mut headers) {
            response.put("body", &chosen.mark, body);
        }
        response.put_mapping("headers", headers);
        node.put_mapping("response", response);
    }

    fn content_types(&mut self, route: &Route, integration: &Integration, node: &mut Mapping) {
        let Some(templates) = &integration.request_templates else {
            return;
        };
        let others = integration.others.iter();
        let behaviour = others
            .filter(|other| other.name.eq_ignore_ascii_case(PASSTHROUGH))
            .map(|other| other.value.word())
            .next();
        let names: Vec<String> = templates.entries().into_iter().map(|t| t.name).collect();
        let refuses = matches!(behaviour.as_deref(), Some("never" | "when_no_templates"));
        // a request without a body has no content type, and the vendor takes it for JSON
        let brings_a_body = ["POST ", "PUT ", "PATCH "]
            .iter()
            .any(|method| route.key.starts_with(method));
        if refuses && brings_a_body {
            let at = &templates.mark;
            let items = names.iter().map(|name| text(name, at)).collect();
            node.put("content_types", at, list(items, at));
            self.findings.note(
                Verdict::Ignored,
                at,
                &templates.path,
                "a body without a content type, which the vendor takes for application/json, is refused here with 415, as other types are",
            );
        } else {
            let there = match refuses {
                true => "is refused there with 415",
                false => "goes to the service as it is there, which refuses it",
            };
            self.findings.note(
                Verdict::Ignored,
                &templates.mark,
                &templates.path,
                format!(
                    "a body of another type than {} {there}; here it is taken",
                    names.join(", ")
                ),
            );
        }
    }

    fn answer_headers(&mut self, chosen: &Value) -> Mapping {
        let mut headers = Mapping::new(&chosen.mark);
        let parameters = chosen.get("responseParameters").map(|p| p.entries());
        for parameter in parameters.unwrap_or_default() {
            let written = parameter.value.text().unwrap_or_default().into_owned();
            let name = parameter.name.strip_prefix("method.response.header.");
            let fixed = written
                .strip_prefix('\'')
                .and_then(|rest| rest.strip_suffix('\''));
            match name.zip(fixed.filter(|fixed| !fixed.contains('$'))) {
                Some((name, fixed)) => {
                    headers.put(name, &parameter.mark, text(fixed, &parameter.value.mark));
                }
                None => {
                    self.findings.note(
                        Verdict::Differs,
                        &parameter.value.mark,
                        &parameter.value.path,
                        format!("the response header `{}` is left out: {written:?} is not a text in single quotes", parameter.name),
                    );
                }
            }
        }
        headers
    }

    /// The body, where it is another than the service's own.
    fn answer_body(&mut self, chosen: &Value, name: &str, headers: &mut Mapping) -> Option<Node> {
        let templates = chosen.get("responseTemplates");
        let templates = templates.map(|t| t.entries()).unwrap_or_default();
        let json = templates.iter().find(|t| t.name == "application/json");
        let written = json.or(templates.first());
        let text_of = |t: &Named<Value>| t.value.text().unwrap_or_default().into_owned();
        let Some((template, written)) = written
            .map(|template| (template, text_of(template)))
            .filter(|(_, text)| !text.trim().is_empty())
        else {
            return self.own_answer(chosen, name);
        };
        match response(&written, name, &template.value) {
            Ok(node) => {
                if template.name != "application/json" {
                    let at = &template.mark;
                    headers.put("content-type", at, text(&template.name, at));
                }
                Some(node)
            }
            Err(reason) => {
                self.findings.note(
                    Verdict::Differs,
                    &template.value.mark,
                    &template.value.path,
                    format!("the response template cannot be had, and the service's own answer is passed on: {reason}"),
                );
                None
            }
        }
    }

    /// Without a template the service's own answer is passed on: SQS gives JSON there, and XML here.
    fn own_answer(&mut self, chosen: &Value, name: &str) -> Option<Node> {
        let at = &chosen.mark;
        let action = name.strip_prefix("SQS-")?;
        if action == "ReceiveMessage" {
            self.findings.note(
                Verdict::Differs,
                at,
                &chosen.path,
                "the vendor passes on what SQS receives as JSON (`ReceiveMessageResponse`); here it is SQS's XML",
            );
            return None;
        }
        let mut metadata = Mapping::new(at);
        metadata.put("RequestId", at, text("$context.integration.requestId", at));
        let mut response = Mapping::new(at);
        response.put_mapping("ResponseMetadata", metadata);
        if action == "SendMessage" {
            let mut result = Mapping::new(at);
            for (member, expression) in SENT {
                result.put(member, at, text(expression, at));
            }
            response.put_mapping("SendMessageResult", result);
            self.findings.note(
                Verdict::Ignored,
                at,
                &chosen.path,
                "the answer is SQS's own as JSON, as there; members without a value are left out, and are `null` there",
            );
        }
        let mut whole = Mapping::new(at);
        whole.put_mapping(format!("{action}Response"), response);
        Some(whole.node())
    }
}

/// The response that the vendor chooses when a service answers 200: the first whose pattern is that, else `default`.
fn chosen(responses: &[Named<Value>]) -> Option<&Named<Value>> {
    let matches = |pattern: &str| {
        let whole = format!("^(?:{pattern})$");
        regex_lite::Regex::new(&whole).is_ok_and(|pattern| pattern.is_match("200"))
    };
    let default = || responses.iter().find(|response| response.name == "default");
    let mut named = responses.iter().filter(|r| r.name != "default");
    named.find(|r| matches(&r.name)).or_else(default)
}

/// A response template as our `response.body`.
fn response(written: &str, name: &str, at: &Value) -> Result<Node, String> {
    let template =
        velocity::read(written).map_err(|what| format!("{what} would have to be run"))?;
    if written.contains(['\u{E000}', '\u{E001}']) {
        return Err("it holds letters of private use".to_owned());
    }
    let (mut marked, mut sources) = (String::new(), Vec::new());
    for piece in template.pieces {
        match piece {
            Piece::Text(text) => marked.push_str(&text),
            Piece::Value(value) if matches!(value.coding, Coding::Plain | Coding::Escaped) => {
                // outside of a text `$input.json` gives JSON as it is
                let bare = marked.matches('"').count() % 2 == 0;
                let source = in_response(&value.source, name, bare)?;
                let quote = if bare { "\"" } else { "" };
                marked.push_str(&format!("{quote}\u{E000}{}\u{E001}{quote}", sources.len()));
                sources.push(match bare {
                    true => format!("${source}"),
                    // what has no value is an empty text there
                    false => format!("${{{source}:-}}"),
                });
            }
            Piece::Value(_) => return Err("a value in it is encoded".to_owned()),
        }
    }
    let json: Json =
        serde_json::from_str(&marked).map_err(|error| format!("it is not JSON: {error}"))?;
    Ok(body(&json, &sources, at))
}

/// A source of a response template as our expressions name it.
fn in_response(source: &Source, name: &str, bare: bool) -> Result<String, String> {
    const SQS: &str = ".SendMessageResponse.SendMessageResult.";
    Ok(match source {
        Source::Path(path) | Source::Json(path) if name.starts_with("SQS-") => {
            match path.strip_prefix(SQS) {
                Some("MessageId") => "integration.messageId".to_owned(),
                Some("SequenceNumber") => "integration.sequenceNumber".to_owned(),
                Some("MD5OfMessageBody") => "integration.md5OfMessageBody".to_owned(),
                _ => return Err(format!("`${path}` of SQS's answer cannot be named")),
            }
        }
        Source::Json(path) if bare => format!("response.body{path}"),
        Source::Path(path) if !path.is_empty() && !bare => format!("response.body{path}"),
        Source::Context(name) if name == "requestId" => "context.requestId".to_owned(),
        Source::StageVariable(name) => format!("stageVariables.{name}"),
        _ => return Err("it names more than the service's answer".to_owned()),
    })
}

fn body(json: &Json, sources: &[String], at: &Value) -> Node {
    let mark = &at.mark;
    match json {
        Json::Null => Node::new(crate::config::load::tree::Kind::Null, mark.clone()),
        Json::Bool(flag) => plain(flag.to_string(), mark),
        Json::Number(number) => plain(number.to_string(), mark),
        Json::String(written) => text(expression(written, sources), mark),
        Json::Array(items) => {
            let items = items.iter().map(|item| body(item, sources, at)).collect();
            list(items, mark)
        }
        Json::Object(members) => {
            let mut mapping = Mapping::new(mark);
            for (name, member) in members {
                mapping.put(name, mark, body(member, sources, at));
            }
            mapping.node()
        }
    }
}

/// A text with marks as an expression.
fn expression(marked: &str, sources: &[String]) -> String {
    let mut made = String::new();
    let mut rest = marked;
    while let Some((before, after)) = rest.split_once('\u{E000}') {
        made.push_str(&before.replace("${", "$${"));
        let (number, after) = after.split_once('\u{E001}').unwrap_or((after, ""));
        let source = number
            .parse()
            .ok()
            .and_then(|number: usize| sources.get(number));
        if let Some(source) = source {
            made.push_str(source);
        }
        rest = after;
    }
    made.push_str(&rest.replace("${", "$${"));
    made
}
