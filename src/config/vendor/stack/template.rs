//! The resources of a CloudFormation or SAM template, with its functions resolved.

use super::fields::Naming;
use super::rest::read_of;
use super::{Part, Stack, concerns_an_api};
use crate::config::load::tree::{Kind, Node};
use crate::config::vendor::findings::{Findings, Verdict};
use crate::config::vendor::model::HttpApi;
use crate::config::vendor::template::{Beside, Resource, Template, Unresolved, Vars};
use crate::config::vendor::value::Value;

/// The APIs of a template, in the order of writing. Its includes are in their places.
pub fn read(
    root: &Value,
    vars: &Vars,
    beside: &dyn Beside,
    unresolved: &mut Unresolved,
    findings: &mut Findings,
) -> Vec<HttpApi> {
    let template = Template::new(root, vars);
    let mut others = Vec::new();
    let parts = parts(&template, &mut others, unresolved, findings);
    let globals = root
        .get("Globals")
        .and_then(|globals| template.resolved(&globals, unresolved));
    let mut stack = Stack {
        naming: Naming::Template,
        vars,
        beside,
        unresolved,
        findings,
        parts,
    };
    let mut apis = stack.serverless(globals.as_ref());
    apis.extend(stack.gateway_apis(root));
    let rest = stack.rest_definitions();
    stack.rest_apis(&rest);
    apis.extend(rest);
    stack.further(&others, &apis);
    apis
}

/// The resources that are there; those that are no part of an API go to `others`.
fn parts(
    template: &Template<'_>,
    others: &mut Vec<Part>,
    unresolved: &mut Unresolved,
    findings: &mut Findings,
) -> Vec<Part> {
    let mut parts = Vec::new();
    for resource in template.resources() {
        if let Some(name) = resource.id.strip_prefix("Fn::") {
            findings.note(
                Verdict::Missing,
                &resource.at.mark,
                &resource.at.path,
                format!("`Fn::{name}` among the resources is run by the account, not here"),
            );
            continue;
        }
        let of_api = concerns_an_api(&resource.kind);
        // what a function or a state machine says of APIs are its events
        let events = !of_api && resource.properties().get("Events").is_some();
        if !of_api && !events {
            others.push(part(
                &resource,
                resource.properties(),
                resource.properties(),
            ));
            continue;
        }
        let condition = resource.at.get("Condition");
        let there = match &condition {
            Some(condition) => template.holds(condition, unresolved),
            None => Some(true),
        };
        if there == Some(false) {
            findings.note(
                Verdict::Noted,
                &resource.at.mark,
                &resource.at.path,
                "left out: its condition does not hold",
            );
            continue;
        }
        let properties = resource.properties();
        let written = match events {
            true => only(&properties, "Events"),
            false => read_of(&resource.kind, &properties).unwrap_or(properties),
        };
        let resolved = template.resolved(&written, unresolved);
        let linked = template.linked(&written, unresolved);
        let read = part(
            &resource,
            resolved.unwrap_or_else(|| written.clone()),
            linked.unwrap_or(written),
        );
        if events {
            others.push(read.clone());
        }
        parts.push(read);
    }
    parts
}

fn part(resource: &Resource, properties: Value, linked: Value) -> Part {
    Part {
        id: resource.id.clone(),
        kind: resource.kind.clone(),
        written_as: resource.kind.clone(),
        at: resource.at.clone(),
        properties,
        linked,
    }
}

/// The value with nothing in it but `key`.
fn only(value: &Value, key: &str) -> Value {
    let kept = value.node.entry(key).cloned();
    Value {
        node: Node::new(
            Kind::Mapping(kept.into_iter().collect()),
            value.node.mark.clone(),
        ),
        path: value.path.clone(),
        mark: value.mark.clone(),
    }
}
