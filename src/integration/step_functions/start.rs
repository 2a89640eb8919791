//! `StepFunctions-StartExecution`. Without a name the execution gets the request's id, so that a repeated call cannot
//! start it twice; EXPRESS machines do not deduplicate.

use std::borrow::Cow;
use std::time::SystemTime;

use aws_smithy_types::DateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::{CONTENT_TYPE, arn, input, name, region};
use crate::integration::answer::{Answered, NativeAnswer, Rendered, epoch, object};
use crate::integration::event_bridge::last_part;
use crate::integration::kept::milliseconds;
use crate::integration::parameter::{Compiler, MapError, Param, optional};
use crate::integration::reach::{Reached, ReachedKind};
use crate::integration::refusal::{Lost, Service, TargetError};
use crate::integration::{Called, Effect, Kind, OwnKeys, TargetName, Targets, within};
use crate::mapping::Sources;
use crate::model::request_id::RequestId;
use crate::model::text::Text;

/// Starts an execution of a state machine and does not wait for its end.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StepFunctions-StartExecution")]
pub struct StartExecution {
    /// The state machine.
    #[serde(rename = "StateMachineArn")]
    #[schemars(required)]
    state_machine_arn: Option<Text>,
    /// The execution's name: 1 to 80 characters, unique for 90 days on a STANDARD machine. Default: the request's id.
    /// EXPRESS machines do not deduplicate by it.
    #[serde(rename = "Name", default)]
    name: Option<Text>,
    /// The input: JSON text, up to 262,144 bytes. Default: `{}`.
    #[serde(rename = "Input", default)]
    input: Option<Text>,
    /// The region to call in; default: the ARN's.
    #[serde(rename = "Region", default)]
    region: Option<Text>,
}

/// A compiled `StepFunctions-StartExecution`.
#[derive(Clone, Debug)]
pub struct Compiled {
    state_machine_arn: Param<String>,
    name: Option<Param<String>>,
    input: Option<Param<String>>,
    region: Option<Param<String>>,
}

/// The call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(rename = "stateMachineArn")]
    state_machine_arn: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
    #[serde(rename = "Region", skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    execution_arn: String,
    #[serde(with = "milliseconds")]
    start_date: DateTime,
}

impl Kind for StartExecution {
    const NAME: &'static str = "StepFunctions-StartExecution";
    const SERVICE: Service = Service::StepFunctions;
    const EFFECT: Effect = Effect::Stores;
    const FIELDS: &[&str] = &["executionArn", "startDate"];
    type Compiled = Compiled;
    type Request = Request;
    type Answer = Started;

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
            state_machine_arn: machine?,
        })
    }

    fn reaches(compiled: &Compiled) -> Option<Reached> {
        let kind = ReachedKind::Machine { express: false };
        let (machine, region) = (&compiled.state_machine_arn, &compiled.region);
        let actions = &["states:StartExecution"];
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

    fn map(
        compiled: &Compiled,
        sources: &dyn Sources,
        id: &RequestId,
    ) -> Result<Request, MapError> {
        let state_machine_arn = compiled.state_machine_arn.value(sources)?;
        Ok(Request {
            name: optional(&compiled.name, sources)?.unwrap_or_else(|| id.to_string()),
            input: optional(&compiled.input, sources)?,
            region: region(&compiled.region, &state_machine_arn, sources)?,
            state_machine_arn,
        })
    }

    async fn call(
        request: Request,
        targets: &Targets,
        deadline: Instant,
    ) -> Result<Called<Started>, TargetError> {
        use aws_sdk_sfn::operation::RequestId as _;
        let (service, lost) = (Service::StepFunctions, Lost::MayHaveHappened);
        let client = targets
            .aws
            .stepfunctions(request.region.as_deref(), deadline)
            .await;
        let client = client.map_err(|error| TargetError::from_call(service, lost, error))?;
        let call = client
            .start_execution()
            .state_machine_arn(request.state_machine_arn)
            .name(request.name)
            .set_input(request.input);
        let output = within(Box::pin(call.send()), service, lost, deadline).await?;
        // the SDK puts an empty text where an answer lacks what it has to have
        if output.execution_arn.is_empty() {
            return Err(TargetError::no_receipt(service, "an execution's ARN"));
        }
        Ok(Called {
            request_id: output.request_id().map(str::to_owned),
            answer: Started {
                execution_arn: output.execution_arn,
                start_date: output.start_date,
            },
        })
    }
}

impl StartExecution {
    /// `None` where each request names the machine.
    pub(in crate::integration) fn machine(compiled: &Compiled) -> Option<&str> {
        compiled.state_machine_arn.constant().map(String::as_str)
    }
}

/// A machine's ARN says its region.
fn named(arn: &str, region: Option<&str>) -> TargetName {
    let other = region.filter(|region| arn.split(':').nth(3) != Some(region));
    TargetName::new(Service::StepFunctions, arn, other)
}

impl Request {
    pub(in crate::integration) fn target(&self) -> TargetName {
        named(&self.state_machine_arn, self.region.as_deref())
    }

    /// The target, if it is the same for every request.
    pub(in crate::integration) fn target_of(compiled: &Compiled) -> Option<TargetName> {
        let region = Param::constant_if_any(&compiled.region)?.map(String::as_str);
        Some(named(compiled.state_machine_arn.constant()?, region))
    }

    pub(in crate::integration) fn size(&self) -> usize {
        self.input.as_deref().map_or(0, str::len)
    }

