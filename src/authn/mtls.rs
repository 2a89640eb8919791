//! Client certificates as credentials. That the certificate's chain ends at one of the listener's roots, that it has not
//! been revoked, and that the client has its key was found out in the handshake; here is asked whose it is, and whether it
//! still holds: a connection may outlive it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{AuthnError, Caller, Kind};
use crate::model::certificate::{AlternativeName, ClientCert};
use crate::model::distinguished_name::{Glob, NamePattern};
use crate::model::identity::Presented;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// Client certificates as credentials. Without a list, every certificate that the listener's `client_ca` stands for is
/// accepted; of each list that is written, one entry has to fit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "MtlsAuthorizer")]
pub struct Config {
    /// What the subject has to hold, such as `O=Acme,CN=partner-*`: the parts that are named, in any order; a type that is
    /// named may not stand there once more. `*` is any run of characters within a value.
    pub subjects: Option<Vec<String>>,
    /// Alternative names: `DNS:NAME`, `URI:…`, `email:…` or `IP:ADDRESS`; without a kind it is `DNS`. `*` is any run of
    /// characters, in a DNS name within one label.
    pub sans: Option<Vec<String>>,
    /// What the issuer has to hold, written as in `subjects`.
    pub issuers: Option<Vec<String>>,
    /// SHA-256 of the certificate: 64 hexadecimal digits, with colons or without.
    pub fingerprints: Option<Vec<String>>,
}

/// A compiled `mtls` authorizer. An empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    subjects: Vec<NamePattern>,
    sans: Vec<SanPattern>,
    issuers: Vec<NamePattern>,
    fingerprints: Vec<[u8; 32]>,
}

/// What an alternative name has to be.
#[derive(Clone, Debug, PartialEq)]
enum SanPattern {
    /// By label, in lower case.
    Dns(Vec<Glob>),
    Uri(Glob),
    Email(Glob),
    Ip(std::net::IpAddr),
}

/// The live `mtls` authorizer.
#[derive(Debug)]
pub struct MtlsAuthenticator {
    spec: Spec,
}

impl Config {
    /// Checks what was written.
    pub(super) fn compile(&self, at: &ConfigPath, problems: &mut Problems) -> Option<Spec> {
        let before = problems.errors();
        let spec = Spec {
            subjects: read(
                self.subjects.as_ref(),
                &at.key("subjects"),
                problems,
                NamePattern::parse,
            ),
            sans: read(
                self.sans.as_ref(),
                &at.key("sans"),
                problems,
                SanPattern::parse,
            ),
            issuers: read(
                self.issuers.as_ref(),
                &at.key("issuers"),
                problems,
                NamePattern::parse,
            ),
            fingerprints: read(
                self.fingerprints.as_ref(),
                &at.key("fingerprints"),
                problems,
                fingerprint,
            ),
        };
        (problems.errors() == before).then_some(spec)
    }
}

/// Reads each entry of a list.
fn read<T>(
    written: Option<&Vec<String>>,
    at: &ConfigPath,
    problems: &mut Problems,
    parse: fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let entries = written.map_or(&[][..], Vec::as_slice);
    if written.is_some() && entries.is_empty() {
        problems
            .error(
                at,
                "the list is empty, and what that should mean is not certain",
            )
            .help("leave it out, or name what is accepted");
    }
    let mut read = Vec::new();
    for (index, text) in entries.iter().enumerate() {
        match parse(text) {
            Ok(entry) => read.push(entry),
            Err(refusal) => {
                problems.error(&at.index(index), refusal);
            }
        }
    }
    read
}

fn fingerprint(text: &str) -> Result<[u8; 32], String> {
    let refused = || {
        format!(
            "{text:?} is not a SHA-256 fingerprint: write 64 hexadecimal digits, with colons or without"
        )
    };
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let (pairs, []) = digits.as_chunks::<2>() else {
        return Err(refused());
    };
    let mut bytes = Vec::with_capacity(32);
    for pair in pairs {
        let pair = std::str::from_utf8(pair).map_err(|_| refused())?;
        if !pair.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refused());
        }
        bytes.push(u8::from_str_radix(pair, 16).map_err(|_| refused())?);
    }
    bytes.try_into().map_err(|_| refused())
}

