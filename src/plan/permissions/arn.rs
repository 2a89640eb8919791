//! Names of things at AWS, of which parts may not be known yet.

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn {
    /// `None`: that of the region.
    pub partition: Option<String>,
    pub service: String,
    /// `None`: not known. Empty for services without regions.
    pub region: Option<String>,
    /// `None`: not known. Empty where names are the world's.
    pub account: Option<String>,
    pub resource: String,
}

/// For whom a name is written: what is not known is a wildcard, or what the tool puts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Json,
    CloudFormation,
    Terraform,
}

impl Arn {
    /// `None` if the text is none.
    pub fn read(text: &str) -> Option<Arn> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, service, region, account, resource] = parts.as_slice() else {
            return None;
        };
        let known = |text: &str| Some(text.to_owned());
        (!resource.is_empty()).then(|| Arn {
            partition: known(partition),
            service: (*service).to_owned(),
            region: known(region),
            account: known(account),
            resource: (*resource).to_owned(),
        })
    }

    /// The text.
    pub fn written(&self, style: Style) -> String {
        let or = |part: &Option<String>, json: &str, cloud_formation: &str, terraform: &str| {
            let stand_in = match style {
                Style::Json => json,
                Style::CloudFormation => cloud_formation,
                Style::Terraform => terraform,
            };
            part.clone().unwrap_or_else(|| stand_in.to_owned())
        };
        let of_region = match self.region.as_deref() {
            Some(region) if region.starts_with("cn-") => "aws-cn",
            Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        let partition = or(
            &self.partition,
            of_region,
            "${AWS::Partition}",
            "${data.aws_partition.current.partition}",
        );
        let region = or(
            &self.region,
            "*",
            "${AWS::Region}",
            "${data.aws_region.current.region}",
        );
        let account = or(
            &self.account,
            "*",
            "${AWS::AccountId}",
            "${data.aws_caller_identity.current.account_id}",
        );
        let Arn {
            service, resource, ..
        } = self;
        format!("arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_a_wildcard_or_the_tool_s_to_say() {
        let known = "arn:aws:states:eu-west-1:111122223333:stateMachine:flow";
        assert_eq!(Arn::read(known).unwrap().written(Style::Terraform), known);
        let arn = Arn {
            partition: None,
            service: "kinesis".into(),
            region: Some("cn-north-1".into()),
            account: None,
            resource: "stream/clicks".into(),
        };
        assert_eq!(
            arn.written(Style::Json),
            "arn:aws-cn:kinesis:cn-north-1:*:stream/clicks"
        );
        assert_eq!(
            arn.written(Style::CloudFormation),
            "arn:${AWS::Partition}:kinesis:cn-north-1:${AWS::AccountId}:stream/clicks"
        );
        assert_eq!(Arn::read("clicks"), None);
    }
}
