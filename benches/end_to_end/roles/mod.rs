//! What this program is when a case starts it again: the fake endpoint, and the programs that the gateway is held
//! against.

mod axum_sdk;
mod bare;
mod fake;
mod store;

pub use self::store::{Drained, SPOOL_TARGET, record};

use crate::options::Options;
use crate::support::Outcome;

/// A part that this program plays as a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// SQS, Kinesis and EventBridge, as far as sends go.
    FakeAws,
    /// hyper, HTTP/1, reads the body, answers a constant.
    BareHyper,
    /// axum and one `send_message` a request.
    AxumSqs,
    /// axum and one `put_record` a request.
    AxumKinesis,
    /// axum and one `put_events` a request.
    AxumEvents,
    /// Spools into a store without HTTP; prints records a second.
    StoreSpool,
    /// Receives and deletes without HTTP; prints what a message costs.
    StoreDrain,
    /// Does one part of the hot path over and over.
    Piece,
}

pub async fn play(role: Role, options: &Options) -> Outcome<()> {
    match role {
        Role::FakeAws => fake::serve().await,
        Role::BareHyper => bare::serve().await,
        Role::AxumSqs => axum_sdk::sqs(&options.endpoint).await,
        Role::AxumKinesis => axum_sdk::kinesis(&options.endpoint).await,
        Role::AxumEvents => axum_sdk::events(&options.endpoint).await,
        Role::StoreSpool => store::spool(options).await,
        Role::StoreDrain => store::drain(options.depth).await,
        Role::Piece => Err("a piece is played without a runtime of its own".into()),
    }
}
