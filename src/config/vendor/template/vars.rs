//! `--vars FILE`: values for what a document leaves to its deployment, such as `MyQueue`, `MyRole.Arn`, `AWS::Region`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::config::load::json;
use crate::config::load::parse::{self, Tags};
use crate::config::load::tree::{Entry, Key, Kind, Node};
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};

/// The values of a `--vars` file; none by default.
#[derive(Clone, Debug, Default)]
pub struct Vars {
    entries: Vec<Entry>,
}

/// The tree of a vars file; tags mean nothing in it.
fn json_or_yaml(text: &str, file: &Arc<Path>, problems: &mut Problems) -> Option<Node> {
    if json::looks_like_json(text) {
        json::parse(text, file, problems)
    } else {
        parse::parse(text, file, Tags::Refused, problems)
    }
}

impl Vars {
    /// Reads the text of a vars file: names to texts, numbers, or lists of them.
    pub fn read(text: &str, file: &Arc<Path>, problems: &mut Problems) -> Vars {
        let Some(root) = json_or_yaml(text, file, problems) else {
            return Vars::default();
        };
        let Kind::Mapping(entries) = root.kind else {
            return Vars::default();
        };
        let mut kept = Vec::new();
        for entry in entries {
            let leaf = |node: &Node| matches!(node.kind, Kind::Scalar(_));
            let fits = match &entry.value.kind {
                Kind::Scalar(_) => true,
                Kind::Sequence(items) => items.iter().all(leaf),
                Kind::Null | Kind::Mapping(_) => false,
            };
            if fits {
                kept.push(entry);
                continue;
            }
            let path = ConfigPath::root().key(&entry.key.text);
            let help = match &entry.value.kind {
                Kind::Mapping(_) => "write one line for each value: `MyRole.Arn: arn:aws:iam::…`",
                _ => "write `NAME: VALUE`; an empty text is `''`",
            };
            problems
                .error(&path, "a value must be a text or a list of texts")
                .help(help)
                .at(entry.mark().place());
        }
        Vars { entries: kept }
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entries
            .iter()
            .find(|entry| entry.key.text == name)
            .map(|entry| &entry.value)
    }

    /// Gives a name a value unless it has one.
    pub fn add_default(&mut self, name: &str, value: Node) {
        if self.get(name).is_none() {
            let key = Key {
                text: name.to_owned(),
                mark: value.mark.clone(),
            };
            self.entries.push(Entry { key, value });
        }
    }

    /// Warns of the values that nothing asked for: all but `used`. `missed` are the names that had no value.
    pub fn warn_of_unused(
        &self,
        used: &BTreeSet<String>,
        missed: &[&str],
        problems: &mut Problems,
    ) {
        for entry in &self.entries {
            let name = &entry.key.text;
            if used.contains(name) {
                continue;
            }
            let path = ConfigPath::root().key(name);
            let problem = problems.warning(&path, "nothing in the document asks for this value");
            if let Some(meant) = nearest(name, missed.iter().copied()) {
                problem.help(format!("did you mean `{meant}`?"));
            }
            problem.at(entry.key.mark.place());
        }
    }
}
