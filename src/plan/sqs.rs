//! The SQS listener: where it is, and whose requests it answers.

use crate::authn::sigv4::{UserList, check_users};
use crate::config::Config;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::sqs_api::{Access, DEFAULT_BIND};

use super::blueprint::{ListenerBlueprint, SqsBlueprint};
use super::listeners::{check_bind, is_loopback};

/// Checks the section; `None` where there is none, or where it holds errors.
pub(super) fn compile(
    config: &Config,
    listeners: &[ListenerBlueprint],
    admin: &str,
    problems: &mut Problems,
) -> Option<SqsBlueprint> {
    let written = config.sqs.as_ref()?;
    let at = ConfigPath::root().key("sqs");
    let before = problems.errors();
    let bind = written
        .bind
        .clone()
        .unwrap_or_else(|| DEFAULT_BIND.to_owned());
    let bind_at = at.key("bind");
    check_bind(&bind, &bind_at, problems);
    let neighbours = listeners
        .iter()
        .map(|listener| {
            (
                format!("the listener `{}`", listener.name),
                listener.bind.as_str(),
            )
        })
        .chain([("the admin listener".to_owned(), admin)]);
    for (name, taken) in neighbours {
        if taken == bind && !bind.ends_with(":0") {
            problems
                .error(&bind_at, format!("{name} is bound to {bind} already"))
                .help("give one of them another port");
        }
    }
    let region = written.region.clone().filter(|region| !region.is_empty());
    let access = match (written.anonymous, &written.credentials) {
        (true, None) => {
            if !is_loopback(&bind) {
                problems
                    .error(
                        &at.key("anonymous"),
                        format!("{bind} is not loopback: anybody who reaches it could read and empty every queue"),
                    )
                    .help("bind it to 127.0.0.1, or write `credentials` in place of `anonymous: true`");
            }
            Access::Anonymous
        }
        (true, Some(_)) => {
            problems
                .error(
                    &at.key("anonymous"),
                    "`anonymous: true` ignores signatures, so the credentials would mean nothing",
                )
                .help("write one of them");
            Access::Anonymous
        }
        (false, None) => {
            problems
                .error(&at, "nobody could use this listener")
                .help("write `credentials: [ { name: …, access_key_id: …, secret_access_key: … } ]` or the name of a file that holds `users: […]`; for development on a loopback address `anonymous: true`");
            Access::Anonymous
        }
        (false, Some(credentials)) => {
            let users = match credentials {
                UserList::Users(users) => {
                    check_users(users, &at.key("credentials"), problems);
                    for (index, user) in users.iter().enumerate() {
                        let at = at.key("credentials").index(index);
                        for (key, stands) in [
                            ("policy", user.policy.is_some()),
                            ("account", user.account.is_some()),
                        ] {
                            if stands {
                                problems
                                    .error(&at.key(key), "has no meaning for the SQS listener, whose users may do everything")
                                    .help("leave it out");
                            }
                        }
                    }
                    users.clone()
                }
                // A file that was not read, which has been reported: nobody can sign.
                UserList::File(_) => Vec::new(),
            };
            Access::Signed {
                users,
                region: region.clone(),
            }
        }
    };
    let default = config.aws.as_ref().and_then(|aws| aws.region.clone());
    let region = region.or(default).unwrap_or_else(|| "us-east-1".to_owned());
    (problems.errors() == before).then_some(SqsBlueprint {
        bind,
        access,
        region,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{SourceFile, load_texts};
    use std::collections::BTreeMap;

    fn compiled(text: &str) -> (Option<SqsBlueprint>, Vec<String>) {
        let file = SourceFile {
            path: "t.yaml".into(),
            text: text.to_owned(),
        };
        let loaded = load_texts::<Config>(vec![file], &BTreeMap::<String, String>::new());
        let mut problems = loaded.problems;
        let config = loaded.value.unwrap_or_default();
        let listeners = [ListenerBlueprint::plain("public", "127.0.0.1:8080")];
        let blueprint = compile(&config, &listeners, "127.0.0.1:9901", &mut problems);
        (
            blueprint,
            problems.0.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn either_credentials_or_anonymous_has_to_be_written_and_not_both() {
        assert!(compiled("sqs: { anonymous: true }").0.is_some());
        let users =
            "credentials: [ { name: a, access_key_id: AKID, secret_access_key: hush-hush } ]";
        let (blueprint, _) = compiled(&format!("sqs: {{ bind: '0.0.0.0:9324', {users} }}"));
        let blueprint = blueprint.unwrap();
        assert_eq!(
            (blueprint.bind.as_str(), blueprint.region.as_str()),
            ("0.0.0.0:9324", "us-east-1")
        );
        assert!(!format!("{blueprint:?}").contains("hush"));
        for (text, expected) in [
            ("sqs: {}", "nobody could use this listener"),
            (
                "sqs: { anonymous: true, bind: '0.0.0.0:9324' }",
                "is not loopback",
            ),
            (
                &format!("sqs: {{ anonymous: true, {users} }}"),
                "would mean nothing",
            ),
            (
                "sqs: { anonymous: true, bind: '127.0.0.1:9901' }",
                "the admin listener is bound to",
            ),
            (
                "sqs: { anonymous: true, bind: '127.0.0.1:8080' }",
                "the listener `public` is bound to",
            ),
            (
                "sqs: { anonymous: true, bind: nowhere }",
                "is not an address",
            ),
            ("sqs: { credentials: [] }", "there is no user"),
        ] {
            let (blueprint, said) = compiled(text);
            assert!(blueprint.is_none(), "{text}");
            assert!(
                said.iter().any(|said| said.contains(expected)),
                "{text}: {said:?}"
            );
            assert!(!said.iter().any(|said| said.contains("hush")), "{said:?}");
        }
    }

    #[test]
    fn the_region_of_arns_is_that_of_aws_unless_it_is_written() {
        let region = |text: &str| compiled(text).0.unwrap().region;
        assert_eq!(
            region("{ aws: { region: eu-west-1 }, sqs: { anonymous: true } }"),
            "eu-west-1"
        );
        assert_eq!(
            region("{ aws: { region: eu-west-1 }, sqs: { anonymous: true, region: eu-north-1 } }"),
            "eu-north-1"
        );
    }
}
