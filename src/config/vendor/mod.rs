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
mod value;
mod yaml;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::load;
use super::load::json;
use super::load::parse::{self, Tags};
use super::load::tree::Node;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use emit::Emitted;
use findings::{Findings, Verdict};
use value::Value;

pub use import::{Imported, import};

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
    let keys = if json::looks_like_json(text) {
        json::root_keys(text)
    } else {
        parse::root_keys(text)
    };
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

/// The tree that a document stands for as a configuration. What it cannot be taken for is in `problems`; `None` when
/// nothing of it can be used.
pub fn configuration(
    document: Document,
    text: &str,
    file: &Arc<Path>,
    problems: &mut Problems,
) -> Option<Node> {
    let (emitted, findings) = read(document, text, file, problems)?;
    let found = findings.list.iter().filter_map(findings::Finding::problem);
    problems.0.extend(found);
    emitted.map(|emitted| emitted.tree)
}

/// Reads a document into our configuration, and everything that is to be said of it. `None` for a text that is not
/// JSON or YAML; what is wrong is in `problems` then.
fn read(
    document: Document,
    text: &str,
    file: &Arc<Path>,
    problems: &mut Problems,
) -> Option<(Option<Emitted>, Findings)> {
    let tree = tree(text, file, problems)?;
    let mut findings = Findings::default();
    let root = Value::root(tree);
    let refusal = match document {
        Document::OpenApi => {
            let api = openapi::read(root, &mut findings);
            let emitted = emit::emit(&api, &mut findings);
            return Some((Some(emitted), findings));
        }
        Document::Swagger => (
            "swagger",
            "this is OpenAPI 2.0 (Swagger), which describes REST APIs alone",
            "export the API as OAS30, or convert the document to OpenAPI 3.0",
        ),
        Document::Template => (
            "Resources",
            "this is a CloudFormation template, not a configuration",
            "`penstock import` makes a route file of it",
        ),
        Document::TerraformPlan => (
            "planned_values",
            "this is a Terraform plan, not a configuration",
            "`penstock import` makes a route file of it",
        ),
    };
    let (key, reason, help) = refusal;
    let mark = root.get(key).map_or(root.mark.clone(), |value| value.mark);
    findings
        .note(Verdict::Missing, &mark, &ConfigPath::root(), reason)
        .help(help);
    Some((None, findings))
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Yaml,
}

/// The OpenAPI document of a configuration, and what the vendor would make something else of.
pub fn exported(paths: &[PathBuf], form: Form) -> Result<(String, Findings), Problems> {
    let (tree, name) = load::written(paths)?;
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
