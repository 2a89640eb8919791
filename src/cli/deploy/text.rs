//! Deployments and changes, for people.

use crate::admin::deployments::{CanaryView, Listing, Seen, Told};
use crate::cli::table::table;
use crate::plan::change::Changes;

/// What was deployed; `all`: with what each changed.
pub fn listing(listing: &Listing, all: bool) -> String {
    let mut text = String::new();
    if let Some(canary) = &listing.canary {
        text += &shown(canary);
        text.push('\n');
    }
    let row = |told: &Told| {
        let note = told.reason.clone().or_else(|| {
            let changes = told.changes.as_ref()?;
            Some(changes.summary())
        });
        let first = note.as_deref().unwrap_or("-").lines().next();
        let pinned = listing.pinned.contains(&told.id);
        vec![
            told.id.clone(),
            told.at.clone(),
            told.status.name().to_owned() + if pinned { ", pinned" } else { "" },
            told.by.clone(),
            told.from.clone(),
            first.unwrap_or("-").to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = listing.deployments.iter().map(row).collect();
    text += &table(&["ID", "AT", "STATUS", "BY", "FROM", "WHAT"], &rows);
    if all {
        for told in &listing.deployments {
            let reason = told.reason.as_deref().unwrap_or_default();
            let changed = told.changes.as_ref().map(changes).unwrap_or_default();
            if !reason.is_empty() || !changed.is_empty() {
                text += &format!("\n{} {}\n", told.id, told.at);
                for line in reason.lines().chain(changed.lines()) {
                    text += &format!("  {line}\n");
                }
            }
        }
    }
    text
}

fn shown(canary: &CanaryView) -> String {
    let seen = |seen: Seen| {
        format!(
            "{} requests, {} failed, {} refused, {} slow",
            seen.requests, seen.failed, seen.refused, seen.slow
        )
    };
    let waiting = match canary.waiting.as_str() {
        "" => String::new(),
        waiting => format!("; {waiting}"),
    };
    format!(
        "canary {} serves {} (step {} of {}: {}) for {:.0} s{waiting}\n  canary    {}\n  baseline  {}\n",
        canary.id,
        canary.share,
        canary.step,
        canary.steps.len(),
        canary.steps.join(", "),
        canary.step_seconds,
        seen(canary.canary),
        seen(canary.baseline),
    )
}

/// What a configuration changes.
pub fn changes(changes: &Changes) -> String {
    let mut text = String::new();
    for route in &changes.added {
        text += &format!("+ {route}\n");
    }
    for route in &changes.removed {
        text += &format!("- {route}\n");
    }
    for change in &changes.changed {
        text += &format!("~ {}\n", change.route);
        for notice in &change.noticed {
            text += &format!(
                "    {}: {} -> {}\n",
                notice.what, notice.before, notice.after
            );
        }
        for parameter in &change.parameters {
            let or_none =
                |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
            text += &format!(
                "    . {}: {} -> {}\n",
                parameter.path,
                or_none(&parameter.before),
                or_none(&parameter.after)
            );
        }
    }
    for setting in &changes.settings {
        text += &format!("~ {setting}\n");
    }
    text
}
