//! `penstock import`: a vendor's document, from its text to route files. Input: OpenAPI, a template or a plan, as YAML or
//! JSON.
//!
//! Every text is a list of route files or a word of what is wrong; what is written is YAML that our own loader reads; the
//! same text gives the same; and neither time nor output grows further than the text allows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use penstock::config::Config;
use penstock::config::load::{SourceFile, load_texts};
use penstock::config::vendor::{Beside, Told, Vars, import};
use penstock::plan::written;

/// Far above what any text of this length takes, on a busy machine and without optimization.
const LONGEST: Duration = Duration::from_secs(10);

/// Longer texts than the corpus has.
const MOST: usize = 64 * 1024;

/// The most that is written for a text: names and places of its parts stand in every line of the report.
const MOST_WRITTEN: usize = 16 * 1024 * 1024;

/// There are no files beside the document.
struct Nothing;

impl Beside for Nothing {
    fn read(&self, _: &Path, named: &str) -> Result<SourceFile, String> {
        Err(format!("{named} is not there"))
    }
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // what names files is not for a fuzzer: it would read those of this machine
    let names_files = ["/dev", "/proc", "/sys", "${file", "_files", "credentials:"];
    if data.len() > MOST || names_files.iter().any(|word| text.contains(word)) {
        return;
    }
    let began = Instant::now();
    let said = imported(text);
    let took = began.elapsed();
    assert!(took < LONGEST, "{} bytes take {took:?}", text.len());
    assert_eq!(said, imported(text), "another answer to the same text");
}

fn imported(text: &str) -> Vec<String> {
    let document = file("document.yaml", text);
    let told = Told {
        vars: &Vars::default(),
        api: None,
        beside: &Nothing,
    };
    let imported = import(&document, told);
    let nothing_set = BTreeMap::<String, String>::new();
    let mut said: Vec<String> = Vec::new();
    for problem in &imported.problems.0 {
        assert!(!problem.message.is_empty());
        said.push(problem.to_string());
    }
    for finding in &imported.findings.list {
        let lines = text.lines().count() + 1;
        assert!(!finding.reason.is_empty());
        assert!((1..=lines).contains(&finding.mark.line), "{finding:?}");
        said.push(format!("{}: {}", finding.path, finding.reason()));
    }
    for api in &imported.apis {
        let written_file = file("made.yaml", &api.yaml);
        let read = load_texts::<serde_json::Value>(vec![written_file.clone()], &nothing_set);
        let unread = || format!("{:?}\n{}", read.problems, api.yaml);
        assert!(
            read.value.is_some(),
            "what is written is no YAML: {}",
            unread()
        );
        // its problems are what `import` says of it; that it can say them is what counts
        let _ = written::compiled_again(vec![written_file], &nothing_set);
        said.push(api.yaml.clone());
    }
    let nothing_said = imported.problems.0.is_empty() && imported.findings.list.is_empty();
    assert!(
        !(imported.apis.is_empty() && nothing_said),
        "neither a route file nor a word"
    );
    let written: usize = said.iter().map(String::len).sum();
    assert!(written < MOST_WRITTEN, "{written} bytes for {}", text.len());
    // an OpenAPI document is a configuration by itself
    let _ = load_texts::<Config>(vec![document], &nothing_set);
    said
}

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.into(),
        text: text.to_owned(),
    }
}
