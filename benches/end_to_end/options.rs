//! The words of the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::roles::Role;
use crate::support::turns::Pace;

/// One comparison, or one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// Accepting, with a target that does nothing, against bare hyper.
    Accept,
    /// SQS, an endpoint without delay, against axum and one `send_message` a request.
    Sqs,
    /// SQS, an endpoint at 15 ms: what waiting for a batch costs in time.
    Latency,
    /// Kinesis and EventBridge, against axum and one call a request.
    Kinesis,
    /// The embedded queue, fsynced, against bare hyper.
    Queue,
    /// Receive 10 and delete, embedded, at 1 thousand to 1 million messages.
    Receive,
    /// TLS against plain.
    Tls,
    /// Memory of idle connections.
    Idle,
    /// Errors, throttles, lost replies, partial failures: is anything acknowledged missing?
    Integrity,
    /// What it costs to ask who is there.
    Door,
    /// The rate of `ack: spool` against the store's own.
    SpoolAccept,
    /// A start over a deep spool.
    SpoolBacklog,
    /// Three times what it can do.
    Overload,
    /// Mixed traffic for ten minutes: memory, descriptors, and everything acknowledged found again.
    Soak,
    /// Costs that must not grow: routes, keys, connections, bodies, backlog. Draws SVG.
    Growth,
    /// Instructions of the hot path, against committed figures.
    Guard,
    /// Other gateways, as far as they can be had here.
    Peers,
}

/// The rows of design section 10, in its order: what runs when no case is named.
pub const BUDGETS: [Case; 9] = [
    Case::Accept,
    Case::Sqs,
    Case::Latency,
    Case::Kinesis,
    Case::Queue,
    Case::Receive,
    Case::Tls,
    Case::Idle,
    Case::Integrity,
];

/// What the gateway costs against other programs, as ratios within one run.
#[derive(Clone, clap::Parser)]
#[command(name = "cargo bench --bench end_to_end --")]
pub struct Options {
    /// Default: the budgets (accept to integrity).
    pub cases: Vec<Case>,
    /// Length of a round, of the whole soak, of a step of the overload. Default: the case's own.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Turns of each program.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// In place of the case's own.
    #[arg(long, value_delimiter = ',')]
    pub connections: Vec<usize>,
    /// Of the backlog.
    #[arg(long, default_value_t = 1024)]
    pub mebibytes: u64,
    /// The guard: take today's figures as right.
    #[arg(long)]
    pub bless: bool,
    /// Where tables and plots are kept.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results"))]
    pub results: PathBuf,
    /// A part to play as a process of its own.
    #[arg(long, hide = true)]
    pub role: Option<Role>,
    #[arg(long, hide = true, default_value = "")]
    pub endpoint: String,
    #[arg(long, hide = true, default_value_t = 1000)]
    pub depth: u64,
    #[arg(long, hide = true, default_value_t = 256)]
    pub producers: usize,
    #[arg(long, hide = true, default_value = "")]
    pub piece: String,
    #[arg(long, hide = true, default_value_t = 1)]
    pub times: u64,
    /// Cargo says it; it means nothing here.
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Options {
    pub fn length(&self, default: f64) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(default).clamp(0.1, 86_400.0))
    }

    pub fn pace(&self, rounds: usize, seconds: f64) -> Pace {
        Pace {
            rounds: self.rounds.unwrap_or(rounds).max(1),
            length: self.length(seconds),
        }
    }

    pub fn connections(&self, default: &[usize]) -> Vec<usize> {
        match self.connections.as_slice() {
            [] => default.to_vec(),
            own => own.to_vec(),
        }
    }
}
