//! The call that makes the payload durable. A call that stores runs in a task of its own: once handed over, a record
//! is the target's, whatever becomes of the client.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Gateway;
use super::rejection::Rejection;
use super::route::Found;
use crate::integration::{Answer, Request, TargetError};
use crate::limit::Slot;
use crate::plan::Plan;
use crate::telemetry::Exchange;
use crate::telemetry::Metrics;
use crate::telemetry::exchange::TargetFacts;
use crate::telemetry::metrics::{ByIntegration, Called};

/// The target's answer, with what was measured of the call.
pub struct Receipt {
    pub answer: Answer,
    pub facts: TargetFacts,
}

/// A call without a success, with what was measured of it.
struct Failed {
    error: TargetError,
    facts: TargetFacts,
}

/// Makes the call, within the one deadline that everything from here to the answer shares.
pub(super) async fn receipt(
    gateway: &Arc<Gateway>,
    plan: &Arc<Plan>,
    found: &Found<'_>,
    request: Request,
    slot: Slot,
    x: &mut Exchange,
) -> Result<Receipt, Rejection> {
    let integration = &found.route.integration;
    let stores = integration.stores();
    // The time that the caller took to send is the caller's: the target has the route's timeout from here on.
    let deadline = Instant::now() + found.route.limits.timeout + request.wait();
    let making = Making {
        kind: integration.kind(),
        stores,
        metrics: gateway.telemetry.metrics.clone(),
    };
    let targets = plan.targets.clone();
    let made = async move {
        let began = Instant::now();
        let result = Box::pin(targets.call(request, deadline)).await;
        making.measured(result, began.elapsed())
    };
    if !stores {
        // A read or a removal is not a promise: it may end with its request.
        return settle(made.await, stores, x);
    }
    let ticket = x.hand_over();
    let task = gateway.calls.spawn(async move {
        // The place is taken until the call ends: clients that vanish do not make room for more calls.
        let _slot = slot;
        let result = made.await;
        ticket.done(match &result {
            Ok(receipt) => receipt
                .answer
                .failure()
                .map_or_else(|| Ok(receipt.facts.clone()), |failure| Err(failure.into())),
            Err(failed) => Err((&failed.error).into()),
        });
        result
    });
    match task.await {
        Ok(result) => settle(result, stores, x),
        Err(ended) => Err(Rejection::call_ended(&ended)),
    }
}

fn settle(
    result: Result<Receipt, Box<Failed>>,
    stores: bool,
    x: &mut Exchange,
) -> Result<Receipt, Rejection> {
    match result {
        Ok(receipt) => {
            let failure = receipt.answer.failure();
            x.answered(receipt.facts.clone(), stores && failure.is_none());
            // Whatever status the dialect gives it, a failure is written down as one.
            if let Some(failure) = failure {
                x.refuse(failure.into());
            }
            Ok(receipt)
        }
        Err(failed) => {
            let Failed { error, facts } = *failed;
            x.target_failed(facts);
            Err(error.into())
        }
    }
}

struct Making {
    kind: &'static str,
    stores: bool,
    metrics: Metrics,
}

impl Making {
    /// Counts the call, and keeps what the log wants of it.
    fn measured(
        self,
        result: Result<Answer, TargetError>,
        latency: Duration,
    ) -> Result<Receipt, Box<Failed>> {
        let outcome = match &result {
            Ok(answer) => answer
                .failure()
                .map_or("ok", |failure| failure.reason().name()),
            Err(error) => error.reason().name(),
        };
        self.metrics
            .target_calls
            .get_or_create(&Called {
                integration: self.kind,
                result: outcome,
            })
            .inc();
        self.metrics
            .target_seconds
            .get_or_create(&ByIntegration {
                integration: self.kind,
            })
            .observe(latency.as_secs_f64());
        match result {
            Ok(answer) => {
                let failure = answer.failure();
                let facts = TargetFacts {
                    status: Some(answer.service_status()),
                    latency,
                    request_id: answer.service_request_id().map(str::to_owned),
                    error: failure.map(TargetError::to_string),
                    message_id: answer.message_id().map(str::to_owned),
                    durability: Some(if self.stores && failure.is_none() {
                        "target"
                    } else {
                        "none"
                    }),
                };
                Ok(Receipt { answer, facts })
            }
            Err(error) => {
                let facts = TargetFacts {
                    status: error.status,
                    latency,
                    request_id: error.request_id.clone(),
                    error: Some(error.to_string()),
                    message_id: None,
                    durability: Some("none"),
                };
                Err(Box::new(Failed { error, facts }))
            }
        }
    }
}
