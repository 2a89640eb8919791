//! `x-amazon-apigateway-integration`, written out or named.

use super::Reader;
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::Integration;
use crate::config::vendor::value::{Named, Value};

const KNOWN: [&str; 16] = [
    "type",
    "integrationSubtype",
    "uri",
    "httpMethod",
    "credentials",
    "payloadFormatVersion",
    "requestParameters",
    "responseParameters",
    "timeoutInMillis",
    "connectionType",
    "connectionId",
    "tlsConfig",
    "requestTemplates",
    "responses",
    "$ref",
    "isDefaultRoute",
];

impl Reader<'_> {
    pub(super) fn integration(&mut self, written: Value) -> Option<Integration> {
        let at = self.followed(written)?;
        if !at.is_mapping() {
            self.note(
                Verdict::Missing,
                &at,
                "expected a mapping with `type` and what belongs to it",
            );
            return None;
        }
        let mut integration = Integration::new(at.clone());
        let mut field = |name: &str| self.in_any_case(&at, name);
        integration.kind = field("type");
        integration.subtype = field("integrationSubtype");
        integration.uri = field("uri");
        integration.method = field("httpMethod");
        integration.credentials = field("credentials");
        integration.payload_version = field("payloadFormatVersion");
        integration.timeout_millis = field("timeoutInMillis");
        integration.connection_type = field("connectionType");
        integration.connection_id = field("connectionId");
        integration.request_templates = field("requestTemplates");
        integration.responses = field("responses");
        let request = field("requestParameters");
        let response = field("responseParameters");
        let tls = field("tlsConfig");
        integration.request_parameters = request.map(|r| r.entries()).unwrap_or_default();
        integration.response_parameters = response
            .map(|r| r.entries())
            .unwrap_or_default()
            .into_iter()
            .map(|status| Named {
                name: status.name,
                mark: status.mark,
                value: changes(&status.value),
            })
            .collect();
        if let Some(tls) = tls {
            integration.tls_server_name = tls.get("serverNameToVerify");
            if let Some(insecure) = tls.get("insecureSkipVerification")
                && insecure.flag() == Some(true)
            {
                self.note(
                    Verdict::Differs,
                    &insecure,
                    "certificates of backends are always verified here",
                )
                .help("trust the backend's own authority: `egress.ca`");
            }
        }
        let known = |name: &str| KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name));
        let others = at.entries().into_iter();
        integration.others = others.filter(|other| !known(&other.name)).collect();
        Some(integration)
    }

    /// A field, which has one spelling; another case of its letters is taken, and said.
    pub(super) fn in_any_case(&mut self, of: &Value, name: &str) -> Option<Value> {
        if let Some(found) = of.get(name) {
            return Some(found);
        }
        let entries = of.entries();
        let other = entries
            .iter()
            .find(|entry| entry.name.eq_ignore_ascii_case(name))?;
        let reason = format!(
            "`{}` is taken for `{name}`; the vendor does not know it in this spelling",
            other.name
        );
        self.note(Verdict::Ignored, &other.value, reason);
        of.get(&other.name)
    }
}

/// The changes for one status: by name, or as the list that CloudFormation writes.
pub(in crate::config::vendor) fn changes(status: &Value) -> Vec<Named<Value>> {
    let list = status
        .get_in_any_case("ResponseParameters")
        .filter(Value::is_list);
    let Some(list) = list else {
        return status.entries();
    };
    let changes = list.items().into_iter().filter_map(|change| {
        let destination = change.get_in_any_case("destination")?;
        let value = change
            .get_in_any_case("source")
            .unwrap_or_else(|| destination.replaced(""));
        Some(Named {
            name: destination.text()?.into_owned(),
            mark: destination.mark.clone(),
            value,
        })
    });
    changes.collect()
}
