use bytes::Bytes;

use super::*;
use crate::mapping::{Side, Source, select};
use crate::model::route_key::RouteKey;

/// A request with this body, path variable and a few headers.
pub(super) struct Fixed<'a>(pub(super) &'a [u8]);

impl Sources for Fixed<'_> {
    fn get(&self, source: &Source) -> Result<Option<Bytes>, String> {
        Ok(match source {
            Source::Header(name) if name == "x-a" => Some(Bytes::from_static(b"alpha")),
            Source::Header(name) if name == "x-number" => Some(Bytes::from_static(b"7")),
            Source::Query(name) if name == "q" => Some(Bytes::from_static(b"query")),
            Source::PathVariable(name) if name == "id" => Some(Bytes::from_static(b"handle-1")),
            Source::Context(_) => Some(Bytes::from_static(b"context")),
            Source::Body => Some(Bytes::copy_from_slice(self.0)),
            Source::BodyField(selector) => return select(selector, self.0),
            _ => None,
        })
    }
}

/// What is compiled, and what is wrong with it or may be.
pub(super) fn try_compile(json: &str, region: Option<&str>) -> (Option<Integration>, Vec<String>) {
    let config: IntegrationConfig = serde_json::from_str(json).unwrap();
    let path = match "ANY /shop/{id}/{proxy+}".parse().unwrap() {
        RouteKey::Path { path, .. } => Some(path),
        RouteKey::Default => None,
    };
    let stage_variables = IndexMap::new();
    let facts = |fifo, content_based_deduplication| QueueFacts {
        fifo,
        content_based_deduplication,
    };
    let queues = IndexMap::from([
        (QueueName("orders".into()), facts(false, false)),
        (QueueName("ledger.fifo".into()), facts(true, false)),
        (QueueName("content.fifo".into()), facts(true, true)),
    ]);
    let scope = Scope {
        mapping: mapping::Scope {
            side: Side::Request,
            path_variables: &["id", "proxy"],
            stage_variables: &stage_variables,
            webhook: None,
            integration_fields: None,
        },
        queues: &queues,
        region,
        sqs_endpoint: true,
        path: path.as_ref(),
        decodes: false,
    };
    let mut problems = Problems::default();
    let at = ConfigPath::root().key("integration");
    let compiled = config.compile(&at, &scope, &mut problems);
    (
        compiled,
        problems.0.iter().map(ToString::to_string).collect(),
    )
}

/// Compiles what is right.
pub(crate) fn compile(json: &str) -> Integration {
    let (compiled, problems) = try_compile(json, Some("eu-west-1"));
    compiled.unwrap_or_else(|| panic!("{problems:#?}"))
}

/// What is wrong with it.
pub(super) fn problems(json: &str) -> Vec<String> {
    let (compiled, problems) = try_compile(json, Some("eu-west-1"));
    assert!(compiled.is_none());
    problems
}

/// The call for a request with that body.
pub(crate) fn map(integration: &Integration, body: &[u8]) -> Result<Request, MapError> {
    integration.map(&Fixed(body), &RequestId::mint())
}

/// The call as `explain` prints it.
pub(super) fn json(integration: &Integration, body: &[u8]) -> String {
    serde_json::to_string(&map(integration, body).unwrap()).unwrap()
}

