//! What is wrong with a document is said, each at its place.

use serde_json::{Value, json};

use super::super::*;
use super::allow;
use crate::model::path::ConfigPath;
use crate::model::problem::{Problems, Severity};

/// What is said about a resource policy with one fault.
fn said(document: &Value, side: Side<'_>) -> Vec<String> {
    let (_, faults) = Document::parse("p", document, side);
    let text = |fault: &Fault| {
        let help = fault.help.as_deref().unwrap_or_default();
        let word = if fault.is_error { "error" } else { "warning" };
        format!("{word} {}: {} {help}", fault.path, fault.message)
    };
    faults.iter().map(text).collect()
}

#[test]
fn what_is_not_understood_is_an_error_at_its_place() {
    let statement = |key: &str, value: Value| {
        let mut document = allow("*");
        document["Statement"]["Principal"] = "*".into();
        document["Statement"][key] = value;
        document
    };
    for (document, wanted) in [
        (json!([]), "a policy is a mapping"),
        (json!({}), "error Statement: is missing"),
        (json!({ "Statement": [] }), "the list is empty"),
        (
            json!({ "Version": "2012-10-18", "Statement": [] }),
            "write \"2012-10-17\"",
        ),
        (json!({ "Statemnt": [] }), "did you mean `Statement`?"),
        (statement("Efect", json!("Deny")), "did you mean `Effect`?"),
        (statement("Effect", json!("allow")), "did you mean `Allow`?"),
        (
            statement("Action", json!("execute-api:Invok")),
            "did you mean `execute-api:Invoke`?",
        ),
        (
            statement("Action", json!("Invoke")),
            "is not an action of an API",
        ),
        (
            statement("NotAction", json!("execute-api:Invoke")),
            "cannot stand beside `Action`",
        ),
        (
            statement("Resource", json!("arn:aws:sqs:us-east-1:1:orders")),
            "another service's resource",
        ),
        (
            statement("Resource", json!("/prod/GET/x")),
            "is not a resource of an API",
        ),
        (
            statement("Resource", json!("arn:aws:execute-api:us-east-1:1:abc")),
            "names no stage",
        ),
        (statement("Resource", json!([])), "the list is empty"),
        (
            statement("Principal", json!({ "Service": "x" })),
            "no kind of principal",
        ),
        (
            statement("Principal", json!({ "AWS": "shop" })),
            "names nobody",
        ),
        (
            statement("Principal", json!("shop")),
            "is neither \"*\" nor",
        ),
        (statement("NotPrincipal", json!("*")), "is not supported"),
        (
            statement(
                "Condition",
                json!({ "StringEqual": { "aws:UserAgent": "x" } }),
            ),
            "did you mean `StringEquals`?",
        ),
        (
            statement(
                "Condition",
                json!({ "ForAnyValues:StringLike": { "aws:UserAgent": "x" } }),
            ),
            "did you mean `ForAnyValue:`?",
        ),
        (
            statement(
                "Condition",
                json!({ "NullIfExists": { "aws:UserAgent": "x" } }),
            ),
            "write it plain",
        ),
        (
            statement(
                "Condition",
                json!({ "IpAddress": { "aws:SourceIP4": "10.0.0.0/8" } }),
            ),
            "did you mean `aws:SourceIp`?",
        ),
        (
            statement(
                "Condition",
                json!({ "IpAddress": { "aws:SourceIp": "10.0.0.0/33" } }),
            ),
            "neither an address nor a network",
        ),
        (
            statement(
                "Condition",
                json!({ "IpAddress": { "aws:UserAgent": "10.0.0.0/8" } }),
            ),
            "a value that is text",
        ),
        (
            statement(
                "Condition",
                json!({ "Bool": { "aws:SecureTransport": "yes" } }),
            ),
            "neither true nor false",
        ),
        (
            statement(
                "Condition",
                json!({ "DateLessThan": { "aws:CurrentTime": "noon" } }),
            ),
            "is not a time",
        ),
        (
            statement(
                "Condition",
                json!({ "NumericEquals": { "aws:EpochTime": "x" } }),
            ),
            "is not a number",
        ),
        (
            statement(
                "Condition",
                json!({ "ArnLike": { "aws:PrincipalArn": "shop" } }),
            ),
            "is not an ARN",
        ),
        (
            statement(
                "Condition",
                json!({ "StringEquals": { "aws:UserAgent": [] } }),
            ),
            "the list is empty",
        ),
        (
            statement(
                "Condition",
                json!({ "StringEquals": { "aws:UserAgent": {} } }),
            ),
            "is not text",
        ),
        (
            statement(
                "Condition",
                json!({ "StringEquals": { "aws:username": "${aws:usrname}" } }),
            ),
            "did you mean `aws:username`?",
        ),
        (
            statement(
                "Condition",
                json!({ "StringEquals": { "aws:SourceVpc": "vpc-1" } }),
            ),
            "warning Statement.Condition.StringEquals.aws:SourceVpc",
        ),
        (
            statement("Action", json!(["execute-api:Invoke", "s3:GetObject"])),
            "warning Statement.Action[1]",
        ),
    ] {
        let found = said(&document, Side::Resource).join("\n");
        let found = found
            .replace('"', "")
            .replace("aws:SourceVpc:", "aws:SourceVpc");
        assert!(
            found.contains(&wanted.replace('"', "")),
            "{document}: {found}"
        );
    }
    let mut callers = allow("*");
    assert_eq!(
        said(&callers, Side::Resource).len(),
        1,
        "a principal is asked for"
    );
    callers["Statement"]["Principal"] = "*".into();
    assert!(said(&callers, Side::Caller { region: None })[0].contains("has no place here"));
}

