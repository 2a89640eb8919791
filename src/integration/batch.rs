//! Several records in one call: who may share one, and what becomes of each when the call fails as a whole.

use std::future::Future;

use tokio::time::Instant;

use super::answer::Answer;
use super::event_bridge::PutEvents;
use super::kinesis::PutRecord;
use super::refusal::{Class, TargetError};
use super::sqs::{DeleteMessage, SendMessage};
use super::{BatchLimits, Call, Called, Kind, Outcome, Request, Targets};

/// A verdict for each entry, in the order of the call.
pub(super) type Entries<A> = Vec<Result<Called<A>, TargetError>>;

/// A kind whose service takes several records in one call.
pub(super) trait Batched: Kind {
    /// Whether the record can share a call at all.
    fn can_share(request: &Self::Request) -> bool;

    /// Whether two records can share one.
    fn same_target(a: &Self::Request, b: &Self::Request) -> bool;

    /// One call for all of them, which are of one target and within its limits.
    fn call_batch(
        requests: &[&Self::Request],
        targets: &Targets,
        deadline: Instant,
    ) -> impl Future<Output = Result<Entries<Self::Answer>, TargetError>> + Send;
}

impl Targets {
    /// Sends several records of one target, in as few calls as its limits allow, one after the other. Each record has
    /// its own verdict, in the order given; an answer that hides a failure is that failure.
    ///
    /// A call that is refused as a whole says nothing about any one record: its records are then sent one by one, until
    /// one shows that the target cannot be used at all.
    pub async fn call_batch(
        &self,
        requests: Vec<Request>,
        deadline: Instant,
    ) -> Vec<Result<Answer, TargetError>> {
        let answers = self.call_shared(requests, deadline).await;
        let answers = answers.into_iter();
        answers
            .map(|answer| answer.and_then(Answer::or_failure))
            .collect()
    }

    /// As [`call_batch`](Targets::call_batch), with the answers as [`call`](Targets::call) gives them: for requests that
    /// wait for them.
    pub async fn call_shared(
        &self,
        requests: Vec<Request>,
        deadline: Instant,
    ) -> Vec<Result<Answer, TargetError>> {
        let mut verdicts = Vec::with_capacity(requests.len());
        let mut rest = requests.into_iter().peekable();
        while let Some(first) = rest.next() {
            let limits = first.batch_limits();
            let mut bytes = first.size();
            let mut shared = vec![first];
            while shared.len() < limits.records
                && let Some(next) = rest.next_if(|next| {
                    shared[0].can_share_with(next) && bytes + next.size() <= limits.bytes
                })
            {
                bytes += next.size();
                shared.push(next);
            }
            verdicts.extend(self.call_together(shared, deadline).await);
        }
        verdicts
    }

