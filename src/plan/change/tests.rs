//! What another configuration changes is said in its callers' terms, and nothing from outside is in it.

use super::*;
use crate::plan::written::{Compiled, compiled_again};

fn compiled(text: &str) -> Compiled {
    let file = SourceFile {
        path: "shop.yaml".into(),
        text: text.to_owned(),
    };
    let environment = BTreeMap::from([("TOKEN".to_owned(), "hunter2".to_owned())]);
    let compiled = compiled_again(vec![file], &environment);
    assert!(!compiled.problems.has_errors(), "{:?}", compiled.problems);
    compiled
}

fn between(old: &str, new: &str) -> Changes {
    let (old, new) = (compiled(old), compiled(new));
    let written = |compiled: &'static Compiled| Written {
        blueprint: compiled.blueprint.as_ref().unwrap(),
        texts: &compiled.texts,
    };
    Changes::between(
        written(Box::leak(Box::new(old))),
        written(Box::leak(Box::new(new))),
    )
}

const OLD: &str = r#"
queues: { orders: {}, other: {} }
throttle: { rate: 10 }
routes:
  POST /orders:
    integration: { SQS-SendMessage: { QueueUrl: "queue:orders", MessageBody: $request.body, MessageAttributes: { t: "${env:TOKEN}" } } }
  GET /gone: { integration: { Mock: {} } }
  GET /same: { integration: { Mock: { body: "a" } } }
"#;

#[test]
fn nothing_changes_between_a_configuration_and_itself() {
    assert!(between(OLD, OLD).is_empty());
    assert_eq!(between(OLD, OLD).summary(), "nothing changes");
}

#[test]
fn routes_come_go_and_change_and_what_callers_notice_is_said() {
    let new = OLD
        .replace("GET /gone", "GET /new")
        .replace("queue:orders\"", "queue:other\"")
        .replace("{ rate: 10 }", "{ rate: 20 }");
    let changes = between(OLD, &new);
    assert_eq!(changes.added, ["GET /new"]);
    assert_eq!(changes.removed, ["GET /gone"]);
    assert_eq!(changes.settings, ["throttle.rate"]);
    let orders = changes
        .changed
        .iter()
        .find(|change| change.route == "POST /orders")
        .unwrap();
    let noticed: Vec<&str> = orders.noticed.iter().map(|notice| &*notice.what).collect();
    assert_eq!(noticed, ["limits", "target"]);
    let [parameter] = orders.parameters.as_slice() else {
        panic!("{:?}", orders.parameters);
    };
    assert_eq!(parameter.path, "integration.SQS-SendMessage.QueueUrl");
    assert_eq!(parameter.before.as_deref(), Some("queue:orders"));
    // Its own text is the same, and its limits are not: defaults count.
    assert!(
        changes
            .changed
            .iter()
            .any(|change| change.route == "GET /same")
    );
    assert!(
        changes
            .summary()
            .starts_with("1 route added, 1 removed, 2 changed")
    );
}

#[test]
fn what_comes_from_outside_is_shown_as_it_is_written() {
    let new = OLD.replace("${env:TOKEN}", "${env:TOKEN:-x}");
    let said = serde_json::to_string(&between(OLD, &new)).unwrap();
    assert!(
        said.contains("${env:TOKEN:-x}") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn another_mapping_to_the_same_target_is_noticed() {
    let new = OLD.replace(
        "MessageBody: $request.body,",
        "MessageBody: $request.body.order,",
    );
    let changes = between(OLD, &new);
    assert_eq!(changes.changed[0].noticed[0].what, "mapping");
    let keyed = OLD.replace("GET /same: {", "GET /same: { authorizer: api_key,");
    let key = "ab".repeat(32);
    let other = format!("api_keys: {{ k: {{ hash: 'sha256:{key}' }} }}{keyed}");
    assert_eq!(between(OLD, &other).changed[0].noticed[0].what, "auth");
    let status = OLD.replace("GET /same: {", "GET /same: { response: { status: 204 },");
    assert_eq!(
        between(OLD, &status).changed[0].noticed[0].after,
        "204 (native)"
    );
}
