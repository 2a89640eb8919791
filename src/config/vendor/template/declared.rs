//! What the service gives for a resource that the document itself declares: `Ref` of a queue is its URL, of a stream
//! its name, of a state machine its ARN. It can be told where the name is written; a name that the service makes up
//! cannot.

use super::functions::{Run, leaf};
use super::pseudo::Arn;
use super::text::{joined, written};
use super::unresolved::Place;
use crate::config::load::tree::Scalar;

/// A type of resource whose names and ARNs follow from the name that is written.
#[derive(Debug)]
pub struct Known {
    /// In templates and in plans: `AWS::SQS::Queue`, `aws_sqs_queue`.
    types: &'static [&'static str],
    /// What people call it.
    pub word: &'static str,
    /// The property that holds its name, in a template and in a plan.
    pub name: &'static str,
    pub plan_name: &'static str,
    /// What `Ref` gives.
    reference: Attribute,
    /// What `.id` gives in a plan.
    plan_id: Attribute,
    arn: Arn<'static>,
}

/// What can be asked of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    Name,
    Arn,
    QueueUrl,
}

impl Attribute {
    /// As a sentence says it.
    pub fn word(self) -> &'static str {
        match self {
            Attribute::Name => "name",
            Attribute::Arn => "ARN",
            Attribute::QueueUrl => "URL",
        }
    }
}

const fn arn(service: &'static str, before: &'static str) -> Arn<'static> {
    Arn {
        service,
        region: true,
        account: true,
        before,
        after: "",
    }
}

/// Sources: the "Return values" of each resource's page in the CloudFormation reference, and the "Attribute reference"
/// of the provider's. An AppConfig `Ref` is an id that only the service knows; GetConfiguration takes the name as well.
static KNOWN: [Known; 13] = [
    Known {
        types: &["AWS::SQS::Queue", "aws_sqs_queue"],
        word: "queue",
        name: "QueueName",
        plan_name: "name",
        reference: Attribute::QueueUrl,
        plan_id: Attribute::QueueUrl,
        arn: arn("sqs", ""),
    },
    Known {
        types: &["AWS::Kinesis::Stream", "aws_kinesis_stream"],
        word: "stream",
        name: "Name",
        plan_name: "name",
        reference: Attribute::Name,
        plan_id: Attribute::Arn,
        arn: arn("kinesis", "stream/"),
    },
    Known {
        types: &["AWS::Events::EventBus", "aws_cloudwatch_event_bus"],
        word: "event bus",
        name: "Name",
        plan_name: "name",
        reference: Attribute::Name,
        plan_id: Attribute::Name,
        arn: arn("events", "event-bus/"),
    },
    Known {
        types: &["AWS::StepFunctions::StateMachine", "aws_sfn_state_machine"],
        word: "state machine",
        name: "StateMachineName",
        plan_name: "name",
        reference: Attribute::Arn,
        plan_id: Attribute::Arn,
        arn: arn("states", "stateMachine:"),
    },
    Known {
        types: &["AWS::Serverless::StateMachine"],
        word: "state machine",
        name: "Name",
        plan_name: "name",
        reference: Attribute::Arn,
        plan_id: Attribute::Arn,
        arn: arn("states", "stateMachine:"),
    },
    Known {
        types: &["AWS::IAM::Role", "aws_iam_role"],
        word: "role",
        name: "RoleName",
        plan_name: "name",
        reference: Attribute::Name,
        plan_id: Attribute::Name,
        arn: Arn {
            region: false,
            ..arn("iam", "role/")
        },
    },
    Known {
        types: &[
            "AWS::DynamoDB::Table",
            "AWS::DynamoDB::GlobalTable",
            "AWS::Serverless::SimpleTable",
            "aws_dynamodb_table",
        ],
        word: "table",
        name: "TableName",
        plan_name: "name",
        reference: Attribute::Name,
        plan_id: Attribute::Name,
        arn: arn("dynamodb", "table/"),
    },
    Known {
        types: &[
            "AWS::Lambda::Function",
            "AWS::Serverless::Function",
            "aws_lambda_function",
        ],
        word: "function",
        name: "FunctionName",
        plan_name: "function_name",
        reference: Attribute::Name,
        plan_id: Attribute::Name,
        arn: arn("lambda", "function:"),
    },
    Known {
        types: &["AWS::SNS::Topic", "aws_sns_topic"],
        word: "topic",
        name: "TopicName",
        plan_name: "name",
        reference: Attribute::Arn,
        plan_id: Attribute::Arn,
        arn: arn("sns", ""),
    },
    Known {
        types: &["AWS::S3::Bucket", "aws_s3_bucket"],
        word: "bucket",
        name: "BucketName",
        plan_name: "bucket",
        reference: Attribute::Name,
        plan_id: Attribute::Name,
        arn: Arn {
            region: false,
            account: false,
            ..arn("s3", "")
        },
    },
    Known {
        types: &["AWS::Logs::LogGroup"],
        word: "log group",
        name: "LogGroupName",
        plan_name: "name",
        reference: Attribute::Name,
        plan_id: Attribute::Name,
        arn: Arn {
            after: ":*",
            ..arn("logs", "log-group:")
        },
    },
    Known {
        types: &["aws_cloudwatch_log_group"],
        word: "log group",
        name: "name",
        plan_name: "name",
        reference: Attribute::Name,
        plan_id: Attribute::Name,
        arn: arn("logs", "log-group:"),
    },
    Known {
        types: &[
            "AWS::AppConfig::Application",
            "AWS::AppConfig::Environment",
            "AWS::AppConfig::ConfigurationProfile",
            "aws_appconfig_application",
            "aws_appconfig_environment",
            "aws_appconfig_configuration_profile",
        ],
        word: "AppConfig resource",
        name: "Name",
        plan_name: "name",
        reference: Attribute::Name,
        plan_id: Attribute::Name,
        arn: arn("appconfig", ""),
    },
];

