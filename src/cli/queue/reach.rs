//! How the queues are reached: through the admin listener of a running gateway, or in the files of a stopped one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::IgnoredAny;

use super::Place;
use super::client::{Client, below};
use super::failure::Failure;
use crate::admin::queues::{
    Begun, Delete, Listing, Moves, Page, Purged, Queues, Redrive, Take, Taken,
};
use crate::cli::load::{blueprint_or_problems, compiled};
use crate::model::secret::Secret;
use crate::store::{Options, Store};

const DEFAULT_ADMIN: &str = "127.0.0.1:9901";
/// A stopped gateway's configured size is not known here, and nothing is sent.
const AMPLE: u64 = 1 << 43;

/// The queues, wherever they are.
pub enum Reach {
    Running(Box<Client>),
    Stopped(Queues, Store),
}

impl Reach {
    /// Finds the gateway, or opens the files.
    pub fn of(place: &Place) -> Result<Reach, Failure> {
        if let Some(directory) = &place.store {
            let store = opened(directory)?;
            return Ok(Reach::Stopped(Queues::new(store.clone()), store));
        }
        let client = running(place.admin.as_ref(), &place.config)?;
        Ok(Reach::Running(Box::new(client)))
    }

    /// Lets go of the files.
    pub async fn close(&self) {
        if let Reach::Stopped(_, store) = self {
            store.close().await;
        }
    }

    pub async fn list(&self) -> Result<Listing, Failure> {
        match self {
            Reach::Running(client) => client.get("").await,
            Reach::Stopped(queues, _) => Ok(queues.list()),
        }
    }

    pub async fn messages(
        &self,
        queue: &str,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page, Failure> {
        match self {
            Reach::Running(client) => {
                let after = after.map_or_else(String::new, |number| format!("&after={number}"));
                let query = format!("messages?limit={limit}{after}");
                client.get(&below(queue, &query)).await
            }
            Reach::Stopped(queues, _) => Ok(queues.messages(queue, after, limit).await?),
        }
    }

    pub async fn receive(&self, queue: &str, take: &Take) -> Result<Taken, Failure> {
        match self {
            Reach::Running(client) => client.post(&below(queue, "receive"), take).await,
            Reach::Stopped(queues, _) => Ok(queues.receive(queue, take).await?),
        }
    }

    pub async fn delete(&self, queue: &str, delete: &Delete) -> Result<(), Failure> {
        match self {
            Reach::Running(client) => {
                let IgnoredAny = client.post(&below(queue, "delete"), delete).await?;
                Ok(())
            }
            Reach::Stopped(queues, _) => Ok(queues.delete(queue, delete).await?),
        }
    }

    pub async fn redrive(&self, queue: &str, redrive: Redrive) -> Result<Begun, Failure> {
        match self {
            Reach::Running(client) => client.post(&below(queue, "redrive"), &redrive).await,
            Reach::Stopped(queues, _) => Ok(queues.redrive(queue, redrive).await?),
        }
    }

    pub async fn cancel(&self, queue: &str) -> Result<Begun, Failure> {
        match self {
            Reach::Running(client) => {
                let nothing = serde_json::Map::new();
                client.post(&below(queue, "cancel"), &nothing).await
            }
            Reach::Stopped(queues, _) => Ok(queues.cancel(queue).await?),
        }
    }

    pub async fn moves(&self, queue: &str) -> Result<Moves, Failure> {
        match self {
            Reach::Running(client) => client.get(&below(queue, "moves")).await,
            Reach::Stopped(queues, _) => Ok(queues.moves(queue).await?),
        }
    }

    pub async fn purge(&self, queue: &str) -> Result<Purged, Failure> {
        match self {
            Reach::Running(client) => {
                let nothing = serde_json::Map::new();
                client.post(&below(queue, "purge"), &nothing).await
            }
            Reach::Stopped(queues, _) => Ok(queues.purge(queue).await?),
        }
    }
}

/// The admin listener of a running gateway: the one that is named, else the environment's, else the configuration's.
pub fn running(admin: Option<&String>, config: &[PathBuf]) -> Result<Client, Failure> {
    let from_environment = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut token = from_environment("PENSTOCK_ADMIN_TOKEN").map(Secret::new);
    let mut address = admin
        .cloned()
        .or_else(|| from_environment("PENSTOCK_ADMIN"));
    if !config.is_empty() && (address.is_none() || token.is_none()) {
        let Some(blueprint) = blueprint_or_problems(compiled(config)) else {
            return Err(Failure::new("the configuration has errors")
                .help("say where the admin listener is with --admin URL"));
        };
        token = token.or(blueprint.admin_token);
        if address.is_none() && blueprint.admin.ends_with(":0") {
            return Err(Failure::new(
                "admin.bind has port 0: which port that became is not in the configuration",
            )
            .help("give the address that `penstock serve` printed, with --admin URL"));
        }
        address = address.or_else(|| Some(connectable(&blueprint.admin)));
    }
    let address = address.as_deref().unwrap_or(DEFAULT_ADMIN);
    Client::new(address, token)
}

/// An address that says "every interface" is reached on this machine.
fn connectable(bind: &str) -> String {
    match bind.rsplit_once(':') {
        Some(("0.0.0.0", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => bind.to_owned(),
    }
}

/// What the store has to say while its files are open is for the person at the terminal.
pub fn log_to_terminal() {
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    // A process that has a log already keeps it.
    let _ = log.try_init();
}

fn opened(directory: &Path) -> Result<Store, Failure> {
    if !directory.join("store.db").exists() && !directory.join("commits").exists() {
        return Err(
            Failure::new(format!("there is no store in {}", directory.display()))
                .help("give the folder that store.path names; it holds a file store.db"),
        );
    }
    log_to_terminal();
    Ok(Store::open(Options {
        max_size: AMPLE,
        lock_wait: Duration::ZERO,
        min_free: 0,
        ..Options::new(directory)
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_reached_on_this_machine() {
        assert_eq!(connectable("0.0.0.0:9901"), "127.0.0.1:9901");
        assert_eq!(connectable("[::]:1"), "[::1]:1");
        assert_eq!(connectable("10.0.0.5:9901"), "10.0.0.5:9901");
    }
}
