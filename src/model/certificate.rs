//! A client's certificate, as it is shown to mappings, logs and authorizers. That its chain holds and that the client has
//! the key was checked in the handshake.

use std::fmt;
use std::net::IpAddr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::distinguished_name::DistinguishedName;

/// Reference, 12.3: `May 28 12:30:02 2019 GMT`; the day of the month has two places.
const DATE: &[BorrowedFormatItem<'static>] = format_description!(
    "[month repr:short] [day padding:space] [hour]:[minute]:[second] [year] GMT"
);

/// A client's certificate, read once for each connection.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCert {
    pub subject: DistinguishedName,
    pub issuer: DistinguishedName,
    /// Colon-separated pairs of hexadecimal digits.
    pub serial: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970; the certificate is good up to and including this one.
    pub not_after: i64,
    /// The subject's alternative names, in the order of the certificate.
    pub sans: Vec<AlternativeName>,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    der: Vec<u8>,
}

/// An alternative name of a subject, of a kind that can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    Dns(String),
    Uri(String),
    Email(String),
    Ip(IpAddr),
}

/// The certificate cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be read")]
pub struct Unreadable;

impl ClientCert {
    /// Reads a certificate.
    pub fn read(der: &[u8]) -> Result<ClientCert, Unreadable> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| Unreadable)?;
        if !rest.is_empty() {
            return Err(Unreadable);
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| Unreadable)?;
        let sans = names.map_or_else(Vec::new, |names| {
            let written = |name| AlternativeName::of(name);
            names
                .value
                .general_names
                .iter()
                .filter_map(written)
                .collect()
        });
        let digest = digest::digest(&digest::SHA256, der);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest.as_ref());
        Ok(ClientCert {
            subject: DistinguishedName::of(certificate.subject()),
            issuer: DistinguishedName::of(certificate.issuer()),
            serial: pairs(certificate.raw_serial()),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            sans,
            fingerprint,
            der: der.to_vec(),
        })
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> String {
        let text = STANDARD.encode(&self.der);
        let mut pem = String::with_capacity(text.len() + text.len() / 64 + 64);
        pem += "-----BEGIN CERTIFICATE-----\n";
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            pem += line;
            pem.push('\n');
            rest = after;
        }
        pem + "-----END CERTIFICATE-----\n"
    }

    /// The start of its validity, as the vendor writes it.
    pub fn not_before_text(&self) -> String {
        date(self.not_before)
    }

    /// The end of its validity, as the vendor writes it.
    pub fn not_after_text(&self) -> String {
        date(self.not_after)
    }

    /// The fingerprint in lower-case hexadecimal digits.
    pub fn fingerprint_text(&self) -> String {
        let digits = self.fingerprint.iter().map(|byte| format!("{byte:02x}"));
        digits.collect()
    }

    /// The alternative names, joined by `,`.
    pub fn sans_text(&self) -> String {
        let written: Vec<String> = self.sans.iter().map(ToString::to_string).collect();
        written.join(",")
    }

    /// What a principal is called: the subject, or, where it is empty, the first alternative name.
    pub fn principal(&self) -> Option<String> {
        if !self.subject.is_empty() {
            return Some(self.subject.to_string());
        }
        self.sans.first().map(ToString::to_string)
    }
}

impl fmt::Debug for ClientCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCert({})", self.subject)
    }
}

impl AlternativeName {
    fn of(name: &GeneralName<'_>) -> Option<AlternativeName> {
        match name {
            GeneralName::DNSName(name) => Some(AlternativeName::Dns((*name).to_owned())),
            GeneralName::URI(uri) => Some(AlternativeName::Uri((*uri).to_owned())),
            GeneralName::RFC822Name(mail) => Some(AlternativeName::Email((*mail).to_owned())),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
                16 => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
                _ => None,
            }
            .map(AlternativeName::Ip),
            _ => None,
        }
    }
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AlternativeName::Dns(name) => write!(f, "DNS:{name}"),
            AlternativeName::Uri(uri) => write!(f, "URI:{uri}"),
            AlternativeName::Email(mail) => write!(f, "email:{mail}"),
            AlternativeName::Ip(ip) => write!(f, "IP:{ip}"),
        }
    }
}

/// Bytes as colon-separated pairs of hexadecimal digits. The byte that only keeps the number positive is not shown.
fn pairs(serial: &[u8]) -> String {
    let digits = match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    let pairs: Vec<String> = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// A moment as the vendor writes it.
fn date(at: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at).ok();
    at.and_then(|at| at.format(DATE).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_serials_are_written_as_the_vendor_writes_them() {
        assert_eq!(date(1_559_046_602), "May 28 12:30:02 2019 GMT");
        assert_eq!(date(1_628_156_164), "Aug  5 09:36:04 2021 GMT");
        assert_eq!(pairs(&[0, 0xa1, 0x0f]), "a1:0f");
        assert_eq!(pairs(&[1]), "01");
        assert_eq!(pairs(&[0]), "00");
    }

    #[test]
    fn a_certificate_is_read_into_what_mappings_show() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in [
            (rcgen::DnType::CountryName, "US"),
            (rcgen::DnType::OrganizationName, "Acme, Inc"),
            (rcgen::DnType::CommonName, "client"),
        ] {
            params.distinguished_name.push(kind, value);
        }
        params.serial_number = Some(rcgen::SerialNumber::from(0xff01_u64));
        params.subject_alt_names = vec![
            rcgen::SanType::DnsName("client.example".try_into().unwrap()),
            rcgen::SanType::URI("spiffe://acme/client".try_into().unwrap()),
            rcgen::SanType::IpAddress("192.0.2.1".parse().unwrap()),
            rcgen::SanType::Rfc822Name("a@example".try_into().unwrap()),
        ];
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let read = ClientCert::read(made.der()).unwrap();
        assert_eq!(read.subject.to_string(), "C=US,O=Acme\\, Inc,CN=client");
        assert_eq!(read.issuer, read.subject);
        assert_eq!(read.serial, "ff:01");
        assert_eq!(
            read.sans_text(),
            "DNS:client.example,URI:spiffe://acme/client,IP:192.0.2.1,email:a@example"
        );
        assert_eq!(read.pem().replace('\r', ""), made.pem().replace('\r', ""));
        assert_eq!(
            format!("{read:?}"),
            "ClientCert(C=US,O=Acme\\, Inc,CN=client)"
        );
        assert_eq!(ClientCert::read(b"no certificate"), Err(Unreadable));
        let longer = [made.der().as_ref(), b"x"].concat();
        assert_eq!(ClientCert::read(&longer), Err(Unreadable));
    }
}
