//! What is written down of requests: the access log, and the standing recording.

use super::blueprint::RouteBlueprint;
use super::compile::Origin;
use crate::config::{self, Config};
use crate::model::carried::Carried;
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, nearest};
use crate::model::text::Text;
use crate::model::value::{ByteSize, Share};
use crate::telemetry::access_log::Destination;
use crate::telemetry::capture::{Selection, Settings};
use crate::telemetry::log_format::LogFormat;

/// Where access-log lines go, and what they look like.
pub(super) fn access_log(
    config: &Config,
    origin: &Origin<'_>,
    problems: &mut Problems,
) -> (Destination, Option<LogFormat>) {
    let at = ConfigPath::root().key("access_log");
    let log = config.access_log.clone().unwrap_or_default();
    let destination = match log.path.as_deref() {
        None | Some("stdout" | "-") => Destination::Stdout,
        Some("stderr") => Destination::Stderr,
        Some("none" | "false") => Destination::None,
        Some("") => {
            problems
                .error(&at.key("path"), "the path is empty")
                .help("write stdout, stderr, none, or a file");
            Destination::None
        }
        Some(path) => Destination::File((origin.directory)(&at.key("path")).join(path)),
    };
    let text = log
        .format
        .map_or_else(|| Text::written("json"), |format| format.0);
    (
        destination,
        LogFormat::compile(&text, &at.key("format"), problems),
    )
}

/// The standing recording; `None` where there is none.
pub(super) fn capture(
    config: &Config,
    origin: &Origin<'_>,
    routes: &[&RouteBlueprint],
    problems: &mut Problems,
) -> Option<Settings> {
    let written = config.capture.as_ref()?;
    let at = ConfigPath::root().key("capture");
    if written.path.is_empty() {
        let help = "write the folder that the files go to, such as `path: ./captures`";
        problems.error(&at.key("path"), "it is missing").help(help);
    }
    for (position, key) in written.routes.iter().enumerate() {
        if routes.iter().any(|route| route.key == *key) {
            continue;
        }
        let name = key.to_string();
        let known: Vec<String> = routes.iter().map(|route| route.key.to_string()).collect();
        let close = nearest(&name, known.iter().map(String::as_str));
        let help = close.map_or_else(
            || "write the key of a route as it stands under `routes`".to_owned(),
            |close| format!("did you mean {close:?}?"),
        );
        let at = at.key("routes").index(position);
        let message = format!("there is no route {name:?}");
        problems.error(&at, message).help(help);
    }
    let file_size = written.file_size.unwrap_or(ByteSize::mib(64));
    let max_size = written.max_size.unwrap_or(ByteSize::gib(1));
    if file_size < ByteSize::kib(64) {
        let message = format!("{file_size} is too short for a file");
        let help = "allowed: 64KiB and more";
        problems.error(&at.key("file_size"), message).help(help);
    }
    if max_size < file_size {
        let message = format!("all files together ({max_size}) hold less than one ({file_size})");
        let help = "write at least as much as `file_size`";
        problems.error(&at.key("max_size"), message).help(help);
    }
    let max_body = written.max_body.unwrap_or(ByteSize::kib(64));
    Some(Settings {
        path: (origin.directory)(&at.key("path")).join(&written.path),
        selection: Selection {
            routes: written.routes.iter().map(ToString::to_string).collect(),
            sample: written.sample.unwrap_or(Share::ALL),
            max_body: usize::try_from(max_body.0).unwrap_or(usize::MAX),
        },
        file_size: file_size.0,
        max_size: max_size.0,
    })
}

/// What is struck out of every recording beside credentials.
pub(super) fn redacted(config: &Config) -> Vec<Carried> {
    let places = config.capture.iter().flat_map(|capture| &capture.redact);
    places.map(|config::Struck(place)| place.clone()).collect()
}
