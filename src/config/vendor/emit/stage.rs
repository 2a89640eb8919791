//! What a stage says: its name, variables, throttles and access log.

use super::Emitter;
use crate::config::vendor::build::{Mapping, list, text};
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::GatewayResponse;

impl Emitter<'_> {
    /// Under which hosts, and behind which path, the API is reached.
    pub(super) fn domains(&mut self, root: &mut Mapping) {
        let api = self.api;
        if let Some(first) = api.hosts.first() {
            let hosts = api
                .hosts
                .iter()
                .filter_map(|host| self.leaf(host))
                .collect();
            root.put("hosts", &first.mark, list(hosts, &first.mark));
            self.maps(first, "hosts");
        }
        if let Some(path) = &api.base_path {
            let leaf = self.leaf(path);
            root.put_some("base_path", &path.mark, leaf);
        }
    }

    /// The stage's name and variables. A gateway serves one stage.
    pub(super) fn stage(&mut self, root: &mut Mapping) {
        let api = self.api;
        let Some(stage) = api.stages.first() else {
            return;
        };
        for other in &api.stages[1..] {
            let name = other.name.as_ref().and_then(|name| name.text());
            self.findings
                .note(
                    Verdict::Missing,
                    &other.at.mark,
                    &other.at.path,
                    format!(
                        "the stage `{}` is left out: a gateway serves one stage",
                        name.as_deref().unwrap_or("$default")
                    ),
                )
                .help("give it a gateway, or a file, of its own");
        }
        if let Some(name) = &stage.name {
            // a domain's mapping chooses the stage, and paths do not name it (reference, 1.1)
            if !api.hosts.is_empty() && name.text().is_some_and(|name| name != "$default") {
                self.findings.note(
                    Verdict::Ignored,
                    &name.mark,
                    &name.path,
                    "the stage is left out: under its domain, paths do not name it; `$context.stage` is `$default` here",
                );
            } else {
                let leaf = self.leaf(name);
                root.put_some("stage", &name.mark, leaf);
            }
        }
        let mut variables = Mapping::new(&stage.at.mark);
        for variable in &stage.variables {
            let leaf = self.leaf(&variable.value);
            variables.put_some(&variable.name, &variable.mark, leaf);
        }
        root.put_mapping("stage_variables", variables);
        self.strangers(&stage.others, "of a stage");
        self.maps(&stage.at, "stage");
    }

    /// The default of every route.
    pub(super) fn stage_throttle(&mut self, root: &mut Mapping) {
        let Some(stage) = self.api.stages.first() else {
            return;
        };
        let node = self.throttle(&stage.throttle, &stage.at.mark);
        root.put_some("throttle", &stage.at.mark, node);
    }

    pub(super) fn access_log(&mut self, root: &mut Mapping) {
        let log = self.api.stages.first().and_then(|s| s.access_log.as_ref());
        let Some(log) = log else {
            return;
        };
        let mut node = Mapping::new(&log.at.mark);
        if let Some(format) = &log.format {
            let written = format.text().map(|format| format.trim().to_owned());
            let leaf = match written {
                Some(written) => Some(text(written, &format.mark)),
                None => self.leaf(format),
            };
            node.put_some("format", &format.mark, leaf);
        }
        if let Some(destination) = &log.destination {
            self.findings.note(
                Verdict::Ignored,
                &destination.mark,
                &destination.path,
                "the access log goes to standard output, not to the vendor's log group",
            );
        }
        root.put_mapping("access_log", node);
    }

    pub(super) fn gateway_response(&mut self, name: &str, response: &GatewayResponse) {
        self.findings.note(
            Verdict::Differs,
            &response.at.mark,
            &response.at.path,
            format!("the gateway response `{name}` cannot be had: refusals have the vendor's default form"),
        );
    }
}
