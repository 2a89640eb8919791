//! `StepFunctions-StartSyncExecution`: starts an EXPRESS machine and answers with its end.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{CONTENT_TYPE, arn, input, name, region};
use crate::integration::answer::{Answered, NativeAnswer, Rendered, epoch, object};
use crate::integration::event_bridge::last_part;
use crate::integration::parameter::{Compiler, MapError, Param, optional, text};
use crate::integration::reach::{Reached, ReachedKind};
use crate::integration::refusal::{Class, Lost, Service, TargetError};
use crate::integration::{Called, Effect, Kind, OwnKeys, Targets, within};
use crate::mapping::Sources;
use crate::model::request_id::RequestId;
use crate::model::text::Text;

/// Starts an execution of an EXPRESS state machine and answers with its result.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StepFunctions-StartSyncExecution")]
pub struct StartSyncExecution {
    /// The state machine; of type EXPRESS.
    #[serde(rename = "StateMachineArn")]
    #[schemars(required)]
    state_machine_arn: Option<Text>,
    /// The execution's name: 1 to 80 characters.
    #[serde(rename = "Name", default)]
    name: Option<Text>,
    /// The input: JSON text, up to 262,144 bytes. Default: `{}`.
    #[serde(rename = "Input", default)]
    input: Option<Text>,
    /// The region to call in; default: the ARN's.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
    /// An X-Ray trace header. Up to 256 characters.
    #[serde(rename = "TraceHeader", default)]
    trace_header: Option<Text>,
}

/// A compiled `StepFunctions-StartSyncExecution`.
#[derive(Clone, Debug)]
pub struct Compiled {
    state_machine_arn: Param<String>,
    name: Option<Param<String>>,
    input: Option<Param<String>>,
    region: Option<Param<String>>,
    trace_header: Option<Param<String>>,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    #[serde(rename = "stateMachineArn")]
    state_machine_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(rename = "traceHeader", skip_serializing_if = "Option::is_none")]
    trace_header: Option<String>,
    #[serde(rename = "Region", skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// The answer, in the service's own JSON, and the failure it tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    fields: Map<String, Value>,
    failed: Option<TargetError>,
}

impl Kind for StartSyncExecution {
    const NAME: &'static str = "StepFunctions-StartSyncExecution";
    const SERVICE: Service = Service::StepFunctions;
    const EFFECT: Effect = Effect::Reads;
    const FIELDS: &[&str] = &[
        "executionArn",
        "stateMachineArn",
        "name",
        "startDate",
        "stopDate",
        "status",
        "error",
        "cause",
        "input",
        "output",
        "traceHeader",
    ];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Finished;

    fn compile(&self, _: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let machine = compiler.required("StateMachineArn", &self.state_machine_arn, arn);
        let input = compiler.optional("Input", &self.input, input);
        compiler.static_json("Input", &input, |_| true, "JSON");
        Some(Compiled {
            name: compiler.optional("Name", &self.name, name),
            input,
            region: compiler.optional(
                "Region",
                &self.region,
                crate::integration::parameter::region,
            ),
            trace_header: compiler.optional("TraceHeader", &self.trace_header, text::<1, 256>),
            state_machine_arn: machine?,
        })
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        let kind = ReachedKind::Machine { express: true };
        let (machine, region) = (&compiled.state_machine_arn, &compiled.region);
        let actions = &["states:StartSyncExecution"];
        Some(Reached::by(
            kind,
            "StateMachineArn",
            machine,
            region,
            actions,
        ))
    }

    fn label(compiled: &Compiled) -> Option<String> {
        let machine = compiled.state_machine_arn.constant();
        machine.map(|arn| last_part(arn).to_owned())
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        let state_machine_arn = compiled.state_machine_arn.value(sources)?;
        Ok(Request {
            name: optional(&compiled.name, sources)?,
            input: optional(&compiled.input, sources)?,
            trace_header: optional(&compiled.trace_header, sources)?,
            region: region(&compiled.region, &state_machine_arn, sources)?,
            state_machine_arn,
        })
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Finished>, TargetError> {
        use aws_sdk_sfn::operation::RequestId as _;
        let (service, lost) = (Service::StepFunctions, Lost::MayHaveHappened);
        let client = targets
            .aws
            .stepfunctions(request.region.as_deref(), deadline)
            .await;
        let client = client.map_err(|error| TargetError::from_call(service, lost, error))?;
        let call = client
            .start_sync_execution()
            .state_machine_arn(request.state_machine_arn)
            .set_name(request.name)
            .set_input(request.input)
            .set_trace_header(request.trace_header)
            .customize()
            .mutate_request(|request| {
                if let Some(uri) = without_prefix(request.uri())
                    && let Err(error) = request.set_uri(uri)
                {
                    tracing::warn!(%error, "The sync- prefix could not be taken off the host");
                }
            });
        let output = within(Box::pin(call.send()), service, lost, deadline).await?;
        // the SDK puts empty texts where an answer lacks what it has to have
        if output.execution_arn.is_empty() || output.status.as_str().is_empty() {
            let missing = "an execution's ARN and status";
            return Err(TargetError::no_receipt(service, missing));
        }
        Ok(Called {
            request_id: output.request_id().map(str::to_owned),
            answer: Finished::from(output),
        })
    }
}

/// The SDK puts `sync-` before the host, whatever the host. That is right for the service's public names only
/// (`sync-states.REGION.amazonaws.com`); an emulator or a private endpoint has no such name.
fn without_prefix(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let host = rest.strip_prefix("sync-")?;
    let public = host.starts_with("states.") || host.starts_with("states-fips.");
    (!public).then(|| format!("{scheme}://{host}"))
}

impl Finished {
    fn from(
        output: aws_sdk_sfn::operation::start_sync_execution::StartSyncExecutionOutput,
    ) -> Finished {
        use aws_sdk_sfn::types::SyncExecutionStatus;
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let details =
            |details: &Option<aws_sdk_sfn::types::CloudWatchEventsExecutionDataDetails>| {
                details
                    .as_ref()
                    .map(|details| json!({ "included": details.included }))
            };
        let fields = object([
            (
                "executionArn",
                Some(Value::from(output.execution_arn.as_str())),
            ),
            ("stateMachineArn", text(&output.state_machine_arn)),
            ("name", text(&output.name)),
            ("startDate", Some(epoch(&output.start_date))),
            ("stopDate", Some(epoch(&output.stop_date))),
            ("status", Some(Value::from(output.status.as_str()))),
            ("error", text(&output.error)),
            ("cause", text(&output.cause)),
            ("input", text(&output.input)),
            ("inputDetails", details(&output.input_details)),
            ("output", text(&output.output)),
            ("outputDetails", details(&output.output_details)),
            ("traceHeader", text(&output.trace_header)),
            (
                "billingDetails",
                output.billing_details.as_ref().map(|billed| {
                    json!({
                        "billedMemoryUsedInMB": billed.billed_memory_used_in_mb,
                        "billedDurationInMilliseconds": billed.billed_duration_in_milliseconds
                    })
                }),
            ),
        ]);
        let failed = (output.status != SyncExecutionStatus::Succeeded).then(|| {
            let code = output
                .error
                .unwrap_or_else(|| output.status.as_str().to_owned());
            TargetError::new(
                Class::Failed,
                Service::StepFunctions,
                code,
                output.cause.unwrap_or_default(),
            )
        });
        Finished { fields, failed }
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.fields.get(name)? {
            Value::String(text) => Some(Cow::Borrowed(text)),
            other => Some(Cow::Owned(other.to_string())),
        }
    }
}

impl Answered for Finished {
    fn native(&self) -> NativeAnswer {
        NativeAnswer::Fields(self.fields.clone())
    }

