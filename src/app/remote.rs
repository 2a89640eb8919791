//! A configuration that is kept elsewhere: an object in S3, or a configuration profile of AppConfig. It is asked for again
//! and again, and told apart by what the service says of its version. The last good one is kept on disk (`config::copy`), for a
//! start without the network.
//!
//! The file that would say how AWS is reached is what is asked for, so region, credentials and endpoints come from the
//! command line and the environment alone.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::aws::{CallError, Clients, Service, Settings};
use crate::config::copy::Copy;
use crate::config::load::SourceFile;
use crate::outbound;

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What AppConfig calls the token of the next question, and the time until it may be asked.
const NEXT_TOKEN: HeaderName = HeaderName::from_static("next-poll-configuration-token");
const NEXT_INTERVAL: HeaderName = HeaderName::from_static("next-poll-interval-in-seconds");

/// The intervals that AppConfig lets a session ask for, in seconds (StartConfigurationSession, API reference).
const SESSION_INTERVALS: std::ops::RangeInclusive<u64> = 15..=86_400;

/// The characters of a path's segment that stand for themselves: RFC 3986's unreserved ones.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    S3 {
        bucket: String,
        key: String,
    },
    AppConfig {
        application: String,
        environment: String,
        profile: String,
    },
}

/// Why an address is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no configuration: write s3://BUCKET/KEY or appconfig:APPLICATION/ENVIRONMENT/PROFILE"
)]
pub struct NotAnAddress(String);

