use super::*;
use crate::store::StoreError;

fn refused(service: Service, status: u16, code: &str, message: &str) -> TargetError {
    TargetError::from_call(
        service,
        Lost::MayHaveHappened,
        CallError::Refused(Box::new(Refusal {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            request_id: Some("r-1".to_owned()),
            content_type: Some("application/x-amz-json-1.1".to_owned()),
            body: Bytes::from_static(b"{\"__type\":\"X\"}"),
        })),
    )
}

#[test]
fn each_refusal_has_its_class_code_and_status() {
    for (service, status, code, message, class, reason, native) in [
        (
            Service::Sqs,
            400,
            "AWS.SimpleQueueService.RequestThrottled",
            "",
            Class::Throttled,
            "target_throttled",
            503,
        ),
        (
            Service::Sqs,
            403,
            "RequestThrottled",
            "",
            Class::Throttled,
            "target_throttled",
            503,
        ),
        (
            Service::Kinesis,
            400,
            "ProvisionedThroughputExceededException",
            "",
            Class::Throttled,
            "target_throttled",
            503,
        ),
        (
            Service::StepFunctions,
            400,
            "ExecutionLimitExceeded",
            "",
            Class::Throttled,
            "target_throttled",
            503,
        ),
        (
            Service::Sqs,
            500,
            "InternalError",
            "",
            Class::Unavailable,
            "outcome_unknown",
            503,
        ),
        (
            Service::Sqs,
            503,
            "ServiceUnavailable",
            "",
            Class::Unavailable,
            "target_unavailable",
            503,
        ),
        (
            Service::Sqs,
            502,
            "",
            "",
            Class::Unavailable,
            "outcome_unknown",
            503,
        ),
        (
            Service::Kinesis,
            302,
            "",
            "",
            Class::Setup,
            "target_setup",
            502,
        ),
        (
            Service::Sqs,
            429,
            "",
            "",
            Class::Throttled,
            "target_throttled",
            503,
        ),
        (
            Service::Sqs,
            400,
            "AWS.SimpleQueueService.NonExistentQueue",
            "",
            Class::Setup,
            "target_setup",
            502,
        ),
        (
            Service::Sqs,
            403,
            "AccessDenied",
            "",
            Class::Setup,
            "target_setup",
            502,
        ),
        (
            Service::Kinesis,
            400,
            "ResourceNotFoundException",
            "",
            Class::Setup,
            "target_setup",
            502,
        ),
        (
            Service::Kinesis,
            400,
            "KMSAccessDeniedException",
            "",
            Class::Setup,
            "target_setup",
            502,
        ),
        (
            Service::StepFunctions,
            400,
            "StateMachineDoesNotExist",
            "",
            Class::Setup,
            "target_setup",
            502,
        ),
        (
            Service::EventBridge,
            400,
            "NobodyKnowsThisOne",
            "",
            Class::Setup,
            "target_setup",
            502,
        ),
        (
            Service::Sqs,
            400,
            "InvalidMessageContents",
            "",
            Class::Record,
            "target_refused_record",
            422,
        ),
        (
            Service::Sqs,
            404,
            "ReceiptHandleIsInvalid",
            "",
            Class::Record,
            "target_refused_record",
            422,
        ),
        (
            Service::StepFunctions,
            400,
            "InvalidExecutionInput",
            "",
            Class::Record,
            "target_refused_record",
            422,
        ),
        (
            Service::Kinesis,
            400,
            "com.amazonaws.kinesis#SerializationException",
            "",
            Class::Record,
            "target_refused_record",
            422,
        ),
        (
            Service::Sqs,
            400,
            "InvalidParameterValue",
            "Reason: Message must be shorter than 1024 bytes.",
            Class::Record,
            "target_refused_record",
            422,
        ),
        (
            Service::Kinesis,
            400,
            "ValidationException",
            "Member must have length less than or equal to 1048576",
            Class::Record,
            "target_refused_record",
            422,
        ),
        (
            Service::Kinesis,
            400,
            "ValidationException",
            "Value 'x' at 'streamName' failed to satisfy constraint: Member must have length less than or equal to 128",
            Class::Setup,
            "target_setup",
            502,
        ),
        (
            Service::Sqs,
            503,
            "",
            "the request rate exceeds the maximum",
            Class::Unavailable,
            "target_unavailable",
            503,
        ),
        (
            Service::Kinesis,
            400,
            "AccessDeniedException",
            "the policy is too large to be evaluated",
            Class::Setup,
            "target_setup",
            502,
        ),
    ] {
        let error = refused(service, status, code, message);
        assert_eq!(error.class, class, "{code}");
        assert_eq!(error.reason().name(), reason, "{code}");
        assert_eq!(error.native_status(), native, "{code}");
        assert_eq!(error.retry_after().is_some(), native != 422, "{code}");
    }
}

#[test]
fn what_was_not_sent_is_unavailable_and_what_was_lost_depends_on_the_call() {
    let of = |lost, error| TargetError::from_call(Service::Sqs, lost, error);
    let refused = CallError::NotSent {
        reason: "refused".into(),
    };
    let lost = CallError::Lost {
        reason: "reset".into(),
    };
    assert_eq!(of(Lost::MayHaveHappened, refused).class, Class::Unavailable);
    assert_eq!(
        of(Lost::MayHaveHappened, lost.clone()).class,
        Class::OutcomeUnknown
    );
    assert_eq!(of(Lost::Harmless, lost).class, Class::Unavailable);
    assert_eq!(
        TargetError::timed_out(Service::Sqs, Lost::Harmless).reason(),
        Code::Timeout
    );
    assert!(TargetError::timed_out(Service::Sqs, Lost::MayHaveHappened).may_be_stored());
}

