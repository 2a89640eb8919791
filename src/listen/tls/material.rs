//! Certificates, keys, roots and revocation lists, read from their files. Everything that is wrong is said at once.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::{PairSpec, TlsSpec, provider};
use crate::model::certificate::{AlternativeName, ClientCert};

/// Larger files are no certificates.
const LARGEST_FILE: u64 = 16 << 20;

/// All that a listener's TLS needs of files.
#[derive(Debug)]
pub struct Material {
    pub(super) certificates: Vec<Certificate>,
    pub(super) roots: RootCertStore,
    /// Newest first.
    pub(super) crls: Vec<CertificateRevocationListDer<'static>>,
    /// When each was issued, in seconds since 1970.
    crl_dates: Vec<i64>,
    dated: Vec<Dated>,
}

/// A certificate to show.
#[derive(Debug)]
pub(super) struct Certificate {
    /// In lower case, `*.` in front of what stands for any label.
    pub(super) names: Vec<String>,
    pub(super) key: Arc<CertifiedKey>,
}

/// Which of a listener's files something is about; those of which there can be several by their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Cert(usize),
    Key(usize),
    Ca,
    Crl(usize),
}

/// What cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaterialError {
    pub part: Part,
    pub file: PathBuf,
    /// In words that hold nothing of the file.
    pub reason: String,
}

/// When something ends, for the metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    pub file: Arc<str>,
    /// Of the list's next update in place of a certificate's end.
    pub of_list: bool,
    /// Seconds since 1970.
    pub at: i64,
}

/// Between which moments something holds, in seconds since 1970.
#[derive(Clone, Debug)]
struct Dated {
    part: Part,
    file: PathBuf,
    from: i64,
    until: Option<i64>,
}

impl fmt::Display for MaterialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}

impl Material {
    /// Reads every file of a listener's TLS. Blocks.
    pub fn read(spec: &TlsSpec) -> Result<Material, Vec<MaterialError>> {
        let mut reading = Reading::default();
        for (index, pair) in spec.certificates.iter().enumerate() {
            reading.pair(index, pair);
        }
        if let Some(clients) = &spec.clients {
            reading.ca(Part::Ca, &clients.ca);
            for (index, file) in clients.crls.iter().enumerate() {
                reading.crls(Part::Crl(index), file);
            }
        }
        if reading.errors.is_empty() {
            Ok(reading.material)
        } else {
            Err(reading.errors)
        }
    }

    /// When what was read ends: for each file the earliest.
    pub fn expiries(&self) -> Vec<Expiry> {
        let mut expiries: Vec<Expiry> = Vec::new();
        for dated in &self.dated {
            let Some(at) = dated.until else { continue };
            let file = dated.file.to_string_lossy();
            match expiries.iter_mut().find(|expiry| *expiry.file == *file) {
                Some(expiry) => expiry.at = expiry.at.min(at),
                None => expiries.push(Expiry {
                    file: file.into(),
                    of_list: matches!(dated.part, Part::Crl(_)),
                    at,
                }),
            }
        }
        expiries
    }

    /// What does not hold at a moment (seconds since 1970), and can be used all the same.
    pub fn stale(&self, now: i64) -> Vec<MaterialError> {
        let said = |dated: &Dated| {
            let reason = match (dated.part, dated.until) {
                (Part::Crl(_), Some(until)) if until < now => {
                    "the list is out of date, so every client certificate is refused"
                }
                (_, Some(until)) if until < now => "the certificate has expired",
                _ if dated.from > now => "the certificate is not valid yet",
                _ => return None,
            };
            Some(MaterialError {
                part: dated.part,
                file: dated.file.clone(),
                reason: reason.to_owned(),
            })
        };
        self.dated.iter().filter_map(said).collect()
    }
}

/// What has been read so far.
struct Reading {
    material: Material,
    errors: Vec<MaterialError>,
}

impl Default for Reading {
    fn default() -> Self {
        Reading {
            material: Material {
                certificates: Vec::new(),
                roots: RootCertStore::empty(),
                crls: Vec::new(),
                crl_dates: Vec::new(),
                dated: Vec::new(),
            },
            errors: Vec::new(),
        }
    }
}

impl Reading {
    fn refuse(&mut self, part: Part, file: &Path, reason: impl Into<String>) {
        self.errors.push(MaterialError {
            part,
            file: file.to_owned(),
            reason: reason.into(),
        });
    }