impl SanPattern {
    fn parse(text: &str) -> Result<SanPattern, String> {
        let refused = || {
            format!(
                "{text:?} is not an alternative name; write `DNS:NAME`, `URI:…`, `email:…` or `IP:ADDRESS`"
            )
        };
        let (kind, value) = match text.split_once(':') {
            Some((kind, value)) if kind.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                (kind.to_ascii_lowercase(), value)
            }
            Some(_) => return Err(refused()),
            None => ("dns".to_owned(), text),
        };
        if value.is_empty() {
            return Err(refused());
        }
        match kind.as_str() {
            "dns" => {
                let lower = value.to_ascii_lowercase();
                Ok(SanPattern::Dns(lower.split('.').map(Glob::parse).collect()))
            }
            "uri" => Ok(SanPattern::Uri(Glob::parse(value))),
            "email" => Ok(SanPattern::Email(Glob::parse(value))),
            "ip" => value.parse().map(SanPattern::Ip).map_err(|_| refused()),
            _ => Err(refused()),
        }
    }

    fn matches(&self, name: &AlternativeName) -> bool {
        match (self, name) {
            (SanPattern::Dns(labels), AlternativeName::Dns(name)) => {
                let name = name.to_ascii_lowercase();
                let own: Vec<&str> = name.split('.').collect();
                own.len() == labels.len()
                    && labels
                        .iter()
                        .zip(own)
                        .all(|(glob, label)| glob.matches(label))
            }
            (SanPattern::Uri(glob), AlternativeName::Uri(text))
            | (SanPattern::Email(glob), AlternativeName::Email(text)) => glob.matches(text),
            (SanPattern::Ip(ip), AlternativeName::Ip(own)) => ip == own,
            _ => false,
        }
    }
}

impl Spec {
    pub(super) fn describe(&self) -> String {
        let lists = [
            (self.subjects.len(), "subjects"),
            (self.sans.len(), "sans"),
            (self.issuers.len(), "issuers"),
            (self.fingerprints.len(), "fingerprints"),
        ];
        let asked: Vec<&str> = lists
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(_, name)| name)
            .collect();
        if asked.is_empty() {
            "any certificate".to_owned()
        } else {
            asked.join(", ")
        }
    }

    /// Why a certificate is not accepted at a moment (seconds since 1970), if it is not.
    fn refusal(&self, certificate: &ClientCert, now: i64) -> Option<String> {
        let subject = &certificate.subject;
        if now > certificate.not_after {
            return Some(format!(
                "the certificate of {subject} has expired since it was shown"
            ));
        }
        let fits = |empty: bool, any: bool| empty || any;
        let names = |patterns: &[NamePattern], name| {
            fits(
                patterns.is_empty(),
                patterns.iter().any(|pattern| pattern.matches(name)),
            )
        };
        let sans = &certificate.sans;
        let missing = if !names(&self.subjects, subject) {
            "subjects"
        } else if !names(&self.issuers, &certificate.issuer) {
            "issuers"
        } else if !fits(
            self.sans.is_empty(),
            self.sans
                .iter()
                .any(|pattern| sans.iter().any(|name| pattern.matches(name))),
        ) {
            "sans"
        } else if !fits(
            self.fingerprints.is_empty(),
            self.fingerprints.contains(&certificate.fingerprint),
        ) {
            "fingerprints"
        } else {
            return None;
        };
        Some(format!(
            "the certificate of {subject} fits none of the authorizer's `{missing}`"
        ))
    }
}

impl MtlsAuthenticator {
    pub(in crate::authn) fn new(spec: Spec) -> MtlsAuthenticator {
        MtlsAuthenticator { spec }
    }

