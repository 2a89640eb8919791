//! The four SQS calls: what is checked, what is sent, what is answered.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::receive::{Message, Received};
use super::sent::Sent;
use super::{Queue, fifo_id, queue};
use crate::integration::answer::{Answered, NativeAnswer};
use crate::integration::parameter::Flaw;
use crate::integration::tests::{compile, json, map, problems, try_compile};
use crate::model::message::{Attribute, AttributeValue, Attributes};

const AWS: &str = "https://sqs.eu-west-1.amazonaws.com/111122223333/orders";

fn send(queue: &str, rest: &str) -> String {
    format!(r#"{{"SQS-SendMessage":{{"QueueUrl":"{queue}","MessageBody":"$request.body"{rest}}}}}"#)
}

#[test]
fn every_parameter_stands_in_the_call() {
    let fifo = "https://sqs.eu-west-1.amazonaws.com/111122223333/ledger.fifo";
    let config = send(
        fifo,
        r#","MessageGroupId":"$request.header.x-a","MessageDeduplicationId":"$request.querystring.q","Region":"us-east-1",
        "MessageAttributes":{"n":{"DataType":"Number","StringValue":"1"}},"MessageSystemAttributes":{"AWSTraceHeader":"Root=1"}"#,
    );
    assert_eq!(
        json(&compile(&config), "é\n\"🎈\"".as_bytes()),
        format!(
            r#"{{"SQS-SendMessage":{{"QueueUrl":"{fifo}","MessageBody":"é\n\"🎈\"","MessageAttributes":{{"n":{{"DataType":"Number","StringValue":"1"}}}},"MessageDeduplicationId":"query","MessageGroupId":"alpha","MessageSystemAttributes":{{"AWSTraceHeader":{{"DataType":"String","StringValue":"Root=1"}}}},"Region":"eu-west-1"}}}}"#
        )
    );
    assert_eq!(
        json(
            &compile(&send("queue:orders", r#","DelaySeconds":5"#)),
            b"\xff"
        ),
        r#"{"SQS-SendMessage":{"QueueUrl":"queue:orders","MessageBody":{"base64":"/w=="},"DelaySeconds":5}}"#
    );
    assert_eq!(
        json(
            &compile(
                r#"{"SQS-ReceiveMessage":{"QueueUrl":"queue:content.fifo","AttributeNames":["All"],"MaxNumberOfMessages":10,
            "MessageAttributeNames":"[\"a\",\"b.*\"]","ReceiveRequestAttemptId":"r","VisibilityTimeout":"$request.header.x-number","WaitTimeSeconds":20}}"#
            ),
            b""
        ),
        r#"{"SQS-ReceiveMessage":{"QueueUrl":"queue:content.fifo","AttributeNames":["All"],"MaxNumberOfMessages":10,"MessageAttributeNames":["a","b.*"],"ReceiveRequestAttemptId":"r","VisibilityTimeout":7,"WaitTimeSeconds":20}}"#
    );
    assert_eq!(
        json(
            &compile(
                r#"{"SQS-DeleteMessage":{"QueueUrl":"queue:orders","ReceiptHandle":"$request.path.id"}}"#
            ),
            b""
        ),
        r#"{"SQS-DeleteMessage":{"QueueUrl":"queue:orders","ReceiptHandle":"handle-1"}}"#
    );
    assert_eq!(
        json(
            &compile(&format!(r#"{{"SQS-PurgeQueue":{{"QueueUrl":"{AWS}"}}}}"#)),
            b""
        ),
        format!(r#"{{"SQS-PurgeQueue":{{"QueueUrl":"{AWS}","Region":"eu-west-1"}}}}"#)
    );
}

#[test]
fn a_long_poll_extends_the_deadline() {
    let poll =
        compile(r#"{"SQS-ReceiveMessage":{"QueueUrl":"queue:orders","WaitTimeSeconds":20}}"#);
    assert_eq!(map(&poll, b"").unwrap().wait().as_secs(), 20);
    assert_eq!(
        map(&compile(&send("queue:orders", "")), b"")
            .unwrap()
            .wait()
            .as_secs(),
        0
    );
}

#[test]
fn an_optional_parameter_that_comes_out_empty_is_not_sent() {
    let config = send(
        "queue:orders",
        r#","DelaySeconds":"${request.querystring.d:-}""#,
    );
    assert_eq!(
        json(&compile(&config), b"x"),
        r#"{"SQS-SendMessage":{"QueueUrl":"queue:orders","MessageBody":"x"}}"#
    );
    let strict = send(
        "queue:orders",
        r#","DelaySeconds":"$request.querystring.d""#,
    );
    assert_eq!(
        map(&compile(&strict), b"x").unwrap_err().code().name(),
        "mapping_unresolved"
    );
    let wrong = send("queue:orders", r#","DelaySeconds":"$request.header.x-a""#);
    assert_eq!(
        map(&compile(&wrong), b"x").unwrap_err().to_string(),
        "DelaySeconds must be a whole number from 0 to 900"
    );
}

#[test]
fn a_value_is_shown_only_where_it_cannot_be_a_credential() {
    let reason = |expression: &str| {
        let config = send(
            "queue:orders",
            &format!(r#","DelaySeconds":"{expression}""#),
        );
        let refused = map(&compile(&config), br#"{"f":"from the body"}"#).unwrap_err();
        assert_eq!(
            (refused.status(), refused.code().name()),
            (400, "bad_request")
        );
        refused.to_string()
    };
    for (expression, shown) in [
        ("$request.path.id", " (\"handle-1\")"),
        ("$request.body.f", " (\"from the body\")"),
        ("$request.body", ""),
        ("$request.header.x-a", ""),
        ("$request.querystring.q", ""),
        ("$context.requestId", ""),
        ("x${request.path.id}", ""),
        ("${request.path.id}${request.header.x-a}", ""),
        ("${request.body.missing:-secret}", ""),
    ] {
        assert_eq!(
            reason(expression),
            format!("DelaySeconds{shown} must be a whole number from 0 to 900"),
            "{expression}"
        );
    }
}

#[test]
fn ids_of_fifo_queues_hold_what_sqs_takes() {
    let ok = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~aZ0";
    assert!(fifo_id(Bytes::from(ok)).is_ok());
    assert!(fifo_id(Bytes::from("x".repeat(128))).is_ok());
    let long = "x".repeat(129);
    let rule = "must be 1 to 128 letters, digits and punctuation of ASCII, without spaces";
    for wrong in ["a b", "a\u{7f}", "ä", "a\n", "", long.as_str()] {
        let flaw = Flaw::Invalid(rule.to_owned());
        assert_eq!(
            fifo_id(Bytes::from(wrong.to_owned())),
            Err(flaw),
            "{wrong:?}"
        );
    }
    let remote = "https://sqs.eu-west-1.amazonaws.com/1/ledger.fifo";
    for queue in ["queue:ledger.fifo", remote] {
        for (group, deduplication, wrong) in [
            ("$request.body", "d", "MessageGroupId"),
            ("g", "$request.body", "MessageDeduplicationId"),
        ] {
            let ids = format!(
                r#","MessageGroupId":"{group}","MessageDeduplicationId":"{deduplication}""#
            );
            let integration = compile(&send(queue, &ids));
            assert!(map(&integration, b"order-1").is_ok());
            for body in ["two words", "gr\u{fc}n", long.as_str()] {
                let refused = map(&integration, body.as_bytes()).unwrap_err();
                assert_eq!(
                    (refused.status(), refused.code().name(), refused.to_string()),
                    (400, "bad_request", format!("{wrong} {rule}"))
                );
            }
        }
        let ids = r#","MessageGroupId":"a b","MessageDeduplicationId":"grün""#;
        assert_eq!(problems(&send(queue, ids)).len(), 2);
    }
    let receive = r#"{"SQS-ReceiveMessage":{"QueueUrl":"queue:ledger.fifo","ReceiveRequestAttemptId":"a b"}}"#;
    assert_eq!(
        problems(receive),
        [format!(
            "error: integration.SQS-ReceiveMessage.ReceiveRequestAttemptId: \"a b\" {rule}"
        )]
    );
}

#[test]
fn bodies_that_sqs_cannot_hold_are_refused_before_the_call_and_embedded_queues_take_them() {
    let aws = compile(&send(AWS, ""));
    let ours = compile(&send("queue:orders", ""));
    for (body, status, code, message) in [
        (
            &b""[..],
            400,
            "bad_request",
            "MessageBody is empty: SQS takes messages of 1 character and more",
        ),
        (
            b"a\x01",
            400,
            "target_charset",
            "MessageBody holds a byte at offset 1 that SQS cannot hold",
        ),
        (
            b"ab\xff",
            400,
            "target_charset",
            "MessageBody holds a byte at offset 2 that SQS cannot hold",
        ),
    ] {
        let refused = map(&aws, body).unwrap_err();
        assert_eq!(
            (
                refused.status(),
                refused.code().name(),
                refused.to_string().as_str()
            ),
            (status, code, message)
        );
        assert!(map(&ours, body).is_ok());
    }
}

#[test]
fn encode_sends_what_sqs_cannot_hold_as_base64_and_says_so() {
    let config = send(AWS, "");
    let config = format!(
        r#"{},"encode":"base64-if-needed"}}"#,
        &config[..config.len() - 1]
    );
    let integration = compile(&config);
    let call: serde_json::Value = serde_json::from_str(&json(&integration, b"\xff\x00")).unwrap();
    assert_eq!(call["SQS-SendMessage"]["MessageBody"], "/wA=");
    assert_eq!(
        call["SQS-SendMessage"]["MessageAttributes"]["penstock-encoding"]["StringValue"],
        "base64"
    );
    let plain: serde_json::Value = serde_json::from_str(&json(&integration, b"text")).unwrap();
    assert_eq!(plain["SQS-SendMessage"]["MessageBody"], "text");
    assert!(plain["SQS-SendMessage"]["MessageAttributes"].is_null());
    assert!(map(&integration, b"").is_err());
}

#[test]
fn a_message_is_at_most_1_mib_with_its_attributes() {
    let plain = compile(&send("queue:orders", ""));
    assert!(map(&plain, &vec![b'x'; 1_048_576]).is_ok());
    let refused = map(&plain, &vec![b'x'; 1_048_577]).unwrap_err();
    assert_eq!(
        (refused.status(), refused.to_string().as_str()),
        (
            413,
            "MessageBody is over a limit of the embedded queue: 1048577 bytes with attributes, at most 1048576 (1 MiB) are allowed"
        )
    );
    let attributed = compile(&send("queue:orders", r#","MessageAttributes":{"a":"x"}"#));
    assert!(map(&attributed, &vec![b'x'; 1_048_576 - 8]).is_ok());
    assert!(map(&attributed, &vec![b'x'; 1_048_576 - 7]).is_err());
}

#[test]
fn queues_have_to_exist_and_fifo_queues_need_their_ids() {
    assert_eq!(
        problems(&send("queue:ordres", "")),
        [
            "error: integration.SQS-SendMessage.QueueUrl: the queue `ordres` is not declared; did you mean `queue:orders`?"
        ]
    );
    assert_eq!(
        problems(&send("queue:zzzzzz", "")),
        [
            "error: integration.SQS-SendMessage.QueueUrl: the queue `zzzzzz` is not declared; declare it: `queues: { zzzzzz: {} }`"
        ]
    );
    assert_eq!(
        problems(&send("queue:ledger.fifo", "")),
        [
            "error: integration.SQS-SendMessage.MessageGroupId: the parameter `MessageGroupId` is missing: the queue `ledger.fifo` is FIFO; messages of one group keep their order: `MessageGroupId: $request.body.customer`, say",
            "error: integration.SQS-SendMessage.MessageDeduplicationId: the parameter `MessageDeduplicationId` is missing: the queue `ledger.fifo` is FIFO and not known to deduplicate by content; map an id that the caller repeats (`$request.header.idempotency-key`), or `$context.requestId` to store every request",
        ]
    );
    let remote = "https://sqs.eu-west-1.amazonaws.com/1/ledger.fifo";
    assert_eq!(problems(&send(remote, "")).len(), 2);
    compile(&send("queue:content.fifo", r#","MessageGroupId":"g""#));
    assert_eq!(
        problems(&send(
            "queue:content.fifo",
            r#","MessageGroupId":"g","DelaySeconds":1"#
        )),
        [
            "error: integration.SQS-SendMessage.DelaySeconds: the queue `content.fifo` is FIFO: its messages cannot be delayed one by one; set the delay on the queue"
        ]
    );
    assert!(
        problems(&send("queue:orders", r#","MessageDeduplicationId":"x""#))[0]
            .contains("is not FIFO and takes no deduplication id")
    );
    let dynamic = compile(&send("queue:${request.header.x-a}.fifo", ""));
    assert_eq!(
        map(&dynamic, b"x").unwrap_err().to_string(),
        "MessageGroupId is missing: the queue alpha.fifo is FIFO"
    );
}

#[test]
fn static_values_are_checked_against_the_limits() {
    assert_eq!(
        problems(r#"{"SQS-SendMessage":{"DelaySeconds":901,"MessageGroupId":"g"}}"#),
        [
            "error: integration.SQS-SendMessage.QueueUrl: the parameter `QueueUrl` is missing; SQS-SendMessage requires it",
            "error: integration.SQS-SendMessage.MessageBody: the parameter `MessageBody` is missing; SQS-SendMessage requires it",
            "error: integration.SQS-SendMessage.DelaySeconds: \"901\" must be a whole number from 0 to 900",
        ]
    );
    let receive = r#"{"SQS-ReceiveMessage":{"QueueUrl":"orders","MaxNumberOfMessages":11,"VisibilityTimeout":43201,"WaitTimeSeconds":21,"ReceiveRequestAttemptId":"ID"}}"#;
    let long = receive.replace("ID", &"x".repeat(129));
    let found = problems(&long);
    assert_eq!(found.len(), 5);
    assert!(found[0].ends_with("\"orders\" is not a queue; write the URL of an SQS queue, or queue:NAME for an embedded one"));
    let empty = format!(r#"{{"SQS-SendMessage":{{"QueueUrl":"{AWS}","MessageBody":""}}}}"#);
    assert_eq!(
        problems(&empty),
        [
            "error: integration.SQS-SendMessage.MessageBody: MessageBody is empty: SQS takes messages of 1 character and more; write `$request.body` to send the request's body"
        ]
    );
    let big = format!(
        r#"{{"SQS-SendMessage":{{"QueueUrl":"queue:orders","MessageBody":"{}"}}}}"#,
        "x".repeat(1_048_577)
    );
    assert!(problems(&big)[0].contains("MessageBody is over a limit of the embedded queue"));
}

fn message(body: &str, base64: bool) -> Message {
    Message {
        message_id: "m-1".into(),
        receipt_handle: "h-1".into(),
        md5_of_body: crate::model::message::md5_of_body(body.as_bytes()),
        body: body.into(),
        base64,
        system_attributes: BTreeMap::from([("SentTimestamp".into(), "1700000000123".into())]),
        attributes: Attributes::from([(
            "UserAgent".into(),
            Attribute {
                data_type: "String".into(),
                value: AttributeValue::String("curl/8.0".into()),
            },
        )]),
        md5_of_attributes: None,
    }
}

fn xml(answer: &dyn Answered) -> String {
    let rendered = answer.aws("r-1");
    assert_eq!(
        (rendered.status, rendered.content_type.as_deref()),
        (200, Some("text/xml"))
    );
    String::from_utf8(rendered.body.to_vec()).unwrap()
}

#[test]
fn a_sent_message_is_answered_as_the_service_answers() {
    let mut sent = Sent {
        message_id: "m-1".into(),
        md5_of_body: "5eb63bbbe01eeed093cb22bb8f5acdc3".into(),
        md5_of_attributes: None,
        md5_of_system_attributes: None,
        sequence_number: None,
    };
    assert_eq!(
        xml(&sent),
        "<?xml version=\"1.0\"?><SendMessageResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><SendMessageResult><MessageId>m-1</MessageId>\
         <MD5OfMessageBody>5eb63bbbe01eeed093cb22bb8f5acdc3</MD5OfMessageBody></SendMessageResult><ResponseMetadata><RequestId>r-1</RequestId>\
         </ResponseMetadata></SendMessageResponse>"
    );
    sent.md5_of_attributes = Some("abc".into());
    sent.sequence_number = Some("18849496460467696128".into());
    assert!(xml(&sent).contains("<MD5OfMessageAttributes>abc</MD5OfMessageAttributes><SequenceNumber>18849496460467696128</SequenceNumber>"));
    let NativeAnswer::Stored(fields) = sent.native() else {
        panic!("stored");
    };
    assert_eq!(
        serde_json::to_string(&fields).unwrap(),
        r#"{"messageId":"m-1","sequenceNumber":"18849496460467696128"}"#
    );
}

#[test]
fn received_messages_are_answered_in_xml_and_in_json() {
    let received = Received {
        messages: vec![message("a<b>&\r\"🎈\"", false)],
    };
    assert_eq!(
        xml(&received),
        "<?xml version=\"1.0\"?><ReceiveMessageResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><ReceiveMessageResult><Message>\
         <MessageId>m-1</MessageId><ReceiptHandle>h-1</ReceiptHandle><MD5OfBody>3b0e05cd8c6ff7a0ea0e8fe9d8d69bb6</MD5OfBody>\
         <Body>a&lt;b&gt;&amp;&#xD;&quot;🎈&quot;</Body><Attribute><Name>SentTimestamp</Name><Value>1700000000123</Value></Attribute>\
         <MessageAttribute><Name>UserAgent</Name><Value><StringValue>curl/8.0</StringValue><DataType>String</DataType></Value></MessageAttribute>\
         </Message></ReceiveMessageResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></ReceiveMessageResponse>"
            .replace("3b0e05cd8c6ff7a0ea0e8fe9d8d69bb6", &received.messages[0].md5_of_body)
    );
    let NativeAnswer::Fields(fields) = received.native() else {
        panic!("fields");
    };
    assert_eq!(
        serde_json::to_string(&fields).unwrap(),
        format!(
            r#"{{"Messages":[{{"MessageId":"m-1","ReceiptHandle":"h-1","MD5OfBody":"{}","Body":"a<b>&\r\"🎈\"","Attributes":{{"SentTimestamp":"1700000000123"}},"MessageAttributes":{{"UserAgent":{{"DataType":"String","StringValue":"curl/8.0"}}}}}}]}}"#,
            received.messages[0].md5_of_body
        )
    );
}

#[test]
fn a_region_beside_the_url_of_another_one_is_a_warning() {
    let warnings = |region: &str| {
        let url = "https://sqs.eu-west-1.amazonaws.com/1/orders";
        let text =
            format!(r#"{{"SQS-PurgeQueue": {{"QueueUrl": "{url}", "Region": "{region}"}}}}"#);
        try_compile(&text, None).1
    };
    assert_eq!(warnings("eu-west-1"), [""; 0]);
    assert_eq!(
        warnings("us-east-1"),
        [
            "warning: integration.SQS-PurgeQueue.Region: `Region` is not the region in the queue's URL, which is the one that is called; leave `Region` out"
        ]
    );
}

#[test]
fn the_names_of_a_receive_can_come_out_of_the_request() {
    let receive = compile(
        r#"{"SQS-ReceiveMessage": {"QueueUrl": "queue:orders", "AttributeNames": "${request.querystring.q:-All}",
        "MessageAttributeNames": "[\"x-${request.header.x-a}\", \"${request.querystring.none:-d}\"]"}}"#,
    );
    let call: serde_json::Value = serde_json::from_str(&json(&receive, b"")).unwrap();
    let call = &call["SQS-ReceiveMessage"];
    assert_eq!(call["AttributeNames"], serde_json::json!(["query"]));
    assert_eq!(
        call["MessageAttributeNames"],
        serde_json::json!(["x-alpha", "d"])
    );
}

#[test]
fn a_base64_body_says_so_in_both_dialects() {
    let received = Received {
        messages: vec![message("/wA=", true)],
    };
    let NativeAnswer::Fields(fields) = received.native() else {
        panic!("fields");
    };
    assert_eq!(fields["Messages"][0]["BodyEncoding"], "base64");
    let marker = &fields["Messages"][0]["MessageAttributes"]["penstock-encoding"];
    assert_eq!(marker["StringValue"], "base64");
    assert!(fields["Messages"][0]["MD5OfMessageAttributes"].is_string());
    let xml = xml(&received);
    assert!(xml.contains("<Body>/wA=</Body>"));
    assert!(xml.contains("<Name>penstock-encoding</Name><Value><StringValue>base64</StringValue><DataType>String</DataType></Value>"));
    assert!(xml.contains("<MD5OfMessageAttributes>"));
}

#[test]
fn an_empty_receive_has_an_empty_result() {
    let received = Received {
        messages: Vec::new(),
    };
    assert!(xml(&received).contains("<ReceiveMessageResult></ReceiveMessageResult>"));
    assert_eq!(
        received.native(),
        NativeAnswer::Fields(
            serde_json::json!({"Messages": []})
                .as_object()
                .unwrap()
                .clone()
        )
    );
}

#[test]
fn a_queue_is_ours_by_its_prefix_and_a_url_names_its_region() {
    let parse = |text: &'static str| queue(Bytes::from_static(text.as_bytes()));
    assert!(matches!(parse("queue:orders"), Ok(Queue::Embedded(name)) if name.0 == "orders"));
    for (url, expected) in [
        (
            "https://sqs.eu-west-1.amazonaws.com/111122223333/orders",
            Some("eu-west-1"),
        ),
        (
            "https://sqs.cn-north-1.amazonaws.com.cn/1/orders",
            Some("cn-north-1"),
        ),
        (
            "https://eu-west-1.queue.amazonaws.com/1/orders",
            Some("eu-west-1"),
        ),
        ("https://queue.amazonaws.com/1/orders", Some("us-east-1")),
        (
            "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/1/orders",
            Some("eu-west-1"),
        ),
        ("https://sqs.us-east-1.api.aws/1/orders", Some("us-east-1")),
        ("http://127.0.0.1:4566/000000000000/orders", None),
        (
            "https://sqs.eu-west-1.amazonaws.com.evil.example/1/orders",
            None,
        ),
    ] {
        let Ok(Queue::Aws { region, .. }) = parse(url) else {
            panic!("{url}");
        };
        assert_eq!(region.as_deref(), expected, "{url}");
    }
    for wrong in [
        "orders",
        "",
        "queue:",
        "queue:a b",
        "https://",
        "https://host",
        "https://host/",
    ] {
        assert!(matches!(parse(wrong), Err(Flaw::Invalid(_))), "{wrong}");
    }
}
