//! `Fn::Transform` with `AWS::Include`: another file's content in place of the call. Files beside the template are
//! read; an object in S3 is named, unless `--vars` names the file that stands for it.

use std::path::Path;
use std::sync::Arc;

use super::unresolved::{Place, Unresolved};
use super::{Template, Vars};
use crate::config::load::tree::{Entry, Kind, Node};
use crate::config::load::{Environment, SourceFile, read_file};
use crate::config::vendor::tree as document;
use crate::config::vendor::value::Value;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// Where the files are that a document names.
pub trait Beside {
    /// The file that `named`, in the document `from`, is.
    ///
    /// # Errors
    /// Why it cannot be read, in words for the report.
    fn read(&self, from: &Path, named: &str) -> Result<SourceFile, String>;
}

/// Files on the disk; a relative name begins at the directory of the document.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnDisk;

impl Beside for OnDisk {
    fn read(&self, from: &Path, named: &str) -> Result<SourceFile, String> {
        let directory = from.parent().unwrap_or(Path::new(""));
        let named = named.strip_prefix("./").unwrap_or(named);
        read_file(&directory.join(named)).map_err(|problems| {
            let first = problems.0.first();
            first.map_or_else(
                || "it cannot be read".to_owned(),
                |problem| problem.message.clone(),
            )
        })
    }
}

/// The same, for a configuration that follows what it was made of.
pub struct Followed<'e>(pub &'e dyn Environment);

impl Beside for Followed<'_> {
    fn read(&self, from: &Path, named: &str) -> Result<SourceFile, String> {
        let read = OnDisk.read(from, named)?;
        self.0.file_read(&read.path, read.text.as_bytes());
        Ok(read)
    }
}

/// Reads a file that the document at `at` names, as a tree. What is wrong is noted.
pub fn tree_of(
    named: &str,
    at: &Place,
    vars: &Vars,
    beside: &dyn Beside,
    unresolved: &mut Unresolved,
) -> Option<Node> {
    let stand_in = vars.get(named).map(super::functions::leaf);
    if stand_in.is_some() {
        unresolved.given.insert(named.to_owned());
    }
    let file = stand_in.as_deref().unwrap_or(named);
    if file.contains("://") {
        let reason = format!("`{file}` is not on this machine");
        let help = format!("download it, and say so with `--vars`: `\"{file}\": ./its-name.yaml`");
        unresolved.fault(at.clone(), reason, Some(&help));
        return None;
    }
    let source = match beside.read(&at.mark.file, file) {
        Ok(source) => source,
        Err(why) => {
            unresolved.fault(at.clone(), why, None);
            return None;
        }
    };
    let path: Arc<Path> = Arc::from(source.path.as_path());
    let mut problems = Problems::default();
    let tree = document(&source.text, &path, &mut problems);
    for problem in problems.0 {
        let reason = format!("in what is included here: {problem}");
        unresolved.fault(at.clone(), reason, None);
    }
    tree
}

/// Puts the content of included files in the place of their calls, once: included files include no others.
pub fn expand(root: &mut Node, vars: &Vars, beside: &dyn Beside, unresolved: &mut Unresolved) {
    if !calls_within(root) && root.entry("Transform").is_none() {
        return;
    }
    let before = Value::root(root.clone());
    let reading = Reading {
        template: Template::new(&before, vars),
        vars,
        beside,
    };
    if let Some(entry) = root.entry("Transform") {
        let path = ConfigPath::root().key("Transform");
        let entry = entry.clone();
        if let Some(Kind::Mapping(included)) = reading
            .include(&entry, &path, unresolved)
            .map(|node| node.kind)
        {
            join(root, included);
        }
    }
    reading.below(root, &ConfigPath::root(), unresolved);
}

fn calls_within(node: &Node) -> bool {
    node.entry("Fn::Transform").is_some() || node.children().any(calls_within)
}

/// Adds what the mapping does not hold itself.
fn join(node: &mut Node, included: Vec<Entry>) {
    if let Kind::Mapping(entries) = &mut node.kind {
        for entry in included {
            if entries.iter().all(|known| known.key.text != entry.key.text) {
                entries.push(entry);
            }
        }
    }
}

struct Reading<'a> {
    template: Template<'a>,
    vars: &'a Vars,
    beside: &'a dyn Beside,
}

impl Reading<'_> {
    fn below(&self, node: &mut Node, path: &ConfigPath, unresolved: &mut Unresolved) {
        let call = node.entry("Fn::Transform").cloned();
        let call_path = path.key("Fn::Transform");
        let included = call.and_then(|call| self.include(&call, &call_path, unresolved));
        if let Some(Node {
            kind: Kind::Mapping(included),
            mark,
            ..
        }) = included
        {
            if let Kind::Mapping(entries) = &mut node.kind {
                entries.retain(|entry| entry.key.text != "Fn::Transform");
                if entries.is_empty() {
                    // nothing but the call stood here: what is included stands in its own file
                    node.mark = mark;
                }
            }
            join(node, included);
            return;
        }
        match &mut node.kind {
            Kind::Null | Kind::Scalar(_) => {}
            Kind::Sequence(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.below(item, &path.index(index), unresolved);
                }
            }
            Kind::Mapping(entries) => {
                for entry in entries {
                    let path = path.key(&entry.key.text);
                    self.below(&mut entry.value, &path, unresolved);
                }
            }
        }
    }

    /// The content that a call names; `None` where it is no `AWS::Include`, or cannot be had.
    fn include(
        &self,
        call: &Entry,
        path: &ConfigPath,
        unresolved: &mut Unresolved,
    ) -> Option<Node> {
        let name = call
            .value
            .entry("Name")
            .map(|entry| super::functions::leaf(&entry.value));
        if name.as_deref() != Some("AWS::Include") {
            return None;
        }
        let parameters = &call.value.entry("Parameters")?.value;
        let location = parameters.entry("Location")?;
        let location_path = path.key("Parameters").key("Location");
        let value = Value {
            node: location.value.clone(),
            path: location_path.clone(),
            mark: location.mark().clone(),
        };
        let resolved = self.template.resolved(&value, unresolved)?;
        let Kind::Scalar(text) = &resolved.node.kind else {
            return None;
        };
        unresolved.settled(text);
        let at = Place {
            mark: value.mark,
            path: location_path,
        };
        tree_of(&text.text(), &at, self.vars, self.beside, unresolved)
    }
}
