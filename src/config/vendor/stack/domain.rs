//! Custom domains: under which hosts, and under which path, an API is reached.

use super::Stack;
use crate::config::vendor::findings::Verdict;
use crate::config::vendor::model::HttpApi;
use crate::config::vendor::value::Value;

const DOMAIN: &str = "AWS::ApiGatewayV2::DomainName";
const MAPPING: &str = "AWS::ApiGatewayV2::ApiMapping";

impl Stack<'_> {
    /// The domains that `AWS::ApiGatewayV2::ApiMapping` ties the API `id` to.
    pub(super) fn mappings(&mut self, id: &str, api: &mut HttpApi) {
        for mapping in self.of_kind(MAPPING) {
            if self.link(&mapping, "ApiId").as_deref() != Some(id) {
                continue;
            }
            let properties = mapping.properties.clone();
            let linked = self.link(&mapping, "DomainName");
            let declared = self
                .of_kind(DOMAIN)
                .into_iter()
                .find(|domain| Some(&domain.id) == linked.as_ref());
            let host = match declared {
                Some(domain) => {
                    let properties = domain.properties.clone();
                    self.certificates(&properties);
                    self.naming.get(&properties, "DomainName")
                }
                None => self.naming.get(&properties, "DomainName"),
            };
            if let Some(host) = host {
                self.reached(api, host, self.naming.get(&properties, "ApiMappingKey"));
            }
        }
    }

    /// `Domain` of an `AWS::Serverless::HttpApi`.
    pub(super) fn serverless_domain(&mut self, at: &Value, api: &mut HttpApi) {
        let mut fields = self.fields(at);
        let host = fields.take("DomainName");
        let paths = fields.list("BasePath");
        self.certificates(at);
        let Some(host) = host else {
            return;
        };
        match paths.as_slice() {
            [] => self.reached(api, host, None),
            paths => {
                for path in paths {
                    self.reached(api, host.clone(), Some(path.clone()));
                }
            }
        }
    }

    /// The API is reached under this host, behind this path.
    fn reached(&mut self, api: &mut HttpApi, host: Value, path: Option<Value>) {
        let path = path.filter(|path| {
            let text = path.text().unwrap_or_default();
            !matches!(text.trim_matches('/'), "" | "(none)")
        });
        let known = api.base_path.as_ref().and_then(Value::text);
        let this = path.as_ref().and_then(Value::text);
        if !api.hosts.is_empty() && known != this {
            let at = path.as_ref().unwrap_or(&host);
            self.findings.note(
                Verdict::Missing,
                &at.mark,
                &at.path,
                format!(
                    "the API is mapped under several paths; `{}` is left out",
                    this.as_deref().unwrap_or("/")
                ),
            );
            return;
        }
        if let Some(path) = path {
            api.base_path = Some(path);
        }
        if api.hosts.iter().all(|known| known.text() != host.text()) {
            api.hosts.push(host);
        }
    }

    /// Certificates of a domain, which are the listener's here.
    fn certificates(&mut self, at: &Value) {
        if let Some(mutual) = self.naming.get(at, "MutualTlsAuthentication") {
            self.findings
                .note(
                    Verdict::Missing,
                    &mutual.mark,
                    &mutual.path,
                    "mutual TLS of a domain is not carried over",
                )
                .help(
                    "write `tls: { cert, key, client_ca, client_auth: required }` on the listener",
                );
        }
        let certificate = ["CertificateArn", "DomainNameConfigurations"]
            .into_iter()
            .find_map(|name| self.naming.get(at, name));
        if let Some(certificate) = certificate {
            self.findings.note(
                Verdict::Noted,
                &certificate.mark,
                &certificate.path,
                "the domain's certificate is the vendor's: `tls: { cert, key }` of a listener names yours",
            );
        }
    }
}
