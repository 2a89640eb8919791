//! Where the gateway listens.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::listen;
use crate::listen::tls::MinVersion;
use crate::model::cidr::Cidr;
use crate::model::peer::ForwardingHeader;
use crate::model::secret::Secret;

/// An address that requests come in on. HTTP/1.1 and HTTP/2 share the port; without TLS, HTTP/2 by prior knowledge.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `address:port`, or `unix:PATH` for a Unix socket. Port 0 takes a free one; the address taken is printed.
    pub bind: String,
    /// The permissions of a Unix socket's file, in octal digits. Default: `"0660"`.
    #[serde(default, deserialize_with = "mode")]
    #[schemars(with = "Option<String>", regex(pattern = "^0?[0-7]{3}$"))]
    pub mode: Option<u32>,
    /// TLS 1.2 and 1.3, with HTTP/2 and HTTP/1.1 by ALPN. Default: none.
    pub tls: Option<Tls>,
    /// Whether connections begin with a PROXY header that says who the client of a load balancer is: `off`, `v1`, `v2`
    /// (each connection has to begin with one of that version), or `auto` (a connection may begin with one of either;
    /// not where strangers can connect). From `trusted_proxies` alone, where they are named, else from anybody.
    /// Default: `off`.
    #[serde(default, deserialize_with = "proxy_protocol")]
    #[schemars(with = "Option<ProxyProtocol>")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The proxies in front, as ranges of addresses. Their `X-Forwarded-For` or `Forwarded` says who the client is (read
    /// from the right, up to the first address that is not one of theirs), their `X-Forwarded-Proto` whether it spoke
    /// TLS, and their `X-Request-Id` is kept. Default: nobody's.
    #[serde(default)]
    pub trusted_proxies: Option<Vec<Cidr>>,
    /// The header that those proxies write: `x-forwarded-for` or `forwarded`; the other one is not read. Default:
    /// whichever a request has; where it has both and they differ, one may be the client's, and neither is believed.
    pub forwarding_header: Option<ForwardingName>,
    /// The addresses that may come in; everyone else gets 403. Default: everybody's.
    pub allow: Option<Vec<Cidr>>,
    /// The addresses that get 403, also where `allow` has them. Default: nobody's.
    pub deny: Option<Vec<Cidr>>,
}

/// TLS on a listener. Files are PEM; they are read anew when they change, and connections go on.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ListenerTls")]
pub struct Tls {
    /// The certificate, and behind it those that it was issued with.
    pub cert: Option<PathBuf>,
    /// Its private key, not encrypted.
    pub key: Option<PathBuf>,
    /// Several certificates in place of one: a client is shown the one that has the name it asks for (SNI), exactly or by
    /// `*.`; the first where none has.
    pub certificates: Vec<CertificatePair>,
    /// The oldest version that is spoken, `"1.2"` or `"1.3"`. Default: `"1.2"`.
    pub min_version: Option<TlsVersion>,
    /// The roots (one file) at which the chains of clients' certificates have to end. Default: clients are not asked.
    pub client_ca: Option<PathBuf>,
    /// Whether a client needs a certificate: `required`, or `optional` (one that is shown has to be good all the same).
    /// Default: `required`.
    pub client_auth: Option<ClientAuth>,
    /// Revocation lists, PEM or DER. With one, every certificate of a client's chain has to be found good by a list of its
    /// issuer that is not out of date; what no list tells is refused. Default: none.
    pub crl: Vec<PathBuf>,
}

/// A certificate and its key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificatePair {
    /// The certificate, and behind it those that it was issued with.
    pub cert: PathBuf,
    /// Its private key, not encrypted.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// Both versions are spoken.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 alone.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether a client needs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// A client without one is refused in the handshake.
    Required,
    /// A client may come without one.
    Optional,
}

/// Whether connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// They do not.
    Off,
    /// With one of version 1.
    V1,
    /// With one of version 2.
    V2,
    /// They may.
    Auto,
}

/// A header in which proxies say who their client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ForwardingName {
    /// `X-Forwarded-For`, one address for each hop.
    #[serde(rename = "x-forwarded-for")]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    #[serde(rename = "forwarded")]
    Forwarded,
}

impl From<ProxyProtocol> for listen::ProxyProtocol {
    fn from(written: ProxyProtocol) -> Self {
        match written {
            ProxyProtocol::Off => listen::ProxyProtocol::Off,
            ProxyProtocol::V1 => listen::ProxyProtocol::V1,
            ProxyProtocol::V2 => listen::ProxyProtocol::V2,
            ProxyProtocol::Auto => listen::ProxyProtocol::Auto,
        }
    }
}

impl From<TlsVersion> for MinVersion {
    fn from(written: TlsVersion) -> Self {
        match written {
            TlsVersion::Tls12 => MinVersion::Tls12,
            TlsVersion::Tls13 => MinVersion::Tls13,
        }
    }
}

impl From<ForwardingName> for ForwardingHeader {
    fn from(written: ForwardingName) -> Self {
        match written {
            ForwardingName::XForwardedFor => ForwardingHeader::XForwardedFor,
            ForwardingName::Forwarded => ForwardingHeader::Forwarded,
        }
    }
}

/// Reads permissions in octal digits.
fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text
        .strip_prefix("0o")
        .unwrap_or(&text)
        .trim_start_matches('0');
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 => Ok(Some(mode)),
        _ => Err(D::Error::custom(format!(
            "{text:?} are no permissions; write octal digits such as \"0660\""
        ))),
    }
}

/// Reads a mode of the PROXY protocol; `false` means `off`.
fn proxy_protocol<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ProxyProtocol>, D::Error> {
    struct Mode;
    impl Visitor<'_> for Mode {
        type Value = ProxyProtocol;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("`off`, `v1`, `v2` or `auto`")
        }
        fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<ProxyProtocol, E> {
            if on {
                return Err(E::invalid_value(Unexpected::Bool(on), &self));
            }
            Ok(ProxyProtocol::Off)
        }
        fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<ProxyProtocol, E> {
            match word {
                "off" | "none" | "false" => Ok(ProxyProtocol::Off),
                "v1" => Ok(ProxyProtocol::V1),
                "v2" => Ok(ProxyProtocol::V2),
                "auto" => Ok(ProxyProtocol::Auto),
                _ => Err(E::invalid_value(Unexpected::Str(word), &self)),
            }
        }
    }
    deserializer.deserialize_any(Mode).map(Some)
}

/// The admin listener: `/livez`, `/readyz`, `/metrics`, `/v1/plan`, `/v1/queues` and what `penstock queue` asks for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// `address:port`. Port 0 takes a free one; the address taken is printed.
    pub bind: String,
    /// What must be brought (`Authorization: Bearer …`) to see or change messages: 16 to 1,024 visible ASCII characters,
    /// best from `${env:…}` or `${file:…}`. Default: none; then messages are seen and changed from this machine only,
    /// and not at all where `bind` is not loopback.
    #[serde(default, deserialize_with = "token")]
    #[schemars(with = "Option<String>", length(min = 16, max = 1024))]
    pub token: Option<Secret<String>>,
}

/// Reads a token; a refusal does not show it.
fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret<String>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let fits =
        (16..=1024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        Ok(Some(Secret::new(text)))
    } else {
        Err(D::Error::custom(
            "a token has 16 to 1,024 visible ASCII characters",
        ))
    }
}
