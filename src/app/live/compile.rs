//! What a candidate is made of, read and compiled: texts, the files that they name, the secrets that AWS keeps.

use std::path::PathBuf;

use super::Live;
use crate::app::source::Place;
use crate::aws::Clients;
use crate::config::load::{Environment as _, SourceFile};
use crate::outbound;
use crate::plan::candidate::{Content, Refused};
use crate::plan::written::{Compiled, compiled, compiled_again};

/// What a candidate is compiled from.
#[derive(Clone)]
enum From {
    Texts(Vec<SourceFile>),
    Files(Vec<PathBuf>),
}

impl Live {
    /// Fetches secrets again; whether any is another than before.
    pub(in crate::app) async fn fetch(&self) -> bool {
        if !self.source.vault.draws_on_aws() {
            return false;
        }
        self.fetch_with(&self.aws, &self.outbound).await
    }

    async fn fetch_with(&self, aws: &Clients, via: &outbound::Client) -> bool {
        let fetched = self.source.vault.fetch(aws, via).await;
        for failure in &fetched.failed {
            tracing::warn!(
                secret = %failure.name,
                reason = failure.reason,
                "A secret cannot be fetched again; its old value stays in use"
            );
        }
        self.metrics.renewal.fetched(fetched.failed.is_empty());
        fetched.changed
    }

    /// Compiles a candidate, with secrets that nobody has asked for before; and whether some file that it is made of holds
    /// something else than when it was last read.
    pub(in crate::app) async fn compile(
        &self,
        content: &Content,
    ) -> Result<(Compiled, bool), Refused> {
        let from = self.from(content).await?;
        let (mut compiled, mut renewed) = self.compile_once(content, from.clone()).await?;
        if self.source.vault.has_stood_in() {
            // It names secrets that nobody has asked for before, perhaps of another account.
            let (aws, egress) = std::mem::take(&mut compiled.reach);
            match aws == self.running.aws && egress == self.running.egress {
                true => self.fetch_with(&self.aws, &self.outbound).await,
                false => {
                    let (aws, via) = (Clients::new(aws), outbound::Client::new(egress));
                    self.fetch_with(&aws, &via).await
                }
            };
            let again = self.compile_once(content, from).await?;
            renewed |= again.1;
            compiled = again.0;
        }
        Ok((compiled, renewed))
    }

    async fn from(&self, content: &Content) -> Result<From, Refused> {
        Ok(match (content, &self.source.place) {
            (Content::Running, _) => From::Texts(self.texts.clone()),
            (Content::Texts(texts), _) => From::Texts(texts.clone()),
            (Content::Anew, Place::Files(paths)) => From::Files(paths.clone()),
            (Content::Anew, Place::Remote(remote)) => {
                let fetched = remote.fetch().await;
                self.metrics.renewal.asked(fetched.is_ok());
                let text = fetched.map_err(|error| Refused::Build(error.to_string()))?;
                self.remark(None);
                From::Texts(vec![remote.named(text)])
            }
        })
    }

    async fn compile_once(
        &self,
        content: &Content,
        from: From,
    ) -> Result<(Compiled, bool), Refused> {
        // What is tried stands beside what runs, whose files are still looked at.
        let beside = matches!(content, Content::Texts(_)) || self.deployed.trial.is_some();
        let vault = self.source.vault.clone();
        let compiling = tokio::task::spawn_blocking(move || {
            let before = vault.forget_files();
            let compiled = match from {
                From::Texts(texts) => compiled_again(texts, &*vault),
                From::Files(paths) => compiled(&paths, &*vault),
            };
            let renewed = vault.read_otherwise(&before);
            if beside || compiled.blueprint.is_none() {
                // A file that is missing at the moment is looked for again.
                vault.remember_files(before);
            }
            (compiled, renewed)
        });
        compiling
            .await
            .map_err(|error| Refused::Build(error.to_string()))
    }
}
