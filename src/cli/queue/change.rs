//! `receive`, `redrive` and `purge`: what changes where messages are. Each says what it did; `purge` asks first.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::json;

use super::failure::Failure;
use super::look::as_json;
use super::names::resolve;
use super::reach::Reach;
use super::{Purge, Receive, Redrive, text};
use crate::admin::queues::{self, Delete, Kind, MAX_RECEIVE, MoveView, QueueView, Take, Taken};
use crate::cli::{Exit, print};

/// How often a redrive is asked how far it is: soon at first, for most are short.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LATER_LOOKS: Duration = Duration::from_millis(500);

impl Receive {
    pub async fn perform(&self, reach: &Reach, json: bool) -> Result<Exit, Failure> {
        let listing = reach.list().await?;
        let queue = &resolve(&self.name, &listing.queues, Some(Kind::Spool))?.name;
        let mut left = self.count as usize;
        let mut received = 0;
        while left > 0 {
            let take = Take {
                max_messages: Some(left.min(MAX_RECEIVE)),
                visibility_timeout_seconds: self
                    .visibility_timeout
                    .map(|timeout| timeout.0.as_secs()),
            };
            let taken = reach.receive(queue, &take).await?;
            if taken.messages.is_empty() {
                break;
            }
            received += taken.messages.len();
            left -= taken.messages.len();
            let printed = if json {
                lines_of(&taken)?
            } else {
                taken
                    .messages
                    .iter()
                    .map(|message| text::message(message, true))
                    .collect()
            };
            // What could not be printed is not deleted: it becomes visible again.
            let mut out = io::stdout().lock();
            out.write_all(printed.as_bytes())
                .and_then(|()| out.flush())
                .map_err(|error| {
                    Failure::new(format!("the messages cannot be printed: {error}"))
                })?;
            drop(out);
            if self.delete {
                for receipt_handle in taken.messages.into_iter().filter_map(|m| m.receipt_handle) {
                    reach.delete(queue, &Delete { receipt_handle }).await?;
                }
            }
        }
        if received == 0 && !json {
            eprintln!("{queue} has nothing to receive now");
        }
        Ok(Exit::Ok)
    }
}

/// A line of JSON for each message: how many will come is not known beforehand.
fn lines_of(taken: &Taken) -> Result<String, Failure> {
    let mut lines = String::new();
    for message in &taken.messages {
        lines += &serde_json::to_string(message)
            .map_err(|error| Failure::new(format!("a message cannot be written: {error}")))?;
        lines.push('\n');
    }
    Ok(lines)
}

impl Redrive {
    pub async fn perform(&self, reach: &Reach, json: bool) -> Result<Exit, Failure> {
        let listing = reach.list().await?;
        let source = resolve(&self.name, &listing.queues, Some(Kind::DeadLetters))?;
        let to = match &self.to {
            Some(to) => Some(
                resolve(to, &listing.queues, Some(Kind::Spool))?
                    .name
                    .clone(),
            ),
            None => None,
        };
        let destination = to.clone().unwrap_or_else(|| home(source));
        let is_own = matches!(source.kind, Kind::Queue | Kind::Fifo);
        if is_own && source.dead_letters_of.is_empty() {
            return Err(
                Failure::new(format!("no queue's dead letters go to {}", source.name))
                    .help("`penstock queue ls` shows which queues hold dead letters"),
            );
        }
        if source.kind == Kind::Spool {
            return Err(Failure::new(format!("{} holds no dead letters", source.name))
                .help("its records are forwarded by the gateway; those that were refused are in dead:…"));
        }
        if self.cancel {
            let ended = reach.cancel(&source.name).await?;
            let task = followed(reach, &source.name, &ended.handle).await?;
            let destination = task.destination.clone().unwrap_or(destination);
            return shown(&task, &destination, json).map(|()| Exit::Ok);
        }
        if self.dry_run {
            return self.say(source, &destination, json);
        }
        let begun = reach
            .redrive(
                &source.name,
                queues::Redrive {
                    to,
                    rate: self.rate,
                    only: Some(self.only.clone()).filter(|only| !only.is_empty()),
                },
            )
            .await?;
        let task = followed(reach, &source.name, &begun.handle).await?;
        shown(&task, &destination, json)?;
        if task.state == "completed" {
            return Ok(Exit::Ok);
        }
        let why = task
            .failure
            .unwrap_or_else(|| "it was cancelled".to_owned());
        Err(Failure::new(format!("the redrive did not finish: {why}"))
            .help("what has been moved stays moved; run it again for the rest"))
    }

