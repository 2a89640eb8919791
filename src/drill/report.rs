//! What a drill has to say in the end.

use std::path::PathBuf;

use serde::Serialize;

use super::ledger::Ledger;
use super::schedule::Fault;

/// The result of a drill.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Nothing is lost, out of order or altered, and every promised fault was felt.
    pub ok: bool,
    pub seed: u64,
    pub seconds: f64,
    pub clients: u32,
    pub faults: Vec<Felt>,
    /// Faults that were not asked for and could not happen.
    pub impossible: Vec<Impossible>,
    /// How the disk was made full, where it was.
    pub disk: Option<String>,
    pub gateway_starts: u32,
    /// Calls that reached the fake target, and those among them for several records.
    pub target_calls: u64,
    pub target_batches: u64,
    /// What the gateway itself counted as possible duplicates; `None` where it counts none. What it counted between its
    /// last scrape and a kill is not in it.
    pub possible_duplicates: Option<u64>,
    pub ledger: Ledger,
    /// What went wrong apart from the ledger.
    pub failures: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// The working folder, if it was kept.
    pub kept: Option<PathBuf>,
}

/// A fault, and how often it happened.
#[derive(Clone, Debug, Serialize)]
pub struct Felt {
    pub fault: Fault,
    pub planned: u64,
    /// How often somebody felt it.
    pub felt: u64,
    /// What was counted.
    pub what: &'static str,
}

/// A fault that cannot happen, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Impossible {
    pub fault: Fault,
    pub why: &'static str,
}

impl Felt {
    pub fn new(fault: Fault, planned: u64, felt: u64) -> Felt {
        let what = match fault {
            Fault::Down => "requests while the target was down",
            Fault::Slow => "calls answered late",
            Fault::Throttle => "calls throttled",
            Fault::Partial => "batches that failed in part",
            Fault::LostAnswers => "calls stored without an answer",
            Fault::Kill => "kills with requests in flight",
            Fault::DiskFull => "requests refused for want of space",
            Fault::Freeze => "calls that were frozen",
            Fault::Reload => "restarts with requests in flight",
        };
        Felt {
            fault,
            planned,
            felt,
            what,
        }
    }
}
