//! Credentials, loaded and refreshed in the background: no request waits for them, and a missing or failing source is
//! known at once. (The SDK's own cache would hold a request for up to five seconds.)

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use aws_config::identity::IdentityCache;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_types::retry::RetryConfig;
use aws_types::region::Region;
use tokio::sync::watch;

use super::error::{root_cause, setup};
use super::{CONNECT_TIMEOUT, CallError, Settings, http};

/// Temporary credentials are replaced this long before they end.
const AHEAD: Duration = Duration::from_secs(300);
/// After a failure: the first wait, and the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// Credentials without an end (environment, static profile) are read again this often.
const REREAD: Duration = Duration::from_secs(3600);

/// What is known about the credentials.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Nothing yet: the process has just started.
    Loading,
    Ready(Ready),
    /// There are none, or those there were have ended; why.
    Failed(String),
}

/// There are credentials.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    /// What every client is made from; its credentials are always the current ones.
    pub(super) config: Arc<SdkConfig>,
    current: Current,
}

impl Ready {
    /// The credentials of the moment.
    pub(super) fn credentials(&self) -> Result<Arc<Credentials>, CallError> {
        let current = self.current.0.load_full();
        current.ok_or_else(|| setup("CredentialsNotLoaded", "there are none now".to_owned()))
    }
}

impl State {
    /// The outcome, unless the first one is still awaited.
    pub(super) fn settled(&self) -> Option<Result<Ready, CallError>> {
        match self {
            State::Loading => None,
            State::Ready(ready) => Some(Ok(ready.clone())),
            State::Failed(reason) => Some(Err(CallError::Setup {
                code: "CredentialsNotLoaded".to_owned(),
                reason: format!("no AWS credentials: {reason}"),
            })),
        }
    }
}

/// The credentials of the moment: what the clients sign with.
#[derive(Clone, Debug, Default)]
pub(super) struct Current(Arc<ArcSwapOption<Credentials>>);

impl ProvideCredentials for Current {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let current = self.0.load_full();
        future::ProvideCredentials::ready(match current {
            Some(credentials) => Ok(Credentials::clone(&credentials)),
            None => Err(CredentialsError::not_loaded("none have been loaded")),
        })
    }
}

/// Loads credentials and keeps them fresh until it is dropped.
pub(super) async fn keep_fresh(settings: Settings, state: watch::Sender<State>) {
    let current = Current::default();
    let (mut base, mut source) = Box::pin(load(&settings)).await;
    let mut retry = FIRST_RETRY;
    loop {
        let mut keeps_fresh = false;
        let pause = match source.provide_credentials().await {
            Ok(credentials) => {
                keeps_fresh = credentials.expiry().is_some();
                let pause = match credentials.expiry() {
                    Some(end) => left(end).saturating_sub(AHEAD).max(FIRST_RETRY),
                    None => REREAD,
                };
                current.0.store(Some(Arc::new(credentials)));
                if !matches!(*state.borrow(), State::Ready(_)) {
                    let ready = base
                        .to_builder()
                        .identity_cache(IdentityCache::no_cache())
                        .credentials_provider(SharedCredentialsProvider::new(current.clone()))
                        .build();
                    state.send_replace(State::Ready(Ready {
                        config: Arc::new(ready),
                        current: current.clone(),
                    }));
                }
                retry = FIRST_RETRY;
                pause
            }
            Err(error) => {
                let reason = root_cause(&error);
                let usable = current
                    .0
                    .load()
                    .as_ref()
                    .is_some_and(|kept| kept.expiry().is_none_or(|end| !left(end).is_zero()));
                tracing::warn!(error = %reason, still_usable = usable, "AWS credentials could not be loaded");
                if !usable {
                    current.0.store(None);
                    state.send_replace(State::Failed(reason));
                }
                let pause = retry;
                retry = (retry * 2).min(LAST_RETRY);
                pause
            }
        };
        tokio::time::sleep(pause).await;
        if !keeps_fresh {
            // The SDK's sources read their files once: a file that was missing, or has another key since, is seen by
            // new sources only.
            (base, source) = Box::pin(load(&settings)).await;
        }
    }
}

fn left(end: SystemTime) -> Duration {
    end.duration_since(SystemTime::now()).unwrap_or_default()
}

/// The shared configuration of all clients, and where their credentials come from.
async fn load(settings: &Settings) -> (SdkConfig, SharedCredentialsProvider) {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http::client())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .build(),
        );
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let base = Box::pin(loader.load()).await;
    let own = base.credentials_provider().unwrap_or_else(|| {
        SharedCredentialsProvider::new(Current::default()) // never in practice: the loader always sets its chain
    });
    let source = match &settings.assume_role {
        None => own,
        Some(role) => {
            let mut sts = base.clone();
            if let Some(endpoint) = &settings.endpoints.sts {
                sts = sts.into_builder().endpoint_url(endpoint).build();
            }
            let mut provider = AssumeRoleProvider::builder(&role.arn)
                .configure(&sts)
                .session_name(role.session_name.as_deref().unwrap_or("penstock"));
            if let Some(id) = &role.external_id {
                provider = provider.external_id(id);
            }
            SharedCredentialsProvider::new(Box::pin(provider.build()).await)
        }
    };
    (base, source)
}

/// What the clients share, with credentials that nobody has to load.
#[cfg(test)]
pub(super) fn for_tests(
    credentials: Credentials,
    settings: impl FnOnce(aws_types::sdk_config::Builder) -> aws_types::sdk_config::Builder,
) -> Ready {
    let current = Current::default();
    current.0.store(Some(Arc::new(credentials)));
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http::client())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .build(),
        )
        .identity_cache(IdentityCache::no_cache())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(current.clone()));
    Ready {
        config: Arc::new(settings(config).build()),
        current,
    }
}
