//! The standing recording: files in a folder of their own, each begun anew once it is long enough, the oldest removed when
//! all together are too long. A thread writes them; a disk that is full costs recordings, and nothing else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::macros::format_description;

use super::{Captures, Handle, Recording, Selection};

/// Bytes that are gathered before they are written.
const CHUNK_BYTES: usize = 256 << 10;
/// How long a disk that has failed is left alone.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the end of a recording waits for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the files are called, around the moment at which they were begun.
const NAME: (&str, &str) = ("capture-", ".jsonl");

/// A standing recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder; made if missing.
    pub path: PathBuf,
    pub selection: Selection,
    /// Bytes after which a file is long enough.
    pub file_size: u64,
    /// Bytes of all files together.
    pub max_size: u64,
}

/// A standing recording that is under way. Dropping it ends it, and waits a moment for what is not written yet.
#[derive(Debug)]
pub struct Standing {
    /// Ends the recording.
    handle: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Standing {
    pub(super) fn start(captures: &Captures, settings: &Settings) -> io::Result<Standing> {
        let recording = captures.record(settings.selection.clone());
        let handle = recording.handle.clone();
        let files = Files {
            settings: settings.clone(),
            open: None,
            failing: None,
        };
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || write(recording, files))?;
        Ok(Standing {
            handle,
            thread: Mutex::new(Some(thread)),
        })
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.handle.end();
        let mut held = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = held.take() else { return };
        let patience = Instant::now() + PATIENCE;
        while !thread.is_finished() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !thread.is_finished() {
            tracing::warn!("The disk that requests are recorded on hangs; the last ones are lost");
        } else if thread.join().is_err() {
            tracing::error!("The recording of requests has panicked");
        }
    }
}

/// Writes what comes, in gulps: all that is there.
fn write(mut recording: Recording, mut files: Files) {
    let mut chunk = Vec::new();
    while let Some(first) = recording.wait() {
        chunk.clear();
        let mut requests = 0;
        let mut next = Some(first);
        while let Some(taken) = next {
            chunk.extend(recording.line(&taken));
            chunk.push(b'\n');
            requests += 1;
            next = (chunk.len() < CHUNK_BYTES)
                .then(|| recording.at_once())
                .flatten();
        }
        match files.append(&recording, &chunk) {
            true => recording.written(requests),
            false => recording.unwritten(requests),
        }
        chunk.shrink_to(CHUNK_BYTES);
    }
}

/// The files of a recording.
struct Files {
    settings: Settings,
    open: Option<Open>,
    /// When writing failed, while it does.
    failing: Option<Instant>,
}

struct Open {
    file: File,
    /// Bytes, all of them of whole lines.
    length: u64,
}

impl Files {
    /// Whether whole lines were written. One that fails is said once, and once when it works again.
    fn append(&mut self, recording: &Recording, lines: &[u8]) -> bool {
        if self.failing.is_some_and(|since| since.elapsed() < PAUSE) {
            return false;
        }
        match self.try_append(recording, lines) {
            Ok(()) => {
                if self.failing.take().is_some() {
                    tracing::info!("Requests can be recorded again");
                }
                true
            }
            Err(error) => {
                if self.failing.replace(Instant::now()).is_none() {
                    let path = self.settings.path.display();
                    tracing::warn!(%error, %path, "Requests cannot be recorded; serving them goes on");
                }
                false
            }
        }
    }

    fn try_append(&mut self, recording: &Recording, lines: &[u8]) -> io::Result<()> {
        let file_size = self.settings.file_size;
        let is_full = |open: &Open| open.length + lines.len() as u64 > file_size;
        if self.open.as_ref().is_none_or(is_full) {
            self.open = None;
            self.make_room(lines.len() as u64)?;
            self.open = Some(self.begin(recording)?);
        }
        let Some(open) = &mut self.open else {
            return Err(io::Error::other("no file is open"));
        };
        if let Err(error) = open.file.write_all(lines) {
            // No half line stays behind.
            let _ = open.file.set_len(open.length);
            self.open = None;
            return Err(error);
        }
        open.length += lines.len() as u64;
        Ok(())
    }

    /// Begins a file. Only its owner may read it.
    fn begin(&self, recording: &Recording) -> io::Result<Open> {
        let folder = &self.settings.path;
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        let form =
            format_description!("[year][month][day]T[hour][minute][second].[subsecond digits:6]Z");
        let now = OffsetDateTime::now_utc()
            .format(form)
            .map_err(io::Error::other)?;
        let path = folder.join(format!("{}{now}{}", NAME.0, NAME.1));
        let mut options = OpenOptions::new();
        let mut file = options
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut first = recording.beginning();
        first.push(b'\n');
        file.write_all(&first)?;
        Ok(Open {
            file,
            length: first.len() as u64,
        })
    }

    /// Removes the oldest files until another one fits.
    fn make_room(&self, coming: u64) -> io::Result<()> {
        let room = self.settings.file_size.max(coming);
        let mut kept = recorded(&self.settings.path)?;
        let mut bytes: u64 = kept.iter().map(|(_, length)| length).sum();
        kept.reverse();
        while bytes + room > self.settings.max_size
            && let Some((oldest, length)) = kept.pop()
        {
            fs::remove_file(oldest)?;
            bytes -= length;
        }
        Ok(())
    }
}

/// The files of a folder with their lengths, the oldest first; none, where there is no such folder.
fn recorded(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(NAME.0) && name.ends_with(NAME.1) {
            found.push((entry.path(), entry.metadata()?.len()));
        }
    }
    found.sort();
    Ok(found)
}
