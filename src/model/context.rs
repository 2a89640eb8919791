//! `$context` variables: one list of names for mapping expressions and for the access log (reference, section 11).

use std::borrow::Cow;

use super::phase::Phase;

/// What is asked of a phase: `$context.<phase>.status`, `.latency`, `.error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PhaseFact {
    /// The status that the phase decided on; 200 where it let the request pass.
    Status,
    /// Milliseconds.
    Latency,
    Error,
}

/// A variable of `$context`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ContextVariable {
    /// A fact that stands for itself.
    Plain(Plain),
    /// A fact of a phase that ran.
    Phase(Phase, PhaseFact),
    /// `authorizer.claims.NAME`.
    Claim(String),
    /// `authorizer.NAME`: a value from the authorizer's answer.
    Authorizer(String),
    /// `webhook.NAME`: what was verified about a delivery.
    Webhook(WebhookField),
    /// A name of the vendor's that never has a value here (cognito, waf): prints `-`, resolves to nothing.
    Vacant(String),
}

macro_rules! webhook_fields {
    ($($variant:ident $name:literal)+) => {
        /// What is known of a verified delivery: `$webhook.NAME`, `$context.webhook.NAME`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum WebhookField { $(#[doc = concat!("`", $name, "`")] $variant,)+ }

        impl WebhookField {
            /// Every name.
            pub const NAMES: &'static [&'static str] = &[$($name,)+];

            /// The field of that name.
            pub fn named(name: &str) -> Option<WebhookField> {
                match name { $($name => Some(WebhookField::$variant),)+ _ => None }
            }
        }
    };
}

webhook_fields! {
    Id "id"
    Type "type"
    Source "source"
    Preset "preset"
    Key "key"
    DedupId "dedupId"
    ReceivedAt "receivedAt"
    Attestation "attestation"
}

macro_rules! plain {
    ($($variant:ident $early:literal $($name:literal)|+;)+) => {
        /// The variables without a parameter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Plain { $(#[doc = concat!("`", $($name, "` ",)+ "`")] $variant,)+ }

        impl Plain {
            /// Every name that the variables go by.
            pub const NAMES: &'static [&'static str] = &[$($($name,)+)+];

            fn named(name: &str) -> Option<Plain> {
                match name { $($($name)|+ => Some(Plain::$variant),)+ _ => None }
            }

            /// Whether the value is known before the request is mapped; the others are for the access log.
            pub const fn known_before_the_answer(self) -> bool {
                match self { $(Plain::$variant => $early,)+ }
            }
        }
    };
}

plain! {
    ApiId true "apiId";
    Stage true "stage";
    DeploymentId true "deploymentId";
    IsCanaryRequest true "isCanaryRequest";
    RouteKey true "routeKey" | "resourcePath";
    HttpMethod true "httpMethod";
    Path true "path";
    Protocol true "protocol";
    DomainName true "domainName";
    DomainPrefix true "domainPrefix";
    RequestId true "requestId" | "extendedRequestId";
    IdempotencyId true "idempotencyId";
    RequestTime true "requestTime";
    RequestTimeEpoch true "requestTimeEpoch";
    ClientRequestId true "clientRequestId";
    SourceIp true "identity.sourceIp";
    VpceId true "identity.vpceId";
    ClientCertPem true "identity.clientCert.clientCertPem";
    ClientCertSubject true "identity.clientCert.subjectDN";
    ClientCertIssuer true "identity.clientCert.issuerDN";
    ClientCertSerial true "identity.clientCert.serialNumber";
    ClientCertNotBefore true "identity.clientCert.validity.notBefore";
    ClientCertNotAfter true "identity.clientCert.validity.notAfter";
    ClientCertSans true "identity.clientCert.sans";
    ClientCertFingerprint true "identity.clientCert.sha256";
    UserAgent true "identity.userAgent";
    ApiKeyId true "identity.apiKeyId";
    PrincipalId true "authorizer.principalId";
    Listener true "listener";
    AuthorizerError false "authorizer.error";
    Status false "status";
    ResponseLatency false "responseLatency";
    ResponseLength false "responseLength";
    DataProcessed false "dataProcessed";
    ErrorMessage false "error.message";
    ErrorMessageString false "error.messageString";
    ErrorResponseType false "error.responseType";
    ErrorCode false "error.code";
    IntegrationError false "integration.error" | "integrationErrorMessage";
    IntegrationLatency false "integration.latency" | "integrationLatency";
    IntegrationStatus false "integration.status" | "integration.integrationStatus" | "integrationStatus";
    IntegrationRequestId false "integration.requestId" | "awsEndpointRequestId";
    MessageId false "integration.messageId";
    Durability false "durability";
    Outcome false "outcome";
}