    /// The execution as it is called once it has started: the ARN follows from machine and name (STANDARD machines; an
    /// EXPRESS one adds an id that nobody can know before), and the time is now.
    pub(in crate::integration) fn started(&self) -> Started {
        let mut parts = self.state_machine_arn.split(':');
        let mut part = || parts.next().unwrap_or_default();
        let (arn, partition, service, region, account) = (part(), part(), part(), part(), part());
        let (_, machine) = (part(), part());
        let name = &self.name;
        Started {
            execution_arn: format!(
                "{arn}:{partition}:{service}:{region}:{account}:execution:{machine}:{name}"
            ),
            start_date: now(),
        }
    }
}

/// To the millisecond, as the service tells it.
fn now() -> DateTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    DateTime::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

impl Answered for Started {
    fn native(&self) -> NativeAnswer {
        let arn = Value::from(self.execution_arn.as_str());
        NativeAnswer::Stored(object([
            ("messageId", Some(arn.clone())),
            ("executionArn", Some(arn)),
        ]))
    }

    fn aws(&self, _: &str) -> Rendered {
        let body = object([
            (
                "executionArn",
                Some(Value::from(self.execution_arn.as_str())),
            ),
            ("startDate", Some(epoch(&self.start_date))),
        ]);
        Rendered::new(200, CONTENT_TYPE, Value::Object(body).to_string())
    }

    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "executionArn" => Some(Cow::Borrowed(self.execution_arn.as_str())),
            "startDate" => Some(Cow::Owned(epoch(&self.start_date).to_string())),
            _ => None,
        }
    }

    fn message_id(&self) -> Option<&str> {
        Some(&self.execution_arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integration::tests::{compile, map, problems, try_compile};

    const ARN: &str = "arn:aws:states:eu-west-1:111122223333:stateMachine:flow";

    #[test]
    fn without_a_name_the_execution_is_called_like_the_request() {
        let yaml = format!(
            r#"{{"StepFunctions-StartExecution": {{"StateMachineArn": "{ARN}", "Input": "$request.body"}}}}"#
        );
        let id = RequestId::mint();
        let request = compile(&yaml)
            .map(&crate::integration::tests::Fixed(b"{}"), &id)
            .unwrap();
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            format!(
                r#"{{"StepFunctions-StartExecution":{{"stateMachineArn":"{ARN}","name":"{id}","input":"{{}}","Region":"eu-west-1"}}}}"#
            )
        );
    }

    #[test]
    fn every_parameter_stands_in_the_call() {
        let yaml = format!(
            r#"{{"StepFunctions-StartExecution": {{"StateMachineArn": "{ARN}", "Name": "n-1", "Input": "$request.body", "Region": "us-east-1"}}}}"#
        );
        assert_eq!(
            serde_json::to_string(&map(&compile(&yaml), b"[1]").unwrap()).unwrap(),
            format!(
                r#"{{"StepFunctions-StartExecution":{{"stateMachineArn":"{ARN}","name":"n-1","input":"[1]","Region":"us-east-1"}}}}"#
            )
        );
        // an empty body is an input that was left out
        assert!(
            !serde_json::to_string(&map(&compile(&yaml), b"").unwrap())
                .unwrap()
                .contains("input")
        );
    }

    #[test]
    fn an_input_over_the_limit_is_refused_before_the_call() {
        let yaml = format!(
            r#"{{"StepFunctions-StartExecution": {{"StateMachineArn": "{ARN}", "Input": "$request.body"}}}}"#
        );
        assert!(map(&compile(&yaml), &[b'x'; 262_144]).is_ok());
        let wrong = map(&compile(&yaml), &[b'x'; 262_145]).unwrap_err();
        assert_eq!(
            (wrong.status(), wrong.to_string().as_str()),
            (
                413,
                "Input is over a limit of Step Functions: 262145 bytes, at most 262144 (256 KiB) are allowed"
            )
        );
    }

    #[test]
    fn static_values_are_checked() {
        assert_eq!(
            problems(
                r#"{"StepFunctions-StartExecution": {"StateMachineArn": "flow", "Name": "a b"}}"#
            ),
            [
                "error: integration.StepFunctions-StartExecution.StateMachineArn: \"flow\" is not an ARN of Step Functions; write arn:aws:states:REGION:ACCOUNT:stateMachine:NAME",
                "error: integration.StepFunctions-StartExecution.Name: \"a b\" holds ' ', which an execution's name cannot; allowed: letters, digits, `-` and `_`",
            ]
        );
    }

    #[test]
    fn a_static_input_has_to_be_json() {
        let of = |tag: &str, input: &str| {
            let text =
                format!(r#"{{"{tag}": {{"StateMachineArn": "{ARN}", "Input": "{input}"}}}}"#);
            try_compile(&text, None).1
        };
        for tag in [
            "StepFunctions-StartExecution",
            "StepFunctions-StartSyncExecution",
        ] {
            assert_eq!(of(tag, "[1]"), [""; 0]);
            assert_eq!(of(tag, "${request.body}"), [""; 0]);
            assert_eq!(
                of(tag, "hello"),
                [format!(
                    "error: integration.{tag}.Input: the static text is not JSON; write `$request.body` to send the request's body, or JSON text with `${{…}}` inside"
                )]
            );
        }
    }

    #[test]
    fn the_aws_answer_has_the_start_in_seconds() {
        let started = Started {
            execution_arn: "arn:x".into(),
            start_date: DateTime::from_millis(1_700_000_000_123),
        };
        assert_eq!(
            &started.aws("r").body[..],
            &br#"{"executionArn":"arn:x","startDate":1700000000.123}"#[..]
        );
        assert_eq!(started.message_id(), Some("arn:x"));
    }
}
