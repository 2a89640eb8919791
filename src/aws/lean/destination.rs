//! Where a service is called in a region, and what requests are signed with there. The SDK's own client says where: it
//! is asked to make a call, which is taken from it, signed and addressed, before it goes out. So partitions, FIPS, dual
//! stack, account ids in host names, and every setting of the environment and of profiles hold here as they do there.

use std::sync::{Arc, Mutex, PoisonError};

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use http::{HeaderValue, Uri};

use super::http::Http;
use crate::aws::CallError;
use crate::aws::error::setup;
use crate::aws::sigv4::{Key, canonical_path, host};

/// A call as the SDK would have sent it: its URL, and the region and service that it is signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addressed {
    pub(super) url: String,
    pub(super) region: String,
    pub(super) service: String,
}

/// Takes a call from the SDK.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken(Arc<Mutex<Option<Addressed>>>);

impl Taken {
    /// What was taken; else what the SDK says was wrong, or that it sends no signatures of the kind that we do.
    pub(super) fn or(self, error: Option<CallError>) -> Result<Addressed, CallError> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| match error {
            Some(error) => error,
            None => setup(
                "InvalidRequest",
                "the SDK does not sign the call".to_owned(),
            ),
        })
    }
}

impl Intercept for Taken {
    fn name(&self) -> &'static str {
        "Taken"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let scope = request.headers().get("authorization").and_then(scope);
        let (region, service) = scope.ok_or("the call is not signed with version 4")?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Addressed {
            url: request.uri().to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        });
        Err("only its address was asked for".into())
    }
}

/// Region and service in `AWS4-HMAC-SHA256 Credential=KEY/DAY/REGION/SERVICE/aws4_request, …`.
fn scope(authorization: &str) -> Option<(&str, &str)> {
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let (_, credential) = rest.split_once("Credential=")?;
    let credential = credential.split(',').next()?.trim();
    let mut parts = credential.rsplit('/');
    match (parts.next()?, parts.next()?, parts.next()?) {
        ("aws4_request", service, region) => Some((region, service)),
        _ => None,
    }
}

/// Where the calls go.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) uri: Uri,
    pub(super) host: HeaderValue,
    /// As signatures spell it.
    pub(super) path: String,
    pub(super) proxy_authorization: Option<HeaderValue>,
    region: String,
    service: String,
}

impl Destination {
    pub(super) fn new(addressed: Addressed, http: &Http) -> Result<Destination, CallError> {
        let Addressed {
            url,
            region,
            service,
        } = addressed;
        let wrong = || setup("InvalidEndpoint", format!("{url} cannot be called"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = host(&uri).and_then(|host| HeaderValue::try_from(host).ok());
        Ok(Destination {
            host: host.ok_or_else(wrong)?,
            path: canonical_path(uri.path()),
            proxy_authorization: http.proxy_authorization(&uri),
            uri,
            region,
            service,
        })
    }
}

/// What requests to a destination are signed with, for a day.
#[derive(Debug)]
pub(super) struct Signing {
    pub(super) destination: Arc<Destination>,
    pub(super) key: Key,
    pub(super) token: Option<HeaderValue>,
    /// The credentials that all this was made from.
    credentials: Arc<Credentials>,
}

impl Signing {
    pub(super) fn new(
        destination: Arc<Destination>,
        credentials: Arc<Credentials>,
        day: &str,
    ) -> Result<Signing, CallError> {
        let token = match credentials.session_token() {
            None => None,
            Some(token) => {
                let mut token = HeaderValue::from_str(token)
                    .map_err(|_| setup("InvalidRequest", "the session token is none".to_owned()))?;
                token.set_sensitive(true);
                Some(token)
            }
        };
        let key = Key::new(
            credentials.access_key_id(),
            credentials.secret_access_key(),
            day,
            &destination.region,
            &destination.service,
        );
        Ok(Signing {
            destination,
            key,
            token,
            credentials,
        })
    }

    /// Whether it serves for these credentials on that day.
    pub(super) fn serves(&self, credentials: &Arc<Credentials>, day: &str) -> bool {
        Arc::ptr_eq(&self.credentials, credentials) && self.key.day() == day
    }

    /// Whether calls with these credentials go to the same place: the account can be part of a host name.
    pub(super) fn is_where(&self, credentials: &Credentials) -> bool {
        self.credentials.account_id() == credentials.account_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_and_service_stand_at_the_end_of_the_scope() {
        let signed = "AWS4-HMAC-SHA256 Credential=AKID/20261122/eu-west-1/sqs/aws4_request, SignedHeaders=host, Signature=0";
        assert_eq!(scope(signed), Some(("eu-west-1", "sqs")));
        assert_eq!(scope("Bearer x"), None);
        assert_eq!(
            scope("AWS4-HMAC-SHA256 Credential=AKID/x, Signature=0"),
            None
        );
    }
}
