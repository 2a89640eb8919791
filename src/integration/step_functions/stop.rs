//! `StepFunctions-StopExecution`.

use std::borrow::Cow;

use aws_smithy_types::DateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{CONTENT_TYPE, arn, region};
use crate::integration::answer::{Answered, NativeAnswer, Rendered, epoch, object};
use crate::integration::parameter::{Compiler, MapError, Param, optional, text};
use crate::integration::reach::{Reached, ReachedKind};
use crate::integration::refusal::{Lost, Service, TargetError};
use crate::integration::{Called, Effect, Kind, OwnKeys, Targets, within};
use crate::mapping::Sources;
use crate::model::request_id::RequestId;
use crate::model::text::Text;

/// Stops an execution of a STANDARD state machine.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StepFunctions-StopExecution")]
pub struct StopExecution {
    /// The execution.
    #[serde(rename = "ExecutionArn")]
    #[schemars(required)]
    execution_arn: Option<Text>,
    /// Why it is stopped, at length. Up to 32,768 characters.
    #[serde(rename = "Cause", default)]
    cause: Option<Text>,
    /// Why it is stopped, as a code. Up to 256 characters.
    #[serde(rename = "Error", default)]
    error: Option<Text>,
    /// The region to call in; default: the ARN's.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
}

/// A compiled `StepFunctions-StopExecution`.
#[derive(Clone, Debug)]
pub struct Compiled {
    execution_arn: Param<String>,
    cause: Option<Param<String>>,
    error: Option<Param<String>>,
    region: Option<Param<String>>,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Request {
    #[serde(rename = "executionArn")]
    execution_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(rename = "Region", skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Stopped {
    stop_date: DateTime,
}

impl Kind for StopExecution {
    const NAME: &'static str = "StepFunctions-StopExecution";
    const SERVICE: Service = Service::StepFunctions;
    const EFFECT: Effect = Effect::Acts;
    const FIELDS: &[&str] = &["stopDate"];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Stopped;

    fn compile(&self, _: &OwnKeys, compiler: &mut Compiler<'_, '_>) -> Option<Compiled> {
        let execution = compiler.required("ExecutionArn", &self.execution_arn, arn);
        Some(Compiled {
            cause: compiler.optional("Cause", &self.cause, text::<1, 32_768>),
            error: compiler.optional("Error", &self.error, text::<1, 256>),
            region: compiler.optional(
                "Region",
                &self.region,
                crate::integration::parameter::region,
            ),
            execution_arn: execution?,
        })
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        let (execution, region) = (&compiled.execution_arn, &compiled.region);
        let actions = &["states:StopExecution"];
        Some(Reached::by(
            ReachedKind::Execution,
            "ExecutionArn",
            execution,
            region,
            actions,
        ))
    }

    fn label(_: &Compiled) -> Option<String> {
        None // an execution is named by each request
    }

    fn map(compiled: &Compiled, sources: &dyn Sources, _: &RequestId) -> Result<Request, MapError> {
        let execution_arn = compiled.execution_arn.value(sources)?;
        Ok(Request {
            error: optional(&compiled.error, sources)?,
            cause: optional(&compiled.cause, sources)?,
            region: region(&compiled.region, &execution_arn, sources)?,
            execution_arn,
        })
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Stopped>, TargetError> {
        use aws_sdk_sfn::operation::RequestId as _;
        let (service, lost) = (Service::StepFunctions, Lost::MayHaveHappened);
        let client = targets
            .aws
            .stepfunctions(request.region.as_deref(), deadline)
            .await;
        let client = client.map_err(|error| TargetError::from_call(service, lost, error))?;
        let call = client
            .stop_execution()
            .execution_arn(request.execution_arn)
            .set_error(request.error)
            .set_cause(request.cause);
        let output = within(Box::pin(call.send()), service, lost, deadline).await?;
        // the SDK puts 1970 where an answer lacks the date that it has to have
        if output.stop_date == DateTime::from_secs(0) {
            return Err(TargetError::no_receipt(service, "a stop date"));
        }
        Ok(Called {
            request_id: output.request_id().map(str::to_owned),
            answer: Stopped {
                stop_date: output.stop_date,
            },
        })
    }
}

impl Stopped {
    fn fields(&self) -> Map<String, Value> {
        object([("stopDate", Some(epoch(&self.stop_date)))])
    }
}

impl Answered for Stopped {
    fn native(&self) -> NativeAnswer {
        NativeAnswer::Fields(self.fields())
    }
    fn aws(&self, _: &str) -> Rendered {
        Rendered::new(200, CONTENT_TYPE, Value::Object(self.fields()).to_string())
    }
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "stopDate").then(|| Cow::Owned(epoch(&self.stop_date).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integration::tests::{compile, map};

    #[test]
    fn every_parameter_stands_in_the_call() {
        let yaml = r#"{"StepFunctions-StopExecution": {"ExecutionArn": "$request.body.arn", "Cause": "because", "Error": "$request.header.x-a", "Region": "us-east-1"}}"#;
        let body = br#"{"arn":"arn:aws:states:eu-west-1:1:execution:flow:n"}"#;
        assert_eq!(
            serde_json::to_string(&map(&compile(yaml), body).unwrap()).unwrap(),
            r#"{"StepFunctions-StopExecution":{"executionArn":"arn:aws:states:eu-west-1:1:execution:flow:n","error":"alpha","cause":"because","Region":"us-east-1"}}"#
        );
        let wrong = map(&compile(yaml), br#"{"arn":"x"}"#).unwrap_err();
        assert!(
            wrong
                .to_string()
                .starts_with(r#"ExecutionArn ("x") is not an ARN"#)
        );
    }

    #[test]
    fn the_answer_is_the_moment_of_the_stop() {
        let stopped = Stopped {
            stop_date: DateTime::from_millis(1_700_000_000_456),
        };
        assert_eq!(
            &stopped.aws("r").body[..],
            &br#"{"stopDate":1700000000.456}"#[..]
        );
        assert_eq!(stopped.native().status(), 200);
    }
}
