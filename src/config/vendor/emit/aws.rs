//! REST's `aws` integrations: a template makes the request of a service. Those that only select and join, as the usual
//! ones do, say a call that is one of ours; what would have to be run is refused by name.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Emitter;
use super::expression::{FIRST, LAST, alone};
use super::velocity::{self, Coding, Piece, Source};
use crate::config::load::tree::Node;
use crate::config::vendor::build::{Mapping, list, plain, text};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::{Integration, Route};
use crate::config::vendor::value::Value;

/// The calls that are ours too: the vendor's service and action, and our integration.
const CALLS: [(&str, &str, &str); 11] = [
    ("sqs", "SendMessage", "SQS-SendMessage"),
    ("sqs", "ReceiveMessage", "SQS-ReceiveMessage"),
    ("sqs", "DeleteMessage", "SQS-DeleteMessage"),
    ("sqs", "PurgeQueue", "SQS-PurgeQueue"),
    ("kinesis", "PutRecord", "Kinesis-PutRecord"),
    ("events", "PutEvents", "EventBridge-PutEvents"),
    ("states", "StartExecution", "StepFunctions-StartExecution"),
    (
        "states",
        "StartSyncExecution",
        "StepFunctions-StartSyncExecution",
    ),
    ("states", "StopExecution", "StepFunctions-StopExecution"),
    ("dynamodb", "GetItem", "DynamoDB-GetItem"),
    ("dynamodb", "PutItem", "DynamoDB-PutItem"),
];

/// Where a call goes: `arn:PARTITION:apigateway:REGION:SERVICE:path/…` or `…:action/NAME`.
struct Address {
    partition: String,
    region: String,
    service: String,
    /// `path/111122223333/orders`, `action/PutRecord`.
    resource: String,
}

/// Why a call cannot be had, and where the document says what is in the way.
pub struct Refused {
    pub at: Box<Value>,
    pub reason: String,
}

pub fn refused<T>(at: &Value, reason: impl Into<String>) -> Result<T, Refused> {
    Err(Refused {
        at: Box::new(at.clone()),
        reason: reason.into(),
    })
}

/// The request as the document makes it: the template and the values in it.
pub struct Request<'a> {
    pub at: Value,
    pub values: Vec<velocity::Value>,
    /// The template, a mark in the place of each value.
    marked: String,
    address: Address,
    pub route: &'a Route,
}

