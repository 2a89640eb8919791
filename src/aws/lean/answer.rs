//! Reads the answers of the AWS JSON protocols: what is a refusal, and what it says. The same places are looked at, in
//! the same order, as by the SDK (aws-smithy-json, protocol/error.rs).

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::aws::{CallError, Refusal};

/// A success. What it says may still be a refusal of some entries.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The service's id for the call.
    pub request_id: Option<String>,
    body: Bytes,
}

impl Reply {
    /// An answer with its whole body, or why the body could not be read.
    pub(super) fn of(head: &Parts, body: Result<Bytes, String>) -> Result<Reply, CallError> {
        if head.status.as_u16() >= 300 {
            let body = body.unwrap_or_default();
            return Err(CallError::Refused(Box::new(refusal(head, body))));
        }
        match body {
            Ok(body) => Ok(Reply {
                request_id: request_id(&head.headers),
                body,
            }),
            Err(reason) => Err(unreadable(reason)),
        }
    }

    /// What it says. An empty body says `{}`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        let body: &[u8] = match &self.body[..] {
            b"" => b"{}",
            body => body,
        };
        serde_json::from_slice(body).map_err(unreadable)
    }
}

fn unreadable(reason: impl fmt::Display) -> CallError {
    CallError::Lost {
        reason: format!("the answer could not be read: {reason}"),
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    header(headers, "x-amzn-requestid")
        .or_else(|| header(headers, "x-amz-request-id"))
        .map(str::to_owned)
}

/// What an error answer says.
pub(in crate::aws) fn refusal(head: &Parts, body: Bytes) -> Refusal {
    let (code, message) = said(&head.headers, &body).unwrap_or_default();
    Refusal {
        status: head.status.as_u16(),
        code,
        message,
        request_id: request_id(&head.headers),
        content_type: header(&head.headers, "content-type").map(str::to_owned),
        body,
    }
}

/// Code and message; `None` if the answer names no code, or has a body that cannot be read: then it is somebody else's.
fn said(headers: &HeaderMap, body: &[u8]) -> Option<(String, String)> {
    let told = Told::read(body)?;
    // the older protocol's code is the one that is documented, and stands before the `;`
    let query = header(headers, "x-amzn-query-error")
        .and_then(|value| value.split_once(';'))
        .map(|(code, _)| code.to_owned());
    let code = query.or_else(|| {
        let full = header(headers, "x-amzn-errortype").or(told.code.as_deref())?;
        Some(bare(full).to_owned())
    })?;
    Some((code, told.message.unwrap_or_default().into_owned()))
}

/// `Code` of `namespace#Code:url`.
fn bare(full: &str) -> &str {
    let code = full.split(':').next().unwrap_or_default();
    code.split_once('#').map_or(code, |(_, code)| code)
}

/// What the body of an error says.
#[derive(Debug, Default, PartialEq)]
struct Told<'a> {
    code: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
}

impl<'a> Told<'a> {
    /// `None` if the body is neither empty nor JSON.
    fn read(body: &'a [u8]) -> Option<Told<'a>> {
        if body.trim_ascii().is_empty() {
            return Some(Told::default());
        }
        serde_json::from_slice(body).ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Told<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Telling)
    }
}

/// A text, or something else, which says nothing.
struct MaybeText<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for MaybeText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Texting)
    }
}

macro_rules! says_nothing {
    ($nothing:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($nothing)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($nothing)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($nothing)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($nothing)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($nothing)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok($nothing)
        }
    };
}

struct Texting;

impl<'de> Visitor<'de> for Texting {
    type Value = MaybeText<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(MaybeText(Some(Cow::Borrowed(text))))
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(MaybeText(Some(Cow::Owned(text.to_owned()))))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(MaybeText(None))
    }
    says_nothing!(MaybeText(None));
}

struct Telling;

impl<'de> Visitor<'de> for Telling {
    type Value = Told<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of an error")
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Told::default())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut kind, mut code, mut message) = (None, None, None);
        while let Some((name, MaybeText(text))) = map.next_entry::<Cow<'_, str>, MaybeText<'_>>()? {
            let place = match &*name {
                "code" => &mut code,
                "__type" => &mut kind,
                "message" | "Message" | "errorMessage" => &mut message,
                _ => continue,
            };
            *place = text.or(place.take());
        }
        Ok(Told {
            code: code.or(kind),
            message,
        })
    }
    says_nothing!(Told::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&'static str, &'static str)]) -> Parts {
        let mut response = http::Response::new(());
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        response.into_parts().0
    }

    fn code(headers: &[(&'static str, &'static str)], body: &'static str) -> (String, String) {
        let refusal = refusal(&head(400, headers), Bytes::from_static(body.as_bytes()));
        (refusal.code, refusal.message)
    }

    #[test]
    fn code_and_message_are_found_where_the_protocols_put_them() {
        let both = |code: &str, message: &str| (code.to_owned(), message.to_owned());
        let body =
            r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist:http://x","Message":"a \"b\""}"#;
        assert_eq!(code(&[], body), both("QueueDoesNotExist", "a \"b\""));
        let query = [(
            "x-amzn-query-error",
            "AWS.SimpleQueueService.NonExistentQueue;Sender",
        )];
        assert_eq!(
            code(&query, body),
            both("AWS.SimpleQueueService.NonExistentQueue", "a \"b\"")
        );
        let kind = [("x-amzn-errortype", "Throttling:http://x")];
        assert_eq!(code(&kind, body), both("Throttling", "a \"b\""));
        assert_eq!(code(&kind, ""), both("Throttling", ""));
        assert_eq!(
            code(
                &[],
                r#"{"code":"A","__type":"B","message":{"x":[1]},"errorMessage":"m"}"#
            ),
            both("A", "m")
        );
    }

    #[test]
    fn what_is_nobody_s_error_names_no_code() {
        let none = (String::new(), String::new());
        let kind = [("x-amzn-errortype", "Throttling")];
        for body in ["<html>", r#"{"__type":"Thrott"#, "nonsense"] {
            assert_eq!(code(&kind, body), none, "{body}");
        }
        for body in ["", "[1]", "\"text\"", "{}", r#"{"message":"m","__type":7}"#] {
            assert_eq!(code(&[], body), none, "{body}");
        }
    }

    #[test]
    fn a_success_is_read_whole_or_lost() {
        let ok = |body: &'static [u8]| Reply::of(&head(200, &[]), Ok(Bytes::from_static(body)));
        let read = |body| ok(body).unwrap().read::<serde_json::Value>();
        assert_eq!(read(b"").unwrap(), serde_json::json!({}));
        assert!(matches!(read(b"{\"a\":"), Err(CallError::Lost { .. })));
        let broken = Reply::of(&head(200, &[]), Err("reset".to_owned()));
        assert!(matches!(broken, Err(CallError::Lost { reason }) if reason.ends_with("reset")));
        let broken = Reply::of(&head(503, &[]), Err("reset".to_owned()));
        assert!(matches!(broken, Err(CallError::Refused(refusal)) if refusal.status == 503));
    }
}
