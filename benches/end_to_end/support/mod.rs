//! What the cases share: servers as processes, clients, figures.

pub mod client;
pub mod control;
pub mod figures;
pub mod gateway;
pub mod histogram;
pub mod open_loop;
pub mod plot;
pub mod process;
pub mod requests;
pub mod turns;

/// Of a case. What goes wrong in a bench is told and ends it.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
