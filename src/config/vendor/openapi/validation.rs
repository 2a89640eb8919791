//! What a request has to bring, where a request validator asks for it (REST).

use super::Reader;
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::Validation;
use crate::config::vendor::value::Value;

impl Reader<'_> {
    /// The validators of the document.
    pub(super) fn validators(&mut self, root: &Value) {
        let declared = self.extension(root, "request-validators");
        for validator in declared.map(|d| d.entries()).unwrap_or_default() {
            let looks_at = |key: &str| {
                let flag = validator.value.get(key).and_then(|value| value.flag());
                flag.unwrap_or(false)
            };
            let parts = (
                looks_at("validateRequestBody"),
                looks_at("validateRequestParameters"),
            );
            self.validators.insert(validator.name, parts);
        }
    }

    /// What an operation's validator looks at.
    pub(super) fn validation(&mut self, item: &Value, operation: &Value) -> Validation {
        let mut validation = Validation::default();
        let root = self.root.clone();
        let named = self
            .extension(operation, "request-validator")
            .or_else(|| self.extension(&root, "request-validator"));
        let Some(named) = named else {
            return validation;
        };
        let name = named.text().unwrap_or_default().into_owned();
        let Some((body, parameters)) = self.validators.get(&name).copied() else {
            let reason = format!("the request validator {name:?} is not declared");
            self.note(Verdict::Missing, &named, reason)
                .help("declare it under `x-amazon-apigateway-request-validators`");
            return validation;
        };
        if body {
            self.body(operation, &mut validation);
        }
        if parameters {
            let of = |part: &Value| {
                part.get("parameters")
                    .map(|p| p.items())
                    .unwrap_or_default()
            };
            for parameter in of(item).into_iter().chain(of(operation)) {
                let Some(parameter) = self.followed(parameter) else {
                    continue;
                };
                let required = parameter.get("required").and_then(|r| r.flag());
                let Some(name) = parameter.get("name").filter(|_| required == Some(true)) else {
                    continue;
                };
                match parameter.get("in").map(|place| place.word()).as_deref() {
                    Some("header") => validation.headers.push(name),
                    Some("query") => validation.query.push(name),
                    _ => {}
                }
            }
        }
        validation
    }

    fn body(&mut self, operation: &Value, validation: &mut Validation) {
        let Some(body) = operation.get("requestBody") else {
            return;
        };
        let Some(body) = self.followed(body) else {
            return;
        };
        validation.body_required = body.get("required").and_then(|r| r.flag()).unwrap_or(false);
        let content = body.get("content");
        let schema = content
            .and_then(|content| content.get("application/json"))
            .and_then(|json| json.get("schema"));
        validation.body = schema;
    }
}
