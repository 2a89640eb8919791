//! The file that a captured secret is kept in: written whole, once, readable by its owner alone. The first one stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Keeps a secret. `false`: there is one already, and it stays.
pub(super) fn keep(file: &Path, secret: &str) -> io::Result<bool> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}", uuid::Uuid::new_v4()));
    let draft = PathBuf::from(draft);
    let mut open = OpenOptions::new();
    let mut written = open.write(true).create_new(true).mode(0o600).open(&draft)?;
    let linked = written
        .write_all(secret.as_bytes())
        .and_then(|()| written.write_all(b"\n"))
        .and_then(|()| written.sync_all())
        // A link, unlike a rename, never takes the place of what is there.
        .and_then(|()| fs::hard_link(&draft, file));
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => {
            File::open(folder)?.sync_all()?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The secret that is kept; `None` where none is yet.
pub(super) fn kept(file: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_first_secret_is_kept_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("asana.secret");
        assert_eq!(kept(&file).unwrap(), None);
        assert!(keep(&file, "first").unwrap());
        assert!(!keep(&file, "second").unwrap());
        assert_eq!(kept(&file).unwrap().as_deref(), Some("first"));
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(keep(&folder.path().join("none/x"), "a").is_err());
    }
}
