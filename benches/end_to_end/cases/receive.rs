//! Receive 10 and delete from an embedded queue: CPU of a message, and whether it stays where it is from a thousand
//! messages to a million. The store alone, without HTTP, in a process of its own for each depth and round.

use std::process::Command;

use serde_json::json;

use crate::options::Options;
use crate::roles::Drained;
use crate::support::Outcome;
use crate::support::figures::{Limit, Report, Spread};

const DEPTHS: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

pub fn run(options: &Options) -> Outcome<()> {
    let rounds = options.rounds.unwrap_or(3).max(1);
    // A short run is for looking whether this works at all.
    let depths = match options.seconds {
        Some(seconds) if seconds < 2.0 => &DEPTHS[..2],
        _ => &DEPTHS,
    };
    let mut report = Report::open(
        &options.results,
        "receive",
        "Receive 10, delete each, 8 consumers, 1 KiB bodies, visibility not synced, deletions synced; the store without HTTP.",
        &["depth", "messages a second", "CPU µs a message"],
    );
    let mut drained: Vec<Vec<Drained>> = depths.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (at, depth) in depths.iter().enumerate() {
            let output = Command::new(std::env::current_exe()?)
                .args(["--role", "store-drain", "--depth", &depth.to_string()])
                .output()?;
            drained[at].push(
                serde_json::from_slice(&output.stdout).map_err(|_| {
                    format!("no figures: {}", String::from_utf8_lossy(&output.stderr))
                })?,
            );
        }
    }
    let mut medians = Vec::new();
    for (depth, rounds) in depths.iter().zip(&drained) {
        let cpu = Spread::of(rounds.iter().map(|round| round.cpu));
        let rate = Spread::of(rounds.iter().map(|round| round.rate));
        report.row(
            &[depth.to_string(), rate.to_string(), cpu.to_string()],
            json!({ "depth": depth, "rate": rate.json(), "cpu_micros": cpu.json() }),
        );
        medians.push(cpu.median);
    }
    let highest = medians.iter().copied().fold(f64::NAN, f64::max);
    let lowest = medians.iter().copied().fold(f64::NAN, f64::min);
    report.budget(
        "CPU µs a message, at the worst depth",
        highest,
        Limit::AtMost(12.0),
    );
    report.budget(
        "worst depth over best",
        highest / lowest,
        Limit::AtMost(1.3),
    );
    report.close()
}
