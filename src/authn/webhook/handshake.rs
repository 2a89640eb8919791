//! Questions that senders ask, and their answers (reference, 2.4 and 1.9). What is echoed is named by the rule, short and
//! free of control characters; answers are plain text or JSON, never sniffed, never cached.

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use serde_json::Value;

use super::reference::Reference;
use super::request::{Ambiguous, Delivered};
use super::secret::same;
use super::template::{NoValue, Template};
use super::verdict::{Code, Failure};
use super::written::{Auth, Condition};

/// The longest value that is echoed, in bytes.
pub(super) const LONGEST_ECHO: usize = 1_024;
/// The longest `token`, in bytes.
pub(super) const LONGEST_TOKEN: usize = 512;

/// A question and its answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    pub(super) method: Option<Method>,
    pub(super) conditions: Vec<(Reference, Condition)>,
    pub(super) auth: Auth,
    pub(super) check: Option<Check>,
    pub(super) capture: Option<Reference>,
    pub(super) reply: Reply,
}

/// An equality that the answer depends on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Check {
    pub(super) brought: Reference,
    pub(super) wanted: Reference,
    /// The status of the refusal.
    pub(super) otherwise: u16,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<&'static str>,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) body: Body,
}

/// An answer's body.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    Empty,
    Text(Template),
    Json(Json),
}

/// JSON whose texts are templates.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Plain(Value),
    Text(Template),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Rule {
    /// Whether the request is this question. A value that stands there twice meets no condition.
    pub(super) fn matches(&self, delivered: &Delivered<'_>) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| *method == delivered.call.method)
            && self
                .conditions
                .iter()
                .all(|(reference, condition)| holds(condition, reference, delivered) == Ok(true))
    }

    /// Refuses where what must be equal is not.
    pub(super) fn check(&self, delivered: &Delivered<'_>) -> Result<(), Failure> {
        let Some(check) = &self.check else {
            return Ok(());
        };
        let refused = |detail: &str| {
            Failure::new(
                Code::Refused(check.otherwise),
                format!("{} {detail}", check.brought),
            )
        };
        let brought = delivered.value(&check.brought)?.unwrap_or_default();
        let wanted = delivered.value(&check.wanted)?.unwrap_or_default();
        if wanted.is_empty() {
            return Err(refused(
                "is asked for, and nothing is configured to compare it with",
            ));
        }
        if same(&brought, &wanted) {
            Ok(())
        } else {
            Err(refused("is not what it should be"))
        }
    }

    /// The value that is to become the secret.
    pub(super) fn captured(&self, delivered: &Delivered<'_>) -> Result<Option<String>, Failure> {
        let Some(reference) = &self.capture else {
            return Ok(None);
        };
        let value = delivered.text(reference)?.unwrap_or_default();
        if value.is_empty() {
            return Err(unfit("the secret that came is empty"));
        }
        fit(value.as_bytes())?;
        Ok(Some(value.into_owned()))
    }
}

/// 400: a handshake whose answer may not be given.
fn unfit(detail: &'static str) -> Failure {
    Failure::new(Code::Refused(400), detail)
}

/// Whether a value may be echoed.
fn fit(value: &[u8]) -> Result<&str, Failure> {
    if value.len() > LONGEST_ECHO {
        return Err(unfit("what is to be echoed is longer than 1 KiB"));
    }
    let text = std::str::from_utf8(value).map_err(|_| unfit("what is to be echoed is not text"))?;
    if text.chars().any(char::is_control) {
        return Err(unfit("what is to be echoed holds a control character"));
    }
    Ok(text)
}