#[test]
fn exactly_one_integration_is_named() {
    let read = |json: &str| {
        serde_json::from_str::<IntegrationConfig>(json)
            .unwrap_err()
            .to_string()
    };
    assert!(read("{}").contains("no integration is named; allowed: SQS-SendMessage"));
    assert!(
        read(r#"{"Mock":{},"SQS-PurgeQueue":{"QueueUrl":"queue:orders"}}"#)
            .contains("found `Mock` and `SQS-PurgeQueue`")
    );
    assert!(
        read(r#"{"SQS-SendMesage":{}}"#)
            .contains("unknown field `SQS-SendMesage`, expected one of `SQS-SendMessage`")
    );
    assert!(
        read(r#"{"SQS-PurgeQueue":{"QueueURL":"x"}}"#)
            .contains("unknown field `QueueURL`, expected")
    );
    assert!(
        read(r#"{"Mock":{},"encode":"gzip"}"#)
            .contains("unknown variant `gzip`, expected `base64-if-needed`")
    );
}

#[test]
fn own_keys_belong_to_their_integration() {
    assert_eq!(
        problems(
            r#"{"Mock":{},"encode":"base64-if-needed","decode_data":"base64","aggregate":"kpl"}"#
        ),
        [
            "error: integration.encode: `encode` means nothing to Mock; it belongs to SQS-SendMessage",
            "error: integration.decode_data: `decode_data` means nothing to Mock; it belongs to Kinesis-PutRecord",
            "error: integration.aggregate: `aggregate` means nothing to Mock; it belongs to Kinesis-PutRecord",
        ]
    );
}

#[test]
fn each_integration_knows_what_its_2xx_means_and_where_it_goes() {
    let sfn = r#""arn:aws:states:eu-west-1:1:stateMachine:flow""#;
    for (json, stores, reads, store, aws, label) in [
        (r#"{"SQS-SendMessage":{"QueueUrl":"queue:orders","MessageBody":"$request.body"}}"#.to_owned(), true, false, true, false, "queue:orders"),
        (r#"{"SQS-SendMessage":{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/orders","MessageBody":"$request.body"}}"#.to_owned(), true, false, false, true, "orders"),
        (r#"{"SQS-ReceiveMessage":{"QueueUrl":"$request.header.x-a"}}"#.to_owned(), false, true, true, true, "dynamic"),
        (r#"{"SQS-DeleteMessage":{"QueueUrl":"queue:orders","ReceiptHandle":"$request.path.id"}}"#.to_owned(), false, false, true, false, "queue:orders"),
        (r#"{"SQS-PurgeQueue":{"QueueUrl":"queue:orders"}}"#.to_owned(), false, false, true, false, "queue:orders"),
        (r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"x","PartitionKey":"k"}}"#.to_owned(), true, false, false, true, "s"),
        (r#"{"EventBridge-PutEvents":{"Detail":"{}","DetailType":"t","Source":"s"}}"#.to_owned(), true, false, false, true, "default"),
        (format!(r#"{{"StepFunctions-StartExecution":{{"StateMachineArn":{sfn}}}}}"#), true, false, false, true, "flow"),
        (format!(r#"{{"StepFunctions-StartSyncExecution":{{"StateMachineArn":{sfn}}}}}"#), false, true, false, true, "flow"),
        (r#"{"StepFunctions-StopExecution":{"ExecutionArn":"$request.header.x-a"}}"#.to_owned(), false, false, false, true, "dynamic"),
        (r#"{"Mock":{}}"#.to_owned(), false, true, false, false, "mock"),
    ] {
        let integration = compile(&json);
        assert!(json.contains(integration.kind()));
        assert_eq!(
            (integration.stores(), integration.reads(), integration.touches_store(), integration.touches_aws(), integration.target_label()),
            (stores, reads, store, aws, label),
            "{json}"
        );
    }
}

#[test]
fn a_call_without_any_region_is_a_warning() {
    let (compiled, problems) = try_compile(
        r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"x","PartitionKey":"k"}}"#,
        None,
    );
    assert!(compiled.is_some());
    assert_eq!(
        problems,
        [
            "warning: integration.Kinesis-PutRecord: nothing here says in which region to call; set `aws.region`, or `Region`; else it comes from AWS_REGION, the profile or the instance"
        ]
    );
    for named in [
        r#"{"SQS-PurgeQueue":{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/orders"}}"#,
        r#"{"SQS-PurgeQueue":{"QueueUrl":"queue:orders"}}"#,
        r#"{"SQS-PurgeQueue":{"QueueUrl":"http://127.0.0.1/1/orders","Region":"eu-west-1"}}"#,
        r#"{"StepFunctions-StartExecution":{"StateMachineArn":"arn:aws:states:eu-west-1:1:stateMachine:flow"}}"#,
    ] {
        assert!(try_compile(named, None).1.is_empty(), "{named}");
    }
}

#[test]
fn the_schema_has_one_shape_for_each_integration() {
    let schema = serde_json::to_value(schemars::schema_for!(IntegrationConfig)).unwrap();
    let shapes = schema["oneOf"].as_array().unwrap();
    assert_eq!(shapes.len(), NAMES.len());
    assert_eq!(
        shapes[0]["required"],
        serde_json::json!(["SQS-SendMessage"])
    );
    assert!(shapes[0]["properties"]["encode"].is_object());
    assert!(shapes[1]["properties"]["encode"].is_null());
    let send = &schema["$defs"]["SQS-SendMessage"];
    assert_eq!(
        send["required"],
        serde_json::json!(["QueueUrl", "MessageBody"])
    );
    assert_eq!(send["additionalProperties"], serde_json::json!(false));
    assert!(
        send["properties"]["DelaySeconds"]["description"]
            .as_str()
            .unwrap()
            .contains("0 to 900")
    );
}

#[test]
fn each_integration_says_which_fields_its_answer_has() {
    let fields: Vec<&str> =
        compile(r#"{"Kinesis-PutRecord":{"StreamName":"s","Data":"x","PartitionKey":"k"}}"#)
            .fields()
            .collect();
    assert_eq!(
        fields,
        [
            "messageId",
            "requestId",
            "sequenceNumber",
            "shardId",
            "subSequenceNumber"
        ]
    );
}

#[test]
fn a_key_that_does_nothing_is_a_warning() {
    let (compiled, problems) = try_compile(
        r#"{"SQS-SendMessage":{"QueueUrl":"queue:orders","MessageBody":"$request.body"},"encode":"base64-if-needed"}"#,
        None,
    );
    assert!(compiled.is_some());
    assert_eq!(
        problems,
        [
            "warning: integration.encode: `encode` does nothing here: an embedded queue holds any bytes"
        ]
    );
}

#[test]
fn what_was_substituted_into_a_queue_s_name_is_not_shown() {
    let json = r#"{"SQS-PurgeQueue":{"QueueUrl":[[false,"queue:"],[true,"hunter2"]]}}"#;
    assert_eq!(
        problems(json),
        [
            "error: integration.SQS-PurgeQueue.QueueUrl: the queue `queue:…` is not declared; declare it under `queues`"
        ]
    );
}
