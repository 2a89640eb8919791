use super::*;

fn names() -> Names {
    Names {
        base: "http://h".into(),
        region: "us-east-1".into(),
    }
}

fn given(attributes: &[(&str, &str)]) -> AttributeInput {
    attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn facts(name: &str) -> QueueFacts {
    QueueFacts {
        spec: QueueSpec::new(name),
        extra: Extra::new(),
        created_at: 1,
        modified_at: 2,
        declared: false,
    }
}

fn applied(queue: &str, attributes: &[(&str, &str)]) -> Result<QueueFacts, Code> {
    let mut facts = facts(queue);
    let done = apply(
        &given(attributes),
        Use::Create,
        &mut facts.spec,
        &mut facts.extra,
    );
    done.map(|()| facts).map_err(|fault| fault.code)
}

const POLICY: &str =
    r#"{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:1:dead","maxReceiveCount":"5"}"#;

#[test]
fn what_is_set_is_shown() {
    let set = [
        ("VisibilityTimeout", "0"),
        ("MessageRetentionPeriod", "60"),
        ("DelaySeconds", "900"),
        ("MaximumMessageSize", "1024"),
        (WAIT_TIME, "20"),
        ("Policy", "{\"a\":1}"),
        ("KmsMasterKeyId", "alias/x"),
        ("SqsManagedSseEnabled", "TRUE"),
        ("RedriveAllowPolicy", "{\"redrivePermission\":\"denyAll\"}"),
    ];
    let facts = applied("q", &set).unwrap();
    let shown = shown(&facts, None, &names());
    for (name, value) in set {
        let value = if value == "TRUE" { "true" } else { value };
        assert_eq!(shown.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(shown["CreatedTimestamp"], "1");
    assert_eq!(shown["QueueArn"], "arn:aws:sqs:us-east-1:000000000000:q");
    assert!(!shown.contains_key("FifoQueue"));
}

#[test]
fn a_fifo_queue_has_attributes_of_its_own() {
    let set = [
        ("FifoQueue", "true"),
        ("ContentBasedDeduplication", "true"),
        ("DeduplicationScope", "queue"),
        ("FifoThroughputLimit", "perQueue"),
    ];
    let facts = applied("q.fifo", &set).unwrap();
    let shown = shown(&facts, None, &names());
    for (name, value) in set {
        assert_eq!(shown[name], value, "{name}");
    }
    for (name, value) in set {
        assert_eq!(
            applied("q", &[(name, value)]),
            Err(Code::InvalidAttributeName),
            "{name}"
        );
    }
    let high = [
        ("DeduplicationScope", "messageGroup"),
        ("FifoThroughputLimit", "perMessageGroupId"),
    ];
    assert!(applied("q.fifo", &high).is_ok());
    for attribute in [high[1], ("DeduplicationScope", "other")] {
        let refused = applied("q.fifo", &[attribute]);
        assert_eq!(refused, Err(Code::InvalidAttributeValue));
    }
}

#[test]
fn a_value_out_of_its_range_is_an_invalid_value_and_a_stranger_an_invalid_name() {
    for (name, value) in [
        ("VisibilityTimeout", "43201"),
        ("VisibilityTimeout", "-1"),
        ("VisibilityTimeout", "soon"),
        ("VisibilityTimeout", ""),
        ("MessageRetentionPeriod", "59"),
        ("MessageRetentionPeriod", "1209601"),
        ("DelaySeconds", "901"),
        ("MaximumMessageSize", "1023"),
        ("MaximumMessageSize", "1048577"),
        (WAIT_TIME, "21"),
        ("Policy", "no json"),
        ("SqsManagedSseEnabled", "maybe"),
        ("KmsDataKeyReusePeriodSeconds", "59"),
    ] {
        assert_eq!(
            applied("q", &[(name, value)]),
            Err(Code::InvalidAttributeValue),
            "{name}={value}"
        );
    }
    for name in [
        "",
        "All",
        "QueueArn",
        "CreatedTimestamp",
        "visibilitytimeout",
        "Other",
    ] {
        assert_eq!(
            applied("q", &[(name, "1")]),
            Err(Code::InvalidAttributeName),
            "{name}"
        );
    }
}

#[test]
fn a_redrive_policy_names_a_queue_and_a_count() {
    let facts = applied("q", &[("RedrivePolicy", POLICY)]).unwrap();
    let expected = Redrive {
        to: "dead".into(),
        max_receive_count: 5,
    };
    assert_eq!(facts.spec.redrive, Some(expected));
    let shown = shown(&facts, None, &names());
    assert_eq!(
        shown["RedrivePolicy"],
        r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":5}"#
    );
    for policy in [
        "x",
        "[]",
        "{}",
        r#"{"deadLetterTargetArn":"arn:aws:sqs:r:1:dead"}"#,
        r#"{"maxReceiveCount":5}"#,
        r#"{"deadLetterTargetArn":"dead","maxReceiveCount":5}"#,
        r#"{"deadLetterTargetArn":"arn:aws:sqs:r:1:dead","maxReceiveCount":0}"#,
        r#"{"deadLetterTargetArn":"arn:aws:sqs:r:1:dead","maxReceiveCount":1001}"#,
        r#"{"deadLetterTargetArn":"arn:aws:sqs:r:1:dead","maxReceiveCount":"many"}"#,
    ] {
        let refused = applied("q", &[("RedrivePolicy", policy)]);
        assert_eq!(refused, Err(Code::InvalidParameterValue), "{policy}");
    }
    assert_eq!(
        applied("q", &[("RedrivePolicy", "")]).unwrap().spec.redrive,
        None
    );
}

#[test]
fn a_redrive_allow_policy_says_who() {
    let allow = |policy: &str| applied("q", &[("RedriveAllowPolicy", policy)]).map(drop);
    assert_eq!(allow(r#"{"redrivePermission":"allowAll"}"#), Ok(()));
    let by_queue = r#"{"redrivePermission":"byQueue","sourceQueueArns":["arn:aws:sqs:r:1:q"]}"#;
    assert_eq!(allow(by_queue), Ok(()));
    for policy in [
        "x",
        "{}",
        r#"{"redrivePermission":"some"}"#,
        r#"{"redrivePermission":"byQueue"}"#,
        r#"{"redrivePermission":"byQueue","sourceQueueArns":["q"]}"#,
        r#"{"redrivePermission":"denyAll","sourceQueueArns":["arn:aws:sqs:r:1:q"]}"#,
    ] {
        assert_eq!(allow(policy), Err(Code::InvalidParameterValue), "{policy}");
    }
}

#[test]
fn a_queue_is_the_same_if_the_attributes_that_are_given_are() {
    let same = |attributes: &[(&str, &str)]| {
        let facts = applied("q", &[("RedrivePolicy", POLICY), ("DelaySeconds", "5")]).unwrap();
        check_same(&given(attributes), &facts, &names()).map_err(|fault| fault.code)
    };
    assert_eq!(same(&[]), Ok(()));
    assert_eq!(
        same(&[("DelaySeconds", "5"), ("VisibilityTimeout", "30")]),
        Ok(())
    );
    assert_eq!(same(&[("RedrivePolicy", POLICY)]), Ok(()));
    assert_eq!(same(&[("DelaySeconds", "6")]), Err(Code::QueueNameExists));
    assert_eq!(
        same(&[("DelaySeconds", "x")]),
        Err(Code::InvalidAttributeValue)
    );
    assert_eq!(
        same(&[("SqsManagedSseEnabled", "true")]),
        Err(Code::QueueNameExists)
    );
}

#[test]
fn the_name_and_the_attribute_say_the_same_of_a_fifo_queue() {
    let fifo = |name: &str, value: Option<&str>| {
        let attributes: Vec<_> = value
            .map(|value| ("FifoQueue", value))
            .into_iter()
            .collect();
        is_fifo(name, &given(&attributes)).map_err(|fault| fault.code)
    };
    assert_eq!(fifo("q", None), Ok(false));
    assert_eq!(fifo("q.fifo", Some("true")), Ok(true));
    assert_eq!(fifo("q.fifo", Some("True")), Ok(true));
    assert_eq!(fifo("q", Some("true")), Err(Code::InvalidParameterValue));
    assert_eq!(fifo("q.fifo", None), Err(Code::InvalidParameterValue));
    assert_eq!(
        fifo("q.fifo", Some("false")),
        Err(Code::InvalidParameterValue)
    );
    assert_eq!(fifo("q", Some("false")), Err(Code::InvalidAttributeName));
    assert_eq!(fifo("q", Some("x")), Err(Code::InvalidAttributeValue));
}
