//! `/v1/authorizers/NAME/flush`: forgets what a request authorizer has answered, so that it is asked again. For whoever
//! may change messages.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::guard::Guard;
use super::json_response;
use super::queues::Refused;
use crate::authn::Authenticator;
use crate::pipeline::Gateway;

/// The name in `/v1/authorizers/NAME/flush`, as it stands there.
pub(super) fn addressed(path: &str) -> Option<&str> {
    let name = path
        .strip_prefix("/v1/authorizers/")?
        .strip_suffix("/flush")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Answers a POST to it.
pub(super) fn flush(
    gateway: &Gateway,
    guard: &Guard,
    name: &str,
    headers: &HeaderMap,
) -> Response<Full<Bytes>> {
    let name = percent_decode_str(name).decode_utf8_lossy();
    let done = guard
        .may_write(headers)
        .and_then(|()| forgotten(gateway, &name));
    match done {
        Ok(count) => {
            tracing::info!(authorizer = %name, count, "An authorizer's answers were forgotten");
            json_response(StatusCode::OK, &json!({ "forgotten": count }))
        }
        Err(refused) => json_response(refused.status, &json!({ "error": refused.message })),
    }
}

/// How many answers there were.
fn forgotten(gateway: &Gateway, name: &str) -> Result<usize, Refused> {
    let plan = gateway.current.load();
    let mut named = plan.authorizers(name).peekable();
    let known = named.peek().is_some();
    let counts: Vec<usize> = named
        .filter_map(|authorizer| match authorizer {
            Authenticator::Lambda(lambda) => Some(lambda.flush()),
            _ => None,
        })
        .collect();
    match (known, counts.as_slice()) {
        (true, [_, ..]) => Ok(counts.iter().sum()),
        (true, []) => Err(Refused::asked_wrongly(format!(
            "the authorizer {name:?} asks nobody, so there is nothing to forget"
        ))),
        (false, _) => Err(Refused {
            status: StatusCode::NOT_FOUND,
            message: format!("no route names an authorizer {name:?}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        assert_eq!(addressed("/v1/authorizers/legacy/flush"), Some("legacy"));
        for path in [
            "/v1/authorizers//flush",
            "/v1/authorizers/a/b/flush",
            "/v1/authorizers/legacy",
            "/v1/authorizers/flush",
        ] {
            assert_eq!(addressed(path), None, "{path}");
        }
    }
}
