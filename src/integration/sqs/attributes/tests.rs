use super::*;
use crate::integration::tests::{compile, json, map, problems};

fn send(attributes: &str) -> String {
    format!(
        r#"{{"SQS-SendMessage":{{"QueueUrl":"queue:orders","MessageBody":"b","MessageAttributes":{attributes}}}}}"#
    )
}

fn attributes_of(attributes: &str, body: &[u8]) -> serde_json::Value {
    let call: serde_json::Value =
        serde_json::from_str(&json(&compile(&send(attributes)), body)).unwrap();
    call["SQS-SendMessage"]["MessageAttributes"].clone()
}

#[test]
fn the_three_forms_give_the_same_attributes() {
    let expected = serde_json::json!({
        "count": { "DataType": "Number", "StringValue": "7" },
        "source": { "DataType": "String", "StringValue": "by alpha" },
    });
    for form in [
        r#"{"source":"by ${request.header.x-a}","count":{"DataType":"Number","StringValue":"$request.header.x-number"}}"#,
        r#""{\"source\":{\"DataType\":\"String\",\"StringValue\":\"by ${request.header.x-a}\"},\"count\":{\"DataType\":\"Number\",\"StringValue\":\"$request.header.x-number\"}}""#,
    ] {
        assert_eq!(attributes_of(form, b""), expected, "{form}");
    }
    let body =
        br#"{"attributes":{"source":"by alpha","count":{"DataType":"Number","StringValue":"7"}}}"#;
    assert_eq!(
        attributes_of(r#""$request.body.attributes""#, body),
        expected
    );
}

#[test]
fn binary_attributes_are_given_in_base64() {
    let form = r#"{"blob":{"DataType":"Binary.png","BinaryValue":"/wA="}}"#;
    assert_eq!(
        attributes_of(form, b""),
        serde_json::json!({ "blob": { "DataType": "Binary.png", "BinaryValue": "/wA=" } })
    );
}

#[test]
fn an_attribute_whose_value_is_empty_is_dropped_and_one_without_a_value_refuses_the_request() {
    assert_eq!(
        attributes_of(r#"{"a":"${request.header.x-missing:-}","b":"x"}"#, b""),
        serde_json::json!({ "b": { "DataType": "String", "StringValue": "x" } })
    );
    let refused = map(&compile(&send(r#"{"a":"$request.header.x-missing"}"#)), b"").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Unable to resolve property MessageAttributes.a from source $request.header.x-missing"
    );
}

#[test]
fn more_than_ten_are_refused_at_check_or_at_the_door_and_never_dropped() {
    let many = |count: usize| -> String {
        let each: Vec<String> = (0..count).map(|n| format!(r#""a{n}":"x""#)).collect();
        format!("{{{}}}", each.join(","))
    };
    assert!(map(&compile(&send(&many(10))), b"").is_ok());
    assert_eq!(
        problems(&send(&many(11))),
        [
            "error: integration.SQS-SendMessage.MessageAttributes: 11 attributes are over a limit of SQS: at most 10 in a message; put the rest into the body"
        ]
    );
    let mapped = compile(&send(r#""$request.body""#));
    assert!(map(&mapped, many(10).as_bytes()).is_ok());
    let refused = map(&mapped, many(11).as_bytes()).unwrap_err();
    assert_eq!(
        (
            refused.status(),
            refused.code().name(),
            refused.to_string().as_str()
        ),
        (
            413,
            "target_limit",
            "MessageAttributes is over a limit of SQS: 11 attributes, at most 10 are allowed"
        )
    );
}

#[test]
fn encode_needs_one_of_the_ten() {
    let each: Vec<String> = (0..10).map(|n| format!(r#""a{n}":"x""#)).collect();
    let config = format!(
        r#"{{"SQS-SendMessage":{{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/q","MessageBody":"$request.body","MessageAttributes":{{{}}}}},"encode":"base64-if-needed"}}"#,
        each.join(",")
    );
    assert!(
        problems(&config)[0]
            .ends_with("`encode: base64-if-needed` needs one of the ten for itself")
    );
}

#[test]
fn what_is_wrong_with_attributes_is_said_at_its_path() {
    assert_eq!(
        problems(&send(
            r#"{"AWS.x":"a","n":{"DataType":"Number","StringValue":"many"},"t":{"DataType":"Text","StringValue":"a"},
               "m":{"StringValue":"a"},"b":{"DataType":"Binary","StringValue":"a"},"c":{"DataType":"Binary","BinaryValue":"?"},"e":"$request.heeder.x"}"#
        )),
        [
            "error: integration.SQS-SendMessage.MessageAttributes: the attribute name \"AWS.x\" cannot name an attribute; allowed: letters, digits, `_`, `-` and single dots inside, up to 256 characters; `AWS.` and `Amazon.` are reserved",
            "error: integration.SQS-SendMessage.MessageAttributes.n.StringValue: \"many\" must be a number",
            "error: integration.SQS-SendMessage.MessageAttributes.t.DataType: \"Text\" is not a data type; allowed: String, Number, Binary, each with a label of your own after a dot (Number.float)",
            "error: integration.SQS-SendMessage.MessageAttributes.m: `DataType` is missing; allowed: String, Number, Binary, each with a label of your own after a dot (Number.float)",
            "error: integration.SQS-SendMessage.MessageAttributes.b: the data type Binary needs `BinaryValue`, and nothing else",
            "error: integration.SQS-SendMessage.MessageAttributes.c.BinaryValue: \"?\" is not base64: Invalid symbol 63, offset 0.",
            "error: integration.SQS-SendMessage.MessageAttributes.e: `$request.heeder.x` is not a source of values; did you mean `$request.header`?",
        ]
    );
    assert!(problems(&send(r#""{not json""#))[0].contains("is not the JSON text of attributes"));
    assert!(problems(&send(r#""plain""#))[0].contains("is neither a map nor JSON text"));
    let system = r#"{"SQS-SendMessage":{"QueueUrl":"queue:orders","MessageBody":"b","MessageSystemAttributes":{"Other":"x"}}}"#;
    assert!(problems(system)[0].contains("the only one is AWSTraceHeader"));
}

#[test]
fn what_a_request_brings_is_checked_like_what_is_written() {
    let mapped = compile(&send(r#""$request.body""#));
    for (body, reason) in [
        ("[1]", "is not the JSON text of attributes"),
        (r#"{"a b":"x"}"#, "has a name that cannot name an attribute"),
        (r#"{"a":{"StringValue":"x"}}"#, "has no DataType"),
        (
            r#"{"a":{"DataType":"Text","StringValue":"x"}}"#,
            "is not a data type",
        ),
        (
            r#"{"a":{"DataType":"Number","StringValue":"x"}}"#,
            "must be a number",
        ),
        (
            r#"{"a":{"DataType":"Binary","StringValue":"x"}}"#,
            "has no value of its data type",
        ),
        (r#"{"a":["x"]}"#, "is neither a text nor an object"),
    ] {
        let refused = map(&mapped, body.as_bytes()).unwrap_err();
        assert_eq!(refused.status(), 400);
        assert!(refused.to_string().contains(reason), "{body}: {refused}");
    }
    let charset = map(&mapped, "{\"a\":\"x\\u0001\"}".as_bytes()).unwrap_err();
    assert_eq!(charset.code().name(), "target_charset");
    // `${…}` that came from a request is text like any other
    assert_eq!(
        attributes_of(r#""$request.body""#, br#"{"a":"${request.header.x-a}"}"#),
        serde_json::json!({ "a": { "DataType": "String", "StringValue": "${request.header.x-a}" } })
    );
}

#[test]
fn what_was_substituted_into_json_text_stays_literal() {
    let text = Text(vec![
        Piece::Written(r#"{"a":"x "#.into()),
        Piece::Literal("${request.body}".into()),
        Piece::Written(r#" y","b":"${request.header.x-a}"}"#.into()),
    ]);
    let entries = from_json(&text).unwrap();
    let AttributeConfig::Text(a) = &entries[0].1 else {
        panic!("a text");
    };
    assert_eq!(
        a.0,
        [
            Piece::Written("x ".into()),
            Piece::Literal("${request.body}".into()),
            Piece::Written(" y".into())
        ]
    );
}
