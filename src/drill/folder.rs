//! The working folder of a drill: the gateway's logs, and the disk of its store.

use std::io;
use std::path::{Path, PathBuf};

use super::report::Report;

/// The working folder; gone with its owner unless it is kept.
pub struct Folder {
    pub path: PathBuf,
    keep: bool,
}

impl Folder {
    /// Makes a new one among the temporary files.
    pub fn make(seed: u64, keep: bool) -> io::Result<Folder> {
        let name = format!("penstock-drill-{seed:x}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Folder { path, keep })
    }

    /// Copies the store out of what is going to be unmounted, where the folder is kept.
    pub fn finish(&self, mut report: Report, store: &Path) -> io::Result<Report> {
        if self.keep {
            let copy = self.path.join("store");
            if store.is_dir() && !copy.exists() {
                std::fs::create_dir(&copy)?;
                for entry in std::fs::read_dir(store)? {
                    let entry = entry?;
                    std::fs::copy(entry.path(), copy.join(entry.file_name()))?;
                }
            }
            report.kept = Some(self.path.clone());
        }
        Ok(report)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!(
                "warning: {} cannot be removed: {error}",
                self.path.display()
            );
        }
    }
}