#[test]
fn a_fault_of_the_service_leaves_the_outcome_of_a_store_open_and_that_of_a_read_not() {
    let of = |lost, status, code: &str| {
        let refusal = Refusal {
            status,
            code: code.to_owned(),
            message: String::new(),
            request_id: None,
            content_type: None,
            body: Bytes::new(),
        };
        TargetError::from_call(Service::Sqs, lost, CallError::Refused(Box::new(refusal)))
    };
    for (lost, status, code, reason, stored) in [
        (
            Lost::MayHaveHappened,
            500,
            "InternalError",
            Code::OutcomeUnknown,
            true,
        ),
        (Lost::MayHaveHappened, 504, "", Code::OutcomeUnknown, true),
        (
            Lost::MayHaveHappened,
            503,
            "ServiceUnavailable",
            Code::TargetUnavailable,
            false,
        ),
        (
            Lost::MayHaveHappened,
            400,
            "RequestThrottled",
            Code::TargetThrottled,
            false,
        ),
        (
            Lost::Harmless,
            500,
            "InternalError",
            Code::TargetUnavailable,
            false,
        ),
    ] {
        let error = of(lost, status, code);
        assert_eq!(
            (error.reason(), error.may_be_stored()),
            (reason, stored),
            "{status} {code}"
        );
        assert_eq!(error.native_status(), 503);
        assert_eq!(error.detail().contains("may or may not be stored"), stored);
    }
}

#[test]
fn what_the_gateway_itself_refuses_is_said_in_sentences() {
    let errors = [
        TargetError::out_of_turn(Service::Sqs),
        TargetError::no_store("no embedded store is configured"),
        TargetError::of_spool(StoreError::Overloaded),
        TargetError::of_spool(StoreError::QueueFull { max_size: 1 }),
        TargetError::of_spool(StoreError::Closed),
        TargetError::of_spool(StoreError::Unavailable {
            reason: "/secret/path".to_owned(),
        }),
    ];
    for error in errors {
        let detail = error.detail();
        assert!(
            detail.ends_with('.') && !detail.contains(&error.code),
            "{detail}"
        );
        assert!(!detail.contains("not available"), "{detail}");
        assert_eq!(
            error.may_be_stored(),
            detail.contains("may or may not"),
            "{detail}"
        );
    }
}

#[test]
fn the_caller_reads_the_code_but_not_what_the_service_says_about_us() {
    let denied = refused(
        Service::Sqs,
        403,
        "AccessDenied",
        "User: arn:aws:iam::1:user/x is not authorized",
    );
    assert_eq!(
        denied.detail(),
        "SQS cannot be used as it is set up: AccessDenied"
    );
    let record = refused(
        Service::StepFunctions,
        400,
        "InvalidExecutionInput",
        "Invalid State Machine Execution Input",
    );
    assert!(
        record
            .detail()
            .ends_with("InvalidExecutionInput: Invalid State Machine Execution Input")
    );
}

#[test]
fn the_aws_dialect_passes_on_the_service_s_answer_and_speaks_for_itself_otherwise() {
    let id = RequestId::mint();
    let queue = refused(
        Service::Sqs,
        400,
        "QueueDoesNotExist",
        "The specified queue does not exist.",
    )
    .aws(&id);
    assert_eq!(
        (queue.status, queue.content_type.as_deref()),
        (400, Some("text/xml"))
    );
    assert_eq!(
        std::str::from_utf8(&queue.body).unwrap(),
        "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><Error><Type>Sender</Type>\
         <Code>AWS.SimpleQueueService.NonExistentQueue</Code><Message>The specified queue does not exist.</Message><Detail/></Error>\
         <RequestId>r-1</RequestId></ErrorResponse>"
    );
    let proxy = refused(Service::Kinesis, 502, "", "").aws(&id);
    assert_eq!(
        (proxy.status, &proxy.body[..]),
        (503, &b"{\"message\":\"Service Unavailable\"}"[..])
    );
    for status in [200, 204, 302, 304, 600] {
        for service in [Service::Sqs, Service::Kinesis] {
            for code in ["", "X"] {
                let answer = refused(service, status, code, "").aws(&id);
                assert!([500, 503].contains(&answer.status), "{status} {code}");
                assert!(answer.body.starts_with(b"{\"message\":\""));
            }
        }
    }
    let kinesis = refused(Service::Kinesis, 400, "X", "").aws(&id);
    assert_eq!(
        (kinesis.status, &kinesis.body[..]),
        (400, &b"{\"__type\":\"X\"}"[..])
    );
    let down = TargetError::new(Class::Unavailable, Service::Kinesis, "ConnectFailed", "").aws(&id);
    assert_eq!(
        (down.status, &down.body[..]),
        (503, &b"{\"message\":\"Service Unavailable\"}"[..])
    );
    let keyless = TargetError::new(Class::Setup, Service::Sqs, "CredentialsNotLoaded", "").aws(&id);
    assert_eq!(
        (keyless.status, &keyless.body[..]),
        (500, &b"{\"message\":\"Internal Server Error\"}"[..])
    );
}
