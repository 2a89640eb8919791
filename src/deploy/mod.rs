//! Deployments: what a configuration is called, which of two serves a request, and whether the newer one does worse. Pure
//! values and counters; whoever keeps the history, builds plans and publishes them is elsewhere.
//!
//! A deployment is addressed by its content ([`DeploymentId`]). While a new one is tried as a canary, [`Split`] gives each
//! request to one of both by a hash of its caller; [`Meters`] count how the requests of each end; [`evidence`] weighs the
//! counts; and [`Canary`] goes from step to step, or back, by what was weighed.

mod canary;
pub mod evidence;
mod id;
mod meters;
mod settings;
mod split;

pub use canary::{Blame, Canary, Look, Standing, Waiting};
pub use evidence::{Block, Tally};
pub use id::{DeploymentId, common_folder};
pub use meters::{Ended, Meters, Part};
pub use settings::{RollbackOn, Settings, Strategy};
pub use split::{Split, Trait};
