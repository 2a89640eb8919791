//! `penstock queue`: looks into queues, spools and dead letters, and moves or removes what is in them; on a running
//! gateway through its admin listener, on a stopped one's files directly. Both answer in the same words.

mod change;
mod client;
mod failure;
mod look;
mod names;
mod reach;
mod text;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Exit;
use crate::model::value::Span;
pub use client::Client;
pub use failure::Failure;
use reach::Reach;
pub use reach::{log_to_terminal, running};
pub use text::messages;

/// Look into queues, spools and dead letters, and move or remove what is in them
#[derive(Debug, Args)]
pub struct Queue {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,
}

/// Where the queues are: a running gateway, or the files of one that is stopped.
#[derive(Debug, Args)]
struct Place {
    /// The admin listener of a running gateway; else the environment's PENSTOCK_ADMIN, else what --config says, else
    /// http://127.0.0.1:9901. Its admin.token is taken from PENSTOCK_ADMIN_TOKEN, or from --config
    #[arg(long, global = true, value_name = "URL", conflicts_with = "store")]
    admin: Option<String>,
    /// The running gateway's route file, or a folder of them: its admin.bind and admin.token are used
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "store"
    )]
    config: Vec<PathBuf>,
    /// The store's folder of a gateway that is stopped
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(Ls),
    Peek(Peek),
    Receive(Receive),
    Redrive(Redrive),
    Purge(Purge),
    Export(Export),
}

/// List queues, spools and dead letters
#[derive(Debug, Args)]
struct Ls {
    /// Show what became of the messages too
    #[arg(long)]
    ledger: bool,
}

/// Show messages without touching them
#[derive(Debug, Args)]
struct Peek {
    /// The queue, or a part of its name that only it has; of a target, its spool is meant
    name: String,
    /// How many
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// Begin behind the message with this number
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    after: Option<i64>,
    /// Show whole bodies
    #[arg(long)]
    body: bool,
}

/// Receive messages of an embedded queue as a consumer does: they stay invisible to others for a while
#[derive(Debug, Args)]
struct Receive {
    /// The queue, or a part of its name that only it has
    name: String,
    /// At most how many
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Delete each message once it has been printed
    #[arg(long)]
    delete: bool,
    /// How long they stay invisible to others, 0s to 12h; default: what the queue says
    #[arg(long, value_name = "TIME")]
    visibility_timeout: Option<Span>,
}

/// Send dead letters back to where they came from, or elsewhere; waits until it is done
#[derive(Debug, Args)]
struct Redrive {
    /// The dead-letter queue, or a part of its name that only it or its target has
    name: String,
    /// Another queue to send them to
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// At most so many a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Only the messages with these numbers, as peek shows them
    #[arg(long, value_name = "NUMBER", num_args = 1.., value_delimiter = ',')]
    only: Vec<i64>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// End the redrive that runs; what has been moved stays moved
    #[arg(long, conflicts_with_all = ["to", "rate", "only", "dry_run"])]
    cancel: bool,
}

/// Delete all messages of a queue
#[derive(Debug, Args)]
struct Purge {
    /// The queue, or a part of its name that only it has
    name: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Write every message of a queue as a line of JSON, and leave it where it is
#[derive(Debug, Args)]
struct Export {
    /// The queue, or a part of its name that only it has; of a target, its spool is meant
    name: String,
    /// The file to write; it appears once it is whole. Default: standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Queue {
    pub fn run(&self) -> Exit {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let ended = match runtime {
            Ok(runtime) => runtime.block_on(self.perform()),
            Err(error) => Err(Failure::new(format!(
                "the runtime cannot be started: {error}"
            ))),
        };
        ended.unwrap_or_else(|failure| failure.report())
    }

    async fn perform(&self) -> Result<Exit, Failure> {
        let reach = Reach::of(&self.place)?;
        let done = match &self.command {
            Command::Ls(ls) => ls.perform(&reach, self.json).await,
            Command::Peek(peek) => peek.perform(&reach, self.json).await,
            Command::Receive(receive) => receive.perform(&reach, self.json).await,
            Command::Redrive(redrive) => redrive.perform(&reach, self.json).await,
            Command::Purge(purge) => purge.perform(&reach, self.json).await,
            Command::Export(export) => export.perform(&reach).await,
        };
        reach.close().await;
        done
    }
}
