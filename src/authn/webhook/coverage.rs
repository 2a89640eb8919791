//! What the sender's signature covers of a delivery, so that nobody takes what anybody could have written for proven.

use super::SchemeSpec;
use super::reference::Reference;
use super::request::Delivered;
use super::template::Template;
use http::HeaderName;

/// What SNS signs of every message (reference, 4.29).
const SIGNED_BY_SNS: [&str; 5] = ["/Message", "/MessageId", "/Timestamp", "/TopicArn", "/Type"];

/// Which of the values that name a delivery its signature covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Covered {
    pub(super) id: bool,
    pub(super) kind: bool,
}

impl SchemeSpec {
    /// Whether the value that the reference has in this delivery is part of what was signed. Where that cannot be told
    /// for certain, it is not: Twilio runs form fields together, and PayPal signs a checksum of the body.
    pub(super) fn covers(&self, reference: &Reference, delivered: &Delivered<'_>) -> bool {
        match self {
            SchemeSpec::Signed(signed) => in_template(&signed.template, reference, delivered),
            SchemeSpec::Jwt(jwt) => jwt.body_hash.is_some() && is_in_body(reference),
            SchemeSpec::Sns(_) => matches!(
                reference,
                Reference::Json(pointer) if SIGNED_BY_SNS.contains(&pointer.to_string().as_str())
            ),
            SchemeSpec::Token(_)
            | SchemeSpec::TokenOfEach { .. }
            | SchemeSpec::Basic(_)
            | SchemeSpec::Twilio(_)
            | SchemeSpec::Paypal(_)
            | SchemeSpec::Unsigned => false,
        }
    }
}

fn is_in_body(reference: &Reference) -> bool {
    matches!(
        reference,
        Reference::Body | Reference::BodySha256 | Reference::Json(_) | Reference::Form(_)
    )
}

fn in_template(template: &Template, reference: &Reference, delivered: &Delivered<'_>) -> bool {
    if template.names(reference) {
        return true;
    }
    match reference {
        Reference::Header(names) => {
            let read = first_present(names, delivered);
            let mut bare = template.holes().filter(|hole| hole.filters.is_empty());
            read.is_some()
                && bare.any(|hole| match &hole.reference {
                    Reference::Header(signed) => first_present(signed, delivered) == read,
                    _ => false,
                })
        }
        Reference::Query(_) => template.names(&Reference::Url),
        _ => {
            let whole = template.names(&Reference::Body) || template.names(&Reference::BodySha256);
            whole && is_in_body(reference)
        }
    }
}

/// The header of several that the value comes from.
fn first_present<'n>(names: &'n [HeaderName], delivered: &Delivered<'_>) -> Option<&'n HeaderName> {
    let headers = &delivered.call.headers;
    names.iter().find(|name| headers.contains_key(*name))
}
