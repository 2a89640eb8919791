//! Where a delivery carries what proves it, for recordings, in which that is struck out.

use super::carrier::{Carrier, HeaderPattern, MOST_NUMBERED, Place};
use super::reference::Reference;
use super::{SchemeSpec, Spec};
use crate::model::carried::Carried;

/// What of an SNS message lets others act: its signature, and the URL that ends the subscription, for which nobody is
/// asked who they are.
const OF_SNS: [&str; 2] = ["Signature", "UnsubscribeURL"];

impl Spec {
    /// Where the delivery's signature or token is.
    pub(in crate::authn) fn carried(&self) -> Vec<Carried> {
        let source = || self.source.to_string();
        match &self.scheme {
            SchemeSpec::Signed(signed) => self.of_carrier(&signed.carrier),
            SchemeSpec::Token(carrier)
            | SchemeSpec::Basic(carrier)
            | SchemeSpec::Twilio(carrier) => self.of_carrier(carrier),
            SchemeSpec::Jwt(jwt) => self.of_carrier(&jwt.carrier),
            SchemeSpec::TokenOfEach { each, field } => {
                let mut path = each.steps().to_vec();
                path.extend([Carried::EACH.to_owned(), field.clone()]);
                vec![Carried::Member {
                    source: source(),
                    path,
                }]
            }
            SchemeSpec::Sns(_) => OF_SNS
                .map(|name| Carried::Member {
                    source: source(),
                    path: vec![name.to_owned()],
                })
                .into(),
            // The header's name says what it is.
            SchemeSpec::Paypal(_) | SchemeSpec::Unsigned => Vec::new(),
        }
    }

    fn of_carrier(&self, carrier: &Carrier) -> Vec<Carried> {
        let source = self.source.to_string();
        match &carrier.place {
            Place::Headers(patterns) => patterns.iter().flat_map(headers).collect(),
            Place::At(Reference::Header(names)) => {
                names.iter().cloned().map(Carried::Header).collect()
            }
            Place::At(Reference::Query(name)) => vec![Carried::Query(name.clone())],
            Place::At(Reference::Json(pointer)) => vec![Carried::Member {
                source,
                path: pointer.steps().to_vec(),
            }],
            Place::At(_) => vec![Carried::BodyOf(source)],
        }
    }
}

fn headers(pattern: &HeaderPattern) -> Vec<Carried> {
    match pattern {
        HeaderPattern::One(name) => vec![Carried::Header(name.clone())],
        HeaderPattern::Numbered(before, after) => (1..=MOST_NUMBERED)
            .filter_map(|number| format!("{before}{number}{after}").parse().ok())
            .map(Carried::Header)
            .collect(),
    }
}
