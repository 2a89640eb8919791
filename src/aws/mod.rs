//! AWS clients: one per service and region, made when first needed, over one HTTP client and one set of credentials
//! that is kept fresh in the background. SDK retries and stalled-stream protection are off: what to do about a failed
//! call depends on the acknowledgement mode, which the SDK does not know.
//!
//! What went wrong in a call becomes a [`CallError`], once, in `error.rs`.

mod check;
mod clock;
mod credentials;
mod error;
mod http;
mod lean;
mod signed;
mod sigv4;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_config::SdkConfig;
#[cfg(test)]
use aws_credential_types::Credentials;
use aws_types::region::Region;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub use self::check::check;
use self::credentials::{Ready, State};
pub use self::error::{CallError, Refusal};
pub use self::lean::{Body, Operation, Reply};
pub use self::signed::Service;

/// How long establishing a connection may take, name lookup and TLS included. A refused connection fails at once.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a request waits for the first credentials after the start. Afterwards none waits at all.
pub const FIRST_CREDENTIALS_WAIT: Duration = Duration::from_secs(1);

/// Clients for more regions than this are made anew for each call: a region can come out of a request.
const KEPT_REGIONS: usize = 64;

/// How AWS is reached. Credentials come from the SDK's own chain (environment, profile, SSO, container, instance).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Aws")]
pub struct Settings {
    /// The region of calls that do not name one. Default: the SDK's own chain.
    pub region: Option<String>,
    /// Every service at one address: an emulator.
    pub endpoint: Option<String>,
    /// Services at addresses of their own: PrivateLink.
    pub endpoints: Endpoints,
    /// A role to assume for every call.
    pub assume_role: Option<AssumeRole>,
}

/// Addresses by service.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoints {
    pub sqs: Option<String>,
    pub kinesis: Option<String>,
    pub eventbridge: Option<String>,
    pub stepfunctions: Option<String>,
    pub appconfig: Option<String>,
    pub dynamodb: Option<String>,
    /// For request authorizers that are Lambda functions.
    pub lambda: Option<String>,
    /// For `${aws-secretsmanager:…}`.
    pub secretsmanager: Option<String>,
    /// For `${aws-ssm:…}`.
    pub ssm: Option<String>,
    /// For `assume_role`.
    pub sts: Option<String>,
}

/// A role to assume.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct AssumeRole {
    /// The role's ARN.
    pub arn: String,
    /// The external id that the role's trust policy asks for.
    pub external_id: Option<String>,
    /// Default: `penstock`.
    pub session_name: Option<String>,
}

/// The clients. Cloning shares them; the last one to go ends the background refresh.
#[derive(Clone, Debug)]
pub struct Clients(Arc<ArcSwap<Inner>>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    state: watch::Sender<State>,
    refresh: OnceLock<AbortOnDropHandle<()>>,
    sqs: ByRegion<aws_sdk_sqs::Client>,
    kinesis: ByRegion<aws_sdk_kinesis::Client>,
    eventbridge: ByRegion<aws_sdk_eventbridge::Client>,
    stepfunctions: ByRegion<aws_sdk_sfn::Client>,
    appconfig: ByRegion<aws_sdk_appconfig::Client>,
    lean: lean::Lean,
}

