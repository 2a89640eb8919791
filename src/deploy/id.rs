//! What a deployment is called.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;

/// Hexadecimal digits of an id: enough that two of the few configurations that a gateway ever sees do not collide.
const DIGITS: usize = 12;

/// The address of a configuration: the first 12 hexadecimal digits of SHA-256 over the names and texts of its files, as
/// they were written, before anything was substituted. Files are named from the folder that holds them all, so that the
/// same configuration has the same id wherever it lies. What the command line overrides, and what files, variables and
/// secrets that it names hold, is no part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeploymentId(Arc<str>);

impl DeploymentId {
    /// The id of these files, in whatever order they come.
    pub fn of<'t>(files: impl IntoIterator<Item = (&'t Path, &'t str)>) -> DeploymentId {
        let files: Vec<(&Path, &str)> = files.into_iter().collect();
        let folder = common_folder(files.iter().map(|(path, _)| *path));
        let mut named: Vec<(String, &str)> = files
            .iter()
            .map(|(path, text)| {
                let name = path.strip_prefix(&folder).unwrap_or(path);
                (name.to_string_lossy().into_owned(), *text)
            })
            .collect();
        named.sort();
        let mut digest = digest::Context::new(&digest::SHA256);
        for (name, text) in &named {
            for part in [name.as_bytes(), text.as_bytes()] {
                digest.update(&(part.len() as u64).to_be_bytes());
                digest.update(part);
            }
        }
        let hex =
            digest
                .finish()
                .as_ref()
                .iter()
                .fold(String::with_capacity(64), |mut hex, byte| {
                    use fmt::Write as _;
                    // Writing to a String cannot fail.
                    let _ = write!(hex, "{byte:02x}");
                    hex
                });
        DeploymentId(hex[..DIGITS].into())
    }

    /// An id as it was written down.
    pub fn read(text: &str) -> Option<DeploymentId> {
        let fits = text.len() == DIGITS
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        fits.then(|| DeploymentId(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder that holds all files.
pub fn common_folder<'p>(mut paths: impl Iterator<Item = &'p Path>) -> PathBuf {
    let folder = |path: &Path| path.parent().map(Path::to_path_buf).unwrap_or_default();
    let Some(first) = paths.next() else {
        return PathBuf::new();
    };
    paths.fold(folder(first), |common, path| {
        let both = common.components().zip(path.components());
        both.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(files: &[(&str, &str)]) -> DeploymentId {
        DeploymentId::of(files.iter().map(|(path, text)| (Path::new(path), *text)))
    }

    #[test]
    fn the_same_files_have_the_same_id_wherever_they_lie_and_in_any_order() {
        let here = id(&[
            ("/etc/p/shop.yaml", "a: 1"),
            ("/etc/p/more/keys.yaml", "b: 2"),
        ]);
        let there = id(&[("conf/more/keys.yaml", "b: 2"), ("conf/shop.yaml", "a: 1")]);
        assert_eq!(here, there);
        assert_eq!(id(&[("/a/shop.yaml", "x")]), id(&[("shop.yaml", "x")]));
        assert_eq!(here.as_str().len(), 12);
        assert_eq!(DeploymentId::read(here.as_str()), Some(here));
    }

    #[test]
    fn names_and_texts_both_count_and_their_border_too() {
        let ids = [
            id(&[("a.yaml", "xy")]),
            id(&[("b.yaml", "xy")]),
            id(&[("a.yaml", "xz")]),
            id(&[("a.yaml", "x"), ("b.yaml", "y")]),
            id(&[("a.yaml", ""), ("b.yaml", "xy")]),
            id(&[]),
        ];
        for (at, one) in ids.iter().enumerate() {
            assert!(ids[at + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn what_is_no_id_is_not_read_as_one() {
        for other in [
            "",
            "0123456789a",
            "0123456789ABC",
            "0123456789ag",
            "../../../../x",
        ] {
            assert_eq!(DeploymentId::read(other), None);
        }
    }
}
