//! `$context` while a request is under way, for mappings and conditions.

use std::borrow::Cow;

use super::Exchange;
use super::ending::millis;
use crate::model::context::{ContextSource, ContextVariable, Plain};

impl ContextSource for Exchange {
    fn context(&self, variable: &ContextVariable) -> Option<Cow<'_, str>> {
        let facts = self.facts.as_deref()?;
        match variable {
            ContextVariable::Plain(Plain::MessageId) => facts
                .target
                .as_ref()?
                .message_id
                .as_deref()
                .map(Cow::Borrowed),
            ContextVariable::Plain(Plain::Durability) => {
                facts.target.as_ref()?.durability.map(Cow::Borrowed)
            }
            ContextVariable::Plain(Plain::IntegrationStatus) => facts
                .target
                .as_ref()?
                .status
                .map(|status| status.to_string().into()),
            ContextVariable::Plain(Plain::IntegrationLatency) => {
                Some(millis(facts.target.as_ref()?.latency).into())
            }
            ContextVariable::Plain(Plain::IntegrationRequestId) => facts
                .target
                .as_ref()?
                .request_id
                .as_deref()
                .map(Cow::Borrowed),
            ContextVariable::Plain(plain) => facts.early(*plain),
            ContextVariable::Phase(phase, fact) => facts.phase(*phase, *fact),
            ContextVariable::Claim(name) => {
                let claims = facts.identity.claims.as_deref()?;
                claims.get(name).map(|value| Cow::Borrowed(&**value))
            }
            ContextVariable::Authorizer(name) => {
                let values = facts.identity.values.as_deref()?;
                values.get(name).map(|value| Cow::Borrowed(&**value))
            }
            ContextVariable::Webhook(field) => facts.identity.delivery.as_ref()?.field(*field),
            ContextVariable::Vacant(_) => None,
        }
    }
}