impl Emitter<'_> {
    /// Adds the call that the integration's template says; gives the name of ours.
    pub(super) fn aws(
        &mut self,
        route: &Route,
        integration: &Integration,
        ours: &mut Mapping,
    ) -> Option<&'static str> {
        let written = integration.uri.as_ref().and_then(Value::text);
        if let Some(uri) = written
            && uri.contains(":lambda:path/")
        {
            self.function(integration);
            return None;
        }
        match self.call(route, integration) {
            Ok((name, parameters, decode)) => {
                let at = &integration.at.mark;
                ours.put(name, at, parameters.node());
                if decode {
                    ours.put("decode_data", at, text("base64", at));
                }
                Some(name)
            }
            Err(Refused { at, reason }) => {
                self.findings
                    .note(
                        Verdict::Missing,
                        &at.mark,
                        &at.path,
                        format!("an integration of type `aws` makes its request by a template (VTL), which is not run here: {reason}"),
                    )
                    .help("write the call as one of ours in `x-penstock: { integration: … }`; `x-penstock: { on_unsupported: skip }` leaves the operation out");
                None
            }
        }
    }

    fn call(
        &mut self,
        route: &Route,
        integration: &Integration,
    ) -> Result<(&'static str, Mapping, bool), Refused> {
        let Some(uri) = &integration.uri else {
            return refused(&integration.at, "there is no `uri`");
        };
        let Some(address) = uri.text().and_then(|uri| address(&uri)) else {
            return refused(uri, "the `uri` is no address of a service");
        };
        let mut request = self.request(route, integration, address)?;
        let mut form = self.form(integration, &request)?;
        let action = match request.address.resource.strip_prefix("action/") {
            Some(action) => action.to_owned(),
            None => match form.get("Action") {
                Some(action) => action.clone(),
                None => {
                    return refused(
                        &request.at,
                        "the template names no `Action`, and is no form (`Action=SendMessage&MessageBody=…`)",
                    );
                }
            },
        };
        let service = request.address.service.clone();
        let known = CALLS
            .iter()
            .find(|(of, named, _)| *of == service && *named == action);
        let Some((_, _, name)) = known else {
            return refused(
                uri,
                format!(
                    "the action `{action}` of `{service}` is none of the calls that a route can make"
                ),
            );
        };
        let mut parameters = Mapping::new(&request.at.mark);
        let mut decode = false;
        if service == "sqs" && !form.is_empty() {
            form.retain(|name, _| name != "Action" && name != "Version");
            self.form_parameters(&request, form, &mut parameters)?;
        } else {
            decode = self.json_parameters(&mut request, name, &mut parameters)?;
        }
        self.where_it_goes(&request, &service, &mut parameters)?;
        Ok((name, parameters, decode))
    }

    /// The template, and that the headers it goes with are the usual ones.
    fn request<'a>(
        &mut self,
        route: &'a Route,
        integration: &Integration,
        address: Address,
    ) -> Result<Request<'a>, Refused> {
        let templates = integration.request_templates.as_ref();
        let entries = templates.map(Value::entries).unwrap_or_default();
        let mut request = Request {
            at: integration.kind.as_ref().unwrap_or(&integration.at).clone(),
            values: Vec::new(),
            marked: String::new(),
            address,
            route,
        };
        let json = entries.iter().find(|e| e.name == "application/json");
        let Some(template) = json.or(entries.first()) else {
            return Ok(request);
        };
        let written = template.value.text().unwrap_or_default().into_owned();
        let other = entries
            .iter()
            .find(|entry| entry.value.text().as_deref() != Some(&written));
        if let Some(other) = other {
            return refused(&other.value, "the templates differ by content type");
        }
        let read = match velocity::read(&written) {
            Ok(read) if !written.contains([FIRST, LAST]) => read,
            Ok(_) => return refused(&template.value, "the template holds letters of private use"),
            Err(what) => return refused(&template.value, format!("{what} would have to be run")),
        };
        for (name, value) in &read.headers {
            if !usual_header(name, value) {
                let reason = format!("`{name}: {value}` is sent with the call");
                return refused(&template.value, reason);
            }
        }
        request.at = template.value.clone();
        for piece in read.pieces {
            match piece {
                Piece::Text(text) => request.marked.push_str(&text),
                Piece::Value(value) => {
                    let number = request.values.len();
                    request.marked.push_str(&format!("{FIRST}{number}{LAST}"));
                    request.values.push(value);
                }
            }
        }
        Ok(request)
    }

    /// The fields of a form: of the template, and of `integration.request.querystring.NAME`. Empty: it is JSON.
    fn form(
        &mut self,
        integration: &Integration,
        request: &Request<'_>,
    ) -> Result<BTreeMap<String, String>, Refused> {
        let mut form = BTreeMap::new();
        let template = request.marked.trim();
        if request.address.service == "sqs" && !template.starts_with('{') {
            for pair in template.split('&').filter(|pair| !pair.trim().is_empty()) {
                let Some((name, value)) = pair.split_once('=') else {
                    return refused(
                        &request.at,
                        format!("`{}` is no field of a form", pair.trim()),
                    );
                };
                form.insert(name.trim().to_owned(), decoded(value));
            }
        }
        for parameter in &integration.request_parameters {
            let at = &parameter.value;
            let written = at.text().unwrap_or_default().into_owned();
            let fixed = written
                .strip_prefix('\'')
                .and_then(|rest| rest.strip_suffix('\''));
            let name = parameter.name.strip_prefix("integration.request.");
            match name.and_then(|name| name.split_once('.')) {
                Some(("header", name)) => {
                    if fixed.is_none_or(|fixed| !usual_header(name, fixed)) {
                        self.findings.note(
                            Verdict::Ignored,
                            &parameter.mark,
                            &at.path,
                            format!("the header `{name}` of the call to the service is not sent: the call is made in the service's own protocol"),
                        );
                    }
                }
                Some(("querystring", name)) if request.address.service == "sqs" => {
                    let value = match (fixed, super::integration::rest_source(&written)) {
                        (Some(fixed), _) => fixed.to_owned(),
                        (None, Some(source)) => {
                            let source = source.trim_start_matches('$');
                            format!("${{{source}}}")
                        }
                        (None, None) => {
                            return refused(at, format!("`{written}` is no source of a mapping"));
                        }
                    };
                    form.insert(name.to_owned(), value);
                }
                _ => return refused(at, format!("`{}` is added to the call", parameter.name)),
            }
        }
        Ok(form)
    }

    fn form_parameters(
        &mut self,
        request: &Request<'_>,
        form: BTreeMap<String, String>,
        parameters: &mut Mapping,
    ) -> Result<(), Refused> {
        let at = &request.at;
        let mut attributes: BTreeMap<String, BTreeMap<String, Node>> = BTreeMap::new();
        let mut lists: BTreeMap<&str, Vec<Node>> = BTreeMap::new();
        for (name, value) in form {
            let made = self.expression(request, &value, &[Coding::Plain, Coding::Url])?;
            if value.contains(FIRST) {
                self.not_encoded(request, &value);
            }
            let node = self.made(request, made);
            let mut parts = name.split('.');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some("MessageAttribute"), Some(number), Some(part), sub) => {
                    let part = sub.unwrap_or(part).to_owned();
                    let attribute = attributes.entry(number.to_owned()).or_default();
                    attribute.extend(node.map(|node| (part, node)));
                }
                (Some("AttributeName"), Some(_), None, None) => {
                    lists.entry("AttributeNames").or_default().extend(node);
                }
                (Some("MessageAttributeName"), Some(_), None, None) => {
                    let names = lists.entry("MessageAttributeNames").or_default();
                    names.extend(node);
                }
                (Some(_), None, None, None) => parameters.put_some(&name, &at.mark, node),
                _ => return refused(at, format!("`{name}` is sent with the message")),
            }
        }
        for (name, nodes) in lists {
            parameters.put(name, &at.mark, list(nodes, &at.mark));
        }
        let mut all = Mapping::new(&at.mark);
        for (number, mut attribute) in attributes {
            let name = attribute.remove("Name");
            let name = name
                .as_ref()
                .and_then(|name| Value::root(name.clone()).text().map(|t| t.into_owned()));
            let Some(name) = name.filter(|name| !name.contains('$')) else {
                return refused(
                    at,
                    format!("the message attribute {number} has no fixed name"),
                );
            };
            let mut made = Mapping::new(&at.mark);
            for (part, node) in attribute {
                made.put(part, &at.mark, node);
            }
            all.put(name, &at.mark, made.node());
        }
        parameters.put_mapping("MessageAttributes", all);
        Ok(())
    }

    /// The parameters of a call in JSON; whether the data of a record come as base64.
    fn json_parameters(
        &mut self,
        request: &mut Request<'_>,
        name: &str,
        parameters: &mut Mapping,
    ) -> Result<bool, Refused> {
        let at = request.at.clone();
        let whole: Json = match serde_json::from_str(&request.marked) {
            Ok(whole) => whole,
            Err(error) => return refused(&at, format!("the template is not JSON: {error}")),
        };
        let mut fields = whole.as_object().cloned().unwrap_or_default();
        if name == "EventBridge-PutEvents" {
            let entries = fields.get("Entries").and_then(Json::as_array);
            let [entry] = entries.map(Vec::as_slice).unwrap_or_default() else {
                return refused(&at, "the template has not exactly one entry");
            };
            fields = entry.as_object().cloned().unwrap_or_default();
        }
        if fields.is_empty() {
            return refused(&at, "the template is no JSON object");
        }
        let mut decode = false;
        for (field, value) in fields {
            let mut letters = field.chars();
            let ours = match (name.starts_with("StepFunctions-"), letters.next()) {
                (true, Some(first)) => first.to_uppercase().chain(letters).collect(),
                _ => field.clone(),
            };
            let node = match (&value, ours.as_str()) {
                (Json::String(data), "Data") if name == "Kinesis-PutRecord" => {
                    let encoded = self.expression(request, data, &[Coding::Base64]);
                    let made = match encoded {
                        Ok(made) if made.starts_with('$') => made,
                        Ok(_) => return refused(&at, "`Data` is not the base64 of one value"),
                        Err(why)
                            if !matches!(
                                alone(request, data),
                                Some(Source::Path(_) | Source::Parameter(_))
                            ) =>
                        {
                            return Err(why);
                        }
                        Err(_) => {
                            decode = true;
                            self.expression(request, data, &[Coding::Plain])?
                        }
                    };
                    self.made(request, made)
                }
                (Json::String(text), "Detail" | "Input") => {
                    if matches!(alone(request, text), Some(Source::Json(_))) {
                        self.findings.note(
                            Verdict::Ignored,
                            &at.mark,
                            &at.path,
                            "a text that `$input.json` finds is sent with its quotes there, and without them here; an object or a list is the same",
                        );
                    }
                    let made = self.json_expression(request, text)?;
                    self.made(request, made)
                }
                (value, _) => self.json_node(request, value)?,
            };
            parameters.put_some(ours, &at.mark, node);
        }
        Ok(decode)
    }

    /// A value of the template's JSON as one of our configuration.
    fn json_node(&mut self, request: &Request<'_>, value: &Json) -> Result<Option<Node>, Refused> {
        let at = &request.at.mark;
        Ok(match value {
            Json::Null => None,
            Json::Bool(flag) => Some(plain(flag.to_string(), at)),
            Json::Number(number) => Some(plain(number.to_string(), at)),
            Json::String(text) => {
                let made = self.expression(request, text, &[Coding::Plain, Coding::Escaped])?;
                self.made(request, made)
            }
            Json::Array(items) => {
                let mut nodes = Vec::new();
                for item in items {
                    nodes.extend(self.json_node(request, item)?);
                }
                Some(list(nodes, at))
            }
            Json::Object(members) => {
                let mut mapping = Mapping::new(at);
                for (name, member) in members {
                    let node = self.json_node(request, member)?;
                    mapping.put_some(name, at, node);
                }
                Some(mapping.node())
            }
        })
    }

    /// The queue's URL out of the address, or the region.
    fn where_it_goes(
        &mut self,
        request: &Request<'_>,
        service: &str,
        parameters: &mut Mapping,
    ) -> Result<(), Refused> {
        let at = &request.at.mark;
        let Address {
            partition,
            region,
            resource,
            ..
        } = &request.address;
        if let Some(path) = resource.strip_prefix("path/") {
            let Some((account, queue)) = path.trim_matches('/').split_once('/') else {
                return refused(
                    &request.at,
                    format!(
                        "the `uri` names no account before the queue (`{resource}`), so the queue has no URL"
                    ),
                );
            };
            let suffix = match partition.as_str() {
                "aws-cn" => "amazonaws.com.cn",
                _ => "amazonaws.com",
            };
            let url = format!("https://{service}.{region}.{suffix}/{account}/{queue}");
            let node = self.made(request, url);
            parameters.put_some("QueueUrl", at, node);
        } else if !parameters.contains("QueueUrl") {
            let node = self.made(request, region.clone());
            parameters.put_some("Region", at, node);
        }
        Ok(())
    }

    /// A text of our configuration at the template's place.
    fn made(&mut self, request: &Request<'_>, made: String) -> Option<Node> {
        let value = request.at.replaced(made);
        self.leaf(&value)
    }
}

