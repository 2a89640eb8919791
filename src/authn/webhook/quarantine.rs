//! Refused deliveries, kept for whoever wants to know why they were refused (`on_fail: quarantine`). Each is a JSON file
//! in a folder of its own: apart from every queue, so that nothing can take one for a delivery; bounded in number and in
//! bytes, the oldest goes first. The sender is told the same as ever.
//!
//! It is for debugging, not a promise: what comes faster than [`RATE`] or than the disk is only counted. Files are written
//! by a thread of their own, and no request waits for it.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use serde_json::{Map, Value, json};

use super::verdict::Failure;
use super::written::{Config, OnFail};
use crate::limit::{Bucket, BucketSpec, Clock};
use crate::model::identity::Presented;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::value::ByteSize;
use crate::telemetry::Webhooks;

/// Deliveries a second that are kept, and at once.
const RATE: u32 = 50;
/// The most of a body that is kept, in bytes.
const MOST_BODY: usize = 256 * 1024;
/// Deliveries that wait for the disk.
const WAITING: usize = 64;
/// Headers whose values are credentials, which nobody needs to see to find out why a signature is wrong.
const CREDENTIALS: [HeaderName; 4] = [
    AUTHORIZATION,
    COOKIE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
];

/// Where refused deliveries are kept, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineSpec {
    pub folder: PathBuf,
    pub most: usize,
    /// Bytes on disk.
    pub most_bytes: u64,
}

impl QuarantineSpec {
    /// Where the source keeps what it refuses, if it does.
    pub(super) fn compile(
        config: &Config,
        at: &ConfigPath,
        problems: &mut Problems,
    ) -> Option<QuarantineSpec> {
        let settings = config.quarantine.clone().unwrap_or_default();
        let at = at.key("quarantine");
        if config.on_fail == OnFail::Refuse {
            if config.quarantine.is_some() {
                problems
                    .error(&at, "nothing is kept, for `on_fail` is not `quarantine`")
                    .help("write `on_fail: quarantine`, or remove this");
            }
            return None;
        }
        if settings.max == Some(0) {
            problems
                .error(&at.key("max"), "0 would keep nothing")
                .help("write at least 1, or `on_fail: refuse`");
        }
        Some(QuarantineSpec {
            folder: settings.folder.unwrap_or_default(),
            most: settings.max.unwrap_or(1_000),
            most_bytes: settings.max_size.unwrap_or(ByteSize::mib(64)).0,
        })
    }
}

/// The quarantine of one source.
#[derive(Debug)]
pub(super) struct Quarantine {
    spec: QuarantineSpec,
    source: Arc<str>,
    metrics: Webhooks,
    bucket: Bucket,
    /// Begun with the first delivery; it ends when this goes.
    writer: OnceLock<Option<SyncSender<Entry>>>,
}

/// One file.
struct Entry {
    name: String,
    content: String,
}

impl Quarantine {
    pub(super) fn new(spec: QuarantineSpec, source: Arc<str>, metrics: Webhooks) -> Quarantine {
        let rate = BucketSpec {
            rate: f64::from(RATE),
            burst: NonZeroU32::new(RATE).unwrap_or(NonZeroU32::MIN),
        };
        Quarantine {
            spec,
            source,
            metrics,
            bucket: Bucket::new(rate, Clock::monotonic()),
            writer: OnceLock::new(),
        }
    }

    /// Keeps a refused delivery, if there is room in time.
    pub(super) fn keep(&self, presented: &Presented<'_>, body: &Bytes, failure: &Failure) {
        let result = if self.bucket.take().is_err() {
            "dropped"
        } else {
            match self.writer() {
                Some(writer) if writer.try_send(entry(presented, body, failure)).is_ok() => return,
                Some(_) => "dropped",
                None => "failed",
            }
        };
        self.metrics.quarantined(&self.source, result);
    }

    fn writer(&self) -> Option<&SyncSender<Entry>> {
        let begun = self.writer.get_or_init(|| {
            let (sender, receiver) = sync_channel(WAITING);
            let (spec, source) = (self.spec.clone(), self.source.clone());
            let metrics = self.metrics.clone();
            let thread = std::thread::Builder::new().name("quarantine".to_owned());
            let begun = thread.spawn(move || write(&spec, &source, &metrics, &receiver));
            begun.is_ok().then_some(sender)
        });
        begun.as_ref()
    }
}

/// What is kept of a delivery.
fn entry(presented: &Presented<'_>, body: &Bytes, failure: &Failure) -> Entry {
    let call = presented.call;
    let mut headers = Map::new();
    for name in call.headers.keys() {
        let values = call.headers.get_all(name).iter().map(|value| {
            if CREDENTIALS.contains(name) {
                Value::from("(redacted)")
            } else {
                Value::from(String::from_utf8_lossy(value.as_bytes()))
            }
        });
        let mut values: Vec<Value> = values.collect();
        let value = match values.len() {
            1 => values.remove(0),
            _ => Value::from(values),
        };
        headers.insert(name.as_str().to_owned(), value);
    }
    let kept = &body[..body.len().min(MOST_BODY)];
    let (text, encoding) = match std::str::from_utf8(kept) {
        Ok(text) => (text.to_owned(), "text"),
        Err(_) => (STANDARD.encode(kept), "base64"),
    };
    let content = json!({
        "requestId": call.id.to_string(),
        "time": presented.now,
        "result": failure.code.name(),
        "reason": failure.detail,
        "method": call.method.as_str(),
        "target": call.uri.path_and_query().map(|target| target.as_str()),
        "routeKey": presented.route_key,
        "sourceIp": call.source_ip().to_string(),
        "headers": headers,
        "body": text,
        "bodyEncoding": encoding,
        "bodyBytes": body.len(),
        "bodyTruncated": body.len() > kept.len(),
    });
    Entry {
        // Names sort by time.
        name: format!("{:012}-{}.json", presented.now.max(0), call.id),
        content: format!("{content:#}\n"),
    }
}

