//! Templates and plans as APIs: what they declare is a list of resources that refer to each other. `template` takes
//! them from CloudFormation and SAM, `plan` from Terraform; `gateway` reads `AWS::ApiGatewayV2::*` and
//! `aws_apigatewayv2_*`, `sam` reads `AWS::Serverless::HttpApi` and what functions say of it, `rest` names what is not
//! an HTTP API. What has nothing to do with any API is one line.

mod domain;
mod fields;
mod gateway;
mod plan;
mod rest;
mod sam;
mod template;

use std::collections::BTreeMap;

use fields::{Fields, Naming};

use super::findings::{Findings, Verdict};
use super::model::HttpApi;
use super::template::{Beside, Place, Template, Unresolved, Vars, expand, tree_of};
use super::value::Value;

pub use plan::read as read_plan;
pub use template::read as read_template;

/// A resource that a document declares.
#[derive(Clone, Debug)]
struct Part {
    /// Its logical id, or its address.
    id: String,
    /// Its type in templates, whatever the document calls it: `AWS::ApiGatewayV2::Api`.
    kind: String,
    /// Its type as the document calls it.
    written_as: String,
    /// The declaration.
    at: Value,
    /// Its properties, resolved.
    properties: Value,
    /// Its properties, where a reference to another resource is that resource's id.
    linked: Value,
}

/// What a document is read with.
struct Stack<'a> {
    naming: Naming,
    vars: &'a Vars,
    beside: &'a dyn Beside,
    unresolved: &'a mut Unresolved,
    findings: &'a mut Findings,
    /// The resources that are there: those whose condition does not fail.
    parts: Vec<Part>,
}

impl Stack<'_> {
    /// The resources of one type.
    fn of_kind(&self, kind: &str) -> Vec<Part> {
        let parts = self.parts.iter();
        parts.filter(|part| part.kind == kind).cloned().collect()
    }

    fn fields(&self, at: &Value) -> Fields {
        Fields::of(at, self.naming)
    }

    /// The id, or the text, that ties a resource to another.
    fn link(&self, part: &Part, property: &str) -> Option<String> {
        let value = self.naming.get(&part.linked, property)?;
        value.text().map(|text| text.into_owned())
    }

    /// A definition that lies in another file: beside the document, or in S3 as `Bucket` and `Key`.
    fn definition_at(&mut self, location: &Value) -> Option<Value> {
        let named = match location.text() {
            Some(text) => text.into_owned(),
            None => {
                let bucket = location.get("Bucket")?;
                let key = location.get("Key")?;
                format!("s3://{}/{}", bucket.text()?, key.text()?)
            }
        };
        let at = Place {
            mark: location.mark.clone(),
            path: location.path.clone(),
        };
        let mut tree = tree_of(&named, &at, self.vars, self.beside, self.unresolved)?;
        expand(&mut tree, self.vars, self.beside, self.unresolved);
        let written = Value::root(tree);
        Template::new(&written, self.vars).resolved(&written, self.unresolved)
    }

    /// The API that a definition describes.
    fn defined(&mut self, definition: &Value) -> HttpApi {
        super::openapi::read(definition.clone(), self.findings)
    }

    /// Names what has nothing to do with an API, in one line.
    fn further(&mut self, others: &[Part], apis: &[HttpApi]) {
        let Some(first) = others.first() else {
            return;
        };
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for part in others {
            *counts.entry(part.written_as.as_str()).or_default() += 1;
        }
        let kinds: Vec<String> = counts
            .into_iter()
            .map(|(kind, count)| match count {
                1 => kind.to_owned(),
                count => format!("{count} × {kind}"),
            })
            .collect();
        let what = match (apis.is_empty(), others.len()) {
            (true, _) => "no HTTP API is declared, only",
            (false, 1) => "one further resource is no part of an API:",
            (false, _) => "further resources are no part of an API:",
        };
        self.findings.note(
            Verdict::Noted,
            &first.at.mark,
            &first.at.path,
            format!("{what} {}", kinds.join(", ")),
        );
    }
}

/// Whether a type of resource is part of an API, or makes one.
fn concerns_an_api(kind: &str) -> bool {
    kind.starts_with("AWS::ApiGatewayV2::")
        || kind.starts_with("AWS::ApiGateway::")
        || kind == "AWS::Serverless::HttpApi"
        || kind == "AWS::Serverless::Api"
}