/// A header that says no more than the protocol does.
fn usual_header(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "content-type" | "contenttype" | "accept" | "accept-encoding" => true,
        "x-amz-target" => CALLS.iter().any(|(_, action, _)| {
            value
                .rsplit_once('.')
                .is_some_and(|(_, named)| named == *action)
        }),
        _ => false,
    }
}

/// The text of a form's field, but for the marks in it.
fn decoded(value: &str) -> String {
    let spaced = value.trim_end().replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8_lossy()
        .into_owned()
}

/// The parts of an integration's `uri`. A `:` within `${…}` is no border.
fn address(uri: &str) -> Option<Address> {
    let mut parts = vec![String::new()];
    let mut inside = 0usize;
    let mut before = ' ';
    for c in uri.trim().chars() {
        match c {
            '{' if before == '$' => inside += 1,
            '}' => inside = inside.saturating_sub(1),
            _ => {}
        }
        before = c;
        match parts.last_mut() {
            Some(part) if c != ':' || inside > 0 => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    let [arn, partition, vendor, region, service, resource] = parts.as_slice() else {
        return None;
    };
    (arn == "arn" && vendor == "apigateway").then(|| Address {
        partition: partition.clone(),
        region: region.clone(),
        service: service.clone(),
        resource: resource.clone(),
    })
}