/// Names that the vendor documents and that never have a value here.
const VACANT: [&str; 6] = [
    "waf.",
    "identity.",
    "customDomain.",
    "requestOverride.",
    "responseOverride.",
    "error.",
];
const VACANT_NAMES: [&str; 6] = [
    "accountId",
    "awsEndpointRequestId2",
    "wafResponseCode",
    "webaclArn",
    "xrayTraceId",
    "resourceId",
];

impl ContextVariable {
    /// The variable of that name (without `$context.`); `None` where no such name exists.
    pub fn named(name: &str) -> Option<ContextVariable> {
        if let Some(plain) = Plain::named(name) {
            return Some(ContextVariable::Plain(plain));
        }
        if let Some((phase, fact)) = name.rsplit_once('.')
            && let Some(phase) = Phase::named(phase)
        {
            let fact = match fact {
                "status" => PhaseFact::Status,
                "latency" => PhaseFact::Latency,
                "error" => PhaseFact::Error,
                _ => return None,
            };
            return Some(ContextVariable::Phase(phase, fact));
        }
        if let Some(field) = name.strip_prefix("webhook.") {
            return WebhookField::named(field).map(ContextVariable::Webhook);
        }
        if let Some(rest) = name.strip_prefix("authorizer.") {
            return match rest.strip_prefix("claims.") {
                Some("") => None,
                Some(claim) => Some(ContextVariable::Claim(claim.to_owned())),
                None if rest.is_empty() || rest == "claims" => None,
                None => Some(ContextVariable::Authorizer(rest.to_owned())),
            };
        }
        let vacant = VACANT_NAMES.contains(&name)
            || VACANT.iter().any(|prefix| {
                name.strip_prefix(prefix)
                    .is_some_and(|rest| !rest.is_empty())
            });
        vacant.then(|| ContextVariable::Vacant(name.to_owned()))
    }

    /// Whether the value is known before the request is mapped; the others are for the access log.
    pub fn known_before_the_answer(&self) -> bool {
        match self {
            ContextVariable::Plain(plain) => plain.known_before_the_answer(),
            ContextVariable::Phase(phase, _) => *phase < Phase::Map,
            ContextVariable::Claim(_)
            | ContextVariable::Authorizer(_)
            | ContextVariable::Webhook(_)
            | ContextVariable::Vacant(_) => true,
        }
    }

    /// Whether the value is known when the response's headers are made.
    pub fn known_in_the_response(&self) -> bool {
        match self {
            ContextVariable::Plain(
                Plain::IntegrationStatus
                | Plain::IntegrationLatency
                | Plain::IntegrationRequestId
                | Plain::MessageId
                | Plain::Durability,
            ) => true,
            ContextVariable::Phase(phase, _) => *phase < Phase::Respond,
            other => other.known_before_the_answer(),
        }
    }

    /// Every name without a parameter, for the nearest spelling.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Plain::NAMES.iter().copied()
    }
}

/// Whoever knows the values of `$context`.
pub trait ContextSource {
    /// The value, if there is one.
    fn context(&self, variable: &ContextVariable) -> Option<Cow<'_, str>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_kind_and_strangers_are_not() {
        assert_eq!(
            ContextVariable::named("requestId"),
            Some(ContextVariable::Plain(Plain::RequestId))
        );
        assert_eq!(
            ContextVariable::named("store.latency"),
            Some(ContextVariable::Phase(Phase::Store, PhaseFact::Latency))
        );
        assert_eq!(
            ContextVariable::named("authorizer.claims.sub"),
            Some(ContextVariable::Claim("sub".into()))
        );
        assert_eq!(
            ContextVariable::named("authorizer.tenant"),
            Some(ContextVariable::Authorizer("tenant".into()))
        );
        assert_eq!(
            ContextVariable::named("waf.status"),
            Some(ContextVariable::Vacant("waf.status".into()))
        );
        assert_eq!(
            ContextVariable::named("webhook.id"),
            Some(ContextVariable::Webhook(WebhookField::Id))
        );
        assert_eq!(ContextVariable::named("webhook.colour"), None);
        assert_eq!(ContextVariable::named("authorizer.claims"), None);
        assert_eq!(ContextVariable::named("store.colour"), None);
        assert_eq!(ContextVariable::named("requestid"), None);
    }

    #[test]
    fn the_answer_s_facts_are_not_known_while_mapping() {
        assert!(
            ContextVariable::named("identity.sourceIp")
                .unwrap()
                .known_before_the_answer()
        );
        assert!(
            !ContextVariable::named("status")
                .unwrap()
                .known_before_the_answer()
        );
        assert!(
            !ContextVariable::named("store.status")
                .unwrap()
                .known_before_the_answer()
        );
    }
}
