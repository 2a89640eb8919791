//! The `sns` scheme (reference, 4.29): a signature by a certificate that the message names, from a host that only Amazon
//! has; and the visit that confirms a subscription, once the message has proven genuine and its topic is wanted.

use std::time::Duration;

use http::{HeaderName, Uri};

use super::certificate::{Certificate, Hash};
use super::fetch::{Cache, Fetcher, Fresh};
use super::pointer::text_of;
use super::request::{Delivered, header};
use super::secret::from_base64;
use super::verdict::Failure;
use super::window::{Window, millis};
use super::written::TimeFormat;
use crate::outbound::Named;

const RAW_DELIVERY: HeaderName = HeaderName::from_static("x-amz-sns-rawdelivery");

/// What is asked of a message beyond its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SnsSpec {
    /// The topics that are wanted: any AWS account can sign for its own.
    pub(super) topic_arns: Vec<String>,
    pub(super) window: Window,
}

/// The advice is an hour.
pub(super) const WINDOW: Window = Window::both(Duration::from_secs(3_600));

/// A message that is genuine.
pub(super) struct Genuine {
    /// How long ago it was signed, in milliseconds.
    pub(super) age: i64,
    /// The URL that confirms the subscription, where the message asks for that.
    pub(super) confirm: Option<String>,
}

fn field(delivered: &Delivered<'_>, name: &str) -> Result<Option<String>, Failure> {
    let pointer = format!("/{name}").parse().map_err(Failure::malformed)?;
    Ok(delivered.json(&pointer)?.map(text_of))
}

fn required(delivered: &Delivered<'_>, name: &str) -> Result<String, Failure> {
    field(delivered, name)?
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Failure::malformed(format!("json:/{name} is absent")))
}

/// Checks a message.
pub(super) async fn verify(
    spec: &SnsSpec,
    delivered: &Delivered<'_>,
    certificates: &Cache<Certificate>,
    fetcher: &Fetcher,
    now: i64,
) -> Result<Genuine, Failure> {
    if header(&delivered.call.headers, &RAW_DELIVERY)?
        .is_some_and(|value| value.eq_ignore_ascii_case(b"true"))
    {
        return Err(Failure::missing("a raw delivery has no signature"));
    }
    let signature = field(delivered, "Signature")?.filter(|text| !text.is_empty());
    let signature = signature.ok_or_else(|| Failure::missing("json:/Signature is absent"))?;
    let signature = from_base64(signature.as_bytes())
        .ok_or_else(|| Failure::malformed("json:/Signature is not base64"))?;
    let hash = match required(delivered, "SignatureVersion")?.as_str() {
        "1" => Hash::Sha1,
        "2" => Hash::Sha256,
        _ => return Err(Failure::malformed("json:/SignatureVersion is not 1 or 2")),
    };
    let kind = required(delivered, "Type")?;
    let names: &[&str] = match kind.as_str() {
        "Notification" => &[
            "Message",
            "MessageId",
            "Subject",
            "Timestamp",
            "TopicArn",
            "Type",
        ],
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => &[
            "Message",
            "MessageId",
            "SubscribeURL",
            "Timestamp",
            "Token",
            "TopicArn",
            "Type",
        ],
        _ => return Err(Failure::malformed("json:/Type is none of SNS's")),
    };
    let time = required(delivered, "Timestamp")?;
    let signed_at = millis(&time, TimeFormat::Rfc3339)
        .ok_or_else(|| Failure::malformed("json:/Timestamp is not a time"))?;
    let url = required(delivered, "SigningCertURL")?;
    if !is_amazon(&url, ".pem") {
        return Err(Failure::bad("the certificate's URL is not one of SNS's"));
    }
    let topic = required(delivered, "TopicArn")?;
    if !spec.topic_arns.contains(&topic) {
        return Err(Failure::bad("the topic is not one of `config.topic_arns`"));
    }
    let message = string_to_sign(names, delivered)?;
    let fetch = async {
        let pem = fetcher.get(&url, Named::ByStranger).await;
        let certificate = pem.and_then(|pem| Certificate::from_pem(&pem));
        let certificate = certificate
            .map_err(|reason| Failure::unavailable(format!("the signing certificate: {reason}")))?;
        Ok(Fresh {
            until: certificate.not_after.min(now + 86_400),
            at_most: certificate.not_after,
            value: certificate,
        })
    };
    let certificate = certificates.get(&url, now, false, fetch).await?;
    if !certificate.counts(now) {
        return Err(Failure::bad(
            "the signing certificate does not count at this time",
        ));
    }
    if !certificate.has_signed(&message, &signature, hash) {
        return Err(Failure::bad("the certificate's key has not signed this"));
    }
    let age = spec.window.check(signed_at, now)?;
    let confirm = match kind.as_str() {
        "SubscriptionConfirmation" => {
            let url = required(delivered, "SubscribeURL")?;
            if !is_amazon(&url, "") {
                return Err(Failure::bad("the confirmation's URL is not one of SNS's"));
            }
            Some(url)
        }
        _ => None,
    };
    Ok(Genuine { age, confirm })
}