/// What is known of a type of resource.
pub fn known_as(kind: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.types.contains(&kind))
}

impl Known {
    /// What `Ref` (no attribute) or `Fn::GetAtt` gives; `None` for what only the service knows.
    pub fn in_template(&self, attribute: Option<&str>) -> Option<Attribute> {
        let Some(attribute) = attribute else {
            return Some(self.reference);
        };
        match attribute {
            "Arn" | "TopicArn" if self.arn.service != "appconfig" => Some(Attribute::Arn),
            "QueueUrl" => (self.reference == Attribute::QueueUrl).then_some(Attribute::QueueUrl),
            "ApplicationId" | "EnvironmentId" | "ConfigurationProfileId" => {
                (self.arn.service == "appconfig").then_some(Attribute::Name)
            }
            "Name" => Some(Attribute::Name),
            _ => (attribute == self.name).then_some(Attribute::Name),
        }
    }

    /// What an attribute of a plan's resource gives; `None` for what only the service knows.
    pub fn in_plan(&self, attribute: &str) -> Option<Attribute> {
        match attribute {
            "arn" if self.arn.service != "appconfig" => Some(Attribute::Arn),
            "id" => Some(self.plan_id),
            "url" => (self.reference == Attribute::QueueUrl).then_some(Attribute::QueueUrl),
            "application_id" | "environment_id" | "configuration_profile_id" => {
                (self.arn.service == "appconfig").then_some(Attribute::Name)
            }
            _ => (attribute == self.plan_name).then_some(Attribute::Name),
        }
    }
}

impl Run<'_, '_> {
    /// What the service gives for a resource of this name.
    pub fn given(
        &mut self,
        known: &Known,
        attribute: Attribute,
        name: Scalar,
        at: &Place,
    ) -> Scalar {
        match attribute {
            Attribute::Name => name,
            Attribute::QueueUrl => self.queue_url(name, at),
            Attribute::Arn => self.arn(known.arn, name, at),
        }
    }

    /// What `Ref` or `Fn::GetAtt` of a declared resource gives; `Err` says what it stands for.
    pub fn of_resource(
        &mut self,
        id: &str,
        attribute: Option<&str>,
        at: &Place,
    ) -> Option<Result<Scalar, String>> {
        let declared = &self.template.section("Resources")?.entry(id)?.value;
        let kind = declared
            .entry("Type")
            .map(|entry| leaf(&entry.value))
            .unwrap_or_default();
        let what = |attribute: &str| format!("the {attribute} of `{id}` ({kind})");
        let Some(known) = known_as(&kind) else {
            return Some(Err(match attribute {
                Some(attribute) => what(attribute),
                None => format!("what `Ref` of `{id}` ({kind}) gives"),
            }));
        };
        let Some(asked) = known.in_template(attribute) else {
            return Some(Err(what(attribute.unwrap_or("id"))));
        };
        let properties = declared.entry("Properties").map(|entry| &entry.value);
        let name = properties.and_then(|properties| properties.entry(known.name));
        let named = name.and_then(|entry| self.text_of(&entry.value, &at.path));
        Some(match named {
            Some(name) => {
                let folder = properties.and_then(|properties| properties.entry("Path"));
                let name = match folder {
                    Some(folder) if known.word == "role" && asked == Attribute::Arn => {
                        let folder = leaf(&folder.value);
                        let folder = folder.trim_start_matches('/');
                        joined([written(folder), name])
                    }
                    _ => name,
                };
                Ok(self.given(known, asked, name, at))
            }
            None => Err(format!(
                "the {} of the {} `{id}` ({kind}), whose name the template leaves to the service",
                asked.word(),
                known.word
            )),
        })
    }
}
