//! How a new configuration takes over, as its own file says.

use std::time::Duration;

use crate::model::value::Share;

use super::split::Trait;

/// How a new configuration takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// It serves every request at once.
    #[default]
    All,
    /// It serves a growing share of the callers, and is judged by how their requests end.
    Canary,
}

impl Strategy {
    pub const fn name(self) -> &'static str {
        match self {
            Strategy::All => "all",
            Strategy::Canary => "canary",
        }
    }
}

/// When a canary is taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct RollbackOn {
    /// The part of its requests that may fail.
    pub error_ratio: Share,
    /// The part of its requests that may be refused (4xx) beyond those of the baseline; `None`: any.
    pub refused_ratio: Option<Share>,
    /// How long the fastest 99 of 100 requests may take; `None`: as long as they do.
    pub p99: Option<Duration>,
    /// Requests of the canary, at each step, before it goes on.
    pub min_requests: u64,
}

impl Default for RollbackOn {
    fn default() -> RollbackOn {
        RollbackOn {
            error_ratio: Share::percent(2),
            refused_ratio: Some(Share::percent(20)),
            p99: None,
            min_requests: 200,
        }
    }
}

/// How a new configuration takes over, in full.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub strategy: Strategy,
    /// The canary's shares, growing. One of 100% makes it the baseline; without such a last step it stays where it is until
    /// it is promoted by hand.
    pub steps: Vec<Share>,
    /// How long a step lasts, at least.
    pub every: Duration,
    /// What a caller is known by: the first that a request has. Empty: nothing, each request goes its own way.
    pub sticky: Vec<Trait>,
    /// `None`: it is never taken back by itself.
    pub rollback_on: Option<RollbackOn>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            strategy: Strategy::All,
            steps: vec![Share::percent(5), Share::percent(25), Share::ALL],
            every: Duration::from_secs(300),
            sticky: Trait::usual(),
            rollback_on: Some(RollbackOn::default()),
        }
    }
}