    fn aws(&self, _: &str) -> Rendered {
        Rendered::new(
            200,
            CONTENT_TYPE,
            Value::Object(self.fields.clone()).to_string(),
        )
    }

    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        self.text(name)
    }

    fn message_id(&self) -> Option<&str> {
        self.fields.get("executionArn")?.as_str()
    }

    fn failure(&self) -> Option<&TargetError> {
        self.failed.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integration::tests::{compile, map};
    use aws_sdk_sfn::operation::start_sync_execution::StartSyncExecutionOutput;
    use aws_sdk_sfn::types::{BillingDetails, SyncExecutionStatus};
    use aws_smithy_types::DateTime;

    fn output(status: SyncExecutionStatus) -> StartSyncExecutionOutput {
        StartSyncExecutionOutput::builder()
            .execution_arn("arn:x")
            .start_date(DateTime::from_millis(1_700_000_000_123))
            .stop_date(DateTime::from_secs(1_700_000_001))
            .status(status)
            .set_output(Some("{\"a\":1}".into()))
            .billing_details(
                BillingDetails::builder()
                    .billed_memory_used_in_mb(64)
                    .billed_duration_in_milliseconds(100)
                    .build(),
            )
            .build()
            .unwrap()
    }

    #[test]
    fn every_parameter_stands_in_the_call() {
        let yaml = r#"{"StepFunctions-StartSyncExecution": {"StateMachineArn": "arn:aws:states:eu-west-1:1:stateMachine:flow", "Name": "n",
            "Input": "$request.body", "Region": "us-east-1", "TraceHeader": "Root=1"}}"#;
        assert_eq!(
            serde_json::to_string(&map(&compile(yaml), b"{}").unwrap()).unwrap(),
            r#"{"StepFunctions-StartSyncExecution":{"stateMachineArn":"arn:aws:states:eu-west-1:1:stateMachine:flow","name":"n","input":"{}","traceHeader":"Root=1","Region":"us-east-1"}}"#
        );
    }

    #[test]
    fn the_prefix_stays_on_the_service_s_public_names_alone() {
        assert_eq!(
            without_prefix("http://sync-127.0.0.1:4566/").as_deref(),
            Some("http://127.0.0.1:4566/")
        );
        assert_eq!(
            without_prefix("https://sync-vpce-1.states.eu-west-1.vpce.amazonaws.com/").as_deref(),
            Some("https://vpce-1.states.eu-west-1.vpce.amazonaws.com/")
        );
        assert_eq!(
            without_prefix("https://sync-states.eu-west-1.amazonaws.com/"),
            None
        );
        assert_eq!(
            without_prefix("https://states.eu-west-1.amazonaws.com/"),
            None
        );
    }

    #[test]
    fn a_finished_workflow_is_told_in_the_service_s_json() {
        let finished = Finished::from(output(SyncExecutionStatus::Succeeded));
        assert!(finished.failure().is_none());
        assert_eq!(
            std::str::from_utf8(&finished.aws("r").body).unwrap(),
            r#"{"executionArn":"arn:x","startDate":1700000000.123,"stopDate":1700000001.0,"status":"SUCCEEDED","output":"{\"a\":1}","billingDetails":{"billedMemoryUsedInMB":64,"billedDurationInMilliseconds":100}}"#
        );
        assert_eq!(finished.field("status").as_deref(), Some("SUCCEEDED"));
    }

    #[test]
    fn a_failed_workflow_is_a_failure() {
        for status in [SyncExecutionStatus::Failed, SyncExecutionStatus::TimedOut] {
            let finished = Finished::from(output(status));
            let failure = finished.failure().unwrap();
            assert_eq!(
                (failure.class, failure.native_status()),
                (Class::Failed, 502)
            );
            assert_eq!(finished.aws("r").status, 200);
        }
    }
}
