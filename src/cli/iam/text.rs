//! A policy in the words of those who take it.

use serde_json::{Value, json};

use crate::plan::permissions::{Permissions, Statement, Style};

/// A policy document.
pub fn json(permissions: &Permissions) -> String {
    let statement = |statement: &Statement| {
        let resources = statement.resources.iter();
        json!({
            "Sid": statement.sid,
            "Effect": "Allow",
            "Action": statement.actions,
            "Resource": resources.map(|arn| arn.written(Style::Json)).collect::<Vec<_>>(),
        })
    };
    let statements: Vec<Value> = permissions.statements.iter().map(statement).collect();
    format!(
        "{:#}\n",
        json!({ "Version": "2012-10-17", "Statement": statements })
    )
}

/// A template with a managed policy, which any role may name.
pub fn cloud_formation(permissions: &Permissions, api: &str) -> String {
    let mut text = String::from("AWSTemplateFormatVersion: \"2010-09-09\"\n");
    text += &format!(
        "Description: {}\n",
        quoted(&format!(
            "What the routes of {api} call, and nothing else (penstock iam)"
        ))
    );
    text += &notes(permissions);
    if permissions.statements.is_empty() {
        return text + "Resources: {}\n";
    }
    text += "Resources:\n  Policy:\n    Type: AWS::IAM::ManagedPolicy\n    Properties:\n";
    text += "      PolicyDocument:\n        Version: \"2012-10-17\"\n        Statement:\n";
    for statement in &permissions.statements {
        text += &format!(
            "          - Sid: {}\n            Effect: Allow\n",
            statement.sid
        );
        text += "            Action:\n";
        for action in &statement.actions {
            text += &format!("              - {}\n", quoted(action));
        }
        text += "            Resource:\n";
        for arn in &statement.resources {
            let arn = arn.written(Style::CloudFormation);
            let sub = if arn.contains("${") { "!Sub " } else { "" };
            text += &format!("              - {sub}{}\n", quoted(&arn));
        }
    }
    text += "Outputs:\n  PolicyArn:\n    Value: !Ref Policy\n";
    text
}

/// An `aws_iam_policy_document`, and the data that it draws on.
pub fn terraform(permissions: &Permissions) -> String {
    let mut document = String::from("data \"aws_iam_policy_document\" \"penstock\" {\n");
    let mut first = true;
    for statement in &permissions.statements {
        if !first {
            document.push('\n');
        }
        first = false;
        let list = |items: Vec<String>| {
            let lines = items
                .into_iter()
                .map(|item| format!("      {},\n", quoted(&item)));
            lines.collect::<String>()
        };
        let resources = statement.resources.iter();
        document += &format!(
            "  statement {{\n    sid    = {}\n    effect = \"Allow\"\n    actions = [\n{}    ]\n    resources = [\n{}    ]\n  }}\n",
            quoted(&statement.sid),
            list(statement.actions.clone()),
            list(resources.map(|arn| arn.written(Style::Terraform)).collect()),
        );
    }
    document += "}\n";
    let mut text = notes(permissions);
    for (data, name) in [
        ("aws_partition", "current"),
        ("aws_region", "current"),
        ("aws_caller_identity", "current"),
    ] {
        if document.contains(&format!("data.{data}.")) {
            text += &format!("data \"{data}\" \"{name}\" {{}}\n\n");
        }
    }
    text + &document
}

/// As comments, in both languages.
fn notes(permissions: &Permissions) -> String {
    let notes = permissions.notes.iter();
    notes.map(|note| format!("# {note}\n")).collect()
}

/// In double quotes, as YAML and Terraform both read them.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
