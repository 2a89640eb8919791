//! `ls`, `peek` and `export`: what is there, and nothing of it touched.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::Path;

use super::failure::Failure;
use super::names::resolve;
use super::reach::Reach;
use super::{Export, Ls, Peek, text};
use crate::admin::queues::{Kind, Listing, MAX_PAGE, MessageView, Page};
use crate::cli::{Exit, print};

impl Ls {
    pub async fn perform(&self, reach: &Reach, json: bool) -> Result<Exit, Failure> {
        let listing = reach.list().await?;
        if json {
            print(&as_json(&listing)?);
        } else {
            print(&text::listing(&listing, self.ledger));
            warn(&listing);
        }
        Ok(Exit::Ok)
    }
}

/// What is wrong with the store, beside the table.
fn warn(listing: &Listing) {
    if listing.queues.is_empty() {
        eprintln!("the store holds no queues");
    }
    if listing.health != "healthy" {
        eprintln!("warning: the store is {}", listing.health);
    }
    if listing.lost_commits > 0 {
        eprintln!(
            "warning: {} commits that had been synced were missing when the store was opened",
            listing.lost_commits
        );
    }
    if listing.expiry_suspended {
        eprintln!(
            "warning: the clock stepped; nothing expires until it has been steady for an hour"
        );
    }
}

impl Peek {
    pub async fn perform(&self, reach: &Reach, json: bool) -> Result<Exit, Failure> {
        let listing = reach.list().await?;
        let queue = &resolve(&self.name, &listing.queues, Some(Kind::Spool))?.name;
        let wanted = usize::from(self.count);
        let mut messages: Vec<MessageView> = Vec::new();
        let mut after = self.after;
        // A page may hold less than was asked for, where bodies are large.
        let next = loop {
            let page = reach
                .messages(queue, after, wanted - messages.len())
                .await?;
            after = page.next;
            messages.extend(page.messages);
            if page.next.is_none() || messages.len() >= wanted {
                break page.next;
            }
        };
        if json {
            let queue = queue.clone();
            print(&as_json(&Page {
                queue,
                messages,
                next,
            })?);
            return Ok(Exit::Ok);
        }
        let blocks: Vec<String> = messages
            .iter()
            .map(|message| text::message(message, self.body))
            .collect();
        print(&blocks.join("\n"));
        match next {
            Some(next) => eprintln!("\nmore may follow: --after {next}"),
            None if messages.is_empty() => eprintln!("{queue} holds nothing here"),
            None => {}
        }
        Ok(Exit::Ok)
    }
}

impl Export {
    pub async fn perform(&self, reach: &Reach) -> Result<Exit, Failure> {
        let listing = reach.list().await?;
        let queue = &resolve(&self.name, &listing.queues, Some(Kind::Spool))?.name;
        let written = match &self.output {
            None => write_all(reach, queue, &mut io::stdout().lock()).await,
            Some(file) => to_file(reach, queue, file).await,
        }?;
        eprintln!("exported {} of {queue}", text::messages(written));
        Ok(Exit::Ok)
    }
}

/// Writes beside the file, and gives it its name when it is whole and on disk.
async fn to_file(reach: &Reach, queue: &str, path: &Path) -> Result<u64, Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let refused = |error: io::Error| Failure::new(format!("{}: {error}", partial.display()));
    let file = File::create(partial).map_err(refused)?;
    let mut out = BufWriter::new(file);
    let written = write_all(reach, queue, &mut out).await?;
    let file = out
        .into_inner()
        .map_err(|error| refused(error.into_error()))?;
    file.sync_all().map_err(refused)?;
    std::fs::rename(partial, path).map_err(refused)?;
    Ok(written)
}

/// Page by page, in the order of sending. What is there from beginning to end is written once, whatever comes and goes
/// meanwhile.
async fn write_all(reach: &Reach, queue: &str, out: &mut impl Write) -> Result<u64, Failure> {
    let progress = io::stderr().is_terminal() && !io::stdout().is_terminal();
    let mut written = 0;
    let mut after = None;
    loop {
        let page = reach.messages(queue, after, MAX_PAGE).await?;
        for message in &page.messages {
            let line = serde_json::to_string(message)
                .map_err(|error| Failure::new(format!("a message cannot be written: {error}")))?;
            writeln!(out, "{line}").map_err(|error| broken(written, &error))?;
            written += 1;
        }
        if progress {
            eprint!("\r{written} messages");
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if progress {
        eprint!("\r");
    }
    out.flush().map_err(|error| broken(written, &error))?;
    Ok(written)
}

fn broken(written: u64, error: &io::Error) -> Failure {
    Failure::new(format!(
        "the export broke off after {}: {error}",
        text::messages(written)
    ))
}

/// JSON for programs.
pub fn as_json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::new(format!("the answer cannot be written: {error}")))
}
