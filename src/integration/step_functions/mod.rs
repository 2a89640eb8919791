//! `StepFunctions-StartExecution`, `-StartSyncExecution`, `-StopExecution`.

mod start;
mod start_sync;
mod stop;

use bytes::Bytes;

pub use self::start::StartExecution;
pub(super) use self::start::{Request as StartRequest, Started};
pub use self::start_sync::StartSyncExecution;
pub use self::stop::StopExecution;

use super::MapError;
use super::parameter::{Flaw, Param, optional, text, utf8};
use crate::mapping::Sources;

/// The input of an execution (reference, 13.2).
const INPUT_BYTES: usize = 262_144;

/// The content type of the service's answers.
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// An ARN of Step Functions.
fn arn(bytes: Bytes) -> Result<String, Flaw> {
    let arn = text::<1, 256>(bytes)?;
    let service = arn.split(':').nth(2);
    if arn.starts_with("arn:") && service == Some("states") && arn.split(':').count() >= 7 {
        Ok(arn)
    } else {
        Err(Flaw::Invalid(
            "is not an ARN of Step Functions; write arn:aws:states:REGION:ACCOUNT:stateMachine:NAME".to_owned(),
        ))
    }
}

/// The name of an execution: what the service refuses is refused here (StartExecution, API reference).
fn name(bytes: Bytes) -> Result<String, Flaw> {
    let name = text::<1, 80>(bytes)?;
    let refused =
        |c: char| c.is_whitespace() || c.is_control() || "<>{}[]?*\"#%\\^|~`$&,;:/".contains(c);
    match name.chars().find(|c| refused(*c)) {
        None => Ok(name),
        Some(c) => Err(Flaw::Invalid(format!(
            "holds {c:?}, which an execution's name cannot; allowed: letters, digits, `-` and `_`"
        ))),
    }
}

/// An execution's input: JSON text.
fn input(bytes: Bytes) -> Result<String, Flaw> {
    let input = utf8(bytes)?;
    if input.len() <= INPUT_BYTES {
        return Ok(input);
    }
    Err(Flaw::Limit(format!(
        "{} bytes, at most {INPUT_BYTES} (256 KiB) are allowed",
        input.len()
    )))
}

/// The region to call in: `Region`, else the ARN's own.
fn region(
    asked: &Option<Param<String>>,
    arn: &str,
    sources: &dyn Sources,
) -> Result<Option<String>, MapError> {
    let of_arn = || {
        let region = arn.split(':').nth(3)?;
        crate::aws::is_region(region).then(|| region.to_owned())
    };
    Ok(optional(asked, sources)?.or_else(of_arn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_executions_hold_what_the_service_takes() {
        let of = |text: &str| name(Bytes::copy_from_slice(text.as_bytes()));
        assert!(of("order-1_a").is_ok());
        assert!(of(crate::model::request_id::RequestId::mint().as_str()).is_ok());
        assert!(matches!(of("a b"), Err(Flaw::Invalid(_))));
        assert!(matches!(of("a:b"), Err(Flaw::Invalid(_))));
        assert!(matches!(of(""), Err(Flaw::Invalid(_))));
        assert!(matches!(of(&"x".repeat(81)), Err(Flaw::Limit(_))));
    }

    #[test]
    fn an_arn_is_one_of_the_service() {
        let of = |text: &'static str| arn(Bytes::from_static(text.as_bytes()));
        assert!(of("arn:aws:states:eu-west-1:111122223333:stateMachine:flow").is_ok());
        assert!(of("arn:aws:states:eu-west-1:111122223333:execution:flow:name").is_ok());
        assert!(of("arn:aws:sqs:eu-west-1:111122223333:flow").is_err());
        assert!(of("flow").is_err());
    }
}
