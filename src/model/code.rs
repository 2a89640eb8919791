//! The closed set of machine-readable reasons that a refusal can carry.

use std::fmt;

/// Why a request was refused: the `code` of a problem document, the label of a metric, a field of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    Malformed,
    NoRoute,
    MethodNotAllowed,
    Unauthorized,
    Forbidden,
    ApiKeyRefused,
    SignatureRefused,
    WebhookRefused,
    Throttled,
    QuotaExceeded,
    BodyTooLarge,
    TargetLimit,
    TargetCharset,
    HeadersTooLarge,
    BadRequest,
    MappingUnresolved,
    SchemaInvalid,
    ParametersInvalid,
    IdempotencyMismatch,
    IdempotencyInFlight,
    TargetUnavailable,
    TargetThrottled,
    OutcomeUnknown,
    TargetSetup,
    TargetRefusedRecord,
    StoreFull,
    StoreUnavailable,
    VersionsUnavailable,
    Overloaded,
    Draining,
    Timeout,
    Internal,
}

impl Code {
    /// Every code, in the order of the contract.
    pub const ALL: [Code; 32] = [
        Code::Malformed,
        Code::NoRoute,
        Code::MethodNotAllowed,
        Code::Unauthorized,
        Code::Forbidden,
        Code::ApiKeyRefused,
        Code::SignatureRefused,
        Code::WebhookRefused,
        Code::Throttled,
        Code::QuotaExceeded,
        Code::BodyTooLarge,
        Code::TargetLimit,
        Code::TargetCharset,
        Code::HeadersTooLarge,
        Code::BadRequest,
        Code::MappingUnresolved,
        Code::SchemaInvalid,
        Code::ParametersInvalid,
        Code::IdempotencyMismatch,
        Code::IdempotencyInFlight,
        Code::TargetUnavailable,
        Code::TargetThrottled,
        Code::OutcomeUnknown,
        Code::TargetSetup,
        Code::TargetRefusedRecord,
        Code::StoreFull,
        Code::StoreUnavailable,
        Code::VersionsUnavailable,
        Code::Overloaded,
        Code::Draining,
        Code::Timeout,
        Code::Internal,
    ];

    /// The code as users see it.
    pub const fn name(self) -> &'static str {
        match self {
            Code::Malformed => "malformed",
            Code::NoRoute => "no_route",
            Code::MethodNotAllowed => "method_not_allowed",
            Code::Unauthorized => "unauthorized",
            Code::Forbidden => "forbidden",
            Code::ApiKeyRefused => "api_key_refused",
            Code::SignatureRefused => "signature_refused",
            Code::WebhookRefused => "webhook_refused",
            Code::Throttled => "throttled",
            Code::QuotaExceeded => "quota_exceeded",
            Code::BodyTooLarge => "body_too_large",
            Code::TargetLimit => "target_limit",
            Code::TargetCharset => "target_charset",
            Code::HeadersTooLarge => "headers_too_large",
            Code::BadRequest => "bad_request",
            Code::MappingUnresolved => "mapping_unresolved",
            Code::SchemaInvalid => "schema_invalid",
            Code::ParametersInvalid => "parameters_invalid",
            Code::IdempotencyMismatch => "idempotency_mismatch",
            Code::IdempotencyInFlight => "idempotency_in_flight",
            Code::TargetUnavailable => "target_unavailable",
            Code::TargetThrottled => "target_throttled",
            Code::OutcomeUnknown => "outcome_unknown",
            Code::TargetSetup => "target_setup",
            Code::TargetRefusedRecord => "target_refused_record",
            Code::StoreFull => "store_full",
            Code::StoreUnavailable => "store_unavailable",
            Code::VersionsUnavailable => "versions_unavailable",
            Code::Overloaded => "overloaded",
            Code::Draining => "draining",
            Code::Timeout => "timeout",
            Code::Internal => "internal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_of_codes_is_the_one_the_contract_names() {
        let names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(
            names.join(" "),
            "malformed no_route method_not_allowed unauthorized forbidden api_key_refused signature_refused \
             webhook_refused throttled quota_exceeded body_too_large target_limit target_charset headers_too_large \
             bad_request mapping_unresolved schema_invalid parameters_invalid idempotency_mismatch \
             idempotency_in_flight target_unavailable target_throttled outcome_unknown target_setup target_refused_record store_full \
             store_unavailable versions_unavailable overloaded draining timeout internal"
        );
        for (index, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, index);
        }
    }
}
