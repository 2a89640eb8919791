//! The names that nothing gives a value: each once, with what it stands for and the places that ask for it.

use std::collections::BTreeSet;

use super::text;
use crate::config::load::tree::{Kind, Mark, Node, Scalar};
use crate::config::vendor::findings::{Findings, Verdict};
use crate::model::path::ConfigPath;

/// A place in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub mark: Mark,
    pub path: ConfigPath,
}

/// A name without a value.
#[derive(Clone, Debug)]
pub struct Unknown {
    /// The name as `--vars` gives it: `MyQueue`, `MyRole.Arn`, `AWS::Region`.
    pub name: String,
    /// What it stands for: `the URL of the queue MyQueue (AWS::SQS::Queue)`.
    pub stands_for: String,
    /// What stands in its place: `${env:MY_QUEUE}`.
    pub shown: String,
    /// The places that ask for it, at least one.
    pub asked: Vec<Place>,
    /// Whether something was decided without it, such as a condition: then it matters wherever it stands.
    pub decides: bool,
}

/// A function that cannot be computed, whatever the names stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: Place,
    pub reason: String,
    pub help: Option<String>,
}

/// What was made of one API.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// The id of its resource.
    pub id: &'a str,
    /// Where the document describes it.
    pub path: &'a ConfigPath,
    pub tree: &'a Node,
}

impl Made<'_> {
    fn owner(&self) -> String {
        self.id.to_owned()
    }
}

/// What resolving a document left open.
#[derive(Clone, Debug, Default)]
pub struct Unresolved {
    pub names: Vec<Unknown>,
    pub faults: Vec<Fault>,
    /// The names that `--vars` gave.
    pub given: BTreeSet<String>,
    /// How much text functions have made, in bytes.
    pub made: usize,
}

impl Unknown {
    /// The variable of the environment that may give it a value: `MY_QUEUE`.
    pub fn variable(&self) -> &str {
        self.shown
            .trim_start_matches("${env:")
            .trim_end_matches('}')
    }
}

impl Unresolved {
    /// Notes that `name` is asked for at `at`; gives what stands in its place.
    pub fn ask(&mut self, name: &str, stands_for: impl Into<String>, at: Place) -> Scalar {
        if let Some(known) = self.names.iter_mut().find(|known| known.name == name) {
            if !known.asked.contains(&at) {
                known.asked.push(at);
            }
            return text::looked_up(known.shown.clone());
        }
        let shown = self.variable(name);
        self.names.push(Unknown {
            name: name.to_owned(),
            stands_for: stands_for.into(),
            shown: shown.clone(),
            asked: vec![at],
            decides: false,
        });
        text::looked_up(shown)
    }

    /// Whether all of the text is known. What is not is noted to have decided something.
    pub fn settled(&mut self, text: &Scalar) -> bool {
        for origin in &text.origins {
            let asked = self
                .names
                .iter_mut()
                .find(|known| known.shown == origin.shown);
            if let Some(known) = asked {
                known.decides = true;
            }
        }
        text.origins.is_empty()
    }

    /// Notes what is wrong with a function, once.
    pub fn fault(&mut self, at: Place, reason: impl Into<String>, help: Option<&str>) {
        let fault = Fault {
            at,
            reason: reason.into(),
            help: help.map(str::to_owned),
        };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// A variable of the environment for a name: `MyRole.Arn` is `${env:MY_ROLE_ARN}`.
    fn variable(&self, name: &str) -> String {
        let word = screaming(name);
        let taken = |shown: &str| self.names.iter().any(|known| known.shown == shown);
        let first = format!("${{env:{word}}}");
        if !taken(&first) {
            return first;
        }
        (2..=self.names.len() + 2)
            .map(|number| format!("${{env:{word}_{number}}}"))
            .find(|shown| !taken(shown))
            .unwrap_or(first)
    }

    /// The names that still stand in what was made of the document, or that decided about it.
    pub fn in_use<'a>(&'a self, made: &[&Node]) -> Vec<&'a Unknown> {
        self.names
            .iter()
            .filter(|known| known.decides || made.iter().any(|made| holds(made, &known.shown)))
            .collect()
    }

    /// Reports every fault, and every name in use in what was made of the document.
    pub fn report(&self, made: &[Made<'_>], findings: &mut Findings) {
        for fault in &self.faults {
            let finding = findings.note(
                Verdict::Missing,
                &fault.at.mark,
                &fault.at.path,
                fault.reason.clone(),
            );
            let within = |one: &&Made<'_>| fault.at.path.0.starts_with(&one.path.0);
            let owners: Vec<String> = made.iter().filter(within).map(Made::owner).collect();
            finding.of = match owners.is_empty() {
                true => made.iter().map(Made::owner).collect(),
                false => owners,
            };
            if let Some(help) = &fault.help {
                finding.help(help.clone());
            }
        }
        let trees: Vec<&Node> = made.iter().map(|one| one.tree).collect();
        for unknown in self.in_use(&trees) {
            let Some((first, more)) = unknown.asked.split_first() else {
                continue;
            };
            let reason = format!("`{}` is not known: {}", unknown.name, unknown.stands_for);
            let variable = unknown.variable();
            let help = format!(
                "give it with `--vars FILE`, as `{}: VALUE`; without it the route file asks for the environment variable {variable}",
                quoted(&unknown.name)
            );
            let finding = findings.note(Verdict::Missing, &first.mark, &first.path, reason);
            finding.help(help).more += more.len();
            let asking = made.iter().filter(|one| holds(one.tree, &unknown.shown));
            finding.of = asking.map(Made::owner).collect();
            // what only decided did so for all of them
            if finding.of.is_empty() {
                finding.of = made.iter().map(Made::owner).collect();
            }
        }
    }
}

/// A key as YAML wants it.
fn quoted(name: &str) -> String {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
    let pseudo = name
        .strip_prefix("AWS::")
        .is_some_and(|rest| !rest.contains([':', ' ']));
    if plain || pseudo {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

/// Whether a text in `node` holds `shown`.
fn holds(node: &Node, shown: &str) -> bool {
    if let Kind::Scalar(scalar) = &node.kind {
        return scalar.text().contains(shown);
    }
    node.children().any(|child| holds(child, shown))
}

/// `MyRole.Arn` as `MY_ROLE_ARN`, `AWS::AccountId` as `AWS_ACCOUNT_ID`, `HTTPApi` as `HTTP_API`.
fn screaming(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut word = String::new();
    for (index, letter) in letters.iter().enumerate() {
        if !letter.is_ascii_alphanumeric() {
            if !word.is_empty() && !word.ends_with('_') {
                word.push('_');
            }
            continue;
        }
        let before = index.checked_sub(1).and_then(|index| letters.get(index));
        let after = letters.get(index + 1);
        let begins = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if begins && !word.ends_with('_') {
            word.push('_');
        }
        word.push(letter.to_ascii_uppercase());
    }
    let word = word.trim_end_matches('_');
    match word.chars().next() {
        None => "VALUE".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("VALUE_{word}"),
        Some(_) => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_variables_of_the_environment() {
        let cases = [
            ("MyRole.Arn", "MY_ROLE_ARN"),
            ("AWS::AccountId", "AWS_ACCOUNT_ID"),
            ("HTTPApi", "HTTP_API"),
            ("queue2Url", "QUEUE2_URL"),
            ("aws_sqs_queue.orders[0].url", "AWS_SQS_QUEUE_ORDERS_0_URL"),
            ("9lives", "VALUE_9LIVES"),
            ("::", "VALUE"),
        ];
        for (name, variable) in cases {
            assert_eq!(screaming(name), variable, "{name}");
        }
    }
}
