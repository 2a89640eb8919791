//! A configuration file, from its text to the blueprint. Input: YAML.
//!
//! Every text is a configuration or a list of problems that say where they are; the same text is the same list; and it
//! takes no longer than its length allows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use penstock::config::Config;
use penstock::config::load::{SourceFile, load_texts};
use penstock::model::problem::Problems;
use penstock::plan::compile::{Origin, compile};

/// Far above what any text of this length takes, on a busy machine and without optimization.
const LONGEST: Duration = Duration::from_secs(10);

/// Longer texts than people write.
const MOST: usize = 64 * 1024;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // what names files is not for a fuzzer: it would read those of this machine
    if data.len() > MOST
        || ["file", "/dev", "/proc", "/sys"]
            .iter()
            .any(|word| text.contains(word))
    {
        return;
    }
    let began = Instant::now();
    let said = problems(text);
    assert!(
        began.elapsed() < LONGEST,
        "{} bytes take {:?}",
        text.len(),
        began.elapsed()
    );
    assert_eq!(said, problems(text), "another answer to the same text");
}

fn problems(text: &str) -> Vec<String> {
    let file = SourceFile {
        path: PathBuf::from("fuzz.yaml"),
        text: text.to_owned(),
    };
    let nothing_set = BTreeMap::<String, String>::new();
    let loaded = load_texts::<Config>(vec![file], &nothing_set);
    let mut all = loaded.problems;
    match &loaded.value {
        None => assert!(all.has_errors(), "neither a configuration nor a word"),
        Some(config) => {
            let mut found = Problems::default();
            let api = loaded.sources.default_api();
            let origin = Origin {
                id: penstock::deploy::DeploymentId::of([]),
                api: &api,
                directory: &|path| loaded.sources.directory(path),
                place: &|path| loaded.sources.place(path),
            };
            let blueprint = compile(config, &origin, &mut found);
            loaded.sources.locate(&mut found);
            assert!(
                blueprint.is_some() || found.has_errors(),
                "no blueprint and no word"
            );
            all.0.extend(found.0);
        }
    }
    for problem in &all.0 {
        assert!(!problem.message.is_empty());
        if let Some(place) = &problem.place {
            assert!(place.line >= 1 && place.column >= 1);
            assert!(place.line <= text.lines().count() + 1, "{problem}");
        }
    }
    all.0.iter().map(ToString::to_string).collect()
}
