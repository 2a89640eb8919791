//! The four SQS calls on embedded queues.

use super::receive::Received;
use super::send::Sent;
use super::{receive, send};
use crate::integration::Targets;
use crate::integration::refusal::{Class, Service, TargetError};
use crate::model::value::QueueName;

fn absent() -> TargetError {
    TargetError::new(
        Class::StoreUnavailable,
        Service::Sqs,
        "ServiceUnavailable",
        "there is no store",
    )
}
pub(super) async fn send(
    _: &Targets,
    _: &QueueName,
    _: send::Request,
) -> Result<Sent, TargetError> {
    Err(absent())
}
pub(super) async fn receive(
    _: &Targets,
    _: &QueueName,
    _: receive::Request,
) -> Result<Received, TargetError> {
    Err(absent())
}
pub(super) async fn delete(_: &Targets, _: &QueueName, _: &str) -> Result<(), TargetError> {
    Err(absent())
}
pub(super) async fn purge(_: &Targets, _: &QueueName) -> Result<(), TargetError> {
    Err(absent())
}
