//! Where a request carries its token.

use std::borrow::Cow;
use std::str::FromStr;

use http::HeaderName;
use http::header::AUTHORIZATION;

use super::refusal::Refusal;
use crate::model::call::Call;

/// Where a request carries its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenSource {
    Header(HeaderName),
    Query(String),
}

impl Default for TokenSource {
    fn default() -> Self {
        TokenSource::Header(AUTHORIZATION)
    }
}

impl FromStr for TokenSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("$request.header.") {
            return name
                .parse()
                .map(TokenSource::Header)
                .map_err(|_| format!("{name:?} is not a header name"));
        }
        match text.strip_prefix("$request.querystring.") {
            Some(name) if !name.is_empty() => Ok(TokenSource::Query(name.to_owned())),
            _ => Err(format!(
                "{text:?} is not a place for a token; allowed: `$request.header.NAME`, `$request.querystring.NAME`"
            )),
        }
    }
}

impl TokenSource {
    /// The token that a request carries: as it is, or after `Bearer` in any case (reference, 4.2). `Authorization` with
    /// another scheme carries none.
    pub(super) fn find<'c>(&self, call: &'c Call) -> Result<Cow<'c, [u8]>, Refusal> {
        let value = match self {
            TokenSource::Header(name) => {
                let mut values = call.headers.get_all(name).iter();
                match (values.next(), values.next()) {
                    (None, _) => return Err(Refusal::Missing),
                    (Some(value), None) => Cow::Borrowed(value.as_bytes()),
                    (Some(_), Some(_)) => return Err(Refusal::Several),
                }
            }
            TokenSource::Query(name) => Cow::Owned(call.query(name).ok_or(Refusal::Missing)?),
        };
        let token = match value {
            Cow::Borrowed(value) => Cow::Borrowed(bare(value)),
            Cow::Owned(value) => Cow::Owned(bare(&value).to_vec()),
        };
        if token.is_empty() {
            return Err(Refusal::Missing);
        }
        Ok(token)
    }
}

/// The token of `Bearer TOKEN`; nothing where the scheme is another; a value without a scheme as it is.
fn bare(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    let scheme_end = value.iter().position(|byte| *byte == b' ');
    let (scheme, rest) = value.split_at(scheme_end.unwrap_or(value.len()));
    match (scheme.eq_ignore_ascii_case(b"bearer"), scheme_end) {
        (true, _) => rest.trim_ascii(),
        // A scheme is short and has no dots (RFC 9110, 11.1); a broken token is told that it is one.
        (false, Some(_)) if !scheme.contains(&b'.') => &[],
        (false, _) => value,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::peer::Peer;

    fn call(uri: &str, values: &[&str]) -> Call {
        let mut request = http::Request::builder().uri(uri);
        for value in values {
            request = request.header("authorization", *value);
        }
        let any = "127.0.0.1:1".parse().unwrap();
        let peer = Peer::tcp(any, any, "public");
        Call::new(request.body(()).unwrap().into_parts().0, Arc::new(peer))
    }

    #[test]
    fn a_token_stands_alone_or_after_bearer_in_any_case() {
        let rows: [(&[&str], Result<&str, Refusal>); 11] = [
            (&["a.b.c"], Ok("a.b.c")),
            (&["Bearer a.b.c"], Ok("a.b.c")),
            (&["bEARER   a.b.c "], Ok("a.b.c")),
            (&["Bearer Bearer a.b.c"], Ok("Bearer a.b.c")),
            (&["Bearer a.b.c, Bearer d"], Ok("a.b.c, Bearer d")),
            (&[], Err(Refusal::Missing)),
            (&[""], Err(Refusal::Missing)),
            (&["Bearer"], Err(Refusal::Missing)),
            (&["Bearer "], Err(Refusal::Missing)),
            (&["Basic dTpw"], Err(Refusal::Missing)),
            (&["a.b.c", "a.b.c"], Err(Refusal::Several)),
        ];
        for (values, expected) in rows {
            let call = call("/", values);
            let found = TokenSource::default().find(&call);
            let found = found.as_deref().map_err(Clone::clone);
            assert_eq!(found, expected.map(str::as_bytes), "{values:?}");
        }
    }

    #[test]
    fn a_query_source_looks_in_the_query_alone() {
        let source: TokenSource = "$request.querystring.token".parse().unwrap();
        let found = call("/?token=a.b.c", &["x.y.z"]);
        assert_eq!(source.find(&found).as_deref(), Ok(&b"a.b.c"[..]));
        assert_eq!(
            source.find(&call("/?t=a", &["x.y.z"])),
            Err(Refusal::Missing)
        );
        let twice = call("/?token=a.b.c&token=d.e.f", &[]);
        assert_eq!(source.find(&twice).as_deref(), Ok(&b"a.b.c,d.e.f"[..]));
        for wrong in [
            "authorization",
            "$request.header.",
            "$request.querystring.",
            "$request.body.t",
        ] {
            assert!(wrong.parse::<TokenSource>().is_err(), "{wrong}");
        }
    }
}
