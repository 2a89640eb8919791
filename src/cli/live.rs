//! Looks at targets, for people: what `penstock plan --live` prints.

use super::Exit;
use super::table::table;
use crate::aws::Clients;
use crate::plan::Blueprint;
use crate::plan::live::{Look, Verdict, look};

/// Looks at every target of a configuration, with the credentials and endpoints that it would be called with.
pub async fn looked(blueprint: &Blueprint) -> Vec<Look> {
    let clients = Clients::new(blueprint.aws.clone());
    look(blueprint, &clients).await
}

/// A table of what was found, then what does not fit.
pub fn shown(looks: &[Look]) -> String {
    let row = |look: &Look| {
        vec![
            look.verdict.name().to_owned(),
            look.kind.to_owned(),
            look.target.clone(),
            look.facts.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = looks.iter().map(row).collect();
    let mut text = table(&["LOOK", "KIND", "TARGET", "IT IS"], &rows);
    for look in looks.iter().filter(|look| !look.findings.is_empty()) {
        let routes = look.routes.join(", ");
        for finding in &look.findings {
            let verdict = look.verdict.name();
            text += &format!("{verdict}: {} ({routes}): {finding}\n", look.target);
        }
    }
    text
}

/// Whether some route cannot work.
pub fn exit(looks: &[Look]) -> Exit {
    match looks.iter().any(|look| look.verdict == Verdict::Error) {
        true => Exit::Problems,
        false => Exit::Ok,
    }
}
