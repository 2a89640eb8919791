//! What policies can ask about a request: the condition keys (reference, 12.1), where each gets its value from, and what
//! each is compared with.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{REFERER, USER_AGENT};

use crate::model::identity::Presented;
use crate::model::problem::nearest;

/// A condition key. Names are written in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    CurrentTime,
    EpochTime,
    Referer,
    SecureTransport,
    SourceIp,
    SourceVpce,
    VpcSourceIp,
    UserAgent,
    PrincipalAccount,
    PrincipalArn,
    PrincipalType,
    UserId,
    Username,
    /// One that the vendor knows and that never has a value here.
    Vacant(&'static str),
    /// `aws:PrincipalTag/NAME`, which never has a value here.
    PrincipalTag(String),
}

/// What the value of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Text,
    /// Seconds since 1970, which is a number as well as a time.
    Epoch,
    Time,
    Number,
    Bool,
    Address,
    Arn,
}

/// Every key without a parameter.
const NAMES: [(&str, Key); 23] = [
    ("aws:CurrentTime", Key::CurrentTime),
    ("aws:EpochTime", Key::EpochTime),
    ("aws:Referer", Key::Referer),
    ("aws:SecureTransport", Key::SecureTransport),
    ("aws:SourceIp", Key::SourceIp),
    ("aws:SourceVpce", Key::SourceVpce),
    ("aws:VpcSourceIp", Key::VpcSourceIp),
    ("aws:UserAgent", Key::UserAgent),
    ("aws:PrincipalAccount", Key::PrincipalAccount),
    ("aws:PrincipalArn", Key::PrincipalArn),
    ("aws:PrincipalType", Key::PrincipalType),
    ("aws:userid", Key::UserId),
    ("aws:username", Key::Username),
    ("aws:SourceArn", Key::Vacant("aws:SourceArn")),
    ("aws:SourceAccount", Key::Vacant("aws:SourceAccount")),
    ("aws:SourceVpc", Key::Vacant("aws:SourceVpc")),
    ("aws:PrincipalOrgID", Key::Vacant("aws:PrincipalOrgID")),
    (
        "aws:PrincipalOrgPaths",
        Key::Vacant("aws:PrincipalOrgPaths"),
    ),
    ("aws:TokenIssueTime", Key::Vacant("aws:TokenIssueTime")),
    (
        "aws:MultiFactorAuthPresent",
        Key::Vacant("aws:MultiFactorAuthPresent"),
    ),
    (
        "aws:MultiFactorAuthAge",
        Key::Vacant("aws:MultiFactorAuthAge"),
    ),
    ("aws:ViaAWSService", Key::Vacant("aws:ViaAWSService")),
    ("aws:RequestedRegion", Key::Vacant("aws:RequestedRegion")),
];

impl Key {
    /// The key of that name; else what to write.
    pub fn named(name: &str) -> Result<Key, String> {
        let known = NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        if let Some((_, key)) = known {
            return Ok(key.clone());
        }
        if let Some((prefix, tag)) = name.split_once('/')
            && prefix.eq_ignore_ascii_case("aws:PrincipalTag")
            && !tag.is_empty()
        {
            return Ok(Key::PrincipalTag(tag.to_owned()));
        }
        let near = nearest(name, NAMES.iter().map(|(known, _)| *known));
        Err(match near {
            Some(near) => format!("`{name}` is not a condition key; did you mean `{near}`?"),
            None => format!("`{name}` is not a condition key that is known here"),
        })
    }

    /// Whether requests never have a value for it here.
    pub fn is_vacant(&self) -> bool {
        matches!(self, Key::Vacant(_) | Key::PrincipalTag(_))
    }

    /// What its value is.
    pub fn sort(&self) -> Sort {
        match self {
            Key::CurrentTime | Key::Vacant("aws:TokenIssueTime") => Sort::Time,
            Key::EpochTime => Sort::Epoch,
            Key::SecureTransport
            | Key::Vacant("aws:MultiFactorAuthPresent" | "aws:ViaAWSService") => Sort::Bool,
            Key::Vacant("aws:MultiFactorAuthAge") => Sort::Number,
            Key::SourceIp | Key::VpcSourceIp => Sort::Address,
            Key::PrincipalArn | Key::Vacant("aws:SourceArn") => Sort::Arn,
            _ => Sort::Text,
        }
    }
}

/// Someone who signed a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// `aws:username` and `aws:userid`.
    pub name: Arc<str>,
    /// Twelve digits.
    pub account: Arc<str>,
    /// `arn:aws:iam::ACCOUNT:user/NAME`.
    pub arn: Arc<str>,
    /// Whether the user is of another account than the gateway's own.
    pub foreign: bool,
}

/// What is known when a policy is asked.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    presented: Option<&'a Presented<'a>>,
    caller: Option<&'a Principal>,
}

impl<'a> Facts<'a> {
    /// What is known of a request, and of who signed it.
    pub fn of(presented: &'a Presented<'a>, caller: Option<&'a Principal>) -> Facts<'a> {
        Facts {
            presented: Some(presented),
            caller,
        }
    }

    /// Nothing is known: for patterns without variables.
    pub(super) fn nothing() -> Facts<'a> {
        Facts {
            presented: None,
            caller: None,
        }
    }

    /// Who signed.
    pub(super) fn caller(&self) -> Option<&'a Principal> {
        self.caller
    }

    /// The key's value, as text. A header that is sent twice has no value that could be trusted to be one.
    pub(super) fn value(&self, key: &Key) -> Option<Cow<'a, str>> {
        let presented = self.presented?;
        let call = presented.call;
        let caller = |text: fn(&'a Principal) -> &'a str| self.caller.map(text).map(Cow::Borrowed);
        let header = |name| {
            let mut values = call.headers.get_all(name).iter();
            let value = values.next().filter(|_| values.next().is_none())?;
            value.to_str().ok().map(Cow::Borrowed)
        };
        match key {
            Key::CurrentTime | Key::EpochTime => Some(Cow::Owned(presented.now.to_string())),
            Key::Referer => header(REFERER),
            Key::UserAgent => header(USER_AGENT),
            Key::SecureTransport => Some(Cow::Borrowed(if is_secure(presented) {
                "true"
            } else {
                "false"
            })),
            Key::SourceIp => Some(Cow::Owned(call.source_ip().to_string())),
            Key::SourceVpce => vpce(presented).map(Cow::Borrowed),
            Key::VpcSourceIp => vpce(presented).map(|_| Cow::Owned(call.source_ip().to_string())),
            Key::PrincipalAccount => caller(|caller| &caller.account),
            Key::PrincipalArn => caller(|caller| &caller.arn),
            Key::PrincipalType => Some(Cow::Borrowed(match self.caller {
                Some(_) => "User",
                None => "Anonymous",
            })),
            Key::UserId | Key::Username => caller(|caller| &caller.name),
            Key::Vacant(_) | Key::PrincipalTag(_) => None,
        }
    }
}

fn is_secure(presented: &Presented<'_>) -> bool {
    presented.call.is_secure()
}

fn vpce<'a>(presented: &Presented<'a>) -> Option<&'a str> {
    presented.call.peer.vpce.as_deref()
}
