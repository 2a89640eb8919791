//! The configurations that were deployed, and where the stage stands. What is told of them is JSON of whoever deploys; here
//! it only outlives the process. Rows are written whole and synced: an answer means that it is on disk.

use rusqlite::OptionalExtension as _;

use super::Store;
use super::commit::Durability;
use super::error::StoreError;
use super::group::{Group, Outcome};
use super::space::PAGE;

/// One deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentRow {
    /// Its place in the history.
    pub n: i64,
    /// JSON.
    pub told: String,
    /// JSON; `None` where the texts are not kept, or are those of another row.
    pub texts: Option<String>,
}

impl DeploymentRow {
    fn bytes(&self) -> u64 {
        (self.told.len() + self.texts.as_ref().map_or(0, String::len)) as u64
    }
}

/// What was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployments {
    /// In the order of their places.
    pub rows: Vec<DeploymentRow>,
    /// Where the stage stands, as JSON; `None` if nothing was deployed yet.
    pub state: Option<String>,
}

impl Store {
    /// Saves deployments (one of the same place is replaced) and where the stage stands, and forgets others; all of it or
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Unavailable`] and the like: nothing was changed.
    pub async fn save_deployments(
        &self,
        rows: Vec<DeploymentRow>,
        forget: Vec<i64>,
        state: String,
    ) -> Result<(), StoreError> {
        self.order(move |writer| {
            let bytes: u64 = rows.iter().map(DeploymentRow::bytes).sum();
            writer.uncounted += bytes + 2 * PAGE * (rows.len() + forget.len() + 1) as u64;
            writer.transact(Durability::Durable, |group, _| {
                group.save_deployments(&rows, &forget, &state)
            })?
        })
        .await
    }

    /// What was saved.
    pub async fn deployments(&self) -> Result<Deployments, StoreError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT n, told, texts FROM deployment ORDER BY n")?;
            let rows = statement.query_map([], |row| {
                Ok(DeploymentRow {
                    n: row.get(0)?,
                    told: row.get(1)?,
                    texts: row.get(2)?,
                })
            })?;
            let rows = rows.collect::<rusqlite::Result<_>>()?;
            let state = connection
                .prepare_cached("SELECT state FROM stage WHERE id = 1")?
                .query_row([], |row| row.get(0))
                .optional()?;
            Ok(Deployments { rows, state })
        })
        .await
    }
}

impl Group<'_> {
    fn save_deployments(
        &mut self,
        rows: &[DeploymentRow],
        forget: &[i64],
        state: &str,
    ) -> Outcome<()> {
        // Asked for before anything is written: what is refused halfway would be committed by half.
        let bytes = rows.iter().map(DeploymentRow::bytes).sum();
        if let Err(reason) = self.room.take(bytes) {
            return Ok(Err(StoreError::Full(reason)));
        }
        for row in rows {
            self.connection
                .prepare_cached(
                    "INSERT INTO deployment (n, told, texts) VALUES (?1, ?2, ?3)
                     ON CONFLICT (n) DO UPDATE SET told = ?2, texts = coalesce(?3, texts)",
                )?
                .execute((row.n, &row.told, &row.texts))?;
        }
        for n in forget {
            self.connection
                .prepare_cached("DELETE FROM deployment WHERE n = ?1")?
                .execute([n])?;
        }
        self.connection
            .prepare_cached(
                "INSERT INTO stage (id, state) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET state = ?1",
            )?
            .execute([state])?;
        Ok(Ok(()))
    }
}
