//! `penstock drill`: whether what is acknowledged is ever lost, tried out.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::load::{blueprint_or_problems, compiled};
use super::table::table;
use super::{Exit, print};
use crate::drill::{
    self, BrokeOff, Drill as Prepared, Fault, Impossible, Refusal, Report, Row, Settings,
};

const RESULT: &str = "Exit codes:
  0  nothing that was acknowledged is missing, out of order or altered, and every fault was felt
  1  something is, or a fault that was promised did not happen; the ids are listed. Also when every route wants
     credentials that were not given
  2  the command line makes no sense
  3  the gateway or the fake target cannot be started";

/// Fail everything around a gateway, on purpose, and count what was lost
///
/// Starts a gateway on a copy of the configuration that leads to a fake AWS, a store in a temporary folder and free
/// ports of the loopback address: the configured targets, store, addresses and access log are not touched. Clients
/// send to every route that stores, while the target goes down, slows, throttles, fails in part, freezes and loses
/// answers, the disk fills, and the gateway is killed and restarted. In the end the ledger compares what the clients
/// were told with what was found.
#[derive(Debug, Args)]
#[command(after_help = RESULT)]
pub struct Drill {
    /// Route files, or folders of them
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What happens when, and what is sent: the same number, the same drill. Default: by the clock; it is printed
    #[arg(long)]
    seed: Option<u64>,
    /// How long requests are sent
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Clients that send at the same time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    clients: u32,
    /// Requests a second, of all clients together, about
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// The faults: down, slow, throttle, partial, lost-answers, kill, disk-full, freeze, reload. Default: all that
    /// can happen with these files
    #[arg(long, value_delimiter = ',', value_name = "FAULT,…")]
    faults: Option<Vec<Fault>>,
    /// A header for every request, `name: value`, where routes want credentials; may be given several times
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = drill::header)]
    headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Only print what would happen when
    #[arg(long)]
    plan: bool,
    /// Keep the working folder: the gateway's logs and its store
    #[arg(long)]
    keep: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    /// Spoil the drill itself, to see that it notices
    #[arg(long, hide = true)]
    sabotage: Option<Sabotage>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sabotage {
    DropOne,
}

impl Drill {
    pub fn run(&self) -> Exit {
        let Some(blueprint) = blueprint_or_problems(compiled(&self.files)) else {
            return Exit::Problems;
        };
        let program = match std::env::current_exe() {
            Ok(program) => program,
            Err(error) => {
                eprintln!("error: this program cannot find itself: {error}");
                return Exit::CannotStart;
            }
        };
        let settings = Settings {
            program,
            files: self.files.clone(),
            seed: self.seed.unwrap_or_else(by_the_clock),
            length: Duration::from_secs(self.seconds),
            clients: self.clients,
            rate: self.rate,
            faults: self.faults.clone(),
            headers: self.headers.iter().cloned().collect(),
            keep: self.keep,
            sabotage: self
                .sabotage
                .map(|Sabotage::DropOne| drill::Sabotage::DropOne),
        };
        let seed = settings.seed;
        let prepared = match Prepared::prepare(settings, &blueprint) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                eprintln!("error: {refusal}");
                return match refusal {
                    Refusal::TooShort(_) => Exit::Usage,
                    _ => Exit::Problems,
                };
            }
        };
        if self.plan {
            self.print_plan(seed, &prepared);
            return Exit::Ok;
        }
        eprintln!("seed {seed}; the same again: --seed {seed}");
        self.carry_out(prepared)
    }

    fn carry_out(&self, prepared: Prepared) -> Exit {
        let runtime = match tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("error: the runtime cannot be started: {error}");
                return Exit::CannotStart;
            }
        };
        let say = |line: &str| eprintln!("{line}");
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = prepared.run(&say) => Some(ended),
                () = interrupted() => None,
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
        match ended {
            Some(Ok(report)) => {
                if self.json {
                    print(&format!("{:#}\n", json!(report)));
                } else {
                    print(&shown(&report));
                }
                if report.ok { Exit::Ok } else { Exit::Problems }
            }
            Some(Err(error)) => {
                eprintln!("error: {error}");
                match error {
                    BrokeOff::Unauthorized { .. } => Exit::Problems,
                    _ => Exit::CannotStart,
                }
            }
            None => {
                eprintln!("error: interrupted, so there is no ledger");
                Exit::Problems
            }
        }
    }

    fn print_plan(&self, seed: u64, prepared: &Prepared) {
        if self.json {
            let document = json!({
                "seed": seed, "seconds": self.seconds, "clients": self.clients,
                "steps": prepared.steps(), "impossible": prepared.impossible(),
            });
            print(&format!("{document:#}\n"));
            return;
        }
        let mut text = format!(
            "seed {seed}, {} s, {} clients\n",
            self.seconds, self.clients
        );
        for step in prepared.steps() {
            text += &format!("{step}\n");
        }
        text += &left_out(prepared.impossible());
        print(&text);
    }
}

