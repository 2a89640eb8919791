//! The import arrows of `src/lib.rs` point one way.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in order: each may use those before it, and itself.
const ORDER: [&str; 22] = [
    "model",
    "decode",
    "mapping",
    "deploy",
    "telemetry",
    "store",
    "limit",
    "outbound",
    "aws",
    "listen",
    "authn",
    "integration",
    "forward",
    "sqs_api",
    "config",
    "plan",
    "pipeline",
    "stack",
    "admin",
    "app",
    "drill",
    "cli",
];

/// Arrows that the order would allow and that must not be: the store, the connection plane and AWS know nothing of
/// what is counted or logged about requests, nor of each other.
const FORBIDDEN: [(&str, &str); 10] = [
    ("store", "telemetry"),
    ("store", "mapping"),
    ("listen", "telemetry"),
    ("listen", "store"),
    ("listen", "aws"),
    ("listen", "outbound"),
    ("outbound", "telemetry"),
    ("aws", "telemetry"),
    ("aws", "store"),
    ("integration", "telemetry"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn room_of(path: &Path, root: &Path) -> String {
    let first = path
        .strip_prefix(root)
        .unwrap()
        .components()
        .next()
        .unwrap();
    first
        .as_os_str()
        .to_string_lossy()
        .trim_end_matches(".rs")
        .to_owned()
}

/// The rooms that a source text names in `crate::ROOM`, tests at its foot left out.
fn used(text: &str) -> Vec<String> {
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    let mut rooms = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        if text[line_start..at].trim_start().starts_with("//") {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let name: String = rest
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '_')
            .collect();
        if !name.is_empty() {
            rooms.push(name);
        } else if let Some(list) = rest.strip_prefix('{') {
            let names = list.split('}').next().unwrap_or_default().split(',');
            rooms.extend(
                names
                    .map(|name| {
                        name.trim()
                            .split("::")
                            .next()
                            .unwrap_or_default()
                            .to_owned()
                    })
                    .filter(|name| !name.is_empty()),
            );
        }
    }
    rooms
}

#[test]
fn no_room_uses_one_that_comes_after_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "the sources were not found");
    let position: BTreeMap<&str, usize> = ORDER
        .iter()
        .enumerate()
        .map(|(at, room)| (*room, at))
        .collect();
    let mut wrong = Vec::new();
    for file in files {
        let room = room_of(&file, &root);
        if room == "lib" || room == "main" {
            continue;
        }
        let at = position
            .get(room.as_str())
            .unwrap_or_else(|| panic!("the room {room} has no place in ORDER"));
        for used in used(&fs::read_to_string(&file).unwrap()) {
            let Some(other) = position.get(used.as_str()) else {
                continue;
            };
            if other > at || FORBIDDEN.contains(&(room.as_str(), used.as_str())) {
                wrong.push(format!("{} uses {used}", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that point back:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_pipeline_reads_plans_and_no_configuration_but_its_words() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| line.contains("crate::config")) {
            let words = ["Dialect", "TrailingSlash"];
            assert!(
                words.iter().any(|word| line.contains(word)),
                "{}: {line}",
                file.display()
            );
        }
    }
}

#[test]
fn the_check_itself_sees_an_arrow_that_points_back() {
    assert_eq!(
        used(
            "use crate::app::serve;\nlet x = crate::plan::Plan;\n// crate::cli\nuse crate::{model::call::Call, limit};"
        ),
        ["app", "plan", "model", "limit"]
    );
}
