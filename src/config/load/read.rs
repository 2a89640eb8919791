//! A tree → a value, with every problem at once: read, record what made it fail, refuse that node, read again. What
//! fails only because something in it was refused is an echo and goes unsaid. Nothing that was substituted is shown.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use super::de::{Reader, has_two_readings};
use super::fault::{Fault, Reason};
use super::tree::{Kind, Node, Reading, Refusal, Scalar};
use crate::model::path::ConfigPath;
use crate::model::problem::{Place, Problems};

/// The most problems that one reading reports.
pub const MAX_PROBLEMS: usize = 100;

/// Reads a value from `root` and notes every problem with its path and place. Returns what could be read: parts that
/// were refused are left out, and are marked so in the tree. `partial` says that the tree is known to lack something.
pub fn read<T: DeserializeOwned>(
    root: &mut Node,
    partial: bool,
    problems: &mut Problems,
) -> Option<T> {
    let mut reported = 0;
    loop {
        let fault = match T::deserialize(Reader(root)) {
            Ok(value) => return Some(value),
            Err(fault) => fault,
        };
        let path = fault.path();
        let root_place = root.mark.place();
        let node = root.at_mut(&path)?;
        if fault.reason == Reason::Form && turn(node) {
            continue;
        }
        let at_root = path.0.is_empty();
        let echo = is_echo(node, &fault) || (at_root && partial);
        if !echo {
            if reported == MAX_PROBLEMS {
                let message = format!("more than {MAX_PROBLEMS} problems; the rest is not shown");
                problems.error(&ConfigPath::root(), message).at(root_place);
                return None;
            }
            reported += 1;
            let meant = match &fault.reason {
                Reason::Unknown { meant, .. } => meant.clone(),
                _ => None,
            };
            let fault = without_secrets::<T>(root, &path, fault);
            note(&path, &fault, root_place, problems);
            refuse(root, &path, meant)?;
        } else {
            refuse(root, &path, None)?;
        }
        if at_root {
            return None;
        }
    }
}

fn refuse(root: &mut Node, path: &ConfigPath, meant: Option<String>) -> Option<()> {
    root.at_mut(path)?.refused = Some(Refusal { meant });
    Some(())
}

fn note(path: &ConfigPath, fault: &Fault, root: Place, problems: &mut Problems) {
    let place = fault.mark.as_ref().map_or(root, |mark| mark.place());
    let problem = problems.error(path, &fault.message).at(place);
    if let Some(help) = &fault.help {
        problem.help(help);
    }
}

/// Gives a scalar that was refused for its form its other reading; `false` when there is none left to try.
fn turn(node: &mut Node) -> bool {
    if !has_two_readings(node) {
        return false;
    }
    let Kind::Scalar(scalar) = &mut node.kind else {
        return false;
    };
    scalar.reading = match scalar.reading {
        Reading::First => Reading::Second,
        Reading::Second => Reading::Settled,
        Reading::Settled => return false,
    };
    true
}

/// Whether the fault at `node` is there only because something below it was refused.
fn is_echo(node: &Node, fault: &Fault) -> bool {
    match &fault.reason {
        _ if fault.about_key => false,
        Reason::Missing(field) => match &node.kind {
            Kind::Mapping(entries) => entries.iter().any(|entry| {
                entry.value.refused.as_ref().is_some_and(|refusal| {
                    entry.key.text == *field || refusal.meant.as_deref() == Some(*field)
                })
            }),
            _ => false,
        },
        _ => node.has_refusal(),
    }
}

/// The fault in words that show nothing of what was substituted below `path`: the reading is repeated with the names
/// of the sources in place of their values.
fn without_secrets<T: DeserializeOwned>(root: &mut Node, path: &ConfigPath, fault: Fault) -> Fault {
    if fault.about_key || matches!(fault.reason, Reason::Missing(_)) {
        return fault;
    }
    let Some(original) = root.at(path).cloned() else {
        return fault;
    };
    let mut substituted = Vec::new();
    collect_substituted(&original, &mut substituted);
    let Some(first) = substituted.first() else {
        return fault;
    };
    if let Some(node) = root.at_mut(path) {
        mask(node);
    }
    let again = T::deserialize(Reader(root)).err();
    if let Some(node) = root.at_mut(path) {
        *node = original.clone();
    }
    let origin = first.origin();
    let shows = |text: &str| {
        let mut secrets = substituted.iter().flat_map(|scalar| scalar.secrets());
        secrets.any(|secret| reveals(text, secret))
    };
    let words = match again {
        // this reading knew the sources only by name
        Some(again) if again.path() == *path && !again.about_key => again,
        _ if shows(&fault.message) || fault.help.as_deref().is_some_and(shows) => {
            return fault.reworded(format!("{origin} is refused here; it is not shown"), None);
        }
        _ => fault.clone(),
    };
    let message = name_origin(&words.message, &original, first, &origin);
    let help = words.help.clone();
    fault.reworded(message, help)
}

/// Says `a value from ${env:X}` where the masked text is quoted, or adds it at the end.
fn name_origin(message: &str, node: &Node, scalar: &Scalar, origin: &str) -> String {
    let masked = scalar.masked();
    let shown = format!("{:?}", masked.text());
    for quoted in [format!("the text {shown}"), shown] {
        if scalar.wholly_substituted() && message.contains(&quoted) {
            return message.replace(&quoted, origin);
        }
    }
    match node.kind {
        Kind::Scalar(_) => format!("{message} (it holds {origin})"),
        _ => message.to_owned(),
    }
}

fn collect_substituted<'a>(node: &'a Node, found: &mut Vec<&'a Scalar>) {
    match &node.kind {
        Kind::Scalar(scalar) if !scalar.origins.is_empty() => found.push(scalar),
        _ => {
            for child in node.children() {
                collect_substituted(child, found);
            }
        }
    }
}

fn mask(node: &mut Node) {
    if let Kind::Scalar(scalar) = &mut node.kind {
        *scalar = scalar.masked();
    }
    node.children_mut().for_each(mask);
}

/// Whether any four characters in a row of `secret` (or all of it, if shorter) stand in `text`, in any case.
fn reveals(text: &str, secret: &str) -> bool {
    const RUN: usize = 4;
    let runs = |text: &str, run: usize| -> HashSet<String> {
        let letters: Vec<char> = text.to_lowercase().chars().collect();
        letters.windows(run).map(|w| w.iter().collect()).collect()
    };
    let run = secret.to_lowercase().chars().count().min(RUN);
    run > 0 && !runs(text, run).is_disjoint(&runs(secret, run))
}
