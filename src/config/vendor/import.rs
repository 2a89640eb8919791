//! `penstock import`: a document → our YAML with comments, and everything that is to be said of it.

use std::path::Path;
use std::sync::Arc;

use super::findings::{Findings, Level};
use super::{read, recognise, yaml};
use crate::config::load::SourceFile;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// What an import gave.
#[derive(Debug)]
pub struct Imported {
    /// A route file; `None` when there is nothing to write.
    pub yaml: Option<String>,
    pub findings: Findings,
    /// What is wrong with the document as a text.
    pub problems: Problems,
}

/// Imports a document.
pub fn import(document: &SourceFile) -> Imported {
    let mut problems = Problems::default();
    let Some(kind) = recognise(&document.text) else {
        problems
            .error(&ConfigPath::root(), "this is none of the vendor's documents")
            .help("an OpenAPI document has `openapi: 3.0.1` at its root, a template `Resources`, a plan (`terraform show -json`) `planned_values`");
        return Imported {
            yaml: None,
            findings: Findings::default(),
            problems,
        };
    };
    let file: Arc<Path> = Arc::from(document.path.as_path());
    let Some((emitted, findings)) = read(kind, &document.text, &file, &mut problems) else {
        return Imported {
            yaml: None,
            findings: Findings::default(),
            problems,
        };
    };
    let yaml = emitted.map(|mut emitted| {
        let root = ConfigPath::root();
        let name = document.path.file_name().unwrap_or_default().to_string_lossy();
        emitted.comments.add(
            &root,
            format!("Imported from {name} by `penstock import`. `penstock check` says what is wrong with it."),
        );
        let mut left_out = Vec::new();
        for finding in &findings.list {
            if finding.level() == Level::Error {
                left_out.push(format!(
                    "  {}:{}: {}",
                    finding.mark.line,
                    finding.mark.column,
                    finding.reason()
                ));
            }
        }
        if !left_out.is_empty() {
            emitted.comments.add(&root, "");
            emitted.comments.add(&root, format!("Not as in {name} (line:column):\n{}", left_out.join("\n")));
        }
        yaml::write(&emitted.tree, &emitted.comments)
    });
    Imported {
        yaml,
        findings,
        problems,
    }
}
