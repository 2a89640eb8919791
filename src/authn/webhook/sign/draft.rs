//! A delivery that is being made: values are put where the verifier will look for them.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::super::pointer::Pointer;
use super::super::reference::Reference;
use super::super::request::pairs;

/// A request that is not sent yet.
#[derive(Clone, Debug)]
pub struct Draft {
    pub method: Method,
    pub url: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Draft {
    /// Sets a header that is not there yet.
    pub(super) fn offer_header(&mut self, name: &HeaderName, value: &str) -> Result<(), String> {
        if !self.headers.contains_key(name) {
            let value = HeaderValue::from_str(value)
                .map_err(|_| format!("the value of {name} cannot stand in a header"))?;
            self.headers.insert(name, value);
        }
        Ok(())
    }

    /// The value of the first of these headers that is there; the first of all is set where none is.
    pub(super) fn offered_header(
        &mut self,
        names: &[HeaderName],
        value: &str,
    ) -> Result<String, String> {
        let present = names.iter().find_map(|name| self.headers.get(name));
        if let Some(present) = present {
            return Ok(String::from_utf8_lossy(present.as_bytes()).into_owned());
        }
        let name = names.first().ok_or("there is no header for it")?;
        self.offer_header(name, value)?;
        Ok(value.to_owned())
    }

    /// Puts a value where a reference reads it. Headers that are there stay.
    pub(super) fn set(&mut self, place: &Reference, value: &str) -> Result<(), String> {
        match place {
            Reference::Header(names) => self.offered_header(names, value).map(drop),
            Reference::Query(name) => self.set_query(name, value),
            Reference::Form(name) => {
                self.body = with_pair(&self.body, name, value).into();
                Ok(())
            }
            Reference::Json(pointer) => self.set_json(pointer, value),
            other => Err(format!("nothing can be put into `{other}`")),
        }
    }

    pub(super) fn set_query(&mut self, name: &str, value: &str) -> Result<(), String> {
        let query = with_pair(self.url.query().unwrap_or_default().as_bytes(), name, value);
        let mut parts = self.url.clone().into_parts();
        let target = format!("{}?{query}", self.url.path());
        let unfit =
            |error: &dyn std::fmt::Display| format!("the URL cannot take `{name}`: {error}");
        parts.path_and_query = Some(target.parse().map_err(|error| unfit(&error))?);
        self.url = Uri::from_parts(parts).map_err(|error| unfit(&error))?;
        Ok(())
    }

    /// Whether the body is a form, or nothing.
    pub(super) fn is_form(&self) -> bool {
        let declared = self.headers.get(CONTENT_TYPE);
        let declared = declared.and_then(|value| value.to_str().ok());
        self.body.is_empty()
            || declared.is_some_and(|kind| {
                kind.to_ascii_lowercase()
                    .starts_with("application/x-www-form-urlencoded")
            })
    }

    fn json(&self) -> Result<Value, String> {
        if self.body.is_empty() {
            return Ok(Value::Object(Map::new()));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            format!("this sender's deliveries are JSON, and the body is not: {error}")
        })
    }

    /// Sets a member of the body, which is written anew; lists and objects on the way are made.
    fn set_json(&mut self, pointer: &Pointer, value: &str) -> Result<(), String> {
        let mut document = self.json()?;
        let place = made(&mut document, pointer)?;
        let number = value
            .parse::<u64>()
            .ok()
            .filter(|_| place.is_number() || place.is_null());
        *place = number.map_or_else(|| Value::from(value), Value::from);
        self.body = document.to_string().into();
        Ok(())
    }

    /// Sets a member of every element of a list; a list that is not there has one element.
    pub(super) fn set_member_of_each(
        &mut self,
        each: &Pointer,
        field: &str,
        value: &str,
    ) -> Result<(), String> {
        let mut document = self.json()?;
        let place = made(&mut document, each)?;
        if place.is_null() {
            *place = Value::Array(vec![Value::Object(Map::new())]);
        }
        let elements = place
            .as_array_mut()
            .ok_or_else(|| format!("json:{each} is not a list"))?;
        for element in elements {
            let element = element
                .as_object_mut()
                .ok_or_else(|| format!("an element of json:{each} is not an object"))?;
            element.insert(field.to_owned(), Value::from(value));
        }
        self.body = document.to_string().into();
        Ok(())
    }
}

/// The value at a pointer; `null` is put where nothing is.
fn made<'v>(document: &'v mut Value, pointer: &Pointer) -> Result<&'v mut Value, String> {
    let mut place = document;
    for step in pointer.steps() {
        if place.is_null() {
            *place = match step.as_str() {
                "0" => Value::Array(Vec::new()),
                _ => Value::Object(Map::new()),
            };
        }
        place = match place {
            Value::Object(members) => members.entry(step.clone()).or_insert(Value::Null),
            Value::Array(items) => {
                let index = step
                    .parse::<usize>()
                    .ok()
                    .filter(|index| *index <= items.len());
                let index = index.ok_or_else(|| format!("json:{pointer} cannot be set"))?;
                if index == items.len() {
                    items.push(Value::Null);
                }
                &mut items[index]
            }
            _ => return Err(format!("json:{pointer} cannot be set")),
        };
    }
    Ok(place)
}

/// A query or a form with one value of a name.
fn with_pair(text: &[u8], name: &str, value: &str) -> String {
    let text = String::from_utf8_lossy(text);
    let others = text.split('&').filter(|pair| {
        let named = pairs(pair.as_bytes()).next();
        named.is_some_and(|(known, _)| known != name.as_bytes())
    });
    let own = format!(
        "{}={}",
        utf8_percent_encode(name, NON_ALPHANUMERIC),
        utf8_percent_encode(value, NON_ALPHANUMERIC)
    );
    others.chain([own.as_str()]).collect::<Vec<_>>().join("&")
}
