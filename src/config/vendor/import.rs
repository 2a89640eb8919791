//! `penstock import`: a document → our YAML with comments, and everything that is to be said of it.

use std::path::Path;
use std::sync::Arc;

use super::emit::{self, Emitted, slug};
use super::findings::{Finding, Findings, Level, Verdict};
use super::model::HttpApi;
use super::template::{Beside, Made, Template, Unresolved, Vars, expand};
use super::value::Value;
use super::{Document, openapi, recognise, stack, tree, yaml};
use crate::config::load::SourceFile;
use crate::config::load::tree::Node;
use crate::model::path::{ConfigPath, Segment};
use crate::model::problem::{Problems, nearest};

/// What an import is told beside the document.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// What names stand for.
    pub vars: &'a Vars,
    /// The one API that is wanted, by its name or by the id of its resource; absent: all.
    pub api: Option<&'a str>,
    /// Where the files are that the document names.
    pub beside: &'a dyn Beside,
}

/// What an import gave.
#[derive(Debug, Default)]
pub struct Imported {
    /// A route file for each API; none when there is nothing to write.
    pub apis: Vec<RouteFile>,
    pub findings: Findings,
    /// What is wrong with the document, or with the variables, as a text.
    pub problems: Problems,
}

/// An API as a route file.
#[derive(Debug)]
pub struct RouteFile {
    /// The name of the API, as a file name.
    pub name: String,
    pub yaml: String,
}

/// Imports a document.
pub fn import(document: &SourceFile, told: Told<'_>) -> Imported {
    let mut imported = Imported::default();
    let Some(kind) = recognise(&document.text) else {
        imported
            .problems
            .error(&ConfigPath::root(), "this is none of the vendor's documents")
            .help(of_another_tool(&document.text).unwrap_or("an OpenAPI document has `openapi: 3.0.1` at its root, a template `Resources`, a plan (`terraform show -json`) `planned_values`"));
        return imported;
    };
    let file: Arc<Path> = Arc::from(document.path.as_path());
    let Some(tree) = tree(&document.text, &file, &mut imported.problems) else {
        return imported;
    };
    let mut unresolved = Unresolved::default();
    let apis = read(kind, tree, told, &mut unresolved, &mut imported.findings);
    let apis = wanted(apis, told.api, &mut imported);
    let mut emitted: Vec<(String, Emitted)> = Vec::new();
    for api in &apis {
        imported.findings.of(Some(&api.id));
        let made = emit::emit(api, &mut imported.findings);
        emitted.push((name_of(api, emitted.len()), made));
    }
    imported.findings.of(None);
    let made = apis.iter().zip(&emitted).map(|(api, (_, made))| Made {
        id: &api.id,
        path: &api.document.path,
        tree: &made.tree,
    });
    let made: Vec<Made<'_>> = made.collect();
    unresolved.report(&made, &mut imported.findings);
    let missed: Vec<&str> = unresolved
        .names
        .iter()
        .map(|name| name.name.as_str())
        .collect();
    told.vars
        .warn_of_unused(&unresolved.given, &missed, &mut imported.problems);
    let title = document
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let several = emitted.len() > 1;
    for (api, (name, mut made)) in apis.iter().zip(emitted) {
        let findings = imported.findings.list.iter();
        // of several APIs each file names what is missing in it; the report has the rest
        let own: Vec<&Finding> = findings
            .filter(|finding| !several || finding.of.contains(&api.id))
            .collect();
        head(&mut made, &document.path, &title, &own);
        let yaml = yaml::write(&made.tree, &made.comments);
        imported.apis.push(RouteFile { name, yaml });
    }
    imported
}

/// What to import in place of a source that another tool makes a document of.
fn of_another_tool(text: &str) -> Option<&'static str> {
    let keys = super::root_keys(text);
    let has = |key: &str| keys.iter().any(|known| known == key);
    if has("service") && (has("provider") || has("functions")) {
        Some(
            "this is a file of the Serverless Framework: import what `serverless package` writes, `.serverless/cloudformation-template-update-stack.json`",
        )
    } else if text.contains("resource \"aws_")
        || (has("resource") && (has("provider") || has("terraform")))
    {
        Some(
            "this is a source of Terraform: import what `terraform show -json plan.out` prints of its plan, or `terraform show -json` of its state",
        )
    } else {
        None
    }
}