/// A way to the clients of a service, by region.
macro_rules! client {
    ($(#[$doc:meta])* $service:ident, $sdk:ident) => {
        impl Clients {
            $(#[$doc])*
            pub async fn $service(&self, region: Option<&str>, deadline: Instant) -> Result<$sdk::Client, CallError> {
                self.inner().$service(region, deadline).await
            }
        }

        impl Inner {
            async fn $service(&self, region: Option<&str>, deadline: Instant) -> Result<$sdk::Client, CallError> {
                let shared = self.ready(deadline).await?.config;
                let region = region_for(region, &shared)?;
                Ok(self.$service.get(&region, || {
                    let mut config = $sdk::config::Builder::from(&*shared).region(Region::new(region.clone()));
                    if let Some(endpoint) = &self.settings.endpoints.$service {
                        config = config.endpoint_url(endpoint);
                    }
                    $sdk::Client::from_conf(config.build())
                }))
            }
        }
    };
}

impl Clients {
    /// Takes the settings; opens nothing and asks nobody.
    pub fn new(settings: Settings) -> Clients {
        Clients(Arc::new(ArcSwap::from_pointee(Inner {
            settings,
            state: watch::Sender::new(State::Loading),
            refresh: OnceLock::new(),
            sqs: ByRegion::default(),
            kinesis: ByRegion::default(),
            eventbridge: ByRegion::default(),
            stepfunctions: ByRegion::default(),
            appconfig: ByRegion::default(),
            lean: lean::Lean::default(),
        })))
    }

    /// Does all that is done from now on as `other` does. Calls that are under way end as they began.
    pub fn become_like(&self, other: &Clients) {
        self.0.store(other.inner());
    }

    /// Waits until there are credentials, or none to be had, at most until the deadline.
    pub async fn settle(&self, deadline: Instant) {
        let inner = self.inner();
        inner.warm();
        let mut state = inner.state.subscribe();
        let settled = state.wait_for(|state| state.settled().is_some());
        let _ = tokio::time::timeout_at(deadline, settled).await;
    }

    fn inner(&self) -> Arc<Inner> {
        self.0.load_full()
    }

    /// Clients with fixed credentials for a server at this address.
    #[cfg(test)]
    pub(crate) fn for_tests(endpoint: &str) -> Clients {
        let fixed = Credentials::new("AKIDTEST", "secret", None, None, "test");
        Clients::ready_with(credentials::for_tests(fixed, |config| {
            config.endpoint_url(endpoint)
        }))
    }

    #[cfg(test)]
    fn ready_with(ready: Ready) -> Clients {
        let clients = Clients::new(Settings::default());
        clients.inner().state.send_replace(State::Ready(ready));
        clients
            .inner()
            .refresh
            .get_or_init(|| AbortOnDropHandle::new(tokio::spawn(std::future::pending())));
        clients
    }

    /// Begins to load credentials, so that the first request finds them. Needs a Tokio runtime; the first call begins
    /// it too.
    pub fn warm(&self) {
        self.inner().warm();
    }
}

impl Inner {
    fn warm(&self) {
        self.refresh.get_or_init(|| {
            let fresh = credentials::keep_fresh(self.settings.clone(), self.state.clone());
            let connections = self.lean.warm();
            AbortOnDropHandle::new(tokio::spawn(async {
                tokio::join!(fresh, connections);
            }))
        });
    }

    /// What all clients share, once there are credentials. Missing credentials fail at once, except right after the
    /// start.
    async fn ready(&self, deadline: Instant) -> Result<Ready, CallError> {
        self.warm();
        if let Some(settled) = self.state.borrow().settled() {
            return settled;
        }
        let patience = deadline.min(Instant::now() + FIRST_CREDENTIALS_WAIT);
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| state.settled().is_some());
        match tokio::time::timeout_at(patience, settled).await {
            Ok(Ok(state)) => state.settled().unwrap_or_else(|| Err(still_loading())),
            _ => Err(still_loading()),
        }
    }
}

client!(
    /// A client for SQS in that region, else in the default one.
    sqs, aws_sdk_sqs
);
client!(
    /// A client for Kinesis in that region, else in the default one.
    kinesis, aws_sdk_kinesis
);
client!(
    /// A client for EventBridge in that region, else in the default one.
    eventbridge, aws_sdk_eventbridge
);
client!(
    /// A client for Step Functions in that region, else in the default one.
    stepfunctions, aws_sdk_sfn
);
client!(
    /// A client for AppConfig in that region, else in the default one.
    appconfig, aws_sdk_appconfig
);

fn still_loading() -> CallError {
    CallError::Setup {
        code: "CredentialsNotLoaded".to_owned(),
        reason: "the AWS credentials are still being loaded".to_owned(),
    }
}

/// The region asked for, if it could be one at all, else the default one.
fn region_for(asked: Option<&str>, shared: &SdkConfig) -> Result<String, CallError> {
    match asked {
        Some(region) if is_region(region) => Ok(region.to_owned()),
        Some(region) => Err(CallError::Setup {
            code: "InvalidRegion".to_owned(),
            reason: format!("{region:?} is not a region"),
        }),
        None => match shared.region() {
            Some(region) => Ok(region.to_string()),
            None => Err(CallError::Setup {
                code: "MissingRegion".to_owned(),
                reason: "no region is known: set `aws.region`, `Region`, or AWS_REGION".to_owned(),
            }),
        },
    }
}

/// Whether the text can be a region's name: it becomes part of a host name, so nothing else may pass.
pub fn is_region(text: &str) -> bool {
    (4..=32).contains(&text.len())
        && text.contains('-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[derive(Debug)]
struct ByRegion<C>(RwLock<HashMap<String, C>>);

impl<C> Default for ByRegion<C> {
    fn default() -> Self {
        ByRegion(RwLock::default())
    }
}

impl<C: Clone> ByRegion<C> {
    fn get(&self, region: &str, make: impl FnOnce() -> C) -> C {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = kept.get(region) {
            return client.clone();
        }
        let full = kept.len() >= KEPT_REGIONS;
        drop(kept);
        let client = make();
        if full {
            return client;
        }
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.entry(region.to_owned()).or_insert(client).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_region_becomes_part_of_a_host_name() {
        for region in ["eu-west-1", "us-gov-east-1", "ap-southeast-5"] {
            assert!(is_region(region), "{region}");
        }
        for region in [
            "",
            "eu",
            "eu-west-1.evil.example",
            "EU-west-1",
            "a/b-1",
            "-eu-west-1",
        ] {
            assert!(!is_region(region), "{region}");
        }
    }

    #[test]
    fn clients_are_kept_by_region_up_to_a_limit() {
        let kept = ByRegion::<u32>::default();
        assert_eq!(kept.get("a", || 1), 1);
        assert_eq!(kept.get("a", || 2), 1);
        for n in 0..KEPT_REGIONS as u32 {
            kept.get(&n.to_string(), || n);
        }
        assert_eq!(kept.get("new", || 7), 7);
        assert_eq!(kept.get("new", || 8), 8);
    }
}
