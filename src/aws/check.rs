//! Whether the `aws` section can be used at all. What stands there may come from the environment, so messages say what
//! is allowed and never what was found.

use std::net::IpAddr;

use http::Uri;

use super::{Settings, is_region};
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// Notes what is wrong with the settings, at their keys below `at`: regions, addresses and the role that could never be
/// called with, and addresses that payloads would go to unencrypted.
pub fn check(settings: &Settings, at: &ConfigPath, problems: &mut Problems) {
    if let Some(region) = &settings.region
        && !is_region(region)
    {
        problems
            .error(&at.key("region"), "is not a region")
            .help("write one such as eu-west-1");
    }
    let by_service = &settings.endpoints;
    let below = at.key("endpoints");
    let endpoints = [
        (at.key("endpoint"), &settings.endpoint),
        (below.key("sqs"), &by_service.sqs),
        (below.key("kinesis"), &by_service.kinesis),
        (below.key("eventbridge"), &by_service.eventbridge),
        (below.key("stepfunctions"), &by_service.stepfunctions),
        (below.key("appconfig"), &by_service.appconfig),
        (below.key("dynamodb"), &by_service.dynamodb),
        (below.key("lambda"), &by_service.lambda),
        (below.key("secretsmanager"), &by_service.secretsmanager),
        (below.key("ssm"), &by_service.ssm),
        (below.key("sts"), &by_service.sts),
    ];
    for (at, endpoint) in endpoints {
        if let Some(endpoint) = endpoint {
            check_endpoint(endpoint, &at, problems);
        }
    }
    if let Some(role) = &settings.assume_role
        && !is_role(&role.arn)
    {
        problems
            .error(
                &at.key("assume_role").key("arn"),
                "is not the ARN of a role",
            )
            .help("write arn:aws:iam::ACCOUNT:role/NAME, the account with its 12 digits");
    }
}

fn check_endpoint(endpoint: &str, at: &ConfigPath, problems: &mut Problems) {
    const ALLOWED: &str =
        "write https://HOST or http://HOST:PORT, without a user, a query or a fragment";
    if endpoint.is_empty() {
        problems.error(at, "is empty").help(ALLOWED);
        return;
    }
    match host(endpoint) {
        None => {
            problems
                .error(at, "is not the address of a service")
                .help(ALLOWED);
        }
        Some((false, host)) if !is_loopback(&host) => {
            problems
                .warning(
                    at,
                    "plain HTTP to another machine: payloads are sent unencrypted",
                )
                .help("write https:// where the service offers it");
        }
        Some(_) => {}
    }
}

/// Whether the address is one of HTTPS, and its host; `None` if it cannot be a service's.
fn host(endpoint: &str) -> Option<(bool, String)> {
    if endpoint.contains(['?', '#']) {
        return None;
    }
    let uri: Uri = endpoint.parse().ok()?;
    let https = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host)?; // a user would stand before the host
    let port_fits = port
        .strip_prefix(':')
        .map_or(port.is_empty(), |port| port.parse::<u16>().is_ok());
    (!host.is_empty() && port_fits).then(|| (https, host.to_owned()))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else {
        return false;
    };
    let name = resource.strip_prefix("role/").unwrap_or_default();
    !partition.is_empty()
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{AssumeRole, Endpoints};

    fn problems(settings: &Settings) -> Vec<String> {
        let mut problems = Problems::default();
        check(settings, &ConfigPath::root().key("aws"), &mut problems);
        problems.0.iter().map(ToString::to_string).collect()
    }

    fn of_endpoint(endpoint: &str) -> Vec<String> {
        problems(&Settings {
            endpoint: Some(endpoint.to_owned()),
            ..Settings::default()
        })
    }

    #[test]
    fn what_can_be_used_passes() {
        let settings = Settings {
            region: Some("eu-west-1".into()),
            endpoint: Some("http://localhost:4566".into()),
            endpoints: Endpoints {
                sqs: Some("https://sqs.eu-west-1.amazonaws.com".into()),
                sts: Some("http://[::1]:4566/base".into()),
                kinesis: Some("http://127.0.0.2".into()),
                ..Endpoints::default()
            },
            assume_role: Some(AssumeRole {
                arn: "arn:aws-cn:iam::111122223333:role/path/name".into(),
                external_id: None,
                session_name: None,
            }),
        };
        assert_eq!(problems(&settings), [""; 0]);
        assert_eq!(problems(&Settings::default()), [""; 0]);
    }

    #[test]
    fn an_address_that_is_none_is_refused_and_never_shown() {
        let rule = "write https://HOST or http://HOST:PORT, without a user, a query or a fragment";
        assert_eq!(
            of_endpoint(""),
            [format!("error: aws.endpoint: is empty; {rule}")]
        );
        for wrong in [
            "hunter2",
            "localhost:4566",
            "ftp://hunter2",
            "http://",
            "http://:80",
            "https://user:hunter2@host",
            "https://host?hunter2",
            "https://host#hunter2",
            "https://host:hunter2",
            "https://host:99999",
            "https://a b",
            "/hunter2",
        ] {
            let found = of_endpoint(wrong);
            let said = format!("error: aws.endpoint: is not the address of a service; {rule}");
            assert_eq!(found, [said], "{wrong}");
        }
    }

    #[test]
    fn plain_http_to_another_machine_is_a_warning_at_its_own_key() {
        let settings = Settings {
            endpoints: Endpoints {
                appconfig: Some("http://emulator:4566".into()),
                ..Endpoints::default()
            },
            ..Settings::default()
        };
        assert_eq!(
            problems(&settings),
            [
                "warning: aws.endpoints.appconfig: plain HTTP to another machine: payloads are sent unencrypted; write https:// where the service offers it"
            ]
        );
    }

    #[test]
    fn regions_and_roles_have_their_form() {
        for arn in [
            "",
            "name",
            "arn:aws:iam::1111:role/name",
            "arn:aws:iam::111122223333:user/name",
            "arn:aws:iam::111122223333:role/",
            "arn:aws:sts::111122223333:role/name",
        ] {
            let settings = Settings {
                region: Some("Frankfurt".into()),
                assume_role: Some(AssumeRole {
                    arn: arn.into(),
                    external_id: None,
                    session_name: None,
                }),
                ..Settings::default()
            };
            assert_eq!(
                problems(&settings),
                [
                    "error: aws.region: is not a region; write one such as eu-west-1",
                    "error: aws.assume_role.arn: is not the ARN of a role; write arn:aws:iam::ACCOUNT:role/NAME, the account with its 12 digits"
                ],
                "{arn}"
            );
        }
    }
}
