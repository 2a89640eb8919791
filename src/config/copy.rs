//! The last good copy on disk of what is kept elsewhere, a configuration or a table of versions: written to another file first and then renamed, readable by its owner alone, with
//! a hash that tells whether it is whole.
//!
//! The first line says what it is a copy of, the hash of what follows, and when it was fetched:
//! `# penstock copy of s3://routes/shop.yaml, sha256:…, fetched 2026-11-22T12:00:00Z`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A place for copies of one text.
#[derive(Clone, Debug)]
pub struct Copy {
    path: PathBuf,
    of: String,
}

/// A copy, found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub text: String,
    /// When it was fetched, as RFC 3339 writes it.
    pub since: String,
}

impl Copy {
    /// In that file, of a source of that name.
    pub fn new(path: PathBuf, of: String) -> Copy {
        Copy { path, of }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a text in place of the one before. Blocks.
    pub fn keep(&self, text: &str, now: SystemTime) -> io::Result<()> {
        let now = OffsetDateTime::from(now).format(&Rfc3339);
        let now = now.map_err(io::Error::other)?;
        let head = format!("{}{}, fetched {now}\n", self.begins(), hash(text));
        if let Some(folder) = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            fs::create_dir_all(folder)?;
        }
        let mut next = self.path.clone().into_os_string();
        next.push(".next");
        let next = PathBuf::from(next);
        // What an earlier try has left may have other permissions.
        let _ = fs::remove_file(&next);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&next)?;
        file.write_all(head.as_bytes())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, &self.path)
    }

    /// The text that was kept last; `Err`: why it cannot be used. Blocks.
    pub fn read(&self) -> Result<Kept, String> {
        let kept = fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        let (head, text) = kept.split_once('\n').unwrap_or_default();
        let said = head.strip_prefix(&self.begins());
        let said = said.ok_or_else(|| format!("it is no copy of {}", self.of))?;
        let (hashed, since) = said.split_once(", fetched ").unwrap_or_default();
        if hashed != hash(text) {
            return Err("it is not whole: its hash is another one".to_owned());
        }
        Ok(Kept {
            text: text.to_owned(),
            since: since.to_owned(),
        })
    }

    fn begins(&self) -> String {
        format!("# penstock copy of {}, sha256:", self.of)
    }
}

fn hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_copy_is_read_back_is_its_owners_alone_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/copy.yaml");
        let copy = Copy::new(path.clone(), "s3://b/k".to_owned());
        assert!(copy.read().is_err());
        let at = SystemTime::UNIX_EPOCH;
        for text in ["api: a\n", "", "api: b\nroutes: {}\n"] {
            copy.keep(text, at).unwrap();
            let kept = copy.read().unwrap();
            assert_eq!(
                (kept.text.as_str(), &*kept.since),
                (text, "1970-01-01T00:00:00Z")
            );
        }
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = Copy::new(path.clone(), "s3://b/other".to_owned());
        assert!(other.read().unwrap_err().contains("no copy of"));
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(copy.read().unwrap_err().contains("not whole"));
    }
}
