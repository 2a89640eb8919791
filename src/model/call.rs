//! A request as it came in: its head, who sent it, when, and its id. The body is not part of it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::{COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use percent_encoding::percent_decode_str;

use super::forwarded::{Believed, believed};
use super::peer::{Endpoint, Peer};
use super::request_id::RequestId;

/// The id that a client gives its request.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest such id that is taken over, in bytes.
const LONGEST_CLIENT_ID: usize = 128;

/// The head of a request and what is known about it on arrival.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: RequestId,
    pub peer: Arc<Peer>,
    /// When the head had arrived, for measuring.
    pub arrived: Instant,
    /// The same moment by the wall clock, for writing down.
    pub arrived_at: SystemTime,
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    /// What trusted proxies say about the client.
    believed: Believed,
}

impl Call {
    /// A call from a request's head; mints its id and notes the time. What HTTP/2 says in its own way is put as
    /// HTTP/1.1 says it: `:authority` is a `Host` (RFC 9113, 8.3.1), cookie crumbs are one `Cookie` (8.2.3).
    pub fn new(mut head: Parts, peer: Arc<Peer>) -> Call {
        if head.version == Version::HTTP_2 {
            as_in_http_1(&mut head);
        }
        Call {
            id: RequestId::mint(),
            believed: believed(&peer, &head.headers),
            peer,
            arrived: Instant::now(),
            arrived_at: SystemTime::now(),
            method: head.method,
            uri: head.uri,
            version: head.version,
            headers: head.headers,
        }
    }

    /// The client's address, as throttles, policies and logs go by it: what the connection says (its PROXY header
    /// included), and where that is a trusted proxy, what it says. A client on a Unix socket is 127.0.0.1.
    pub fn source_ip(&self) -> IpAddr {
        self.believed.ip.unwrap_or_else(|| self.peer.source.ip())
    }

    /// The client's address as it is written down: `unix` for a Unix socket.
    pub fn source(&self) -> Cow<'static, str> {
        match (self.believed.ip, self.peer.source) {
            (None, Endpoint::Unix) => Cow::Borrowed("unix"),
            _ => Cow::Owned(written(self.source_ip())),
        }
    }

    /// Whether the client's own connection is encrypted, by what a trusted proxy says, else by what the connection is.
    pub fn is_secure(&self) -> bool {
        self.believed.secure.unwrap_or(self.peer.secure)
    }

    /// The `X-Request-Id` that came with the request, from trusted proxies alone; one that is not up to 128 visible
    /// ASCII characters is none.
    pub fn client_request_id(&self) -> Option<&str> {
        if !self.peer.is_trusted() {
            return None;
        }
        let id = self.headers.get(X_REQUEST_ID)?.to_str().ok()?;
        let fits = (1..=LONGEST_CLIENT_ID).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then_some(id)
    }

    /// The path as received, percent-encoding and all.
    pub fn raw_path(&self) -> &str {
        self.uri.path()
    }

    /// The query as received, without `?`.
    pub fn raw_query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// The values of a header joined by `,`, in the order of their arrival; `None` if absent. Not UTF-8: the bytes
    /// that are not are replaced.
    pub fn header(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        let mut values = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        let first = values.next()?;
        Some(values.fold(first, |joined, value| {
            Cow::Owned(format!("{joined},{value}"))
        }))
    }

    /// The values of a query parameter joined by `,`; names are case-sensitive, `+` is a space (reference, 1.4). The
    /// values are bytes: what was encoded need not be UTF-8.
    pub fn query(&self, name: &str) -> Option<Vec<u8>> {
        let mut joined: Option<Vec<u8>> = None;
        for pair in self.raw_query()?.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if form_decoded(key) == name.as_bytes() {
                let value = form_decoded(value);
                match &mut joined {
                    None => joined = Some(value),
                    Some(values) => {
                        values.push(b',');
                        values.extend(value);
                    }
                }
            }
        }
        joined
    }

    /// Every query parameter in the order of arrival, decoded as [`Call::query`] does; bytes that are not UTF-8 are replaced.
    pub fn query_pairs(&self) -> impl Iterator<Item = (String, String)> {
        let text = |piece| String::from_utf8_lossy(&form_decoded(piece)).into_owned();
        let pairs = self.raw_query().unwrap_or_default().split('&');
        pairs.filter(|pair| !pair.is_empty()).map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (text(name), text(value))
        })
    }

    /// The host that the caller named: the request target's authority, else the `Host` header; without the port.
    pub fn host(&self) -> Option<&str> {
        let named = match self.uri.authority() {
            Some(authority) => authority.as_str(),
            None => self.headers.get(http::header::HOST)?.to_str().ok()?,
        };
        match named.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
                Some(host)
            }
            _ => Some(named),
        }
    }

    /// The protocol as access logs write it.
    pub fn protocol(&self) -> &'static str {
        match self.version {
            Version::HTTP_09 => "HTTP/0.9",
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_3 => "HTTP/3.0",
            _ => "HTTP/1.1",
        }
    }
}

