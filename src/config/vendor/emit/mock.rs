//! REST's `mock`: it answers by itself. Static answers, such as those to preflights, become `Mock`.

use super::Emitter;
use crate::config::vendor::build::{Mapping, plain, text};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::Integration;
use crate::config::vendor::value::{Named, Value};

impl Emitter<'_> {
    pub(super) fn mock(&mut self, integration: &Integration, ours: &mut Mapping) {
        let at = &integration.at.mark;
        let asked = match &integration.request_templates {
            None => Some(200),
            Some(templates) => requested_status(templates),
        };
        let Some(asked) = asked else {
            let at = integration
                .request_templates
                .as_ref()
                .unwrap_or(&integration.at);
            self.findings.note(
                Verdict::Missing,
                &at.mark,
                &at.path,
                "the mock's request template is not a plain `{\"statusCode\": 200}`, and templates are not evaluated here",
            );
            return;
        };
        let responses = integration
            .responses
            .as_ref()
            .map(Value::entries)
            .unwrap_or_default();
        let chosen = chosen(&responses, asked);
        let mut mock = Mapping::new(at);
        match chosen {
            None => mock.put("status", at, plain(asked.to_string(), at)),
            Some(response) => self.mock_response(response, asked, &mut mock),
        }
        ours.put("Mock", at, mock.node());
    }

    fn mock_response(&mut self, response: &Named<Value>, asked: u16, mock: &mut Mapping) {
        let response = &response.value;
        let status = response
            .get("statusCode")
            .and_then(|status| status.number())
            .unwrap_or(u64::from(asked));
        mock.put(
            "status",
            &response.mark,
            plain(status.to_string(), &response.mark),
        );
        let mut headers = Mapping::new(&response.mark);
        let parameters = response.get("responseParameters");
        for parameter in parameters.map(|p| p.entries()).unwrap_or_default() {
            let Some(name) = parameter.name.strip_prefix("method.response.header.") else {
                continue;
            };
            let written = parameter.value.text().unwrap_or_default().into_owned();
            match written
                .strip_prefix('\'')
                .and_then(|rest| rest.strip_suffix('\''))
            {
                Some(fixed) => {
                    headers.put(name, &parameter.mark, text(fixed, &parameter.value.mark))
                }
                None => {
                    self.findings.note(
                        Verdict::Missing,
                        &parameter.value.mark,
                        &parameter.value.path,
                        format!("the header's value {written:?} is not a text in single quotes"),
                    );
                }
            }
        }
        let templates = response
            .get("responseTemplates")
            .map(|t| t.entries())
            .unwrap_or_default();
        let json = templates.iter().find(|t| t.name == "application/json");
        if let Some(template) = json.or(templates.first()) {
            let body = template.value.text().unwrap_or_default().into_owned();
            if body.contains(['$', '#']) {
                self.findings.note(
                    Verdict::Missing,
                    &template.value.mark,
                    &template.value.path,
                    "the mock's response template is not plain text, and templates are not evaluated here",
                );
            } else if !body.trim().is_empty() {
                headers.put(
                    "content-type",
                    &template.mark,
                    text(&template.name, &template.mark),
                );
                mock.put(
                    "body",
                    &template.value.mark,
                    text(body, &template.value.mark),
                );
            }
        }
        mock.put_mapping("headers", headers);
    }
}

/// The status that a mock's template asks for, where it says so without evaluating anything.
fn requested_status(templates: &Value) -> Option<u16> {
    let entries = templates.entries();
    let template = entries
        .iter()
        .find(|entry| entry.name == "application/json")
        .or(entries.first())?;
    // written with single quotes or bare names as often as not
    let text: String = template
        .value
        .text()?
        .chars()
        .filter(|c| !c.is_whitespace() && !"'\"{}".contains(*c))
        .collect();
    text.strip_prefix("statusCode:")?
        .trim_end_matches(',')
        .parse()
        .ok()
}

/// The response for a status: the first whose key is that number, else `default`, else the only one.
fn chosen(responses: &[Named<Value>], status: u16) -> Option<&Named<Value>> {
    let status = status.to_string();
    responses
        .iter()
        .find(|response| response.name == status)
        .or_else(|| responses.iter().find(|response| response.name == "default"))
        .or_else(|| responses.first().filter(|_| responses.len() == 1))
}
