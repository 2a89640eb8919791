//! What is wrong with a configuration: where it stands, what was found, and what to write instead.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::path::ConfigPath;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, and probably does not do what was meant.
    Warning,
}

/// A position in a file that a person wrote; line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub path: ConfigPath,
    /// What was found and why it cannot stand.
    pub message: String,
    /// What to write instead: what is allowed, the nearest right spelling.
    pub help: Option<String>,
    /// Where it stands; filled in from the source map when only the path was known.
    pub place: Option<Place>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(match self.severity {
            Severity::Error => "error: ",
            Severity::Warning => "warning: ",
        })?;
        if !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

/// Every problem found so far, in the order of their finding.
#[derive(Clone, Debug, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Notes an error; the returned problem can be given help or a place.
    pub fn error(&mut self, path: &ConfigPath, message: impl Into<String>) -> &mut Problem {
        self.note(Severity::Error, path, message.into())
    }

    /// Notes a warning; the returned problem can be given help or a place.
    pub fn warning(&mut self, path: &ConfigPath, message: impl Into<String>) -> &mut Problem {
        self.note(Severity::Warning, path, message.into())
    }

    fn note(&mut self, severity: Severity, path: &ConfigPath, message: String) -> &mut Problem {
        let at = self.0.len();
        self.0.push(Problem {
            severity,
            path: path.clone(),
            message,
            help: None,
            place: None,
        });
        &mut self.0[at]
    }

    /// Whether anything stands in the way of using the configuration.
    pub fn has_errors(&self) -> bool {
        self.0
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    /// Leaves out what has been said before, word for word and of the same place: what several APIs share is read with
    /// each of them.
    pub fn without_repetitions(&mut self) {
        let mut said: Vec<Problem> = Vec::with_capacity(self.0.len());
        for problem in self.0.drain(..) {
            if !said.contains(&problem) {
                said.push(problem);
            }
        }
        self.0 = said;
    }

    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.0
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count()
    }
}

impl Problem {
    /// Says what to write instead.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Problem {
        self.help = Some(help.into());
        self
    }

    /// Says where it stands.
    pub fn at(&mut self, place: Place) -> &mut Problem {
        self.place = Some(place);
        self
    }
}

/// The candidate nearest to what was written, if one is near enough to be what was meant.
pub fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| {
            *distance <= (candidate.len().max(written.len()) / 3).max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_file_line_path_what_was_found_and_what_to_write() {
        let mut problems = Problems::default();
        problems
            .error(
                &ConfigPath::root()
                    .key("routes")
                    .key("POST /a")
                    .key("throtle"),
                "unknown key `throtle`",
            )
            .help("did you mean `throttle`?")
            .at(Place {
                file: "shop.yaml".into(),
                line: 4,
                column: 5,
            });
        assert_eq!(
            problems.0[0].to_string(),
            "shop.yaml:4:5: error: routes.\"POST /a\".throtle: unknown key `throtle`; did you mean `throttle`?"
        );
    }

    #[test]
    fn the_nearest_spelling_ignores_case_and_gives_up_on_strangers() {
        assert_eq!(nearest("throtle", ["routes", "throttle"]), Some("throttle"));
        assert_eq!(
            nearest("queueurl", ["QueueUrl", "MessageBody"]),
            Some("QueueUrl")
        );
        assert_eq!(nearest("zzz", ["routes", "throttle"]), None);
    }
}