    /// Adds to the caller what the head proves.
    pub(in crate::authn) fn authenticate(
        &self,
        presented: &Presented<'_>,
        caller: &mut Caller,
    ) -> Result<(), AuthnError> {
        let Some(certificate) = presented.call.peer.client_cert.as_deref() else {
            return Err(AuthnError::new(
                Kind::Forbidden,
                "This route needs a client certificate.",
                "no client certificate was shown",
            ));
        };
        let refused = |cause: String| {
            let public = "The client certificate is not accepted.";
            Err(AuthnError::new(Kind::Forbidden, public, cause).wrong())
        };
        if let Some(cause) = self.spec.refusal(certificate, presented.now) {
            return refused(cause);
        }
        let Some(principal) = certificate.principal() else {
            return refused(
                "the certificate names nobody: it has neither a subject nor an alternative name"
                    .to_owned(),
            );
        };
        caller
            .identity
            .principal
            .get_or_insert_with(|| Arc::from(principal.as_str()));
        // Two authorities may have given out one name; a renewed certificate is the same caller's.
        caller
            .identity
            .scope
            .get_or_insert_with(|| format!("{}\n{principal}", certificate.issuer).into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(subject: &[(rcgen::DnType, &str)], sans: &[rcgen::SanType]) -> ClientCert {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = sans.to_vec();
        let key = rcgen::KeyPair::generate().unwrap();
        ClientCert::read(params.self_signed(&key).unwrap().der()).unwrap()
    }

    fn spec(lists: &Config) -> Spec {
        let mut problems = Problems::default();
        let compiled = lists.compile(&ConfigPath::root(), &mut problems);
        compiled.unwrap_or_else(|| panic!("{:?}", problems.0))
    }

    fn list(entries: &[&str]) -> Option<Vec<String>> {
        Some(entries.iter().map(|entry| (*entry).to_owned()).collect())
    }

    #[test]
    fn one_entry_of_each_list_has_to_fit() {
        let shown = certificate(
            &[
                (rcgen::DnType::OrganizationName, "Acme"),
                (rcgen::DnType::CommonName, "partner-7"),
            ],
            &[
                rcgen::SanType::DnsName("a.partners.example".try_into().unwrap()),
                rcgen::SanType::URI("spiffe://acme/partner/7".try_into().unwrap()),
                rcgen::SanType::IpAddress("192.0.2.7".parse().unwrap()),
            ],
        );
        let print = shown.fingerprint_text();
        let colons: Vec<String> = print
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
            .collect();
        let colons = colons.join(":");
        for (subjects, sans, prints, refused_for) in [
            (None, None, None, None),
            (list(&["CN=other", "CN=partner-*"]), None, None, None),
            (list(&["CN=other"]), None, None, Some("subjects")),
            (None, list(&["*.partners.example"]), None, None),
            (None, list(&["dns:A.Partners.example"]), None, None),
            (None, list(&["DNS:*.example"]), None, Some("sans")),
            (None, list(&["URI:spiffe://acme/*"]), None, None),
            (None, list(&["URI:a.partners.example"]), None, Some("sans")),
            (None, list(&["IP:192.0.2.7"]), None, None),
            (None, list(&["email:*"]), None, Some("sans")),
            (None, None, list(&[&print]), None),
            (None, None, list(&[&colons]), None),
            (None, None, list(&[&"0".repeat(64)]), Some("fingerprints")),
            (
                list(&["O=Acme"]),
                list(&["IP:192.0.2.8"]),
                list(&[&print]),
                Some("sans"),
            ),
        ] {
            let lists = Config {
                subjects,
                sans,
                issuers: None,
                fingerprints: prints,
            };
            let refusal = spec(&lists).refusal(&shown, shown.not_after);
            match refused_for {
                None => assert_eq!(refusal, None, "{lists:?}"),
                Some(list) => assert!(
                    refusal.as_ref().is_some_and(|why| why.contains(list)),
                    "{lists:?} {refusal:?}"
                ),
            }
        }
        let issued = Config {
            issuers: list(&["O=Acme"]),
            ..Config::default()
        };
        assert_eq!(spec(&issued).refusal(&shown, 0), None);
        let late = spec(&Config::default())
            .refusal(&shown, shown.not_after + 1)
            .unwrap();
        assert_eq!(
            late,
            "the certificate of O=Acme,CN=partner-7 has expired since it was shown"
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_for_each_entry() {
        let lists = Config {
            subjects: list(&["nobody", "CN=a"]),
            sans: list(&["mail:x", "IP:x", "DNS:"]),
            issuers: list(&[]),
            fingerprints: list(&["00", "+0:00"]),
        };
        let mut problems = Problems::default();
        assert_eq!(lists.compile(&ConfigPath::root(), &mut problems), None);
        assert_eq!(problems.errors(), 7, "{:?}", problems.0);
    }
}
