//! Who may sign: the users of a file (`users:` in `users.yaml`) or of a list in the configuration.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::super::policy;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;
use crate::model::secret::Secret;

/// Someone who signs requests.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SigningUser")]
pub struct User {
    /// For logs.
    pub name: String,
    /// What SDKs call `aws_access_key_id`: up to 128 letters, digits, `_`, `-`, `.`.
    pub access_key_id: String,
    /// What SDKs call `aws_secret_access_key`. It is never printed.
    pub secret_access_key: SecretText,
    /// What SDKs call `aws_session_token`, where the user signs with one. It is never printed. Default: none.
    #[serde(default)]
    pub session_token: Option<SecretText>,
    /// Whether the credentials are good. Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The account of a user who is not of the gateway's own: twelve digits. Where a resource policy stands, such a
    /// user needs its leave too. Default: the gateway's own account.
    #[serde(default)]
    pub account: Option<String>,
    /// What the user may call: an IAM policy document over `execute-api:Invoke`. Default: every route that names the
    /// authorizer.
    #[serde(default)]
    pub policy: Option<policy::Written>,
}

fn yes() -> bool {
    true
}

/// A file of users.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsersFile {
    pub users: Vec<User>,
}

/// Users, or where they are written.
#[derive(Clone, Debug)]
pub enum UserList {
    /// A file, relative to the file that names it.
    File(PathBuf),
    Users(Vec<User>),
}

/// A secret as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretText(pub Secret<String>);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| SecretText(Secret::new(text)))
    }
}

impl JsonSchema for SecretText {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl<'de> Deserialize<'de> for UserList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = UserList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a file of users, or a list of users")
            }
            fn visit_str<E: de::Error>(self, file: &str) -> Result<UserList, E> {
                Ok(UserList::File(PathBuf::from(file)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<UserList, A::Error> {
                let mut users = Vec::new();
                while let Some(user) = list.next_element()? {
                    users.push(user);
                }
                Ok(UserList::Users(users))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for UserList {
    fn schema_name() -> Cow<'static, str> {
        "UserList".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let user = generator.subschema_for::<User>();
        json_schema!({
            "description": "A file that holds `users: […]`, or the list itself.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": user }]
        })
    }
}

/// Checks a list of users; `at` is where it stands.
pub fn check_users(users: &[User], at: &ConfigPath, problems: &mut Problems) {
    if users.is_empty() {
        problems
            .error(at, "there is no user, so nobody could sign a request")
            .help("write { name, access_key_id, secret_access_key } for each");
    }
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for (index, user) in users.iter().enumerate() {
        let at = at.index(index);
        let id = &user.access_key_id;
        let fits = (1..=128).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if !fits {
            problems
                .error(
                    &at.key("access_key_id"),
                    format!("{id:?} is not an access key id"),
                )
                .help("allowed: letters, digits, `_`, `-` and `.`, up to 128 characters");
        }
        if let Some(other) = seen.insert(id, &user.name) {
            problems
                .error(
                    &at.key("access_key_id"),
                    format!("this is the access key id of the user `{other}` too"),
                )
                .help("give each its own");
        }
        if let Some(account) = &user.account
            && !(account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()))
        {
            problems
                .error(&at.key("account"), "is not an account")
                .help("write its 12 digits, in quotes");
        }
        for (key, secret) in [
            ("secret_access_key", Some(&user.secret_access_key)),
            ("session_token", user.session_token.as_ref()),
        ] {
            if secret.is_some_and(|secret| secret.0.expose().is_empty()) {
                problems.error(&at.key(key), "the secret is empty");
            }
        }
    }
}
