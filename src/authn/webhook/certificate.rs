//! Signing certificates: what of them is needed to check a signature, and whose they are.

use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

/// A signer's certificate.
#[derive(Debug)]
pub(super) struct Certificate {
    /// SubjectPublicKeyInfo.
    key: Vec<u8>,
    /// Seconds since 1970, included.
    not_before: i64,
    pub(super) not_after: i64,
}

/// The hash of an RSA signature (PKCS #1 v1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
}

impl Certificate {
    /// The first certificate of a PEM text.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Certificate, String> {
        let der = first_of(pem)?;
        let certificate = parsed(&der)?;
        Ok(Certificate {
            key: certificate.public_key().raw.to_vec(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }

    /// Whether the certificate counts at a time, in seconds since 1970.
    pub(super) fn counts(&self, now: i64) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether its key has made the signature.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8], hash: Hash) -> bool {
        let parsed = match hash {
            Hash::Sha1 => {
                ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, &self.key)
            }
            Hash::Sha256 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.key),
        };
        parsed.is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

fn first_of(pem: &[u8]) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(pem).map_err(|error| format!("no certificate in PEM: {error}"))
}

fn parsed<'c>(der: &'c CertificateDer<'_>) -> Result<X509Certificate<'c>, String> {
    x509_parser::parse_x509_certificate(der)
        .map(|(_, certificate)| certificate)
        .map_err(|error| format!("the certificate cannot be read: {error}"))
}

/// Whether the first certificate of a PEM text leads to one of the authorities by way of the others, and names a host
/// under a domain. `now`: seconds since 1970.
pub(super) fn is_issued_to(
    pem: &[u8],
    domain: &str,
    authorities: &[TrustAnchor<'_>],
    now: i64,
) -> Result<(), String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("no certificate in PEM: {error}"))?;
    let Some((own, between)) = chain.split_first() else {
        return Err("no certificate in PEM".to_owned());
    };
    let seconds = u64::try_from(now).map_err(|_| "the clock stands before 1970")?;
    let end = webpki::EndEntityCert::try_from(own).map_err(|error| error.to_string())?;
    end.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        authorities,
        between,
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
        webpki::KeyUsage::server_auth(),
        None,
        None,
    )
    .map_err(|error| format!("the certificate leads to no authority: {error}"))?;
    let certificate = parsed(own)?;
    let suffix = format!(".{domain}");
    let under = |name: &str| name.to_ascii_lowercase().ends_with(&suffix);
    let alternative = certificate
        .subject_alternative_name()
        .map_err(|error| format!("the certificate cannot be read: {error}"))?;
    let named = match alternative {
        Some(names) => names
            .value
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::DNSName(host) if under(host))),
        None => certificate
            .subject()
            .iter_common_name()
            .any(|name| name.as_str().is_ok_and(under)),
    };
    if named {
        Ok(())
    } else {
        Err(format!("the certificate names no host under {domain}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    const NOW: i64 = 1_800_000_000;

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    }

    fn issued(authority: &CertifiedIssuer<'static, KeyPair>, host: &str) -> String {
        let parameters = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        parameters.signed_by(&key, authority).unwrap().pem()
    }

    #[test]
    fn a_certificate_counts_by_its_chain_and_its_name() {
        let (known, unknown) = (authority(), authority());
        let der = known.der().clone();
        let anchors = [webpki::anchor_from_trusted_cert(&der).unwrap()];
        let check = |pem: String| is_issued_to(pem.as_bytes(), "paypal.com", &anchors, NOW);
        assert_eq!(check(issued(&known, "messages.paypal.com")), Ok(()));
        for (pem, reason) in [
            (issued(&unknown, "messages.paypal.com"), "authority"),
            (
                issued(&known, "messages.paypal.com.evil.example"),
                "names no host",
            ),
            (issued(&known, "evilpaypal.com"), "names no host"),
            ("nothing".to_owned(), "no certificate"),
        ] {
            let refusal = check(pem).unwrap_err();
            assert!(refusal.contains(reason), "{refusal}");
        }
    }
}
