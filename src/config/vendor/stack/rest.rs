//! REST APIs in a template: named, for their templates and models have no counterpart.

use std::collections::BTreeMap;

use super::{Part, Stack};
use crate::config::vendor::findings::Verdict;

impl Stack<'_> {
    /// Names every REST API, and its parts in one line.
    pub(super) fn rest_apis(&mut self) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut first: Option<Part> = None;
        let resources = self.parts.clone();
        for resource in &resources {
            let whole = match resource.kind.as_str() {
                "AWS::ApiGateway::RestApi" | "AWS::Serverless::Api" => true,
                kind if kind.starts_with("AWS::ApiGateway::") => false,
                _ => continue,
            };
            if whole {
                self.findings
                    .note(
                        Verdict::Missing,
                        &resource.at.mark,
                        &resource.at.path,
                        format!("`{}` is a REST API ({}): HTTP APIs are imported", resource.id, resource.written_as),
                    )
                    .help("export it (`aws apigateway get-export --export-type oas30 --parameters extensions=integrations`) and import that document");
                continue;
            }
            first.get_or_insert_with(|| resource.clone());
            *counts.entry(resource.written_as.clone()).or_default() += 1;
        }
        self.implicit_rest_api(&resources);
        if let Some(first) = first {
            let kinds: Vec<String> = counts
                .into_iter()
                .map(|(kind, count)| format!("{count} × {kind}"))
                .collect();
            self.findings.note(
                Verdict::Missing,
                &first.at.mark,
                &first.at.path.parent().unwrap_or_default(),
                format!("parts of REST APIs are left out: {}", kinds.join(", ")),
            );
        }
    }

    /// Events of type `Api`: SAM makes a REST API of them.
    fn implicit_rest_api(&mut self, resources: &[Part]) {
        for resource in resources {
            let Some(events) = resource.properties.get("Events") else {
                continue;
            };
            for event in events.entries() {
                let kind = event.value.get("Type");
                if kind.as_ref().and_then(|kind| kind.text()).as_deref() == Some("Api") {
                    self.findings.note(
                        Verdict::Missing,
                        &event.mark,
                        &event.value.path,
                        format!("the event `{}` of `{}` is a route of a REST API: HTTP APIs are imported", event.name, resource.id),
                    );
                }
            }
        }
    }
}
