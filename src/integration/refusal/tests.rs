use super::*;

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
            "target_unavailable",
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
            "target_unavailable",
            503,
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
