//! Whose bucket it is: what a throttle's `per` says, and when in a request's life that is known.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;

use crate::mapping::{Expression, Reference, Source, Sources};
use crate::model::context::{ContextVariable, Plain};
use crate::model::phase::Phase;

/// Whose bucket it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// The source address; so many bits of it, where it is one of IPv6.
    Address { ipv6_prefix: u8 },
    /// A value of the request.
    Value(Expression),
}

/// A point in a request's life at which its throttles are asked, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// Before anybody is asked who they are.
    Early,
    /// When the head has proven the caller.
    Authenticated,
    /// When the body has.
    Verified,
}

/// A caller, as a bucket knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A network, or an address.
    Address([u8; 16], usize),
    /// A value that is not empty.
    Value(Bytes),
    /// The request says nothing of it: all such requests share one bucket. Without a key it is everybody.
    Absent,
}

impl Key {
    /// The earliest point at which the value is known.
    pub fn known(&self) -> When {
        match self {
            Key::Address { .. } => When::Early,
            Key::Value(expression) => expression
                .references()
                .map(|reference| known(&reference.source))
                .max()
                .unwrap_or(When::Early),
        }
    }

    /// Whether requests may come without a value, and nothing stands in for it.
    pub fn may_be_absent(&self) -> bool {
        let chosen = |reference: &Reference| {
            reference.default.is_none()
                && matches!(
                    reference.source,
                    Source::Header(_) | Source::Query(_) | Source::BodyField(_) | Source::Body
                )
        };
        match self {
            Key::Address { .. } => false,
            Key::Value(expression) => expression.references().any(chosen),
        }
    }

    /// Whether only authentication gives the value.
    pub fn is_of_the_caller(&self) -> bool {
        self.known() == When::Authenticated
    }

    /// Who it is for a request.
    pub fn who(&self, address: IpAddr, sources: &dyn Sources) -> Who {
        match self {
            Key::Address { ipv6_prefix } => Who::at(address, *ipv6_prefix),
            Key::Value(expression) => match expression.resolve("per", sources) {
                Ok(value) if !value.is_empty() => Who::Value(value),
                _ => Who::Absent,
            },
        }
    }
}

impl Who {
    /// The network of an address: all of it for IPv4, so many bits for IPv6.
    pub fn at(address: IpAddr, ipv6_prefix: u8) -> Who {
        let mut bytes = [0; 16];
        match address.to_canonical() {
            IpAddr::V4(address) => {
                bytes[..4].copy_from_slice(&address.octets());
                Who::Address(bytes, 4)
            }
            IpAddr::V6(address) => {
                let rest = 128u32.saturating_sub(u32::from(ipv6_prefix));
                let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
                Who::Address((address.to_bits() & mask).to_be_bytes(), 16)
            }
        }
    }

    /// What buckets are told: nothing at all where there is no value.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Who::Address(bytes, length) => &bytes[..*length],
            Who::Value(value) => value,
            Who::Absent => &[],
        }
    }
}

fn known(source: &Source) -> When {
    match source {
        Source::Header(_) | Source::Query(_) | Source::Path | Source::PathVariable(_) => {
            When::Early
        }
        Source::Context(ContextVariable::Plain(plain)) => match plain {
            Plain::ApiId
            | Plain::Stage
            | Plain::DeploymentId
            | Plain::IsCanaryRequest
            | Plain::RouteKey
            | Plain::HttpMethod
            | Plain::Path
            | Plain::Protocol
            | Plain::DomainName
            | Plain::DomainPrefix
            | Plain::SourceIp
            | Plain::UserAgent
            | Plain::Listener => When::Early,
            _ => When::Authenticated,
        },
        Source::Context(ContextVariable::Phase(phase, _)) if *phase < Phase::Throttle => {
            When::Early
        }
        Source::Context(ContextVariable::Claim(_) | ContextVariable::Authorizer(_)) => {
            When::Authenticated
        }
        // By then everything is known that can be.
        _ => When::Verified,
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Address { ipv6_prefix } => {
                write!(f, "source address (IPv6: /{ipv6_prefix})")
            }
            Key::Value(expression) => {
                let written = expression.references().map(|reference| &*reference.written);
                f.write_str(&written.collect::<Vec<_>>().join(" and "))
            }
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            When::Early => "before authentication",
            When::Authenticated => "once authenticated",
            When::Verified => "once the body is verified",
        })
    }
}
