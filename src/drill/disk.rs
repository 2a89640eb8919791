//! The disk under the gateway's store, and how it becomes full: a small file system of its own where one can be
//! mounted, else the limit that the store sets itself.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the store lives.
#[derive(Debug)]
pub enum Disk {
    /// A folder like any other; the store is told to stay below its size.
    Limited { folder: PathBuf, why: String },
    /// A tmpfs of its own; unmounted when dropped.
    Mounted { folder: PathBuf, bytes: u64 },
}

/// The store stops to accept below this much free space; more has to be there.
const SPARE: u64 = 96 << 20;
/// More memory than this is not taken for a disk.
const LARGEST: u64 = 1 << 30;
/// The limit that makes any store full that has been used.
pub const FULL: u64 = 1 << 20;

impl Disk {
    /// A place for a store that may take about so many bytes. `small`: it is going to be filled.
    pub fn prepare(folder: PathBuf, bytes: u64, small: bool) -> io::Result<Disk> {
        std::fs::create_dir_all(&folder)?;
        let limited = |folder, why: &str| {
            let why = why.to_owned();
            Ok(Disk::Limited { folder, why })
        };
        if !small {
            return limited(folder, "the disk is not going to be filled");
        }
        let bytes = bytes.saturating_add(SPARE);
        if bytes > LARGEST {
            return limited(folder, "the drill would need too large a memory disk");
        }
        if !rustix::process::geteuid().is_root() {
            return limited(folder, "only root can mount a small file system");
        }
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0700")])
            .arg("penstock-drill")
            .arg(&folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Disk::Mounted { folder, bytes }),
            Ok(output) => limited(
                folder,
                &format!(
                    "mount refuses: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                ),
            ),
            Err(error) => limited(folder, &format!("mount cannot be run: {error}")),
        }
    }

    /// The folder for the store.
    pub fn store(&self) -> PathBuf {
        match self {
            Disk::Limited { folder, .. } | Disk::Mounted { folder, .. } => folder.join("store"),
        }
    }

    /// How the disk is going to be full, for people.
    pub fn method(&self) -> String {
        match self {
            Disk::Limited { why, .. } => format!("the store's own size limit ({why})"),
            Disk::Mounted { bytes, .. } => {
                format!("a tmpfs of {} MiB, filled to the last byte", bytes >> 20)
            }
        }
    }

    /// Fills the file system; blocks.
    pub fn fill(folder: &Path) -> io::Result<()> {
        let mut ballast = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("ballast"))?;
        for size in [1 << 20, 4 << 10, 1] {
            write_until_full(&mut ballast, &vec![0xb5; size])?;
        }
        Ok(())
    }

    /// Gives the space back.
    pub fn empty(folder: &Path) -> io::Result<()> {
        match std::fs::remove_file(folder.join("ballast")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn write_until_full(file: &mut File, chunk: &[u8]) -> io::Result<()> {
    loop {
        match file.write_all(chunk) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let Disk::Mounted { folder, .. } = self else {
            return;
        };
        let unmount = |lazily: &[&str]| {
            let output = Command::new("umount").args(lazily).arg(&*folder).output();
            output.is_ok_and(|output| output.status.success())
        };
        if !unmount(&[]) && !unmount(&["-l"]) {
            eprintln!("warning: {} could not be unmounted", folder.display());
        }
    }
}
