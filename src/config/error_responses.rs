//! Refusals in other words than the gateway's own.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

/// How a kind of refusal is answered. Texts may name `$context.error.message`, `.messageString` (the same as JSON text),
/// `.code`, `.status`, `.responseType`, `.validationErrorString`, and `$context.requestId`, `.apiId`, `.stage`, `.path`,
/// `.httpMethod`, `.domainName`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorResponse {
    /// The status. Of the same class: what is the caller's fault stays 4xx, what is ours 5xx.
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<u16>,
    /// Headers to add, or to put in place of the gateway's own.
    pub headers: IndexMap<String, String>,
    /// The body. Values in it are written as its content type asks: in JSON without the quotes around them.
    pub body: Option<String>,
    /// The body's content type. Default: `application/json`.
    pub content_type: Option<String>,
}

impl ErrorResponse {
    /// What texts may name, in the vendor's words; a longer name before one that it begins with.
    pub const VARIABLES: [&'static str; 12] = [
        "$context.error.validationErrorString",
        "$context.error.messageString",
        "$context.error.responseType",
        "$context.error.message",
        "$context.error.status",
        "$context.error.code",
        "$context.domainName",
        "$context.httpMethod",
        "$context.requestId",
        "$context.apiId",
        "$context.stage",
        "$context.path",
    ];
}
