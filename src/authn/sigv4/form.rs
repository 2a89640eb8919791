//! The two forms in which a signature comes: the `Authorization` header, and the query of a presigned URL.

use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE};
use percent_encoding::percent_decode_str;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc2822;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

use super::{ALGORITHM, Head, Refused};

/// `YYYYMMDDTHHMMSSZ`.
pub(super) const BASIC: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// The longest that a presigned URL may be good for, in seconds.
const LONGEST: i64 = 604_800;

/// What a request says about its signature.
pub(super) struct Form {
    pub access_key: String,
    /// `YYYYMMDD`, of the scope.
    pub date: String,
    pub region: String,
    pub service: String,
    pub terminator: String,
    /// In lower case and in order, each once.
    pub signed_headers: Vec<String>,
    pub signature: String,
    /// `YYYYMMDDTHHMMSSZ`.
    pub timestamp: String,
    /// The same, in seconds since 1970.
    pub signed_at: i64,
    pub session_token: Option<String>,
    /// Presigned: how long it is good for, in seconds.
    pub expires: Option<i64>,
    /// `x-amz-content-sha256`.
    pub payload: Option<String>,
}

impl Form {
    /// Reads whichever form there is. Both at once are refused: which of them would count?
    pub fn of(head: &Head<'_>) -> Result<Form, Refused> {
        let query = head.uri.query().unwrap_or_default();
        let presigned = ["X-Amz-Signature", "X-Amz-Algorithm", "X-Amz-Credential"]
            .iter()
            .any(|name| raw(query, name).is_some());
        let mut headers = head.headers.get_all(AUTHORIZATION).iter();
        match (headers.next(), presigned) {
            (None, false) => Err(Refused::Missing),
            (None, true) => in_query(head, query),
            (Some(_), true) => Err(incomplete(
                "The request is signed in its Authorization header and in its query; only one of them is allowed.",
            )),
            (Some(value), false) => {
                if headers.next().is_some() {
                    return Err(incomplete(
                        "The request has more than one Authorization header.",
                    ));
                }
                let value = value.to_str().map_err(|_| {
                    incomplete("The Authorization header holds characters that are not allowed.")
                })?;
                in_header(head, value.trim())
            }
        }
    }
}

fn incomplete(why: impl Into<String>) -> Refused {
    Refused::Incomplete(why.into())
}

/// `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`
fn in_header(head: &Head<'_>, value: &str) -> Result<Form, Refused> {
    let (algorithm, rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
    if algorithm != ALGORITHM {
        return Err(incomplete(format!(
            "The Authorization header has to begin with {ALGORITHM}."
        )));
    }
    let mut found: [(&str, Option<&str>); 3] = [
        ("Credential", None),
        ("SignedHeaders", None),
        ("Signature", None),
    ];
    for part in rest
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let Some((_, place)) = found.iter_mut().find(|(known, _)| *known == name) else {
            return Err(incomplete(format!(
                "Authorization header has a part that is none of a signature: '{name}'."
            )));
        };
        if place.replace(value).is_some() {
            return Err(incomplete(format!(
                "Authorization header has '{name}' more than once."
            )));
        }
    }
    let needed = |at: usize| {
        let (name, value) = found[at];
        value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| incomplete(format!("Authorization header requires '{name}' parameter.")))
    };
    let (timestamp, signed_at) = time_of(head.headers)?;
    let parts = Parts {
        credential: needed(0)?,
        signed_headers: needed(1)?,
        signature: needed(2)?,
        timestamp,
        signed_at,
        session_token: text(head.headers, "x-amz-security-token")?,
        expires: None,
        payload: text(head.headers, "x-amz-content-sha256")?,
    };
    parts.form()
}

