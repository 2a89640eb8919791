//! Pseudo parameters, and where in the cloud something is: region, account, partition.

use super::functions::Run;
use super::text::{joined, written};
use super::unresolved::Place;
use crate::config::load::tree::{Kind, Scalar};

/// What a pseudo parameter stands for; `None` where the name is none.
fn stands_for(name: &str) -> Option<&'static str> {
    Some(match name {
        "AWS::Region" => "the region, such as eu-west-1",
        "AWS::AccountId" => "the account, twelve digits",
        "AWS::Partition" => "the partition: aws, aws-cn or aws-us-gov",
        "AWS::URLSuffix" => "the domain of the services: amazonaws.com or amazonaws.com.cn",
        "AWS::StackName" => "the name of the stack",
        "AWS::StackId" => "the ARN of the stack",
        "AWS::NotificationARNs" => "the topics that the stack reports to",
        _ => return None,
    })
}

impl Run<'_, '_> {
    /// The value of a pseudo parameter; `None` where the name is none.
    pub fn pseudo(&mut self, name: &str, at: &Place) -> Option<Scalar> {
        let stands_for = stands_for(name)?;
        if let Some(node) = self.var(name)
            && let Kind::Scalar(scalar) = &node.kind
        {
            return Some(written(scalar.text()));
        }
        let region = self.known_region();
        let of_region =
            |china: &'static str, government: &'static str, else_: &'static str| match region
                .as_deref()
            {
                Some(region) if region.starts_with("cn-") => china,
                Some(region) if region.starts_with("us-gov-") => government,
                _ => else_,
            };
        Some(match name {
            "AWS::Partition" => written(of_region("aws-cn", "aws-us-gov", "aws")),
            "AWS::URLSuffix" => written(of_region(
                "amazonaws.com.cn",
                "amazonaws.com",
                "amazonaws.com",
            )),
            _ => self.unresolved.ask(name, stands_for, at.clone()),
        })
    }

    fn known_region(&mut self) -> Option<String> {
        match &self.var("AWS::Region")?.kind {
            Kind::Scalar(scalar) => Some(scalar.text().into_owned()),
            _ => None,
        }
    }

    /// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`; a part that the service leaves out is empty.
    pub fn arn(&mut self, arn: Arn<'_>, resource: Scalar, at: &Place) -> Scalar {
        let mut part = |wanted: bool, name: &str| {
            let pseudo = if wanted { self.pseudo(name, at) } else { None };
            pseudo.unwrap_or_else(|| written(""))
        };
        let partition = part(true, "AWS::Partition");
        let region = part(arn.region, "AWS::Region");
        let account = part(arn.account, "AWS::AccountId");
        let service = written(format!(":{}:", arn.service));
        let parts = [
            written("arn:"),
            partition,
            service,
            region,
            written(":"),
            account,
            written(format!(":{}", arn.before)),
            resource,
            written(arn.after),
        ];
        joined(parts)
    }

    /// `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`.
    pub fn queue_url(&mut self, name: Scalar, at: &Place) -> Scalar {
        let mut part = |pseudo: &str| self.pseudo(pseudo, at).unwrap_or_else(|| written(""));
        let parts = [
            written("https://sqs."),
            part("AWS::Region"),
            written("."),
            part("AWS::URLSuffix"),
            written("/"),
            part("AWS::AccountId"),
            written("/"),
            name,
        ];
        joined(parts)
    }
}

/// How a service writes its ARNs.
#[derive(Clone, Copy, Debug)]
pub struct Arn<'a> {
    pub service: &'a str,
    pub region: bool,
    pub account: bool,
    /// What stands before and after the name: `stream/`, `:*`.
    pub before: &'a str,
    pub after: &'a str,
}
