//! The `paypal` scheme (reference, 4.12): a signature over ids, a time and the body's CRC-32, by a certificate that the
//! request names. The CRC is no hash, so whoever has one genuine head can make a body for it: the key that tells a
//! repeated delivery has the transmission's id in it as well.

use http::{HeaderName, Uri};

use super::certificate::{Certificate, Hash, is_issued_to};
use super::fetch::{Cache, Fetcher, Fresh};
use super::request::{Delivered, header};
use super::secret::from_base64;
use super::verdict::Failure;
use super::window::{Window, millis};
use super::written::TimeFormat;
use crate::outbound::Named;

const ID: HeaderName = HeaderName::from_static("paypal-transmission-id");
const TIME: HeaderName = HeaderName::from_static("paypal-transmission-time");
const SIGNATURE: HeaderName = HeaderName::from_static("paypal-transmission-sig");
const CERTIFICATE: HeaderName = HeaderName::from_static("paypal-cert-url");
const ALGORITHM: HeaderName = HeaderName::from_static("paypal-auth-algo");

/// The hosts that certificates come from; `config.cert_hosts` takes their place.
const HOSTS: [&str; 2] = ["api.paypal.com", "api.sandbox.paypal.com"];
const PATH: &str = "/v1/notifications/certs/";

/// What is asked of a delivery beyond its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PaypalSpec {
    pub(super) webhook_id: String,
    pub(super) hosts: Vec<String>,
    /// `None`: retries go on for days, with the first one's time.
    pub(super) window: Option<Window>,
}

impl PaypalSpec {
    pub(super) fn default_hosts() -> Vec<String> {
        HOSTS.map(str::to_owned).to_vec()
    }
}

/// A delivery that is genuine.
pub(super) struct Genuine {
    pub(super) transmission: String,
    /// How long ago it was signed, in milliseconds.
    pub(super) age: i64,
}

fn text<'h>(delivered: &Delivered<'h>, name: &HeaderName) -> Result<&'h str, Failure> {
    let value = header(&delivered.call.headers, name)?
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Failure::missing(format!("the header {name} is absent")))?;
    std::str::from_utf8(value)
        .map_err(|_| Failure::malformed(format!("the header {name} is not text")))
}

/// Checks a delivery.
pub(super) async fn verify(
    spec: &PaypalSpec,
    delivered: &Delivered<'_>,
    certificates: &Cache<Certificate>,
    fetcher: &Fetcher,
    now: i64,
) -> Result<Genuine, Failure> {
    let signature = text(delivered, &SIGNATURE)?;
    let (id, time) = (text(delivered, &ID)?, text(delivered, &TIME)?);
    let url = text(delivered, &CERTIFICATE)?;
    if text(delivered, &ALGORITHM)? != "SHA256withRSA" {
        return Err(Failure::malformed(
            "the header paypal-auth-algo is not SHA256withRSA",
        ));
    }
    let signature = from_base64(signature.as_bytes())
        .ok_or_else(|| Failure::malformed("the header paypal-transmission-sig is not base64"))?;
    let signed_at = millis(time, TimeFormat::Rfc3339)
        .ok_or_else(|| Failure::malformed("the header paypal-transmission-time is not a time"))?;
    if !is_paypal(url, &spec.hosts) {
        return Err(Failure::bad("the certificate's URL is not one of PayPal's"));
    }
    let message = format!(
        "{id}|{time}|{}|{}",
        spec.webhook_id,
        crc32fast::hash(delivered.body)
    );
    let fetch = fetched(url, fetcher, now);
    let certificate = certificates.get(url, now, false, fetch).await?;
    if !certificate.counts(now) {
        return Err(Failure::bad(
            "the signing certificate does not count at this time",
        ));
    }
    if !certificate.has_signed(message.as_bytes(), &signature, Hash::Sha256) {
        return Err(Failure::bad("the certificate's key has not signed this"));
    }
    let age = now.saturating_mul(1_000).saturating_sub(signed_at);
    if let Some(window) = spec.window {
        window.check(signed_at, now)?;
    }
    Ok(Genuine {
        transmission: id.to_owned(),
        age,
    })
}

async fn fetched(url: &str, fetcher: &Fetcher, now: i64) -> Result<Fresh<Certificate>, Failure> {
    let failed =
        |reason: String| Failure::unavailable(format!("the signing certificate: {reason}"));
    let pem = fetcher.get(url, Named::ByStranger).await.map_err(failed)?;
    if fetcher.is_from_the_web() {
        let pem = pem.clone();
        // Reading the system's authorities is work of files.
        let checked = tokio::task::spawn_blocking(move || chain(&pem, now)).await;
        checked
            .map_err(|error| failed(error.to_string()))?
            .map_err(Failure::bad)?;
    }
    let certificate = Certificate::from_pem(&pem).map_err(failed)?;
    Ok(Fresh {
        until: certificate.not_after.min(now + 86_400),
        at_most: certificate.not_after,
        value: certificate,
    })
}

/// Whether the certificate is one that a public authority has given to PayPal.
fn chain(pem: &[u8], now: i64) -> Result<(), String> {
    let authorities = rustls_native_certs::load_native_certs().certs;
    let anchors: Vec<_> = authorities
        .iter()
        .filter_map(|authority| webpki::anchor_from_trusted_cert(authority).ok())
        .collect();
    is_issued_to(pem, "paypal.com", &anchors, now)
}

fn is_paypal(url: &str, hosts: &[String]) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let host = uri.authority().map(http::uri::Authority::as_str);
    let beyond = uri.path().strip_prefix(PATH).unwrap_or_default();
    uri.scheme_str() == Some("https")
        && host.is_some_and(|host| hosts.iter().any(|known| known == host))
        && !beyond.is_empty()
        && !beyond.contains("..")
        && !beyond.contains('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paypal_s_own_hosts_are_asked() {
        let hosts = PaypalSpec::default_hosts();
        assert!(is_paypal(
            "https://api.paypal.com/v1/notifications/certs/CERT-1",
            &hosts
        ));
        for bad in [
            "http://api.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1",
            "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
            "https://api.paypal.com:444/v1/notifications/certs/CERT-1",
            "https://api.paypal.com/v1/notifications/certs/",
            "https://api.paypal.com/v1/notifications/certs/../../x",
            "https://api.paypal.com/v1/notifications/certs/%2e%2e/x",
            "https://api.paypal.com/other",
            "nothing",
        ] {
            assert!(!is_paypal(bad, &hosts), "{bad}");
        }
    }
}