/// `X-Amz-Algorithm=…&X-Amz-Credential=…&X-Amz-Date=…&X-Amz-Expires=…&X-Amz-SignedHeaders=…&X-Amz-Signature=…`
fn in_query(head: &Head<'_>, query: &str) -> Result<Form, Refused> {
    let given = |name: &str| -> Result<Option<String>, Refused> {
        let Some(value) = raw(query, name) else {
            return Ok(None);
        };
        if named(query, name).count() > 1 {
            return Err(incomplete(format!("'{name}' stands more than once.")));
        }
        let value = percent_decode_str(value).decode_utf8();
        let value = value.map_err(|_| incomplete(format!("'{name}' is not UTF-8.")))?;
        Ok(Some(value.into_owned()).filter(|value| !value.is_empty()))
    };
    let needed = |name: &str| {
        given(name)?.ok_or_else(|| {
            incomplete(format!(
                "AWS query-string parameters must include '{name}'."
            ))
        })
    };
    if needed("X-Amz-Algorithm")? != ALGORITHM {
        return Err(incomplete(format!(
            "X-Amz-Algorithm has to be {ALGORITHM}."
        )));
    }
    let timestamp = needed("X-Amz-Date")?;
    let signed_at = basic_time(&timestamp)?;
    let expires = needed("X-Amz-Expires")?.parse::<i64>().ok();
    let expires = expires.filter(|seconds| (1..=LONGEST).contains(seconds));
    let expires = expires.ok_or_else(|| {
        incomplete(format!(
            "X-Amz-Expires is a number of seconds, 1 to {LONGEST}."
        ))
    })?;
    let parts = Parts {
        credential: &needed("X-Amz-Credential")?,
        signed_headers: &needed("X-Amz-SignedHeaders")?,
        signature: &needed("X-Amz-Signature")?,
        timestamp,
        signed_at,
        session_token: given("X-Amz-Security-Token")?,
        expires: Some(expires),
        // Signers that move headers into the query move this one too.
        payload: match text(head.headers, "x-amz-content-sha256")? {
            None => given("X-Amz-Content-Sha256")?,
            said => said,
        },
    };
    parts.form()
}

/// What either form brought, before the credential is taken apart.
struct Parts<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    timestamp: String,
    signed_at: i64,
    session_token: Option<String>,
    expires: Option<i64>,
    payload: Option<String>,
}

impl Parts<'_> {
    fn form(self) -> Result<Form, Refused> {
        let scope: Vec<&str> = self.credential.split('/').collect();
        let [access_key, date, region, service, terminator] = scope.as_slice() else {
            return Err(incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term.",
            ));
        };
        // Every signer sorts them. A name that stood often would repeat its header's value as often.
        let signed_headers: Vec<String> =
            self.signed_headers.split(';').map(str::to_owned).collect();
        let in_order = signed_headers.is_sorted_by(|one, next| one < next);
        let upper = |name: &String| name.bytes().any(|b| b.is_ascii_uppercase());
        if !in_order || signed_headers.iter().any(upper) {
            return Err(incomplete(
                "SignedHeaders are names in lower case, in alphabetical order, each once.",
            ));
        }
        Ok(Form {
            access_key: (*access_key).to_owned(),
            date: (*date).to_owned(),
            region: (*region).to_owned(),
            service: (*service).to_owned(),
            terminator: (*terminator).to_owned(),
            signed_headers,
            signature: self.signature.to_owned(),
            timestamp: self.timestamp,
            signed_at: self.signed_at,
            session_token: self.session_token,
            expires: self.expires,
            payload: self.payload,
        })
    }
}

/// The raw value of a query parameter; the first, if there are several.
fn raw<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    named(query, name).next()
}

/// The raw values of a query parameter.
fn named<'q>(query: &'q str, name: &str) -> impl Iterator<Item = &'q str> {
    let pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// A header that may stand once.
fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refused> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(incomplete(format!(
            "The header '{name}' stands more than once."
        )));
    }
    let value = value
        .to_str()
        .map_err(|_| incomplete(format!("The header '{name}' cannot be read.")))?;
    Ok(Some(value.trim().to_owned()))
}

/// The time of a signature in a header: `X-Amz-Date`, else `Date`.
fn time_of(headers: &HeaderMap) -> Result<(String, i64), Refused> {
    if let Some(timestamp) = text(headers, "x-amz-date")? {
        let signed_at = basic_time(&timestamp)?;
        return Ok((timestamp, signed_at));
    }
    let Some(date) = text(headers, DATE.as_str())? else {
        return Err(incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        ));
    };
    let bad = || incomplete("The Date header is no date of HTTP.");
    let time = OffsetDateTime::parse(&date, &Rfc2822).map_err(|_| bad())?;
    let timestamp = time.to_offset(UtcOffset::UTC).format(BASIC);
    Ok((timestamp.map_err(|_| bad())?, time.unix_timestamp()))
}

fn basic_time(timestamp: &str) -> Result<i64, Refused> {
    let time = PrimitiveDateTime::parse(timestamp, BASIC).map_err(|_| {
        incomplete("Date must be in ISO-8601 'basic format', such as 20240102T030405Z.")
    })?;
    Ok(time.assume_utc().unix_timestamp())
}
