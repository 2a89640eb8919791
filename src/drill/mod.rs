//! The drill: a gateway as a child, a target that fails on purpose, clients that count; and in the end the ledger.
//!
//! [`Drill::prepare`] decides what will happen, as a pure function of the configuration, the seed and the length;
//! [`Drill::run`] lets it happen and reports. The user's targets, store and addresses are not touched: the child runs
//! on overrides.
//!
//! `schedule` says what goes wrong when, `record` what is sent, `asked` and `route` how; `target` is the fake AWS,
//! `gateway` the child, `disk` what its store lies on; `conduct` makes things happen, `collect` looks into the store at
//! the end, `ledger` compares.

mod asked;
mod client;
mod collect;
mod conduct;
mod disk;
mod folder;
mod gateway;
mod http;
mod ledger;
mod place;
mod random;
mod record;
mod report;
mod route;
mod schedule;
mod seen;
mod target;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use ::http::HeaderMap;

pub use self::client::header;
pub use self::ledger::{Ledger, Row};
pub use self::report::{Felt, Impossible, Report};
pub use self::schedule::{Fault, Step};

use self::asked::Asked;
use self::place::Service;
use self::route::DrillRoute;
use crate::plan::Blueprint;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This program: what is started as the gateway.
    pub program: PathBuf,
    /// The route files.
    pub files: Vec<PathBuf>,
    pub seed: u64,
    /// How long requests are sent.
    pub length: Duration,
    pub clients: u32,
    /// Requests a second of all clients together, about.
    pub rate: u32,
    /// `None`: all that can happen with these files.
    pub faults: Option<Vec<Fault>>,
    /// Sent with every request: credentials.
    pub headers: HeaderMap,
    /// The working folder stays.
    pub keep: bool,
    /// For tests of the drill itself.
    pub sabotage: Option<Sabotage>,
}

/// A fault of the drill itself, so that a test sees it notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// One acknowledged record is forgotten before the ledger is drawn up.
    DropOne,
}

/// Why there is no drill.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("no route stores anything, so nothing could be lost")]
    NothingStored,
    #[error("the fault {fault} cannot happen: {why}")]
    Impossible { fault: Fault, why: &'static str },
    #[error("{0}")]
    TooShort(String),
    #[error("the files cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
}

/// Why a drill broke off: no ledger.
#[derive(Debug, thiserror::Error)]
pub enum BrokeOff {
    #[error("the working folder or the fake target cannot be set up: {0}")]
    SetUp(#[from] std::io::Error),
    #[error(transparent)]
    Gateway(#[from] gateway::NotRunning),
    #[error("the store cannot be looked into: {0}")]
    Store(String),
    #[error(
        "every route refuses the first request ({refusals}); give {} -H 'name: value'",
        if *given { "other credentials with" } else { "credentials with" }
    )]
    Unauthorized {
        refusals: String,
        /// Whether there were headers to send.
        given: bool,
    },
}

/// A drill that is ready to run.
#[derive(Debug)]
pub struct Drill {
    settings: Settings,
    routes: Vec<DrillRoute>,
    asked: Asked,
    faults: Vec<Fault>,
    impossible: Vec<Impossible>,
    steps: Vec<Step>,
    /// How long the gateway may take to drain.
    drain: Duration,
}

impl Drill {
    /// Decides what will happen. Reads the route files and touches nothing else.
    ///
    /// # Errors
    /// Nothing is stored; a fault that was asked for cannot happen; the time is too short for all of them.
    pub fn prepare(settings: Settings, blueprint: &Blueprint) -> Result<Drill, Refusal> {
        let routes = route::routes(blueprint);
        if routes.is_empty() {
            return Err(Refusal::NothingStored);
        }
        let wanted = settings.faults.as_deref().unwrap_or(&Fault::ALL);
        let (mut faults, mut impossible) = (Vec::new(), Vec::new());
        for fault in wanted.iter().copied() {
            match why_not(fault, &routes) {
                Some(why) if settings.faults.is_some() => {
                    return Err(Refusal::Impossible { fault, why });
                }
                Some(why) => impossible.push(Impossible { fault, why }),
                None if faults.contains(&fault) => {}
                None => faults.push(fault),
            }
        }
        // The order in which they were asked for does not change what happens.
        faults.sort_unstable();
        let steps = schedule::schedule(settings.seed, settings.length, &faults)
            .map_err(Refusal::TooShort)?;
        Ok(Drill {
            asked: Asked::read(&settings.files)?,
            drain: blueprint.limits.drain,
            settings,
            routes,
            faults,
            impossible,
            steps,
        })
    }

    /// What happens when.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What was not asked for and cannot happen.
    pub fn impossible(&self) -> &[Impossible] {
        &self.impossible
    }

    /// Lets it happen. `say` is told what happens, line by line. Dropping the future ends the gateway.
    pub async fn run(self, say: &(dyn Fn(&str) + Sync)) -> Result<Report, BrokeOff> {
        Box::pin(conduct::conduct(self, say)).await
    }
}

/// Why a fault cannot happen with these routes.
fn why_not(fault: Fault, routes: &[DrillRoute]) -> Option<&'static str> {
    let batches = |route: &DrillRoute| {
        let batched = |service| !matches!(service, Service::StepFunctions | Service::Queue);
        route.destinations.iter().any(|to| batched(to.service))
    };
    if fault.is_of_the_target() && !routes.iter().any(|route| route.calls_target) {
        return Some("no route stores at AWS");
    }
    match fault {
        Fault::Partial if !routes.iter().any(batches) => {
            Some("no route stores where there are batches")
        }
        Fault::DiskFull if !routes.iter().any(|route| route.uses_store) => {
            Some("no route uses the store")
        }
        _ => None,
    }
}