impl Address {
    /// Whether an argument is meant as one, well written or not.
    pub fn is_meant(argument: &str) -> bool {
        argument.starts_with("s3://") || argument.starts_with("appconfig:")
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Address, NotAnAddress> {
        let wrong = || NotAnAddress(text.to_owned());
        if let Some(object) = text.strip_prefix("s3://") {
            let (bucket, key) = object.split_once('/').ok_or_else(wrong)?;
            let is_bucket = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            if bucket.is_empty() || !bucket.bytes().all(is_bucket) || key.is_empty() {
                return Err(wrong());
            }
            return Ok(Address::S3 {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
            });
        }
        let parts = text.strip_prefix("appconfig:").ok_or_else(wrong)?;
        match *parts.split('/').collect::<Vec<_>>() {
            [application, environment, profile]
                if ![application, environment, profile].contains(&"") =>
            {
                Ok(Address::AppConfig {
                    application: application.to_owned(),
                    environment: environment.to_owned(),
                    profile: profile.to_owned(),
                })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Address::AppConfig {
                application,
                environment,
                profile,
            } => write!(f, "appconfig:{application}/{environment}/{profile}"),
        }
    }
}

/// A source over the network.
pub struct Remote {
    address: Address,
    clients: Clients,
    via: outbound::Client,
    poll: Duration,
    copy: Copy,
    known: Mutex<Known>,
}

/// What is known of the version that was fetched last.
#[derive(Default)]
struct Known {
    /// S3's.
    etag: Option<HeaderValue>,
    /// AppConfig's; good for one question.
    token: Option<String>,
    /// When AppConfig may be asked again.
    not_before: Option<Instant>,
    /// A new session, and a service without versions, give what is known once more.
    text: Option<String>,
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} cannot be fetched: {reason}")]
pub struct Unfetched {
    address: String,
    reason: String,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Remote {
    /// Asks nobody yet. `copy`: the file in which the last good configuration is kept.
    pub fn new(address: Address, region: Option<String>, poll: Duration, copy: PathBuf) -> Remote {
        let settings = Settings {
            region,
            ..Settings::default()
        };
        Remote {
            copy: Copy::new(copy, address.to_string()),
            address,
            clients: Clients::new(settings),
            via: outbound::Client::default(),
            poll,
            known: Mutex::default(),
        }
    }

    /// How often it is asked for.
    pub fn poll_interval(&self) -> Duration {
        self.poll
    }

    /// Where the last good configuration is kept.
    pub fn copy(&self) -> &Copy {
        &self.copy
    }

    /// Keeps a text as the last good one.
    pub async fn keep(self: &Arc<Remote>, text: String) {
        let remote = self.clone();
        let keeping =
            tokio::task::spawn_blocking(move || remote.copy.keep(&text, SystemTime::now()));
        let kept = keeping
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Err(error) = kept {
            let path = self.copy.path().display();
            tracing::warn!(%error, %path, "The configuration cannot be kept here, so the next start needs the network");
        }
    }

    /// The text under the name that the configuration has without one of its own.
    pub fn named(&self, text: String) -> SourceFile {
        let stem = match &self.address {
            Address::S3 { key, .. } => key.rsplit('/').next().unwrap_or_default(),
            Address::AppConfig { profile, .. } => profile.as_str(),
        };
        let has_ending = [".yaml", ".yml", ".json"]
            .iter()
            .any(|ending| stem.ends_with(ending));
        let ending = match (has_ending, text.trim_start().starts_with('{')) {
            (true, _) => "",
            (false, true) => ".json",
            (false, false) => ".yaml",
        };
        SourceFile {
            path: format!("{stem}{ending}").into(),
            text,
        }
    }

    /// The configuration as it is now, whether it has changed or not.
    pub async fn fetch(&self) -> Result<String, Unfetched> {
        let mut known = self.known.lock().await;
        // A token is for what comes after the version that it was given with.
        known.etag = None;
        known.token = None;
        known.text = None;
        match self.ask(&mut known).await? {
            Some(text) => Ok(text),
            None => Err(self.unfetched("the answer is empty")),
        }
    }

    /// The configuration, if it is another one than was fetched last.
    pub async fn changed(&self) -> Result<Option<String>, Unfetched> {
        let mut known = self.known.lock().await;
        if known.not_before.is_some_and(|at| at > Instant::now()) {
            return Ok(None);
        }
        self.ask(&mut known).await
    }

    async fn ask(&self, known: &mut Known) -> Result<Option<String>, Unfetched> {
        let asked = match &self.address {
            Address::S3 { bucket, key } => self.object(bucket, key, known).await,
            Address::AppConfig {
                application,
                environment,
                profile,
            } => {
                let names = [application, environment, profile].map(String::as_str);
                self.profile(names, known).await
            }
        };
        let body = asked.map_err(|error| self.unfetched(&reason(&error)))?;
        let Some(body) = body else { return Ok(None) };
        let text =
            String::from_utf8(body.to_vec()).map_err(|_| self.unfetched("it is not UTF-8 text"))?;
        if known.text.as_ref() == Some(&text) {
            return Ok(None);
        }
        known.text = Some(text.clone());
        Ok(Some(text))
    }

    /// GetObject, unless it is the version that is known.
    async fn object(
        &self,
        bucket: &str,
        key: &str,
        known: &mut Known,
    ) -> Result<Option<Bytes>, CallError> {
        let key: Vec<String> = key.split('/').map(encoded).collect();
        let mut request = Request::get(format!("/{bucket}/{}", key.join("/")));
        if let Some(etag) = &known.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let answer = match self.call(Service::S3, request, Bytes::new()).await {
            Err(CallError::Refused(refusal)) if refusal.status == 304 => return Ok(None),
            answer => answer?,
        };
        known.etag = answer.headers().get(ETAG).cloned();
        Ok(Some(answer.into_body()))
    }

    /// GetLatestConfiguration, in a session that is begun where there is none.
    async fn profile(
        &self,
        names: [&str; 3],
        known: &mut Known,
    ) -> Result<Option<Bytes>, CallError> {
        // A token that was used, or is a day old, is refused, and then only a new session helps.
        let begun = known.token.is_none();
        let token = match known.token.take() {
            Some(token) => token,
            None => self.session(names).await?,
        };
        let request = Request::get(format!(
            "/configuration?configuration_token={}",
            encoded(&token)
        ));
        let answer = match self
            .call(Service::AppConfigData, request, Bytes::new())
            .await
        {
            Err(CallError::Refused(refusal)) if !begun && refusal.status == 400 => {
                return Box::pin(self.profile(names, known)).await;
            }
            answer => answer?,
        };
        known.token = text(answer.headers(), &NEXT_TOKEN).map(str::to_owned);
        known.not_before = text(answer.headers(), &NEXT_INTERVAL)
            .and_then(|seconds| seconds.parse().ok())
            .map(|seconds: u64| {
                let seconds = seconds.min(*SESSION_INTERVALS.end());
                Instant::now() + Duration::from_secs(seconds)
            });
        // Empty: nothing has changed since the last question of this session.
        let body = answer.into_body();
        Ok((!body.is_empty()).then_some(body))
    }

    /// StartConfigurationSession: the token of the first question.
    async fn session(&self, names: [&str; 3]) -> Result<String, CallError> {
        let [application, environment, profile] = names;
        let (least, most) = (*SESSION_INTERVALS.start(), *SESSION_INTERVALS.end());
        let input = json!({
            "ApplicationIdentifier": application,
            "EnvironmentIdentifier": environment,
            "ConfigurationProfileIdentifier": profile,
            "RequiredMinimumPollIntervalInSeconds": self.poll.as_secs().clamp(least, most),
        });
        let request =
            Request::post("/configurationsessions").header(CONTENT_TYPE, "application/json");
        let body = Bytes::from(input.to_string());
        let answer = self.call(Service::AppConfigData, request, body).await?;
        let answer: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let token = answer["InitialConfigurationToken"].as_str();
        token.map(str::to_owned).ok_or_else(|| CallError::Lost {
            reason: "the answer holds no token".to_owned(),
        })
    }

    async fn call(
        &self,
        service: Service,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<Response<Bytes>, CallError> {
        let request = request.body(body).map_err(|error| CallError::Setup {
            code: "InvalidRequest".to_owned(),
            reason: error.to_string(),
        })?;
        let deadline = Instant::now() + PATIENCE;
        self.clients.settle(deadline).await;
        self.clients
            .signed(&self.via, service, None, request, deadline)
            .await
    }

    fn unfetched(&self, reason: &str) -> Unfetched {
        Unfetched {
            address: self.to_string(),
            reason: reason.to_owned(),
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

fn reason(error: &CallError) -> String {
    match error {
        CallError::Refused(refusal) if refusal.status == 301 => {
            "the bucket is in another region; say which with --region".to_owned()
        }
        CallError::Refused(refusal) if refusal.status == 403 => format!(
            "the service answers 403{}: the credentials do not permit it; `penstock iam --source` prints what does",
            match refusal.code.as_str() {
                "" => String::new(),
                code => format!(" {code}"),
            }
        ),
        CallError::Refused(refusal) if refusal.code.is_empty() => {
            format!("the service answers {}", refusal.status)
        }
        CallError::Refused(refusal) => {
            format!("{} ({}): {}", refusal.code, refusal.status, refusal.message)
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike_and_what_is_none_is_refused() {
        for good in ["s3://routes/prod/shop.yaml", "appconfig:shop/prod/routes"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in [
            "s3://",
            "s3://bucket",
            "s3://bucket/",
            "s3:///key",
            "s3://a?b/key",
            "appconfig:a/b",
            "appconfig:a//c",
            "appconfig:a/b/c/d",
            "routes.yaml",
            "http://x/y",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_is_named_after_its_key_or_its_profile() {
        let named = |address: &str, text: &str| {
            let address = address.parse().unwrap();
            let remote = Remote::new(address, None, PATIENCE, "copy".into());
            remote.named(text.to_owned()).path
        };
        assert_eq!(named("s3://b/p/shop.yaml", ""), PathBuf::from("shop.yaml"));
        assert_eq!(named("s3://b/shop", "api: a"), PathBuf::from("shop.yaml"));
        assert_eq!(
            named("appconfig:a/b/shop", " {}"),
            PathBuf::from("shop.json")
        );
    }
}
