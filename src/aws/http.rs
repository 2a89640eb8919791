//! The one HTTP client under all SDK clients: aws-lc for TLS, the proxy from the environment, one connection pool.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// Connect and read timeout: what tells two connectors apart.
type Timeouts = (Option<Duration>, Option<Duration>);

/// Connectors by their timeouts, each with its pool: ours, and those with which the SDK asks instance metadata.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<RwLock<HashMap<Timeouts, SharedHttpConnector>>>);

/// A new HTTP client with its own pool.
pub(super) fn client() -> SharedHttpClient {
    SharedHttpClient::new(Shared::default())
}

impl HttpClient for Shared {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let timeouts = (settings.connect_timeout(), settings.read_timeout());
        if let Some(kept) = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&timeouts)
        {
            return kept.clone();
        }
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.entry(timeouts)
            .or_insert_with(|| {
                let mut builder = Connector::builder()
                    .connector_settings(settings.clone())
                    .proxy_config(ProxyConfig::from_env());
                builder.set_sleep_impl(components.sleep_impl());
                SharedHttpConnector::new(
                    builder
                        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                        .build(),
                )
            })
            .clone()
    }
}