/// Writes what comes until nobody sends any more.
fn write(spec: &QuarantineSpec, source: &Arc<str>, metrics: &Webhooks, entries: &Receiver<Entry>) {
    let mut kept: Option<Kept> = None;
    let mut failing = false;
    for entry in entries {
        let written = match &mut kept {
            Some(kept) => kept.add(spec, &entry),
            None => {
                Kept::found(&spec.folder).and_then(|found| kept.insert(found).add(spec, &entry))
            }
        };
        match written {
            Ok(()) => failing = false,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(source = &**source, folder = %spec.folder.display(), %error, "Refused deliveries cannot be kept; they are refused all the same");
                }
            }
        }
        let result = if failing { "failed" } else { "kept" };
        metrics.quarantined(source, result);
    }
}

/// Whether a file has a name of ours: twelve digits, a request id, `.json`. Others are left alone.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let stem = name.and_then(|name| name.strip_suffix(".json"));
    stem.and_then(|stem| stem.split_once('-'))
        .is_some_and(|(time, id)| {
            time.len() == 12
                && time.bytes().all(|byte| byte.is_ascii_digit())
                && id.len() == 32
                && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
}

/// The files of a folder, oldest first, with their sizes.
struct Kept {
    files: VecDeque<(PathBuf, u64)>,
    bytes: u64,
}

impl Kept {
    /// What earlier processes have kept.
    fn found(folder: &Path) -> io::Result<Kept> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        let mut files = Vec::new();
        for file in fs::read_dir(folder)? {
            let file = file?;
            let path = file.path();
            if is_ours(&path) {
                files.push((path, file.metadata()?.len()));
            }
        }
        files.sort();
        let bytes = files.iter().map(|(_, size)| size).sum();
        let files = files.into();
        Ok(Kept { files, bytes })
    }

    fn add(&mut self, spec: &QuarantineSpec, entry: &Entry) -> io::Result<()> {
        let size = entry.content.len() as u64;
        if size > spec.most_bytes {
            return Err(io::Error::other(
                "one delivery takes more than all that may be kept",
            ));
        }
        while self.files.len() >= spec.most.max(1)
            || (self.bytes + size > spec.most_bytes && !self.files.is_empty())
        {
            let Some((oldest, size)) = self.files.front() else {
                break;
            };
            match fs::remove_file(oldest) {
                // Somebody has tidied up.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            self.bytes = self.bytes.saturating_sub(*size);
            self.files.pop_front();
        }
        let path = spec.folder.join(&entry.name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        let written = file.write_all(entry.content.as_bytes());
        // Also a file that is written in part takes room.
        self.files.push_back((path, size));
        self.bytes += size;
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(folder: &Path, most: usize, most_bytes: u64) -> QuarantineSpec {
        QuarantineSpec {
            folder: folder.join("deep/down"),
            most,
            most_bytes,
        }
    }

    fn one(number: usize) -> Entry {
        Entry {
            name: format!("{number:012}-{:032x}.json", 0xabc),
            content: "0123456789".to_owned(),
        }
    }

    fn names(spec: &QuarantineSpec) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&spec.folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_or_too_many_bytes_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let by_number = spec(folder.path(), 2, 1_000);
        let mut kept = Kept::found(&by_number.folder).unwrap();
        for number in 1..=3 {
            kept.add(&by_number, &one(number)).unwrap();
        }
        assert_eq!(
            names(&by_number),
            [
                "000000000002-00000000000000000000000000000abc.json",
                "000000000003-00000000000000000000000000000abc.json"
            ]
        );
        let by_bytes = spec(folder.path(), 10, 25);
        let mut kept = Kept::found(&by_bytes.folder).unwrap();
        assert_eq!((kept.files.len(), kept.bytes), (2, 20));
        kept.add(&by_bytes, &one(4)).unwrap();
        assert_eq!(
            names(&by_bytes),
            [
                "000000000003-00000000000000000000000000000abc.json",
                "000000000004-00000000000000000000000000000abc.json"
            ]
        );
    }

    #[test]
    fn a_file_that_somebody_has_removed_does_not_stand_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path(), 1, 1_000);
        let mut kept = Kept::found(&spec.folder).unwrap();
        kept.add(&spec, &one(1)).unwrap();
        fs::remove_file(spec.folder.join(one(1).name)).unwrap();
        kept.add(&spec, &one(2)).unwrap();
        assert_eq!(
            names(&spec),
            ["000000000002-00000000000000000000000000000abc.json"]
        );
    }
}
