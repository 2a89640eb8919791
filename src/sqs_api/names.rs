//! Names of queues on the wire: URLs and ARNs. The account and the region in them mean nothing here: whatever a client
//! brings is taken for ours.

use crate::model::value::QueueName;

use super::fault::{Code, Fault};

/// The account of every queue.
pub const ACCOUNT: &str = "000000000000";

/// How queues are named to one client.
#[derive(Clone, Debug)]
pub struct Names {
    /// `http://host:port`, as the client addressed us.
    pub base: String,
    /// The region in ARNs.
    pub region: String,
}

impl Names {
    /// The queue's URL.
    pub fn url(&self, queue: &str) -> String {
        format!("{}/{ACCOUNT}/{queue}", self.base)
    }

    /// The queue's ARN.
    pub fn arn(&self, queue: &str) -> String {
        format!("arn:aws:sqs:{}:{ACCOUNT}:{queue}", self.region)
    }
}

/// The name in a queue's URL; its host, scheme and account are not looked at.
pub fn in_url(url: &str) -> Result<String, Fault> {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map(|(_, path)| path),
        None => url.strip_prefix('/'),
    };
    path.and_then(in_path).ok_or_else(|| {
        Code::InvalidAddress.because(format!("The address {url} is not valid for this endpoint."))
    })
}

/// The name in `ACCOUNT/NAME`, with or without a slash around it.
pub fn in_path(path: &str) -> Option<String> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let (account, name) = path.trim_matches('/').rsplit_once('/')?;
    (!account.is_empty() && !name.is_empty()).then(|| name.to_owned())
}

/// The name in a queue's ARN.
pub fn in_arn(arn: &str) -> Option<&str> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", partition, "sqs", _region, _account, name]
            if !partition.is_empty() && name.parse::<QueueName>().is_ok() =>
        {
            Some(name)
        }
        _ => None,
    }
}

/// The name in an ARN that a parameter brought.
pub fn in_arn_of(parameter: &str, arn: &str) -> Result<String, Fault> {
    in_arn(arn).map(str::to_owned).ok_or_else(|| {
        Code::InvalidParameterValue.because(format!(
            "You must use this format to specify the {parameter}: arn:<<partition>>:<<service>>:<<region>>:<<account-id>>:<<resource-id>>"
        ))
    })
}

/// Whether a name is one that a queue can have.
pub fn check(name: &str) -> Result<(), Fault> {
    name.parse::<QueueName>().map(drop).map_err(|_| {
        Code::InvalidParameterValue.because(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_queue_whatever_host_and_account_stand_in_it() {
        for url in [
            "http://127.0.0.1:9324/000000000000/orders",
            "https://sqs.eu-west-1.amazonaws.com/111122223333/orders",
            "http://host/queue/orders/",
            "/000000000000/orders",
        ] {
            assert_eq!(in_url(url).as_deref(), Ok("orders"), "{url}");
        }
        for url in [
            "",
            "orders",
            "http://host",
            "http://host/orders",
            "http://host//",
            "/orders",
        ] {
            assert_eq!(
                in_url(url).map_err(|fault| fault.code),
                Err(Code::InvalidAddress),
                "{url}"
            );
        }
    }

    #[test]
    fn an_arn_names_a_queue_of_any_region_and_account() {
        assert_eq!(
            in_arn("arn:aws:sqs:eu-west-1:111122223333:orders.fifo"),
            Some("orders.fifo")
        );
        assert_eq!(in_arn("arn:aws-cn:sqs:::orders"), Some("orders"));
        for arn in [
            "",
            "orders",
            "arn:aws:sns:r:1:orders",
            "arn:aws:sqs:r:1:",
            "arn:aws:sqs:r:1:a:b",
        ] {
            assert_eq!(in_arn(arn), None, "{arn}");
        }
    }

    #[test]
    fn what_a_client_called_us_stands_in_the_urls_it_gets() {
        let names = Names {
            base: "http://gate:9324".into(),
            region: "us-east-1".into(),
        };
        assert_eq!(names.url("q"), "http://gate:9324/000000000000/q");
        assert_eq!(in_arn(&names.arn("q")), Some("q"));
    }
}