#[test]
fn a_document_is_a_mapping_or_json_as_text_and_no_key_stands_twice() {
    let read =
        |text: &str| serde_json::from_str::<Written>(text).map_err(|error| error.to_string());
    let mapping = read(&allow("*").to_string()).unwrap();
    let text = read(&Value::from(allow("*").to_string()).to_string()).unwrap();
    let compile = |written: &Written| {
        let side = Side::Caller { region: None };
        let at = ConfigPath::root();
        written.compile("p", side, &at, &mut Problems::default())
    };
    assert_eq!(compile(&mapping), compile(&text));
    assert!(
        read("\"{\"")
            .unwrap_err()
            .contains("the policy is not JSON")
    );
    assert!(
        read(r#"{ "Statement": [], "Statement": [] }"#)
            .unwrap_err()
            .contains("stands twice")
    );
    assert!(
        Written::text(r#"{ "a": { "b": 1, "b": 2 } }"#)
            .unwrap_err()
            .contains("`b` stands twice")
    );
}

#[test]
fn faults_of_a_text_are_at_the_key_that_holds_it_and_a_long_document_is_warned_of() {
    let at = ConfigPath::root().key("policy");
    let mut document = allow("*");
    document["Statement"]["Effect"] = "Alow".into();
    let mut problems = Problems::default();
    for written in [
        Written::text(&document.to_string()).unwrap(),
        serde_json::from_value(document).unwrap(),
    ] {
        let side = Side::Caller { region: None };
        assert!(written.compile("p", side, &at, &mut problems).is_none());
    }
    let texts: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "error: policy: Statement.Effect: \"Alow\" is not an effect; did you mean `Allow`?",
            "error: policy.Statement.Effect: \"Alow\" is not an effect; did you mean `Allow`?"
        ]
    );
    let many: Vec<String> = (0..300)
        .map(|n| format!("execute-api:/stage/GET/resource/{n}"))
        .collect();
    let mut long = allow("*");
    long["Statement"]["Resource"] = json!(many);
    let mut problems = Problems::default();
    let written: Written = serde_json::from_value(long).unwrap();
    assert!(
        written
            .compile("p", Side::Caller { region: None }, &at, &mut problems)
            .is_some()
    );
    assert_eq!(
        (problems.0.len(), problems.0[0].severity),
        (1, Severity::Warning)
    );
    assert!(problems.0[0].message.contains("the vendor takes 8192"));
}
