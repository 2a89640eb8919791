//! How a configuration takes over: what cannot be meant is said.

use super::check;

/// One fault each, and what is said about it. `{R}` stands for a good route.
const FAULTS: &[(&str, &str)] = &[
    ("deployment: { strategy: blue }\n{R}", "deployment.strategy"),
    (
        "deployment: { steps: [] }\n{R}",
        "deployment.steps: 0 steps",
    ),
    (
        "deployment: { steps: [5%, 5%] }\n{R}",
        "deployment.steps[1]: 5% is no more than 5%",
    ),
    (
        "deployment: { steps: [0%, 5%] }\n{R}",
        "deployment.steps[0]",
    ),
    (
        "deployment: { steps: [100%] }\n{R}",
        "a canary whose first step is 100% is none",
    ),
    (
        "capture: { sample: 1% }\n{R}",
        "capture.path: it is missing",
    ),
    (
        "capture: { path: c, routes: [POST /nowhere] }\n{R}",
        "capture.routes[0]: there is no route",
    ),
    (
        "capture: { path: c, redact: [cookie] }\n{R}",
        "is not a place; write `header:NAME`",
    ),
    (
        "capture: { path: c, file_size: 1KiB }\n{R}",
        "capture.file_size: 1KiB is too short",
    ),
    (
        "capture: { path: c, file_size: 2MiB, max_size: 1MiB }\n{R}",
        "capture.max_size",
    ),
    ("capture: { path: c, sample: 2 }\n{R}", "is not a share"),
    (
        "capture: true\n{R}",
        "expected a mapping (`{ path: ./captures",
    ),
    ("deployment: { steps: [5] }\n{R}", "is not a share"),
    (
        "deployment: { every: 0s }\n{R}",
        "deployment.every: a step lasts 1s to 30d",
    ),
    ("deployment: { every: 31d }\n{R}", "deployment.every"),
    (
        "deployment: { sticky: [$request.body] }\n{R}",
        "deployment.sticky[0]: this is not known before",
    ),
    (
        "deployment: { sticky: [$context.authorizer.claims.sub] }\n{R}",
        "deployment.sticky[0]",
    ),
    (
        "deployment: { sticky: [tenant] }\n{R}",
        "deployment.sticky[0]",
    ),
    (
        "deployment: { rollback_on: { error_ratio: 100% } }\n{R}",
        "deployment.rollback_on.error_ratio",
    ),
    (
        "deployment: { rollback_on: { p99: 0s } }\n{R}",
        "deployment.rollback_on.p99",
    ),
    (
        "deployment: { rollback_on: true }\n{R}",
        "deployment.rollback_on",
    ),
    (
        "deployment: { strategy: canary, variables: { a-b: x } }\n{R}",
        "deployment.variables.a-b",
    ),
    (
        "deployment: { variables: { a: x } }\n{R}",
        "these are the variables of a canary",
    ),
    (
        "deployment: { stratgy: all }\n{R}",
        "did you mean `strategy`?",
    ),
];

#[test]
fn every_fault_is_said_at_its_place() {
    let route = "routes: { 'GET /ok': { integration: { Mock: {} } } }\n";
    for (text, said) in FAULTS {
        let (lines, _) = check(&text.replace("{R}", route));
        let found = lines
            .iter()
            .any(|line| line.contains(said) && line.starts_with("shop.yaml:"));
        assert!(found, "{text:?}\n  wanted: {said}\n  {lines:#?}");
    }
}

#[test]
fn what_only_the_canary_s_variables_break_is_said_too() {
    let (lines, code) = check(
        "stage_variables: { size: '1' }\n\
         queues: { q: {} }\n\
         deployment: { strategy: canary, variables: { size: '-1' } }\n\
         routes: { GET /a: { integration: { SQS-ReceiveMessage: { QueueUrl: 'queue:q', WaitTimeSeconds: $stageVariables.size } } } }\n",
    );
    assert_eq!(code, 1, "{lines:#?}");
    assert!(lines[0].contains("WaitTimeSeconds"), "{lines:#?}");
}
