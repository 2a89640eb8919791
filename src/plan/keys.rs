//! Keys from the route files and from files of their own, held against each other and made one table.

use std::collections::HashMap;
use std::sync::Arc;

use crate::authn::api_key::{ApiKeys, Clash, DEMO_KEY, KeyHash, NewKey, is_id_of_a_key};
use crate::config::key_files::FileKeys;
use crate::config::{Config, KeyFile};
use crate::model::path::ConfigPath;
use crate::model::problem::{Place, Problem, Problems, nearest};

/// The most keys: their numbers, and the text of their ids, then fit 32 bits.
const MOST_KEYS: usize = 1 << 24;
/// The longest id, in bytes.
const LONGEST_ID: usize = 128;
/// The most problems that are said about keys; a file of a million may have as many.
const MAX_PROBLEMS: usize = 50;

/// Where a key was written.
#[derive(Clone, Copy)]
enum Written<'c> {
    Inline(&'c str),
    File(&'c FileKeys, usize),
}

/// The table of all keys. `exposed`: some listener is not loopback.
pub(super) fn compile(config: &Config, exposed: bool, problems: &mut Problems) -> Arc<ApiKeys> {
    let mut found = Found {
        config,
        keys: Vec::new(),
        written: Vec::new(),
        plans: HashMap::new(),
        problems,
        said: 0,
    };
    found.inline();
    for file in &config.api_key_files {
        if let KeyFile::Read(file) = file {
            found.file(file);
        }
    }
    found.superseded();
    found.check(exposed);
    let names = config.usage_plans.keys().map(|name| name.as_str().into());
    match ApiKeys::new(&found.keys, names.collect()) {
        Ok(table) => Arc::new(table),
        Err(clashes) => {
            for clash in clashes {
                found.clash(clash);
            }
            Arc::default()
        }
    }
}

/// The position of a plan; or why there is none, and what to write.
type Meant = Result<Option<u16>, (String, Option<String>)>;

struct Found<'c, 'p> {
    config: &'c Config,
    keys: Vec<NewKey<'c>>,
    written: Vec<Written<'c>>,
    /// What a plan's name was found to mean, once for each name.
    plans: HashMap<&'c str, Meant>,
    problems: &'p mut Problems,
    said: usize,
}

impl<'c> Written<'c> {
    fn path(&self, id: &str) -> ConfigPath {
        ConfigPath::root().key("api_keys").key(match self {
            Written::Inline(id) => *id,
            Written::File(..) => id,
        })
    }

    fn place(&self) -> Option<Place> {
        match self {
            Written::Inline(_) => None,
            Written::File(file, position) => file.place(*position),
        }
    }
}

impl<'c> Found<'c, '_> {
    fn inline(&mut self) {
        for (id, key) in &self.config.api_keys {
            let at = ConfigPath::root().key("api_keys").key(id);
            let hash = match key.hash.parse() {
                Ok(hash) => hash,
                Err(refusal) => {
                    self.problems
                        .error(&at.key("hash"), "the hash of the key cannot be read")
                        .help(refusal);
                    continue;
                }
            };
            let written = Written::Inline(id);
            let plan = self.plan(key.plan.as_deref(), written, id);
            self.keys.push(NewKey {
                id,
                hash,
                plan,
                enabled: key.enabled,
            });
            self.written.push(written);
        }
    }

    fn file(&mut self, file: &'c FileKeys) {
        for (position, key) in file.iter().enumerate() {
            let written = Written::File(file, position);
            let plan = self.plan(key.plan, written, key.id);
            self.keys.push(NewKey {
                id: key.id,
                hash: key.hash,
                plan,
                enabled: key.enabled,
            });
            self.written.push(written);
        }
    }

    /// The position of the plan that is named, if one is.
    fn plan(&mut self, name: Option<&'c str>, written: Written<'c>, id: &str) -> Option<u16> {
        let name = name?;
        let plans = &self.config.usage_plans;
        let meant = self.plans.entry(name).or_insert_with(|| {
            let mut declared = name
                .split(',')
                .filter_map(|name| plans.get_index_of(name.trim()));
            match (declared.next(), declared.next()) {
                (Some(plan), None) => Ok(u16::try_from(plan).ok()),
                (Some(_), Some(_)) => Err((
                    format!("{name:?} are several usage plans; a key is in one"),
                    None,
                )),
                (None, _) => {
                    let near = nearest(name, plans.keys().map(String::as_str));
                    let help = match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "declare it under `usage_plans`".to_owned(),
                    };
                    Err((
                        format!("the usage plan `{name}` is not declared"),
                        Some(help),
                    ))
                }
            }
        });
        match meant.clone() {
            Ok(plan) => plan,
            Err((refusal, help)) => {
                let at = written.path(id).key("plan");
                if let Some(problem) = self.error(&at, written, refusal)
                    && let Some(help) = help
                {
                    problem.help(help);
                }
                None
            }
        }
    }

    /// In the vendor's CSV a later key replaces an earlier one with the same value.
    fn superseded(&mut self) {
        let from_csv =
            |written: &Written<'_>| matches!(written, Written::File(file, _) if file.later_wins);
        if !self.written.iter().any(from_csv) {
            return;
        }
        let mut last: HashMap<KeyHash, usize> = HashMap::new();
        for (position, key) in self.keys.iter().enumerate() {
            if from_csv(&self.written[position]) {
                last.insert(key.hash, position);
            }
        }
        if last.len()
            == self
                .written
                .iter()
                .filter(|written| from_csv(written))
                .count()
        {
            return;
        }
        let mut position = 0;
        let kept: Vec<bool> = self
            .keys
            .iter()
            .map(|key| {
                let own = position;
                position += 1;
                !from_csv(&self.written[own]) || last.get(&key.hash) == Some(&own)
            })
            .collect();
        let mut at = kept.iter();
        self.keys.retain(|_| at.next() != Some(&false));
        let mut at = kept.iter();
        self.written.retain(|_| at.next() != Some(&false));
    }

    /// What a key can say about itself.
    fn check(&mut self, exposed: bool) {
        let (empty, demo) = (KeyHash::of(b""), KeyHash::of(DEMO_KEY.as_bytes()));
        for position in 0..self.keys.len() {
            let (key, written) = (self.keys[position], self.written[position]);
            let at = || written.path(key.id);
            if key.id.is_empty() || key.id.len() > LONGEST_ID {
                let length = key.id.len();
                let said =
                    format!("the id of a key has 1 to {LONGEST_ID} characters, not {length}");
                self.error(&at(), written, said);
            }
            if matches!(key.hash, KeyHash::Salted { .. }) && !is_id_of_a_key(key.id) {
                let said = "a key with a salted hash is found by the id in it, and this id cannot stand in a key";
                if let Some(problem) = self.error(&at(), written, said) {
                    problem.help("allowed: letters, digits, `_`, `-` and `.`, up to 64 characters; or write the hash without a salt");
                }
            }
            if key.hash == empty {
                let said =
                    "this is the hash of nothing at all: the key was empty when it was hashed";
                if let Some(problem) = self.error(&at().key("hash"), written, said) {
                    problem.help("make a key first, then hash it");
                }
            }
            if exposed && key.enabled && key.hash == demo {
                let problem = self.problems.warning(
                    &at().key("hash"),
                    "this is the demo key of the quickstart, which everyone knows, and a listener is not loopback",
                );
                problem.help("make a key of your own");
                problem.place = written.place();
            }
        }
        if self.keys.len() > MOST_KEYS {
            let at = ConfigPath::root().key("api_key_files");
            let said = format!("{} keys; allowed: {MOST_KEYS}", self.keys.len());
            self.problems.error(&at, said);
        }
    }

    fn clash(&mut self, clash: Clash) {
        let (first, later) = match clash {
            Clash::Id(first, later) | Clash::Hash(first, later) => (first, later),
        };
        let (Some(key), Some(written)) = (self.keys.get(later), self.written.get(later).copied())
        else {
            return;
        };
        let first_place = self.written.get(first).and_then(Written::place);
        let where_first = first_place.map_or_else(String::new, |place| format!(", at {place}"));
        let first_id = self.keys.get(first).map_or("", |key| key.id);
        let at = written.path(key.id);
        let (at, said, help) = match clash {
            Clash::Id(..) => (
                at,
                format!("another key has this id{where_first}"),
                "give each its own id: it is what logs and reports call it",
            ),
            Clash::Hash(..) => (
                at.key("hash"),
                format!("this is the hash of the key `{first_id}` too{where_first}"),
                "give each its own key",
            ),
        };
        if let Some(problem) = self.error(&at, written, said) {
            problem.help(help);
        }
    }

    /// Notes an error where the key was written, as long as there are not too many.
    fn error(
        &mut self,
        at: &ConfigPath,
        written: Written<'_>,
        message: impl Into<String>,
    ) -> Option<&mut Problem> {
        self.said += 1;
        if self.said > MAX_PROBLEMS {
            if self.said == MAX_PROBLEMS + 1 {
                let at = ConfigPath::root().key("api_keys");
                self.problems
                    .error(&at, "and more; further problems of keys are not shown");
            }
            return None;
        }
        let problem = self.problems.error(at, message);
        problem.place = written.place();
        Some(problem)
    }
}
