use std::path::PathBuf;

use super::*;
use crate::config::load::{Environment, SourceFile};
use crate::plan::written::compiled_again;

struct Nothing;

impl Environment for Nothing {
    fn variable(&self, _: &str) -> Option<std::ffi::OsString> {
        None
    }
}

fn found(yaml: &str, given: &Given) -> Permissions {
    let file = SourceFile {
        path: PathBuf::from("routes.yaml"),
        text: yaml.to_owned(),
    };
    let compiled = compiled_again(vec![file], &Nothing);
    let blueprint = compiled
        .blueprint
        .unwrap_or_else(|| panic!("{:?}", compiled.problems.0));
    of(&blueprint, &[], given)
}

fn lines(permissions: &Permissions) -> Vec<String> {
    let line = |statement: &Statement| {
        let resources: Vec<_> = statement
            .resources
            .iter()
            .map(|arn| arn.written(Style::Json))
            .collect();
        format!(
            "{}: {} on {}",
            statement.sid,
            statement.actions.join(" "),
            resources.join(" ")
        )
    };
    permissions.statements.iter().map(line).collect()
}

const ROUTES: &str = r#"
aws: { region: eu-west-1 }
queues: { local: {} }
authorizers:
  asks: { lambda: { function: allow, identity_sources: [$request.header.authorization] } }
routes:
  POST /a: { authorizer: asks, integration: { SQS-SendMessage: { QueueUrl: "https://sqs.eu-west-1.amazonaws.com/111122223333/orders", MessageBody: $request.body } } }
  POST /b: { authorizer: none, integration: { SQS-SendMessage: { QueueUrl: "https://sqs.eu-central-1.amazonaws.com/111122223333/other", MessageBody: $request.body } } }
  POST /c: { authorizer: none, integration: { SQS-SendMessage: { QueueUrl: "queue:local", MessageBody: $request.body } } }
  POST /d: { authorizer: none, integration: { Kinesis-PutRecord: { StreamName: clicks, Data: $request.body, PartitionKey: k } } }
  POST /e: { authorizer: none, integration: { EventBridge-PutEvents: { Detail: $request.body, DetailType: t, Source: s } } }
  POST /f: { authorizer: none, integration: { StepFunctions-StartSyncExecution: { StateMachineArn: "arn:aws:states:eu-west-1:111122223333:stateMachine:quote" } } }
  GET /g/{table}: { authorizer: none, integration: { DynamoDB-GetItem: { TableName: $request.path.table, Key: { id: { S: "1" } } } } }
  POST /h: { authorizer: none, integration: { DynamoDB-PutItem: { TableName: orders, Item: { id: { S: "1" } } } } }
  GET /i: { authorizer: none, integration: { Mock: {} } }
"#;

#[test]
fn each_action_is_allowed_on_the_very_thing_that_the_routes_name() {
    let found = found(ROUTES, &Given::default());
    assert_eq!(
        lines(&found),
        [
            "AuthorizerAsks: lambda:InvokeFunction on arn:aws:lambda:eu-west-1:111122223333:function:allow",
            "DynamodbGetItem: dynamodb:GetItem on arn:aws:dynamodb:eu-west-1:111122223333:table/*",
            "DynamodbPutItem: dynamodb:PutItem on arn:aws:dynamodb:eu-west-1:111122223333:table/orders",
            "EventsPutEvents: events:PutEvents on arn:aws:events:eu-west-1:111122223333:event-bus/default",
            "KinesisPutRecords: kinesis:PutRecord kinesis:PutRecords on arn:aws:kinesis:eu-west-1:111122223333:stream/clicks",
            "SqsSendMessage: sqs:SendMessage on arn:aws:sqs:eu-west-1:111122223333:orders arn:aws:sqs:eu-central-1:111122223333:other",
            "StatesStartSyncExecution: states:StartSyncExecution on arn:aws:states:eu-west-1:111122223333:stateMachine:quote",
        ]
    );
    assert_eq!(
        found.notes[0],
        "GET /g/{table}: requests choose `TableName`, so the policy allows all of its kind"
    );
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
}

#[test]
fn looks_keys_and_sources_are_added_where_they_are_asked_for() {
    let given = Given {
        looks: true,
        kms_keys: vec!["arn:aws:kms:eu-west-1:111122223333:key/k-1".into()],
        sources: vec![
            "s3://bucket/routes.yaml".into(),
            "appconfig:abc1234/def5678/prod".into(),
        ],
        ..Given::default()
    };
    let yaml = r#"
aws: { region: eu-west-1, assume_role: { arn: "arn:aws:iam::444455556666:role/ingest" } }
routes:
  POST /d: { authorizer: none, integration: { Kinesis-PutRecord: { StreamName: clicks, Data: $request.body, PartitionKey: k }, aggregate: kpl } }
"#;
    let found = found(yaml, &given);
    assert_eq!(
        found.role.as_deref(),
        Some("arn:aws:iam::444455556666:role/ingest")
    );
    let lines = lines(&found);
    assert!(
        lines.contains(
            &"Configuration2: s3:GetObject on arn:aws:s3:::bucket/routes.yaml".to_owned()
        ),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.ends_with("application/abc1234/environment/def5678/configuration/*")),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("Keys: kms:Decrypt kms:GenerateDataKey on ")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("kinesis:DescribeStreamSummary kinesis:ListShards kinesis:PutRecord kinesis:PutRecords on")),
        "{lines:?}"
    );
}

#[test]
fn nothing_at_aws_needs_no_policy() {
    let found = found(
        "routes: { GET /: { authorizer: none, integration: { Mock: {} } } }",
        &Given::default(),
    );
    assert!(found.statements.is_empty());
    assert_eq!(
        found.notes,
        ["nothing at AWS is called, so no policy is needed"]
    );
}

#[test]
fn secrets_are_named_as_policies_know_them() {
    let file = "routes: { GET /: { authorizer: none, integration: { Mock: {} } } }";
    let compiled = compiled_again(
        vec![SourceFile {
            path: "r.yaml".into(),
            text: file.into(),
        }],
        &Nothing,
    );
    let secret = |keeper, name: &str| SecretName {
        keeper,
        name: name.into(),
        key: None,
    };
    let secrets = [
        secret(SecretKeeper::SecretsManager, "shop/github"),
        secret(SecretKeeper::ParameterStore, "/shop/key"),
    ];
    let found = of(
        &compiled.blueprint.unwrap(),
        &secrets,
        &Given {
            account: Some("111122223333".into()),
            ..Given::default()
        },
    );
    assert_eq!(
        lines(&found),
        [
            "Parameters: ssm:GetParameter on arn:aws:ssm:*:111122223333:parameter/shop/key",
            "Secrets: secretsmanager:GetSecretValue on arn:aws:secretsmanager:*:111122223333:secret:shop/github-??????",
        ]
    );
}