    fn say(&self, source: &QueueView, destination: &str, json: bool) -> Result<Exit, Failure> {
        let count = if self.only.is_empty() {
            source.visible + source.delayed
        } else {
            self.only.len() as u64
        };
        if json {
            print(&as_json(&json!({
                "dryRun": true, "source": source.name, "destination": destination, "toMove": count,
            }))?);
        } else {
            print(&format!(
                "would move {} from {} to {destination}\n",
                text::messages(count),
                source.name
            ));
        }
        Ok(Exit::Ok)
    }
}

/// How a task has ended.
fn shown(task: &MoveView, destination: &str, json: bool) -> Result<(), Failure> {
    if json {
        print(&as_json(task)?);
    } else {
        print(&format!("{}\n", text::moved(task, destination)));
    }
    Ok(())
}

/// Where dead letters come from.
fn home(source: &QueueView) -> String {
    match source.name.strip_prefix("dead:") {
        Some(target) => format!("spool:{target}"),
        None if source.dead_letters_of.is_empty() => "the queues they came from".to_owned(),
        None => source.dead_letters_of.join(", "),
    }
}

/// Waits for a task's end; shows how far it is, on a terminal.
async fn followed(reach: &Reach, source: &str, handle: &str) -> Result<MoveView, Failure> {
    let terminal = io::stderr().is_terminal();
    let mut pause = FIRST_LOOK;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LATER_LOOKS);
        let tasks = reach.moves(source).await?.moves;
        let Some(task) = tasks.into_iter().find(|task| task.handle == handle) else {
            return Err(
                Failure::new("the redrive was begun, and is no longer among the last ten")
                    .help("look at the queues with `penstock queue ls`"),
            );
        };
        if terminal {
            eprint!("\rmoved {} of {}", task.moved, task.to_move);
        }
        if task.is_over() {
            if terminal {
                eprint!("\r\x1b[K");
            }
            return Ok(task);
        }
    }
}

impl Purge {
    pub async fn perform(&self, reach: &Reach, json: bool) -> Result<Exit, Failure> {
        let listing = reach.list().await?;
        // What is deleted is not guessed.
        let queue = resolve(&self.name, &listing.queues, None)?;
        let depth = queue.depth();
        if self.dry_run {
            if json {
                print(&as_json(
                    &json!({ "dryRun": true, "queue": queue.name, "toPurge": depth }),
                )?);
            } else {
                print(&format!(
                    "would delete {} of {}\n",
                    text::messages(depth),
                    queue.name
                ));
            }
            return Ok(Exit::Ok);
        }
        if !self.yes {
            confirm(queue)?;
        }
        let purged = reach.purge(&queue.name).await?;
        if json {
            print(&as_json(&purged)?);
        } else {
            print(&format!(
                "deleted {} of {}\n",
                text::messages(purged.purged),
                queue.name
            ));
        }
        Ok(Exit::Ok)
    }
}

/// Asks on the terminal; without one there is nobody to ask.
fn confirm(queue: &QueueView) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "purging deletes {} of {}, and there is no terminal to ask on",
            text::messages(queue.depth()),
            queue.name
        ))
        .help("add --yes if that is meant; --dry-run says what would be deleted, `queue export` makes a copy"));
    }
    let nowhere_else = match queue.kind {
        Kind::Spool | Kind::DeadLetters => " They were acknowledged, and no target has them.",
        Kind::Queue | Kind::Fifo => "",
    };
    eprint!(
        "Delete {} of {}?{nowhere_else} [y/N] ",
        text::messages(queue.depth()),
        queue.name
    );
    let mut answer = String::new();
    // No answer is no consent.
    let read = io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new("nothing was deleted"))
    }
}