/// The APIs that a document describes.
pub(super) fn read(
    kind: Document,
    mut tree: Node,
    told: Told<'_>,
    unresolved: &mut Unresolved,
    findings: &mut Findings,
) -> Vec<HttpApi> {
    let Told { vars, beside, .. } = told;
    match kind {
        Document::OpenApi => {
            expand(&mut tree, vars, beside, unresolved);
            let written = Value::root(tree);
            let resolved = Template::new(&written, vars).resolved(&written, unresolved);
            let api = openapi::read(resolved.unwrap_or(written), findings);
            vec![api]
        }
        Document::Template => {
            expand(&mut tree, vars, beside, unresolved);
            stack::read_template(&Value::root(tree), vars, beside, unresolved, findings)
        }
        Document::TerraformPlan => {
            stack::read_plan(&Value::root(tree), vars, beside, unresolved, findings)
        }
        Document::Swagger => {
            super::no_openapi_2(&Value::root(tree), findings);
            Vec::new()
        }
    }
}

/// The API that is asked for.
fn wanted(apis: Vec<HttpApi>, asked: Option<&str>, imported: &mut Imported) -> Vec<HttpApi> {
    let Some(asked) = asked else {
        return apis;
    };
    let known: Vec<String> = apis
        .iter()
        .enumerate()
        .map(|(index, api)| name_of(api, index))
        .collect();
    let kept: Vec<HttpApi> = apis
        .into_iter()
        .filter(|api| is_called(api, asked))
        .collect();
    if kept.is_empty() {
        let problem = imported.problems.error(
            &ConfigPath::root(),
            format!("the document describes no API called `{asked}`"),
        );
        match nearest(asked, known.iter().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("it describes {}", known.join(", "))),
        };
    }
    kept
}

fn is_called(api: &HttpApi, asked: &str) -> bool {
    let name = api.name.as_ref().and_then(Value::text).unwrap_or_default();
    let path = &api.document.path;
    name == asked
        || api.id == asked
        || slug(&name) == asked
        || path.to_string() == asked
        || path.0.contains(&Segment::Key(asked.to_owned()))
}

/// What an API is called: by its title, by its resource, by its place.
fn name_of(api: &HttpApi, index: usize) -> String {
    let title = emit::named(api).unwrap_or_default();
    if !title.is_empty() {
        return title;
    }
    let mut keys = api
        .document
        .path
        .0
        .iter()
        .filter_map(|segment| match segment {
            Segment::Key(key) if key != "Properties" => Some(slug(key)),
            _ => None,
        });
    keys.next_back()
        .unwrap_or_else(|| format!("api-{}", index + 1))
}

/// What stands at the head of a route file: where it is from, and what is not as there.
fn head(made: &mut Emitted, document: &Path, title: &str, findings: &[&Finding]) {
    let root = ConfigPath::root();
    made.comments.add(
        &root,
        format!("Imported from {title} by `penstock import`. `penstock check` says what is wrong with it."),
    );
    let errors = findings
        .iter()
        .filter(|finding| finding.level() == Level::Error);
    let lines: Vec<String> = errors
        .map(|finding| {
            let what = match finding.verdict {
                Verdict::Missing => "missing",
                _ => "differs",
            };
            let mark = &finding.mark;
            // what stands in an included file is found by its name
            let file = match mark.file.as_ref() == document {
                true => String::new(),
                false => format!(
                    "{}:",
                    mark.file.file_name().unwrap_or_default().to_string_lossy()
                ),
            };
            format!(
                "  {file}{}:{}: {what}: {}",
                mark.line,
                mark.column,
                finding.reason()
            )
        })
        .collect();
    if !lines.is_empty() {
        made.comments.add(&root, "");
        made.comments.add(
            &root,
            format!("Not as in {title} (line:column):\n{}", lines.join("\n")),
        );
    }
}