/// An address as text. Every line of the access log has one, and the formatting machinery is slow at four small numbers.
fn written(ip: IpAddr) -> String {
    let IpAddr::V4(ip) = ip else {
        return ip.to_string();
    };
    let mut text = String::with_capacity("255.255.255.255".len());
    for octet in ip.octets() {
        if !text.is_empty() {
            text.push('.');
        }
        let digit = |number: u8| char::from(b'0' + number % 10);
        if octet >= 100 {
            text.push(digit(octet / 100));
        }
        if octet >= 10 {
            text.push(digit(octet / 10));
        }
        text.push(digit(octet));
    }
    text
}

fn as_in_http_1(head: &mut Parts) {
    let authority = head
        .uri
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let (Some(authority), false) = (authority, head.headers.contains_key(HOST)) {
        head.headers.insert(HOST, authority);
    }
    if head.headers.get_all(COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<&[u8]> = head
            .headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            head.headers.insert(COOKIE, cookie);
        }
    }
}

/// A piece of a query, decoded: `%XX` once, `+` to a space.
fn form_decoded(piece: &str) -> Vec<u8> {
    percent_decode_str(&piece.replace('+', " ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(uri: &str, headers: &[(&'static str, &str)]) -> Call {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let any = "127.0.0.1:1".parse().unwrap();
        Call::new(head, Arc::new(Peer::tcp(any, any, "public")))
    }

    #[test]
    fn addresses_are_written_as_the_library_writes_them() {
        for text in [
            "0.0.0.0",
            "10.1.20.100",
            "255.255.255.255",
            "192.0.2.7",
            "2001:db8::1",
        ] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(written(ip), ip.to_string());
        }
    }

    #[test]
    fn repeated_query_names_are_joined_and_plus_is_a_space() {
        let call = call("/p?a=1&b=x+y&a=2%2B3&A=4&flag&raw=%FF%00", &[]);
        assert_eq!(call.query("raw").as_deref(), Some(&[0xff, 0][..]));
        assert_eq!(call.query("a").as_deref(), Some(&b"1,2+3"[..]));
        assert_eq!(call.query("b").as_deref(), Some(&b"x y"[..]));
        assert_eq!(call.query("flag").as_deref(), Some(&b""[..]));
        assert_eq!(call.query("c"), None);
    }

    #[test]
    fn repeated_headers_are_joined_in_order() {
        let call = call("/", &[("x-a", "1"), ("x-a", "2")]);
        assert_eq!(
            call.header(&HeaderName::from_static("x-a")).as_deref(),
            Some("1,2")
        );
        assert_eq!(call.header(&HeaderName::from_static("x-b")), None);
    }

    #[test]
    fn what_http_2_says_in_its_own_way_is_put_as_http_1_says_it() {
        let request = http::Request::builder()
            .version(Version::HTTP_2)
            .uri("http://shop.example:8080/p")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        let any = "127.0.0.1:1".parse().unwrap();
        let peer = Arc::new(Peer::tcp(any, any, "public"));
        let call = Call::new(request.body(()).unwrap().into_parts().0, peer);
        assert_eq!(call.header(&HOST).as_deref(), Some("shop.example:8080"));
        assert_eq!(call.header(&COOKIE).as_deref(), Some("a=1; b=2"));
    }

    #[test]
    fn the_host_is_named_by_the_target_or_by_the_header_and_has_no_port() {
        assert_eq!(
            call("/", &[("host", "shop.example:8080")]).host(),
            Some("shop.example")
        );
        assert_eq!(
            call("http://a.example/x", &[("host", "b.example")]).host(),
            Some("a.example")
        );
        assert_eq!(call("/", &[("host", "[::1]:80")]).host(), Some("[::1]"));
        assert_eq!(call("/", &[]).host(), None);
    }

    #[test]
    fn what_proxies_say_is_taken_over_from_trusted_ones_alone() {
        let call = |proxy: bool, id: &str| {
            let request = http::Request::builder()
                .header("x-forwarded-for", "203.0.113.9")
                .header("x-forwarded-proto", "https")
                .header("x-request-id", id);
            let any = "10.0.0.7:1".parse().unwrap();
            let mut peer = Peer::tcp(any, any, "public");
            if proxy {
                let trust = Arc::make_mut(&mut peer.trust);
                trust.proxies.0.push("10.0.0.0/8".parse().unwrap());
            }
            Call::new(request.body(()).unwrap().into_parts().0, Arc::new(peer))
        };
        let believed = call(true, "a-1");
        assert_eq!(believed.source(), "203.0.113.9");
        assert!(believed.is_secure());
        assert_eq!(believed.client_request_id(), Some("a-1"));
        assert_eq!(call(true, "a 1").client_request_id(), None);
        assert_eq!(call(true, &"a".repeat(129)).client_request_id(), None);
        let stranger = call(false, "a-1");
        assert_eq!(stranger.source(), "10.0.0.7");
        assert!(!stranger.is_secure());
        assert_eq!(stranger.client_request_id(), None);
    }

    #[test]
    fn a_client_on_a_unix_socket_is_shown_as_such_and_counts_as_loopback() {
        let head = http::Request::new(()).into_parts().0;
        let peer = Peer::new(Endpoint::Unix, Endpoint::Unix, "local".into());
        let call = Call::new(head, Arc::new(peer));
        assert_eq!(call.source(), "unix");
        assert!(call.source_ip().is_loopback());
    }
}
