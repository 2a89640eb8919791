//! Moving messages out of dead-letter queues: StartMessageMoveTask, ListMessageMoveTasks, CancelMessageMoveTask.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::store::{MoveError, MoveState, MoveTask, NewMove};

use super::fault::{Code, Fault};
use super::input::{Input, required, within};
use super::names::in_arn_of;
use super::queues::{Answer, Queues};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MoveInput {
    source_arn: Option<String>,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<i64>,
    max_results: Option<i64>,
    task_handle: Option<String>,
}

impl Queues<'_> {
    pub(super) async fn start_message_move_task(&self, input: Input) -> Answer {
        let input: MoveInput = input.read()?;
        let source = self.existing("SourceArn", required(input.source_arn, "SourceArn")?)?;
        let destination = input.destination_arn.filter(|arn| !arn.is_empty());
        let destination = destination
            .map(|arn| self.existing("DestinationArn", arn))
            .transpose()?;
        if destination.as_ref() == Some(&source) {
            return Err(Code::InvalidParameterValue
                .because("Source queue arn and destination queue arn cannot be the same."));
        }
        let rate = within(
            input.max_number_of_messages_per_second,
            "MaxNumberOfMessagesPerSecond",
            1,
            500,
        )?;
        let task = NewMove {
            source,
            destination,
            max_per_second: rate.map(|rate| rate as u32),
            only: None,
        };
        let handle = self.store.start_move(task).await.map_err(refused)?;
        Ok(json!({ "TaskHandle": handle }))
    }

    pub(super) async fn list_message_move_tasks(&self, input: Input) -> Answer {
        let input: MoveInput = input.read()?;
        let source = self.existing("SourceArn", required(input.source_arn, "SourceArn")?)?;
        // One, unless more are asked for: so the service has it.
        let most = within(input.max_results, "MaxResults", 1, 10)?.unwrap_or(1);
        let tasks = self.store.moves(&source).await?;
        let results: Vec<Value> = tasks
            .into_iter()
            .take(most as usize)
            .map(|task| self.shown(task))
            .collect();
        Ok(json!({ "Results": results }))
    }

    pub(super) async fn cancel_message_move_task(&self, input: Input) -> Answer {
        let input: MoveInput = input.read()?;
        let handle = required(input.task_handle, "TaskHandle")?;
        let moved = self.store.cancel_move(&handle).await.map_err(refused)?;
        Ok(json!({ "ApproximateNumberOfMessagesMoved": moved }))
    }

    /// The queue that an ARN names, if it exists.
    fn existing(&self, parameter: &str, arn: String) -> Result<String, Fault> {
        let name = in_arn_of(parameter, &arn)?;
        match self.store.queue_facts(&name) {
            Some(_) => Ok(name),
            None => Err(Code::ResourceNotFound.because(format!(
                "The resource that you specified for the {parameter} parameter doesn't exist."
            ))),
        }
    }

    fn shown(&self, task: MoveTask) -> Value {
        let running = task.state == MoveState::Running;
        let status = match task.state {
            MoveState::Running => "RUNNING",
            MoveState::Completed => "COMPLETED",
            MoveState::Cancelling => "CANCELLING",
            MoveState::Cancelled => "CANCELLED",
            MoveState::Failed => "FAILED",
        };
        let destination = task.destination.map(|name| self.names.arn(&name));
        let fields = [
            // Only what can still be cancelled has a handle.
            ("TaskHandle", running.then(|| task.handle.into())),
            ("Status", Some(status.into())),
            ("SourceArn", Some(self.names.arn(&task.source).into())),
            ("DestinationArn", destination.map(Value::from)),
            (
                "MaxNumberOfMessagesPerSecond",
                task.max_per_second.map(Value::from),
            ),
            ("ApproximateNumberOfMessagesMoved", Some(task.moved.into())),
            (
                "ApproximateNumberOfMessagesToMove",
                Some(task.to_move.into()),
            ),
            ("FailureReason", task.failure.map(Value::from)),
            ("StartedTimestamp", Some(task.started_at.into())),
        ];
        let given = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

fn refused(error: MoveError) -> Fault {
    match error {
        MoveError::NotADeadLetterQueue => Code::InvalidParameterValue
            .because("Source queue must be configured as a Dead Letter Queue."),
        MoveError::Running => Code::InvalidParameterValue.because(
            "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
        ),
        MoveError::NoSuchTask => Code::ResourceNotFound.because("Task does not exist."),
        MoveError::Invalid(reason) => Code::InvalidParameterValue.because(reason),
        MoveError::Store(error) => error.into(),
    }
}
