//! The resources of a Terraform plan or state, as `terraform show -json` prints it. What is not known before it is
//! applied is taken from what the configuration refers to (`references`): the format does not keep the text around a
//! reference. Source: developer.hashicorp.com/terraform/internals/json-format.

mod references;

use references::Planned;

use super::fields::{Naming, made};
use super::{Part, Stack, concerns_an_api};
use crate::config::load::tree::{Entry, Key, Kind, Node};
use crate::config::vendor::findings::{Findings, Verdict};
use crate::config::vendor::model::HttpApi;
use crate::config::vendor::template::{Beside, Unresolved, Vars};
use crate::config::vendor::value::Value;
use crate::model::path::{ConfigPath, Segment};

/// The attributes that tie resources together.
const LINKS: [&str; 5] = [
    "api_id",
    "rest_api_id",
    "target",
    "authorizer_id",
    "domain_name",
];

/// The APIs of a plan or a state, in its order.
pub fn read(
    root: &Value,
    vars: &Vars,
    beside: &dyn Beside,
    unresolved: &mut Unresolved,
    findings: &mut Findings,
) -> Vec<HttpApi> {
    let mut planned = Vec::new();
    let whole = root.get("planned_values").or_else(|| root.get("values"));
    if whole.is_none() {
        let reason = match root.get("resources") {
            Some(_) => "this is a state as Terraform keeps it, whose format is its own",
            None => "nothing is planned, and the state is empty",
        };
        findings
            .note(Verdict::Missing, &root.mark, &root.path, reason)
            .help(
                "`terraform show -json` prints a state, and `terraform show -json plan.out` a plan",
            );
    }
    if let Some(module) = whole.and_then(|values| values.get("root_module")) {
        collect(&module, root, &mut planned);
    }
    let mut before = Vec::new();
    let prior = root
        .get("prior_state")
        .and_then(|state| state.get("values"));
    if let Some(module) = prior.and_then(|values| values.get("root_module")) {
        collect(&module, root, &mut before);
    }
    let vars = references::with_provider(vars, root, &before);
    let known = references::Reading::new(root, &vars, &planned, &before);
    let mut others = Vec::new();
    let mut parts = Vec::new();
    for resource in planned.iter().filter(|resource| !resource.is_data) {
        let kind = in_templates(&resource.kind);
        let of_api = concerns_an_api(&kind);
        let part = Part {
            id: resource.address.clone(),
            written_as: resource.kind.clone(),
            at: resource.values.clone(),
            properties: match of_api {
                true => known.filled(resource, unresolved),
                false => resource.values.clone(),
            },
            linked: match of_api {
                true => linked(resource, &known),
                false => resource.values.clone(),
            },
            kind,
        };
        match of_api {
            true => parts.push(part),
            false => others.push(part),
        }
    }
    let mut stack = Stack {
        naming: Naming::Plan,
        vars: &vars,
        beside,
        unresolved,
        findings,
        parts,
    };
    let mut apis = stack.gateway_apis(root);
    let rest = stack.rest_definitions();
    stack.rest_apis(&rest);
    apis.extend(rest);
    stack.further(&others, &apis);
    apis
}

/// The resources of a module and of those below it.
fn collect(module: &Value, root: &Value, found: &mut Vec<Planned>) {
    let address = module
        .get("address")
        .as_ref()
        .and_then(Value::text)
        .unwrap_or_default()
        .into_owned();
    for resource in module
        .get("resources")
        .map(|all| all.items())
        .unwrap_or_default()
    {
        let text = |key: &str| {
            let value = resource.get(key);
            value
                .as_ref()
                .and_then(Value::text)
                .unwrap_or_default()
                .into_owned()
        };
        let (own, kind, name) = (text("address"), text("type"), text("name"));
        let values = resource
            .get("values")
            .unwrap_or_else(|| made(&resource, Kind::Mapping(Vec::new())));
        found.push(Planned {
            is_data: text("mode") == "data",
            unknown: references::unknown_in(root, &own),
            values: Value {
                path: path_of(&own),
                ..values
            },
            index: resource
                .get("index")
                .as_ref()
                .and_then(Value::text)
                .map(|index| index.into_owned()),
            module: address.clone(),
            address: own,
            kind,
            name,
        });
    }
    for child in module
        .get("child_modules")
        .map(|all| all.items())
        .unwrap_or_default()
    {
        collect(&child, root, found);
    }
}

/// The attributes with the addresses of other resources in the place of their ids.
fn linked(resource: &Planned, known: &references::Reading<'_>) -> Value {
    let mut value = resource.values.clone();
    for name in LINKS {
        let Some(address) = known.linked(resource, name) else {
            continue;
        };
        let text = match name {
            "target" => format!("integrations/{address}"),
            _ => address,
        };
        put(&mut value, name, resource.values.replaced(text).node);
    }
    value
}

/// Puts an entry into a mapping, or in the place of the one of that name.
fn put(value: &mut Value, name: &str, node: Node) {
    let mark = value.node.mark.clone();
    let Kind::Mapping(entries) = &mut value.node.kind else {
        return;
    };
    match entries.iter_mut().find(|entry| entry.key.text == name) {
        Some(entry) => entry.value = node,
        None => entries.push(Entry {
            key: Key {
                text: name.to_owned(),
                mark,
            },
            value: node,
        }),
    }
}

/// The type in templates that a provider's type is: `aws_apigatewayv2_api_mapping` is `AWS::ApiGatewayV2::ApiMapping`.
fn in_templates(kind: &str) -> String {
    let families = [
        ("aws_apigatewayv2_", "AWS::ApiGatewayV2::"),
        ("aws_api_gateway_", "AWS::ApiGateway::"),
    ];
    for (prefix, family) in families {
        if let Some(rest) = kind.strip_prefix(prefix) {
            let words = rest.split('_').map(|word| {
                let mut letters = word.chars();
                let first = letters.next().map(|first| first.to_ascii_uppercase());
                first.into_iter().chain(letters).collect::<String>()
            });
            return format!("{family}{}", words.collect::<String>());
        }
    }
    kind.to_owned()
}

/// An address as a path: `module.a.aws_sqs_queue.q[0]`.
fn path_of(address: &str) -> ConfigPath {
    let mut path = Vec::new();
    let mut rest = address;
    while !rest.is_empty() {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if !word.is_empty() {
            path.push(Segment::Key(word.to_owned()));
        }
        rest = match after.strip_prefix('[') {
            Some(inside) => {
                let Some(close) = inside.find(']') else { break };
                let index = inside.get(..close).unwrap_or_default();
                path.push(match index.parse() {
                    Ok(number) => Segment::Index(number),
                    Err(_) => Segment::Key(index.trim_matches('"').to_owned()),
                });
                inside.get(close + 1..).unwrap_or_default()
            }
            None => after.strip_prefix('.').unwrap_or_default(),
        };
    }
    ConfigPath(path)
}
