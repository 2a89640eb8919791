//! What cannot be honoured as the vendor's document says it: named at its place, with a level and a reason. Nothing of
//! a document is dropped in silence.

use serde::Serialize;

use crate::config::load::tree::Mark;
use crate::model::path::ConfigPath;
use crate::model::problem::{Problem, Severity};

/// What became of a part of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is not there: the route, or the part of it, was left out.
    Missing,
    /// It is there and would behave differently.
    Differs,
    /// The vendor honours it, it is ignored here, and no caller notices.
    Ignored,
    /// The vendor itself makes nothing of it, or it is worth knowing.
    Noted,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something would behave differently.
    Error,
    /// Ignored harmlessly.
    Warning,
    /// Worth knowing.
    Info,
}

impl Verdict {
    pub fn level(self) -> Level {
        match self {
            Verdict::Missing | Verdict::Differs => Level::Error,
            Verdict::Ignored => Level::Warning,
            Verdict::Noted => Level::Info,
        }
    }
}

impl Level {
    /// `error`, `warning`, `info`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
        }
    }
}

/// One thing that is not as in the vendor's document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    /// Where the document says it.
    pub mark: Mark,
    /// Its path in the document.
    pub path: ConfigPath,
    pub reason: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether the document says that its operation may be left out (`on_unsupported: skip`): no error, then.
    pub excused: bool,
    /// Its reason and help hold in the same words at so many further places, of which this is the first.
    pub more: usize,
    /// The ids of the APIs that it is of; none: it is of the whole document.
    pub of: Vec<String>,
}

impl Finding {
    pub fn level(&self) -> Level {
        match self.verdict.level() {
            Level::Error if self.excused => Level::Warning,
            level => level,
        }
    }

    /// Says what to do about it.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Finding {
        self.help = Some(help.into());
        self
    }

    /// The reason, and in how many more places it holds.
    pub fn reason(&self) -> String {
        match self.more {
            0 => self.reason.clone(),
            1 => format!("{} (and in one more place)", self.reason),
            more => format!("{} (and in {more} more places)", self.reason),
        }
    }

    /// The finding as a problem of a configuration; `None` for what is only worth knowing.
    pub fn problem(&self) -> Option<Problem> {
        let severity = match self.level() {
            Level::Error => Severity::Error,
            Level::Warning => Severity::Warning,
            Level::Info => return None,
        };
        Some(Problem {
            severity,
            path: self.path.clone(),
            message: self.reason(),
            help: self.help.clone(),
            place: Some(self.mark.place()),
        })
    }
}

/// A part of the document that became a part of our configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Where the document says it.
    pub mark: Mark,
    /// Its path in the document.
    pub path: ConfigPath,
    /// What it became: `routes."POST /orders": SQS-SendMessage`.
    pub ours: String,
}

/// Everything found in one document, in the order of its finding.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub list: Vec<Finding>,
    pub mapped: Vec<Mapped>,
    /// Whether the operation that is being read may be left out.
    excused: bool,
    /// The API that is being read.
    api: Option<String>,
}

impl Findings {
    /// From here on findings are of one API, or of the whole document.
    pub fn of(&mut self, api: Option<&str>) {
        self.api = api.filter(|id| !id.is_empty()).map(str::to_owned);
    }

    /// From here on findings are of one operation. `excused`: it may be left out.
    pub fn enter(&mut self, excused: bool) {
        self.excused = excused;
    }

    /// From here on findings are of the document.
    pub fn leave(&mut self) {
        self.excused = false;
    }

    /// Notes a finding; the returned one can be given help. A warning or a note in words that were said before, of
    /// another place, is counted there: a role that forty integrations name is one line.
    pub fn note(
        &mut self,
        verdict: Verdict,
        mark: &Mark,
        path: &ConfigPath,
        reason: impl Into<String>,
    ) -> &mut Finding {
        let reason = reason.into();
        let folds = verdict.level() != Level::Error;
        let said = self
            .list
            .iter()
            .position(|known| folds && known.verdict == verdict && known.reason == reason);
        let at = match said {
            Some(at) => {
                let known = &mut self.list[at];
                known.more += usize::from(known.path != *path);
                known
                    .of
                    .extend(self.api.clone().filter(|api| !known.of.contains(api)));
                at
            }
            None => {
                self.list.push(Finding {
                    verdict,
                    mark: mark.clone(),
                    path: path.clone(),
                    reason,
                    help: None,
                    excused: self.excused,
                    more: 0,
                    of: self.api.iter().cloned().collect(),
                });
                self.list.len() - 1
            }
        };
        &mut self.list[at]
    }

    /// Notes what a part became.
    pub fn maps(&mut self, mark: &Mark, path: &ConfigPath, ours: impl Into<String>) {
        self.mapped.push(Mapped {
            mark: mark.clone(),
            path: path.clone(),
            ours: ours.into(),
        });
    }

    /// The number of findings that say that something is missing or differs, excused ones among them.
    pub fn errors(&self) -> usize {
        let matters = |finding: &&Finding| finding.verdict.level() == Level::Error;
        self.list.iter().filter(matters).count()
    }

    /// Of those, the ones that say that something is missing.
    pub fn missing(&self) -> usize {
        let missing = |finding: &&Finding| finding.verdict == Verdict::Missing;
        self.list.iter().filter(missing).count()
    }

    /// Whether something would behave differently.
    pub fn has_errors(&self) -> bool {
        self.list
            .iter()
            .any(|finding| finding.level() == Level::Error)
    }
}
