//! The reference's 391 vectors as a table: code, event, answer.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::capture;
use super::{Said, call, judged, tried};

#[derive(Deserialize)]
struct Vector {
    id: String,
    preset: String,
    method: String,
    url: String,
    headers: Map<String, Value>,
    body: Option<String>,
    body_base64: Option<String>,
    secret: String,
    secrets: Option<Vec<String>>,
    #[serde(default)]
    config: Map<String, Value>,
    now: i64,
    expect: String,
    event: Option<Map<String, Value>>,
    response: Option<Map<String, Value>>,
}

impl Vector {
    fn body(&self) -> Vec<u8> {
        match &self.body {
            Some(text) => text.clone().into_bytes(),
            None => {
                use base64::Engine as _;
                let text = self.body_base64.as_deref().unwrap();
                base64::engine::general_purpose::STANDARD
                    .decode(text)
                    .unwrap()
            }
        }
    }

    /// As a user would write the source; and what URLs give.
    fn source(&self, secret_file: &str) -> (Value, HashMap<String, String>) {
        let mut answers = HashMap::new();
        let mut settings = Map::new();
        let mut written = Map::new();
        written.insert("preset".into(), self.preset.clone().into());
        let secrets = self
            .secrets
            .clone()
            .unwrap_or_else(|| vec![self.secret.clone()]);
        let secrets: Vec<&String> = secrets.iter().filter(|text| !text.is_empty()).collect();
        written.insert("secrets".into(), json!(secrets));
        // A URL that is signed is the one of the vector.
        let public = self.config.get("public_url").and_then(Value::as_str);
        written.insert("public_url".into(), public.unwrap_or(&self.url).into());
        for (name, value) in &self.config {
            match name.as_str() {
                "public_url" => {}
                "state" if value == "awaiting-secret" => {
                    written.insert("state".into(), value.clone());
                    written.insert("secret_file".into(), secret_file.into());
                }
                "state" => {}
                "certs" => {
                    for (url, pem) in value.as_object().unwrap() {
                        answers.insert(url.clone(), pem.as_str().unwrap().to_owned());
                    }
                }
                "jwks" => {
                    let jwks = value.as_str().unwrap();
                    answers.insert(
                        "https://www.googleapis.com/oauth2/v3/certs".into(),
                        jwks.into(),
                    );
                    let set: Value = serde_json::from_str(jwks).unwrap();
                    let answer = json!({ "key": set["keys"][0] }).to_string();
                    answers.insert(
                        "https://production.plaid.com/webhook_verification_key/get".into(),
                        answer,
                    );
                }
                _ => {
                    settings.insert(name.clone(), value.clone());
                }
            }
        }
        // The visit that confirms a subscription.
        let body: Value = serde_json::from_slice(&self.body()).unwrap_or_default();
        if let Some(url) = body.get("SubscribeURL").and_then(Value::as_str) {
            answers.insert(url.to_owned(), String::new());
        }
        if self.preset == "plaid" {
            settings.insert("client_id".into(), "client".into());
            settings.insert("secret".into(), "secret".into());
        }
        written.insert("config".into(), settings.into());
        (written.into(), answers)
    }
}

/// What is wrong with what was said.
fn differences(vector: &Vector, said: &Said, captured: Option<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    if said.code() != vector.expect {
        wrong.push(format!("expected {}, got {said:?}", vector.expect));
        return wrong;
    }
    if let (Said::Delivery(delivery), Some(event)) = (said, &vector.event) {
        for (name, found) in [("id", &delivery.id), ("type", &delivery.kind)] {
            if let Some(wanted) = event.get(name)
                && wanted.as_str() != found.as_deref()
            {
                wrong.push(format!("{name}: expected {wanted}, got {found:?}"));
            }
        }
    }
    let Some(response) = &vector.response else {
        return wrong;
    };
    match said {
        Said::Answer(answer) => {
            let header = |name: &str| {
                answer
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
            };
            let body = std::str::from_utf8(answer.body()).unwrap();
            let mut same = |what: &str, wanted: &Value, found: Value| {
                if *wanted != found {
                    wrong.push(format!("{what}: expected {wanted}, got {found}"));
                }
            };
            same(
                "status",
                &response["status"],
                answer.status().as_u16().into(),
            );
            if let Some(wanted) = response.get("content_type") {
                same("content type", wanted, header("content-type").into());
            }
            for (name, wanted) in response
                .get("headers")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                same(name, wanted, header(name).into());
            }
            if let Some(wanted) = response.get("body") {
                same("body", wanted, body.into());
            }
            if let Some(wanted) = response.get("json") {
                same("json", wanted, serde_json::from_str(body).unwrap());
            }
            if let Some(wanted) = response.get("captured") {
                same("captured", wanted, captured.into());
            }
            same(
                "nosniff",
                &"nosniff".into(),
                header("x-content-type-options").into(),
            );
            same("cache", &"no-store".into(), header("cache-control").into());
        }
        Said::Refused(failure) => {
            let super::super::verdict::Code::Refused(status) = failure.code else {
                panic!("{failure:?}");
            };
            if response["status"] != status {
                wrong.push(format!("status: {status}"));
            }
        }
        Said::Delivery(_) => wrong.push("a delivery has no answer here".to_owned()),
    }
    wrong
}

#[tokio::test]
async fn every_vector_of_the_reference_is_judged_as_it_says() {
    let text = include_str!("../../../../tests/vectors/webhook-vectors.json");
    let vectors: Vec<Vector> = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.len(), 391);
    let mut wrong = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    for (number, vector) in vectors.iter().enumerate() {
        let file = folder.path().join(number.to_string());
        let (written, answers) = vector.source(file.to_str().unwrap());
        let target = vector
            .url
            .splitn(4, '/')
            .nth(3)
            .map_or("/".to_owned(), |rest| format!("/{rest}"));
        let mut headers: Vec<(&str, &str)> = Vec::new();
        for (name, value) in &vector.headers {
            match value {
                Value::Array(values) => {
                    headers.extend(
                        values
                            .iter()
                            .map(|value| (name.as_str(), value.as_str().unwrap())),
                    );
                }
                value => headers.push((name, value.as_str().unwrap())),
            }
        }
        let call = call(&vector.method, &target, &headers);
        let authenticator = match tried(written, answers) {
            Ok(authenticator) => authenticator,
            Err(said) => {
                wrong.push(format!("{}: {said:?}", vector.id));
                continue;
            }
        };
        let said = judged(&authenticator, &call, &vector.body(), vector.now).await;
        let captured = capture::kept(&file).unwrap();
        for difference in differences(vector, &said, captured) {
            wrong.push(format!("{}: {difference}", vector.id));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