    fn bytes(&mut self, part: Part, file: &Path) -> Option<Vec<u8>> {
        let read = fs::metadata(file).and_then(|facts| match facts.len() {
            _ if facts.is_dir() => Err(std::io::ErrorKind::IsADirectory.into()),
            length if length > LARGEST_FILE => Err(std::io::ErrorKind::FileTooLarge.into()),
            _ => fs::read(file),
        });
        match read {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.refuse(part, file, format!("the file cannot be read: {error}"));
                None
            }
        }
    }

    /// The certificates of a file; at least one.
    fn chain(&mut self, part: Part, file: &Path) -> Option<Vec<CertificateDer<'static>>> {
        let bytes = self.bytes(part, file)?;
        let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
        match read {
            Ok(chain) if !chain.is_empty() => Some(chain),
            Ok(_) => {
                self.refuse(
                    part,
                    file,
                    "it holds no certificate (PEM, `-----BEGIN CERTIFICATE-----`)",
                );
                None
            }
            Err(_) => {
                self.refuse(part, file, "its PEM is damaged");
                None
            }
        }
    }

    fn pair(&mut self, index: usize, pair: &PairSpec) {
        let (cert_part, key_part) = (Part::Cert(index), Part::Key(index));
        let chain = self.chain(cert_part, &pair.cert);
        let key = self.key(key_part, &pair.key);
        let (Some(chain), Some(key)) = (chain, key) else {
            return;
        };
        for link in &chain {
            if !self.note_dates(cert_part, &pair.cert, link) {
                return;
            }
        }
        let names = chain.first().map_or_else(Vec::new, |leaf| names(leaf));
        match CertifiedKey::from_der(chain, key, &provider()) {
            Ok(key) => self.material.certificates.push(Certificate {
                names,
                key: Arc::new(key),
            }),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => self.refuse(
                key_part,
                &pair.key,
                format!("this is not the key of the certificate in {}", pair.cert.display()),
            ),
            Err(Error::InvalidCertificate(_)) => {
                self.refuse(cert_part, &pair.cert, "the certificate cannot be read");
            }
            Err(_) => self.refuse(
                key_part,
                &pair.key,
                "the key is of a kind that is not supported; RSA of 2,048 bits and more, ECDSA P-256, P-384, P-521 and Ed25519 are",
            ),
        }
    }

    fn key(&mut self, part: Part, file: &Path) -> Option<PrivateKeyDer<'static>> {
        let bytes = self.bytes(part, file)?;
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
        let reason = match PrivateKeyDer::from_pem_slice(&bytes) {
            Ok(key) => return Some(key),
            Err(_)
                if bytes
                    .windows(encrypted.len())
                    .any(|window| window == encrypted) =>
            {
                "the key is encrypted, and nobody is there to type its passphrase; write it without one"
            }
            Err(pem::Error::NoItemsFound) => {
                "it holds no private key (PEM, `-----BEGIN PRIVATE KEY-----`)"
            }
            Err(_) => "its PEM is damaged",
        };
        self.refuse(part, file, reason);
        None
    }

    fn ca(&mut self, part: Part, file: &Path) {
        for certificate in self.chain(part, file).unwrap_or_default() {
            if !self.note_dates(part, file, &certificate) {
                return;
            }
            if let Err(error) = self.material.roots.add(certificate) {
                self.refuse(
                    part,
                    file,
                    format!("one of its certificates cannot be a root: {error}"),
                );
            }
        }
    }

    fn crls(&mut self, part: Part, file: &Path) {
        let Some(bytes) = self.bytes(part, file) else {
            return;
        };
        let lists = if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            CertificateRevocationListDer::pem_slice_iter(&bytes)
                .collect::<Result<Vec<_>, _>>()
                .unwrap_or_default()
        } else {
            vec![CertificateRevocationListDer::from(bytes)]
        };
        if lists.is_empty() {
            self.refuse(
                part,
                file,
                "it holds no revocation list (PEM, `-----BEGIN X509 CRL-----`, or DER)",
            );
        }
        for list in lists {
            let Ok((_, read)) = CertificateRevocationList::from_der(&list) else {
                self.refuse(part, file, "its revocation list cannot be read");
                return;
            };
            self.material.dated.push(Dated {
                part,
                file: file.to_owned(),
                from: i64::MIN,
                until: read.next_update().map(|at| at.timestamp()),
            });
            // Of several lists of one issuer the first that speaks of a certificate is believed: the newest.
            let issued_at = read.last_update().timestamp();
            let newer = self.material.crl_dates.iter();
            let at = newer.take_while(|date| **date >= issued_at).count();
            self.material.crl_dates.insert(at, issued_at);
            self.material.crls.insert(at, list);
        }
    }

    /// Notes between which moments a certificate holds; says whether it can be read.
    fn note_dates(&mut self, part: Part, file: &Path, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, read)) = X509Certificate::from_der(certificate) else {
            self.refuse(part, file, "one of its certificates cannot be read");
            return false;
        };
        let validity = read.validity();
        self.material.dated.push(Dated {
            part,
            file: file.to_owned(),
            from: validity.not_before.timestamp(),
            until: Some(validity.not_after.timestamp()),
        });
        true
    }
}

/// The host names that a certificate is for: its alternative names, or where it has none (which clients of today refuse)
/// its common name.
fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok(read) = ClientCert::read(leaf) else {
        return Vec::new();
    };
    let mut names: Vec<String> = read
        .sans
        .iter()
        .filter_map(|name| match name {
            AlternativeName::Dns(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if read.sans.is_empty() {
        names.extend(read.subject.values("CN").map(str::to_ascii_lowercase));
    }
    names
}