    async fn call_together(
        &self,
        requests: Vec<Request>,
        deadline: Instant,
    ) -> Vec<Result<Answer, TargetError>> {
        if requests.len() < 2 {
            return self.one_by_one(requests, deadline).await;
        }
        let answered = match &requests[0].call {
            Call::SqsSendMessage(_) => {
                let sends = requests.iter().filter_map(|request| match &request.call {
                    Call::SqsSendMessage(request) => Some(request),
                    _ => None,
                });
                let sends: Vec<_> = sends.collect();
                let calling = SendMessage::call_batch(&sends, self, deadline);
                entries(Box::pin(calling).await, Outcome::SqsSendMessage)
            }
            Call::SqsDeleteMessage(_) => {
                let deletes = requests.iter().filter_map(|request| match &request.call {
                    Call::SqsDeleteMessage(request) => Some(request),
                    _ => None,
                });
                let deletes: Vec<_> = deletes.collect();
                let calling = DeleteMessage::call_batch(&deletes, self, deadline);
                entries(Box::pin(calling).await, Outcome::SqsDeleteMessage)
            }
            Call::KinesisPutRecord(_) => {
                let puts = requests.iter().filter_map(|request| match &request.call {
                    Call::KinesisPutRecord(request) => Some(request),
                    _ => None,
                });
                let puts: Vec<_> = puts.collect();
                let calling = PutRecord::call_batch(&puts, self, deadline);
                entries(Box::pin(calling).await, Outcome::KinesisPutRecord)
            }
            Call::EventBridgePutEvents(_) => {
                let puts = requests.iter().filter_map(|request| match &request.call {
                    Call::EventBridgePutEvents(request) => Some(request),
                    _ => None,
                });
                let puts: Vec<_> = puts.collect();
                let calling = PutEvents::call_batch(&puts, self, deadline);
                entries(Box::pin(calling).await, Outcome::EventBridgePutEvents)
            }
            _ => return self.one_by_one(requests, deadline).await,
        };
        match answered {
            Ok(verdicts) => verdicts,
            Err(error) if error.may_be_the_batch() => self.one_by_one(requests, deadline).await,
            Err(error) => requests.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Sends what is left one by one, until a failure says that the target cannot be used now: what was not sent then
    /// is known not to have been.
    async fn one_by_one(
        &self,
        requests: Vec<Request>,
        deadline: Instant,
    ) -> Vec<Result<Answer, TargetError>> {
        let mut verdicts: Vec<Result<Answer, TargetError>> = Vec::with_capacity(requests.len());
        let mut useless = false;
        for request in requests {
            if useless {
                verdicts.push(Err(TargetError::not_sent(request.call.service())));
                continue;
            }
            let verdict = Box::pin(self.call(request, deadline)).await;
            let failure = match &verdict {
                Ok(answer) => answer.failure(),
                Err(error) => Some(error),
            };
            useless = failure.is_some_and(|error| !error.blames_record());
            verdicts.push(verdict);
        }
        verdicts
    }
}

/// Each entry's verdict.
fn entries<A>(
    answered: Result<Entries<A>, TargetError>,
    outcome: impl Fn(A) -> Outcome,
) -> Result<Vec<Result<Answer, TargetError>>, TargetError> {
    let verdict = |entry: Result<Called<A>, TargetError>| {
        let Called { answer, request_id } = entry?;
        Ok(Answer {
            outcome: outcome(answer),
            request_id,
            spooled: false,
        })
    };
    Ok(answered?.into_iter().map(verdict).collect())
}

impl Answer {
    /// The answer, unless it hides a failure.
    fn or_failure(self) -> Result<Answer, TargetError> {
        match self.failure() {
            Some(failure) => Err(failure.clone()),
            None => Ok(self),
        }
    }
}

impl TargetError {
    /// Whether it is about the record, so that others can still be sent.
    pub fn blames_record(&self) -> bool {
        matches!(self.class, Class::Record | Class::Limit | Class::Failed)
    }

    /// A call with several records that the service has refused as a whole, before it did anything: the batch may be at
    /// fault, or one of its records, or how we are set up (PutRecords needs another permission than PutRecord).
    fn may_be_the_batch(&self) -> bool {
        let refused = self
            .status
            .is_some_and(|status| (400..500).contains(&status));
        refused && matches!(self.class, Class::Record | Class::Limit | Class::Setup)
    }
}

impl Request {
    /// What one call to its target may carry.
    pub fn batch_limits(&self) -> BatchLimits {
        let alone = BatchLimits {
            records: 1,
            bytes: usize::MAX,
        };
        self.called_target()
            .filter(|_| !self.is_embedded())
            .map_or(alone, |target| target.batch_limits())
    }

    /// Whether it can share a call with others.
    pub fn can_be_shared(&self) -> bool {
        !self.is_embedded() && self.can_share_with(self)
    }

    /// Whether the two can share a call.
    fn can_share_with(&self, other: &Request) -> bool {
        match (&self.call, &other.call) {
            (Call::SqsSendMessage(a), Call::SqsSendMessage(b)) => shares::<SendMessage>(a, b),
            (Call::SqsDeleteMessage(a), Call::SqsDeleteMessage(b)) => shares::<DeleteMessage>(a, b),
            (Call::KinesisPutRecord(a), Call::KinesisPutRecord(b)) => shares::<PutRecord>(a, b),
            (Call::EventBridgePutEvents(a), Call::EventBridgePutEvents(b)) => {
                shares::<PutEvents>(a, b)
            }
            _ => false,
        }
    }
}

impl Call {
    /// The same call once more, so that its refusal says what the target has already.
    pub(super) fn asking(self) -> Call {
        match self {
            Call::DynamoDbPutItem(request) => Call::DynamoDbPutItem(request.asking()),
            call => call,
        }
    }

    /// The answer to a resend, where its refusal says that the target has the record already.
    pub(super) fn already_there(&self, refused: &TargetError) -> Option<Answer> {
        let outcome = match self {
            Call::StepFunctionsStartExecution(request)
                if refused.says("ExecutionAlreadyExists") =>
            {
                Outcome::StepFunctionsStartExecution(request.started())
            }
            Call::DynamoDbPutItem(request)
                if refused.says("ConditionalCheckFailedException")
                    && refused.answer().is_some_and(|said| request.is_there(said)) =>
            {
                Outcome::DynamoDbPutItem(super::dynamodb::Put::default())
            }
            _ => return None,
        };
        Some(Answer {
            outcome,
            request_id: refused.request_id.clone(),
            spooled: false,
        })
    }
}

fn shares<K: Batched>(a: &K::Request, b: &K::Request) -> bool {
    K::can_share(a) && K::can_share(b) && K::same_target(a, b)
}

#[cfg(test)]
mod tests;
