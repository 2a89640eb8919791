//! `penstock store`: what can be done to a store's files while no gateway has them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::queue::{Failure, messages};
use super::table::table;
use super::{Exit, print};
use crate::store::{Clock, QueueSalvage, Salvage, salvage};

/// Mend a store's files while no gateway has them
#[derive(Debug, Args)]
pub struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Recover(Recover),
}

/// Save what can be read of a damaged store into a new file; the old files are set aside, never deleted. A store with
/// which nothing is wrong is left as it is
#[derive(Debug, Args)]
struct Recover {
    /// The store's folder
    directory: PathBuf,
    /// Write a new file also where nothing is wrong with the old one
    #[arg(long)]
    force: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Store {
    pub fn run(&self) -> Exit {
        let Command::Recover(recover) = &self.command;
        super::queue::log_to_terminal();
        match salvage(&recover.directory, &Clock::system(), recover.force) {
            Ok(salvage) => {
                if recover.json {
                    print(&format!("{:#}\n", as_json(&salvage)));
                } else if salvage.set_aside.is_empty() {
                    print(&untouched(&salvage));
                } else {
                    print(&report(&salvage));
                }
                if salvage.is_whole() {
                    Exit::Ok
                } else {
                    Exit::Problems
                }
            }
            Err(error) => Failure::from(error).report(),
        }
    }
}

fn untouched(salvage: &Salvage) -> String {
    let held = salvage.queues.iter().map(|queue| queue.saved).sum();
    format!(
        "nothing is wrong with the store and its {}; it was not changed (--force writes a new file all the same)\n",
        messages(held)
    )
}

fn report(salvage: &Salvage) -> String {
    let row = |queue: &QueueSalvage| {
        let lost = if queue.rebuilt {
            "not known".to_owned()
        } else {
            queue.lost.to_string()
        };
        vec![
            queue.name.clone(),
            queue.saved.to_string(),
            lost,
            queue.found.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = salvage.queues.iter().map(row).collect();
    let mut text = table(&["QUEUE", "SAVED", "LOST", "WITHOUT PLACE"], &rows);
    for (name, rows) in &salvage.tables {
        if rows.gaps {
            text += &format!(
                "lost: some rows of the table {name} ({} were saved)\n",
                rows.saved
            );
        } else if rows.saved > 0 {
            text += &format!("saved: {} rows of the table {name}\n", rows.saved);
        }
    }
    if salvage.lost_commits > 0 {
        text += &format!(
            "lost: what the last {} commits held; they had been synced, and the file does not know them\n",
            salvage.lost_commits
        );
    }
    if !salvage.state_read {
        text += "lost: the key of the receipt handles; those given out before are void\n";
    }
    if salvage.unreadable_bytes > 0 {
        text += &format!("the disk did not give {} bytes\n", salvage.unreadable_bytes);
    }
    let rebuilt = salvage.queues.iter().filter(|queue| queue.rebuilt);
    for queue in rebuilt {
        text += &format!(
            "rebuilt: {}, with SQS's defaults; what it counted before is not known\n",
            queue.name
        );
    }
    for path in &salvage.set_aside {
        text += &format!("set aside: {}\n", path.display());
    }
    text += if salvage.is_whole() {
        "nothing was lost\n"
    } else {
        "some was lost; keep the files that were set aside until nobody misses anything\n"
    };
    text
}

fn as_json(salvage: &Salvage) -> Value {
    let queues: Vec<Value> = salvage
        .queues
        .iter()
        .map(|queue| {
            json!({
                "name": queue.name, "saved": queue.saved, "withoutPlace": queue.found, "rebuilt": queue.rebuilt,
                "lost": if queue.rebuilt { Value::Null } else { queue.lost.into() },
            })
        })
        .collect();
    let tables: serde_json::Map<String, Value> = salvage
        .tables
        .iter()
        .map(|(name, rows)| {
            let rows = json!({ "saved": rows.saved, "gaps": rows.gaps });
            ((*name).to_owned(), rows)
        })
        .collect();
    json!({
        "sound": salvage.sound, "whole": salvage.is_whole(), "queues": queues, "tables": tables, "lostCommits": salvage.lost_commits,
        "unreadableBytes": salvage.unreadable_bytes, "stateRead": salvage.state_read,
        "setAside": salvage.set_aside.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
    })
}
