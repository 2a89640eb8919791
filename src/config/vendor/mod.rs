//! The vendor's documents as configuration. A document is read into a [`model`] of the API that it describes, each
//! value with its place, and the model becomes the located tree that a route file would have given: from there on both
//! go through the same reading, the same checks and the same messages.

mod build;
mod emit;
mod export;
pub mod findings;
mod import;
mod json_text;
pub mod model;
mod openapi;
mod stack;
mod template;
mod value;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::load::json;
use super::load::parse::{self, Tags};
use super::load::tree::{Kind, Node, Refusal, Scalar};
use super::load::{self, Environment};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use findings::{Findings, Verdict};
use value::Value;

pub use import::{Imported, RouteFile, Told, import};
pub use template::{Beside, OnDisk, Vars};
use template::{Followed, Made, Unresolved};

/// The vendor's documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// OpenAPI 3.
    OpenApi,
    /// OpenAPI 2.
    Swagger,
    /// A CloudFormation or SAM template.
    Template,
    /// `terraform show -json`.
    TerraformPlan,
}

/// What a text is, by the keys of its root; `None` for a route file.
pub fn recognise(text: &str) -> Option<Document> {
    let keys = root_keys(text);
    let has = |key: &str| keys.iter().any(|known| known == key);
    if has("openapi") {
        Some(Document::OpenApi)
    } else if has("swagger") {
        Some(Document::Swagger)
    } else if has("AWSTemplateFormatVersion") || has("Resources") {
        Some(Document::Template)
    } else if has("planned_values") || has("terraform_version") {
        Some(Document::TerraformPlan)
    } else {
        None
    }
}

/// The keys of a document's root.
fn root_keys(text: &str) -> Vec<String> {
    match json::looks_like_json(text) {
        true => json::root_keys(text),
        false => parse::root_keys(text),
    }
}

/// The tree that a document stands for as a configuration. What it cannot be taken for is in `problems`; `None` when
/// nothing of it can be used. A name that neither `vars` nor the environment gives a value is an error, once.
pub fn configuration(
    document: Document,
    text: &str,
    file: &Arc<Path>,
    vars: &Vars,
    environment: &dyn Environment,
    problems: &mut Problems,
) -> Option<Node> {
    let tree = tree(text, file, problems)?;
    let mut findings = Findings::default();
    let mut unresolved = Unresolved::default();
    let made = match document {
        Document::OpenApi | Document::Swagger => {
            let told = Told {
                vars,
                api: None,
                beside: &Followed(environment),
            };
            let apis = import::read(document, tree, told, &mut unresolved, &mut findings);
            let api = apis.first();
            let mut made = api.map(|api| emit::emit(api, &mut findings).tree);
            unresolved
                .names
                .retain(|name| environment.variable(name.variable()).is_none());
            let whole = api.zip(made.as_ref()).map(|(api, tree)| Made {
                id: &api.id,
                path: &api.document.path,
                tree,
            });
            unresolved.report(whole.as_slice(), &mut findings);
            if let Some(made) = &mut made {
                settle(made, &unresolved);
            }
            made
        }
        Document::Template => not_a_configuration(tree, "Resources", "a template", &mut findings),
        Document::TerraformPlan => {
            not_a_configuration(tree, "planned_values", "a Terraform plan", &mut findings)
        }
    };
    let found = findings.list.iter().filter_map(findings::Finding::problem);
    problems.0.extend(found);
    made
}

/// Says that a document is to be imported.
fn not_a_configuration(tree: Node, key: &str, what: &str, findings: &mut Findings) -> Option<Node> {
    let root = Value::root(tree);
    let mark = root.get(key).map_or(root.mark.clone(), |value| value.mark);
    let reason = format!("this is {what}, not a configuration");
    findings
        .note(Verdict::Missing, &mark, &ConfigPath::root(), reason)
        .help("`penstock import` makes a route file of it");
    None
}

/// Texts that functions gave become texts as if they had been written; those that hold a name without a value have been
/// reported, and are passed over.
fn settle(node: &mut Node, unresolved: &Unresolved) {
    if let Kind::Scalar(scalar) = &mut node.kind
        && !scalar.origins.is_empty()
    {
        let text = scalar.text().into_owned();
        let open = unresolved
            .names
            .iter()
            .any(|name| text.contains(&name.shown));
        if open {
            node.refused = Some(Refusal::default());
        }
        *scalar = Scalar::written(if open { String::new() } else { text }, scalar.quoted);
    }
    node.children_mut()
        .for_each(|child| settle(child, unresolved));
}

/// Says that a document is of the version before.
fn no_openapi_2(root: &Value, findings: &mut Findings) {
    let mark = root
        .get("swagger")
        .map_or(root.mark.clone(), |value| value.mark);
    findings
        .note(
            Verdict::Missing,
            &mark,
            &ConfigPath::root(),
            "this is OpenAPI 2.0 (Swagger), which describes REST APIs alone",
        )
        .help("export the API as OAS30, or convert the document to OpenAPI 3.0");
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Yaml,
}

/// The OpenAPI document of a configuration, and what the vendor would make something else of.
pub fn exported(
    paths: &[PathBuf],
    environment: &dyn Environment,
    form: Form,
) -> Result<(String, Findings), Problems> {
    let (tree, name) = load::written(paths, environment)?;
    let exported = export::export(&tree, &name);
    let text = match form {
        Form::Json => json_text::write(&exported.tree),
        Form::Yaml => yaml::write(&exported.tree, &build::Comments::default()),
    };
    Ok((text, exported.findings))
}

/// The tree of a document as it is written; tags are template functions.
fn tree(text: &str, file: &Arc<Path>, problems: &mut Problems) -> Option<Node> {
    if json::looks_like_json(text) {
        json::parse(text, file, problems)
    } else {
        parse::parse(text, file, Tags::Functions, problems)
    }
}

#[cfg(test)]
mod tests;