/// Key, line feed, value, line feed, for each key that is present.
fn string_to_sign(names: &[&str], delivered: &Delivered<'_>) -> Result<Vec<u8>, Failure> {
    let mut signed = Vec::with_capacity(delivered.body.len());
    for name in names {
        if let Some(value) = field(delivered, name)? {
            for part in [name, "\n", value.as_str(), "\n"] {
                signed.extend_from_slice(part.as_bytes());
            }
        }
    }
    Ok(signed)
}

/// Whether a URL is `https`, without user or port, on a host of `sns.REGION.amazonaws.com`, or of China's: the host is
/// matched whole, for anybody's buckets live under `amazonaws.com` too.
fn is_amazon(url: &str, path_end: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let Some(host) = uri.authority().map(http::uri::Authority::as_str) else {
        return false;
    };
    let region = host
        .strip_prefix("sns.")
        .and_then(|rest| {
            rest.strip_suffix(".amazonaws.com")
                .or_else(|| rest.strip_suffix(".amazonaws.com.cn"))
        })
        .unwrap_or_default();
    uri.scheme_str() == Some("https") && is_region(region) && uri.path().ends_with(path_end)
}

/// `us-east-1`, `us-gov-west-1`: two letters, words, a number. `sns.s3-us-west-2.amazonaws.com` is somebody's bucket.
fn is_region(text: &str) -> bool {
    let labels: Vec<&str> = text.split('-').collect();
    let [partition, words @ .., number] = labels.as_slice() else {
        return false;
    };
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    partition.len() == 2
        && is_word(partition)
        && !words.is_empty()
        && words.iter().all(|word| is_word(word))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Visits the URL that confirms a subscription.
pub(super) async fn confirm(url: &str, fetcher: &Fetcher) -> Result<(), Failure> {
    let visited = fetcher.get(url, Named::ByStranger).await;
    visited
        .map(drop)
        .map_err(|reason| Failure::unavailable(format!("the confirmation's visit: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_amazon_s_own_hosts_are_asked() {
        for good in [
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/a.pem",
            "https://sns.us-gov-west-1.amazonaws.com/a.pem",
            "https://sns.ap-southeast-2.amazonaws.com/a.pem",
        ] {
            assert!(is_amazon(good, ".pem"), "{good}");
        }
        for bad in [
            "http://sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com:8443/a.pem",
            "https://user@sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com.evil.example/a.pem",
            "https://evil.example/sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.bucket.s3.amazonaws.com/a.pem",
            "https://sns.s3.amazonaws.com/a.pem",
            "https://sns..amazonaws.com/a.pem",
            "https://sns.s3-us-west-2.amazonaws.com/a.pem",
            "https://sns.s3-us-west-2.amazonaws.com.cn/a.pem",
            "https://sns.s3-website-us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east.amazonaws.com/a.pem",
            "https://sns.us-1.amazonaws.com/a.pem",
            "https://sns.us--1.amazonaws.com/a.pem",
            "https://sns.us-east-1a.amazonaws.com/a.pem",
            "https://sns.US-east-1.amazonaws.com/a.pem",
            "https://sns.elb.us-east-1.amazonaws.com/a.pem",
            "https://xsns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com/a.pem?x=1.exe",
            "https://sns.us-east-1.amazonaws.com/a.txt",
            "/a.pem",
            "",
        ] {
            let query = bad.ends_with("?x=1.exe");
            assert!(!is_amazon(bad, ".pem") || query, "{bad}");
        }
    }
}
