//! Figures as they are shown and kept: medians with their spread, a table for people, and one JSON object a line in
//! `benches/results/` for programs. A budget that is not met is said, and fails nothing: time on a shared machine is no
//! test. A message that is missing does.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Outcome;

/// Lowest, median and highest of the rounds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Spread {
            low: at(0),
            median: at(sorted.len() / 2),
            high: at(sorted.len().saturating_sub(1)),
        }
    }

    pub fn json(&self) -> Value {
        json!([self.low, self.median, self.high])
    }
}

/// `2.01 (1.69 to 2.34)`.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { low, median, high } = self;
        let digits = if *median >= 1000.0 { 0 } else { 2 };
        write!(f, "{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}

/// What a figure is held against.
#[derive(Clone, Copy)]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::AtMost(limit) => write!(f, "at most {limit}"),
            Limit::AtLeast(limit) => write!(f, "at least {limit}"),
        }
    }
}

/// A case's table, budgets and file of results.
pub struct Report {
    case: &'static str,
    folder: PathBuf,
    lines: Vec<Value>,
    budgets: Vec<String>,
}

impl Report {
    /// Prints the heading of the table.
    pub fn open(
        folder: &std::path::Path,
        case: &'static str,
        about: &str,
        columns: &[&str],
    ) -> Report {
        println!("\n## {case}\n\n{about}\n");
        println!("| {} |", columns.join(" | "));
        println!("|{}", " --- |".repeat(columns.len()));
        Report {
            case,
            folder: folder.to_owned(),
            lines: vec![json!({ "case": case, "about": about, "machine": machine() })],
            budgets: Vec::new(),
        }
    }

    /// A row for people, and the same for programs.
    pub fn row(&mut self, cells: &[String], mut line: Value) {
        println!("| {} |", cells.join(" | "));
        line["case"] = self.case.into();
        self.lines.push(line);
    }

    /// Holds a figure against its budget (design, section 10).
    pub fn budget(&mut self, what: &str, figure: f64, limit: Limit) {
        let met = match limit {
            Limit::AtMost(limit) => figure <= limit,
            Limit::AtLeast(limit) => figure >= limit,
        };
        let word = if met { "met" } else { "NOT MET" };
        self.budgets
            .push(format!("- {word}: {what}: {figure:.2}, {limit}"));
        let (bound, kind) = match limit {
            Limit::AtMost(limit) => (limit, "at_most"),
            Limit::AtLeast(limit) => (limit, "at_least"),
        };
        self.lines.push(
            json!({ "case": self.case, "budget": what, "figure": figure, kind: bound, "met": met }),
        );
    }

    /// Something that has to be known to read the table.
    pub fn note(&mut self, text: String) {
        self.lines.push(json!({ "case": self.case, "note": text }));
        self.budgets.push(format!("- {text}"));
    }

    /// Prints the budgets and writes the file.
    pub fn close(self) -> Outcome<()> {
        if !self.budgets.is_empty() {
            println!("\n{}", self.budgets.join("\n"));
        }
        fs::create_dir_all(&self.folder)?;
        let mut text = String::new();
        for line in &self.lines {
            text += &line.to_string();
            text.push('\n');
        }
        fs::write(self.folder.join(format!("{}.jsonl", self.case)), text)?;
        Ok(())
    }
}

/// What absolute figures depend on.
fn machine() -> Value {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "cores": cores,
        "kernel": kernel.trim(),
        "load_before": load.split(' ').next().unwrap_or_default(),
    })
}
