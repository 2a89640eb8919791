//! What the documents say is so: every route file in them compiles without a word, the tour shows every key, and the
//! lists of codes, metrics and commands are complete.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use penstock::config::Config;
use penstock::config::load::{SourceFile, load_texts};
use penstock::model::code::Code;
use penstock::model::problem::Problems;
use penstock::plan::compile::{Origin, compile};
use penstock::telemetry::Metrics;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Files right in a folder, by ending.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    found.sort();
    found
}

/// What `penstock check` would say of a route file, environment variables apart: none is set.
fn problems(path: &Path, text: String) -> Vec<String> {
    let file = SourceFile {
        path: path.to_owned(),
        text,
    };
    let nothing_set = BTreeMap::<String, String>::new();
    let loaded = load_texts::<Config>(vec![file], &nothing_set);
    let mut all = loaded.problems.0;
    if let Some(config) = &loaded.value {
        let mut found = Problems::default();
        let api = loaded.sources.default_api();
        let directory = |path: &_| loaded.sources.directory(path);
        let place = |path: &_| loaded.sources.place(path);
        let origin = Origin {
            id: penstock::deploy::DeploymentId::of([]),
            api: &api,
            directory: &directory,
            place: &place,
        };
        compile(config, &origin, &mut found);
        loaded.sources.locate(&mut found);
        all.extend(found.0);
    } else if all.is_empty() {
        return vec![format!("{}: nothing could be read", path.display())];
    }
    all.iter().map(ToString::to_string).collect()
}

/// The fenced blocks of a page in YAML, each behind as many empty lines as make its places those of the page. Blocks
/// marked `yaml fragment` are parts of a file and left out.
fn yaml_blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut block, line.trim()) {
            (None, "```yaml" | "```yml") => block = Some("\n".repeat(number + 1)),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some(text), _) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

#[test]
fn every_route_file_that_ships_compiles_without_a_word() {
    let mut shipped = files("config", "yaml");
    shipped.extend(files("config/examples", "yaml"));
    assert!(
        shipped.len() >= 9,
        "the examples were not found: {shipped:?}"
    );
    let said: Vec<String> = shipped
        .iter()
        .flat_map(|path| problems(path, fs::read_to_string(path).unwrap()))
        .collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
}

#[test]
fn every_route_file_in_the_documents_compiles_without_a_word() {
    let mut pages = files(".", "md");
    pages.extend(files("docs", "md"));
    let mut blocks = 0;
    let mut said = Vec::new();
    for page in &pages {
        for block in yaml_blocks(&fs::read_to_string(page).unwrap()) {
            blocks += 1;
            said.extend(problems(page, block));
        }
    }
    assert!(blocks > 0, "no block was found");
    assert!(said.is_empty(), "{}", said.join("\n"));
}

#[test]
fn the_tour_shows_every_key_of_the_configuration() {
    fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(object) => {
                if let Some(properties) = object.get("properties").and_then(|p| p.as_object()) {
                    found.extend(properties.keys().cloned());
                }
                object.values().for_each(|value| keys(value, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    keys(&penstock::config::schema(), &mut all);
    all.sort();
    all.dedup();
    assert!(all.len() > 80, "the schema was not understood: {all:?}");
    let tour = read("config/tour.yaml");
    let missing: Vec<&String> = all
        .iter()
        .filter(|key| {
            ![" ", "\n"]
                .iter()
                .any(|before| tour.contains(&format!("{before}{key}:")))
        })
        .collect();
    assert!(
        missing.is_empty(),
        "config/tour.yaml does not show {missing:?}"
    );
}

#[test]
fn every_code_stands_in_the_list_of_refusals() {
    let page = read("docs/statuses.md");
    let missing: Vec<&str> = Code::ALL
        .iter()
        .map(|code| code.name())
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "docs/statuses.md lacks {missing:?}");
}

#[test]
fn every_metric_of_requests_stands_in_the_list_of_metrics() {
    let mut registry = prometheus_client::registry::Registry::with_prefix("penstock");
    Metrics::new().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let page = read("docs/metrics.md");
    let names = text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some(match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
    });
    let missing: Vec<String> = names
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks {missing:?}");
}

#[test]
fn every_command_stands_in_the_readme() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_penstock"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(
        commands.contains(&"serve"),
        "the help was not understood:\n{help}"
    );
    let readme = read("README.md");
    for command in commands {
        assert!(
            readme.contains(&format!("penstock {command} ")),
            "README.md does not name `penstock {command}`"
        );
    }
}