/// SIGINT or SIGTERM: the gateway is ended and the disk unmounted before this process ends.
async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

fn by_the_clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Six digits are enough to choose by, and can be typed again.
    now.map_or(1, |now| now.as_millis() as u64 % 1_000_000)
}

/// A line for each reason.
fn left_out(impossible: &[Impossible]) -> String {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for one in impossible {
        match reasons.iter_mut().find(|(why, _)| *why == one.why) {
            Some((_, faults)) => faults.push(one.fault.to_string()),
            None => reasons.push((one.why, vec![one.fault.to_string()])),
        }
    }
    reasons
        .iter()
        .map(|(why, faults)| format!("without {}: {why}\n", faults.join(", ")))
        .collect()
}

fn shown(report: &Report) -> String {
    let faults: Vec<Vec<String>> = report
        .faults
        .iter()
        .map(|felt| {
            vec![
                felt.fault.to_string(),
                felt.planned.to_string(),
                felt.felt.to_string(),
                felt.what.to_owned(),
            ]
        })
        .collect();
    let mut text = table(&["FAULT", "HAPPENED", "FELT", "BY"], &faults);
    if let Some(disk) = &report.disk {
        text += &format!("the disk: {disk}\n");
    }
    text += &left_out(&report.impossible);
    let ledger = &report.ledger;
    let rows: Vec<Vec<String>> = ledger
        .routes
        .iter()
        .chain([&ledger.total])
        .map(row)
        .collect();
    text.push('\n');
    text += &table(&HEADS, &rows);
    text.push('\n');
    let codes: Vec<String> = ledger
        .refusals
        .iter()
        .map(|(code, count)| format!("{code} {count}"))
        .collect();
    if !codes.is_empty() {
        text += &format!("refused: {}\n", codes.join(", "));
    }
    let total = &ledger.total;
    if total.duplicates > 0 || report.possible_duplicates.is_some() {
        let counted = report.possible_duplicates.map_or_else(
            || "none, for it has no such metric".to_owned(),
            |n| n.to_string(),
        );
        text += &format!(
            "duplicates: {}; counted by the gateway as possible: {counted}\n",
            total.duplicates
        );
    }
    for (count, what) in [
        (total.stored_unsaid, "stored though refused or not answered"),
        (total.in_dead_letters, "in dead-letter queues"),
        (total.still_spooled, "still spooled"),
        (
            total.premature,
            "PREMATURE: acknowledged as `target` before the target had them",
        ),
        (
            total.altered,
            "ALTERED: their bytes are not those that were sent",
        ),
    ] {
        if count > 0 {
            text += &format!("{what}: {count}\n");
        }
    }
    for loss in ledger.lost.iter().take(MOST_LISTED) {
        let (id, route) = (&loss.id, &loss.route);
        text += &format!(
            "LOST: {id} of {route}, not in {}\n",
            loss.missing.join(", ")
        );
    }
    for one in ledger.overtaken.iter().take(MOST_LISTED) {
        text += &format!(
            "OUT OF ORDER: {} before {} in {}\n",
            one.id, one.before, one.place
        );
    }
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    for failure in &report.failures {
        text += &format!("FAILED: {failure}\n");
    }
    if let Some(kept) = &report.kept {
        text += &format!("kept: {}\n", kept.display());
    }
    text += &format!(
        "\n{}: {} acknowledged, {} lost, {} out of order (seed {}, {:.0} s, {} starts, {} calls to the target)\n",
        if report.ok { "ok" } else { "FAILED" },
        total.acknowledged.all(),
        total.lost,
        total.order_violations,
        report.seed,
        report.seconds,
        report.gateway_starts,
        report.target_calls,
    );
    text
}

/// How many losses are named to people; `--json` names all.
const MOST_LISTED: usize = 20;

const HEADS: [&str; 11] = [
    "ROUTE",
    "SENT",
    "ACK TARGET",
    "SPOOLED",
    "UNSAID",
    "REFUSED",
    "NO ANSWER",
    "FOUND",
    "DUPLICATES",
    "LOST",
    "DISORDER",
];

fn row(row: &Row) -> Vec<String> {
    let acknowledged = &row.acknowledged;
    let counts = [
        row.sent,
        acknowledged.target,
        acknowledged.spooled,
        acknowledged.unsaid,
        row.refused,
        row.unanswered,
        row.found,
        row.duplicates,
        row.lost,
        row.order_violations,
    ];
    let counts = counts.iter().map(u64::to_string);
    [row.route.clone()].into_iter().chain(counts).collect()
}