fn holds<'r>(
    condition: &Condition,
    reference: &'r Reference,
    delivered: &Delivered<'r>,
) -> Result<bool, Ambiguous> {
    let present = || match reference {
        Reference::Json(pointer) => delivered.json(pointer).map(|found| found.is_some()),
        other => delivered.value(other).map(|found| found.is_some()),
    };
    Ok(match condition {
        Condition::Present => present()?,
        Condition::Absent => !present()?,
        Condition::EmptyList => match reference {
            Reference::Json(pointer) => delivered.json(pointer)?.is_some_and(|raw| {
                serde_json::from_str::<Vec<serde::de::IgnoredAny>>(raw.get())
                    .is_ok_and(|list| list.is_empty())
            }),
            _ => false,
        },
        Condition::Token => delivered
            .value(reference)?
            .is_some_and(|value| is_token(&value)),
        Condition::Is(wanted) => delivered
            .value(reference)?
            .is_some_and(|value| *value == *wanted.as_bytes()),
    })
}

/// 1 to 512 of `A-Z a-z 0-9 . _ ~ + / = -`: never a JSON object or list, nor what Zoom signs. It may be a whole body all
/// the same (`true`, `12345`, base64): see `Spec::refuses_tokens`.
pub(super) fn is_token(value: &[u8]) -> bool {
    (1..=LONGEST_TOKEN).contains(&value.len()) && value.iter().all(|byte| is_of_token(*byte))
}

/// Whether a byte may stand in a `token`.
pub(super) fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte)
}

impl Reply {
    /// The answer. `key`: for keyed filters.
    pub(super) fn make(
        &self,
        delivered: &Delivered<'_>,
        key: Option<&hmac::Key>,
    ) -> Result<Response<Bytes>, Failure> {
        let body = match &self.body {
            Body::Empty => String::new(),
            Body::Text(template) => filled(template, delivered, key)?,
            Body::Json(json) => json.filled(delivered, key)?.to_string(),
        };
        let mut response = Response::new(if delivered.call.method == Method::HEAD {
            Bytes::new()
        } else {
            Bytes::from(body)
        });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, template) in &self.headers {
            let value = HeaderValue::from_str(&filled(template, delivered, key)?)
                .map_err(|_| unfit("what is to be echoed cannot stand in a header"))?;
            headers.insert(name, value);
        }
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

/// The template's text, each value of which may be echoed.
fn filled(
    template: &Template,
    delivered: &Delivered<'_>,
    key: Option<&hmac::Key>,
) -> Result<String, Failure> {
    let mut text = String::new();
    for part in template.parts() {
        match part {
            Ok(literal) => text.push_str(literal),
            Err(hole) => {
                // The bound holds for what goes in as well: a MAC of anything longer is nobody's challenge.
                let brought = delivered.value(&hole.reference)?.unwrap_or_default();
                fit(&brought)?;
                let value = hole.value(delivered, key).map_err(|error| match error {
                    NoValue::Ambiguous(ambiguous) => ambiguous.into(),
                    NoValue::NoSecret => Failure::unavailable(
                        "the answer is keyed, and no secret counts at this time",
                    ),
                })?;
                text.push_str(fit(&value)?);
            }
        }
    }
    Ok(text)
}

impl Json {
    fn filled(&self, delivered: &Delivered<'_>, key: Option<&hmac::Key>) -> Result<Value, Failure> {
        Ok(match self {
            Json::Plain(value) => value.clone(),
            Json::Text(template) => Value::String(filled(template, delivered, key)?),
            Json::List(items) => {
                let items = items.iter().map(|item| item.filled(delivered, key));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Json::Object(members) => {
                let members = members
                    .iter()
                    .map(|(name, member)| Ok((name.clone(), member.filled(delivered, key)?)));
                Value::Object(members.collect::<Result<_, Failure>>()?)
            }
        })
    }

    /// Every template in it.
    pub(super) fn templates(&self) -> Vec<&Template> {
        match self {
            Json::Plain(_) => Vec::new(),
            Json::Text(template) => vec![template],
            Json::List(items) => items.iter().flat_map(Json::templates).collect(),
            Json::Object(members) => members
                .iter()
                .flat_map(|(_, member)| member.templates())
                .collect(),
        }
    }
}

impl Reply {
    /// Every template in it.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let body = match &self.body {
            Body::Empty => Vec::new(),
            Body::Text(template) => vec![template],
            Body::Json(json) => json.templates(),
        };
        let headers = self.headers.iter().map(|(_, template)| template);
        headers.chain(body).collect()
    }
}
