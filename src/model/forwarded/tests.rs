use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::cidr::Networks;
use crate::model::peer::Trust;

fn peer(remote: &str, header: ForwardingHeader) -> Peer {
    let ranges = ["10.0.0.0/8", "2001:db8:1::/48"];
    let proxies = Networks(ranges.iter().map(|range| range.parse().unwrap()).collect());
    Peer {
        trust: Arc::new(Trust { proxies, header }),
        ..Peer::tcp(
            remote.parse().unwrap(),
            "10.0.0.1:80".parse().unwrap(),
            "public",
        )
    }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn read(remote: &str, lines: &[(&'static str, &str)]) -> (Option<String>, Option<bool>) {
    let believed = believed(&peer(remote, ForwardingHeader::Either), &headers(lines));
    (believed.ip.map(|ip| ip.to_string()), believed.secure)
}

#[test]
fn the_rightmost_entry_that_is_not_trusted_is_the_client() {
    for (list, client) in [
        ("203.0.113.9", Some("203.0.113.9")),
        ("1.1.1.1, 203.0.113.9", Some("203.0.113.9")),
        (
            "1.1.1.1,203.0.113.9, 10.0.0.2 ,10.0.0.3",
            Some("203.0.113.9"),
        ),
        ("10.9.9.9, 203.0.113.9", Some("203.0.113.9")),
        ("10.0.0.8, 10.0.0.9", Some("10.0.0.8")),
        ("203.0.113.9:4711", Some("203.0.113.9")),
        ("2001:db8::9", Some("2001:db8::9")),
        ("[2001:db8::9]", Some("2001:db8::9")),
        ("[2001:db8::9]:4711", Some("2001:db8::9")),
        ("203.0.113.9, 2001:db8:1::2", Some("203.0.113.9")),
        ("::ffff:203.0.113.9", Some("203.0.113.9")),
        ("203.0.113.9, ::ffff:10.0.0.2", Some("203.0.113.9")),
        // what is no address ends the reading at the hop that wrote it
        ("203.0.113.9, unknown, 10.0.0.2", Some("10.0.0.2")),
        ("203.0.113.9, _hidden", None),
        ("203.0.113.9,", None),
        ("203.0.113.9,,10.0.0.2", Some("10.0.0.2")),
        ("", None),
        ("203.0.113.009", None),
        ("203.0.113.9 10.0.0.1", None),
        ("fe80::1%eth0", None),
        ("\"203.0.113.9\"", None),
    ] {
        let (ip, _) = read("10.0.0.7:1", &[("x-forwarded-for", list)]);
        assert_eq!(ip.as_deref(), client, "{list:?}");
    }
}

#[test]
fn nobody_but_a_trusted_proxy_is_believed() {
    let lines = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=203.0.113.9;proto=https"),
    ];
    assert_eq!(read("192.0.2.1:1", &lines), (None, None));
    let nobody = Peer {
        trust: Arc::default(),
        ..peer("10.0.0.7:1", ForwardingHeader::Either)
    };
    assert_eq!(believed(&nobody, &headers(&lines)), Believed::default());
}

#[test]
fn several_lines_are_one_list() {
    let lines = [
        ("x-forwarded-for", "1.1.1.1, 203.0.113.9"),
        ("x-forwarded-for", "10.0.0.2"),
    ];
    assert_eq!(read("10.0.0.7:1", &lines).0.as_deref(), Some("203.0.113.9"));
    let lines = [
        ("forwarded", "for=1.1.1.1, for=203.0.113.9;proto=https"),
        ("forwarded", "for=10.0.0.2;proto=http"),
    ];
    assert_eq!(
        read("10.0.0.7:1", &lines),
        (Some("203.0.113.9".to_owned()), Some(true))
    );
}

#[test]
fn elements_of_forwarded_are_read_as_rfc_7239_has_them() {
    let ip = |text: &str| Some(text.to_owned());
    for (line, expected) in [
        ("for=192.0.2.43", (ip("192.0.2.43"), None)),
        (
            "For=\"192.0.2.43\";Proto=HTTPS",
            (ip("192.0.2.43"), Some(true)),
        ),
        (
            "for=\"[2001:db8:cafe::17]:4711\"",
            (ip("2001:db8:cafe::17"), None),
        ),
        (
            "for=\"[2001:db8:cafe::17]\"",
            (ip("2001:db8:cafe::17"), None),
        ),
        (
            "for=192.0.2.60;proto=http;by=203.0.113.43",
            (ip("192.0.2.60"), Some(false)),
        ),
        (
            "by=\"a,b;c=\\\"d\";for=192.0.2.60",
            (ip("192.0.2.60"), None),
        ),
        (
            "for=192.0.2.43, for=198.51.100.17",
            (ip("198.51.100.17"), None),
        ),
        (
            "for=192.0.2.43 ; proto=https",
            (ip("192.0.2.43"), Some(true)),
        ),
        ("for=\"192.0.2.43:47011\"", (ip("192.0.2.43"), None)),
        ("for=192.0.2.43:47011", (ip("192.0.2.43"), None)),
        ("for=\"192.0.2.43:_gazonk\"", (ip("192.0.2.43"), None)),
        (
            "for=192.0.2.43, for=10.0.0.2;proto=https",
            (ip("192.0.2.43"), None),
        ),
        ("for=192.0.2.43, for=unknown", (None, None)),
        ("for=192.0.2.43, for=_SEVKISEK", (None, None)),
        ("for=192.0.2.43, proto=https", (None, None)),
        ("for=192.0.2.43;for=10.0.0.1", (None, None)),
        ("for=192.0.2.43, for=", (None, None)),
        ("for=192.0.2.43, for=\"10.0.0.2", (None, None)),
        // a mark left open does not swallow what the proxy has added
        (
            "for=\"192.0.2.43, for=198.51.100.17",
            (ip("198.51.100.17"), None),
        ),
        ("for=\"\\, for=198.51.100.17", (ip("198.51.100.17"), None)),
    ] {
        assert_eq!(
            read("10.0.0.7:1", &[("forwarded", line)]),
            expected,
            "{line}"
        );
    }
}

#[test]
fn where_both_headers_stand_and_differ_neither_is_believed_unless_told_which() {
    let lines = headers(&[
        ("forwarded", "for=198.51.100.17;proto=https"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "http"),
    ]);
    for (header, ip, secure) in [
        (ForwardingHeader::XForwardedFor, "203.0.113.9", false),
        (ForwardingHeader::Forwarded, "198.51.100.17", true),
    ] {
        let believed = believed(&peer("10.0.0.7:1", header), &lines);
        assert_eq!(believed.ip.unwrap().to_string(), ip);
        assert_eq!(believed.secure, Some(secure));
    }
    let either = peer("10.0.0.7:1", ForwardingHeader::Either);
    assert_eq!(believed(&either, &lines), Believed::default());
    let agreed = headers(&[
        ("forwarded", "for=203.0.113.9;proto=https"),
        ("x-forwarded-for", "203.0.113.9"),
    ]);
    let agreed = believed(&either, &agreed).ip.unwrap();
    assert_eq!(agreed.to_string(), "203.0.113.9");
    let only_x = peer("10.0.0.7:1", ForwardingHeader::XForwardedFor);
    let lines = headers(&[("forwarded", "for=198.51.100.17;proto=https")]);
    assert_eq!(believed(&only_x, &lines), Believed::default());
}

#[test]
fn the_protocol_is_what_the_nearest_proxy_has_seen() {
    for (lines, secure) in [
        (vec![("x-forwarded-proto", "https")], Some(true)),
        (vec![("x-forwarded-proto", "https, http")], Some(false)),
        (
            vec![
                ("x-forwarded-proto", "http"),
                ("x-forwarded-proto", "HTTPS"),
            ],
            Some(true),
        ),
        (vec![("x-forwarded-proto", "gopher")], None),
        (vec![], None),
    ] {
        assert_eq!(read("10.0.0.7:1", &lines).1, secure, "{lines:?}");
    }
}

proptest! {
    /// Whatever a client sends, what a trusted proxy adds at the right decides.
    #[test]
    fn what_a_client_writes_never_hides_what_its_proxy_adds(theirs in "[ -~\t]{0,40}", v6 in any::<bool>()) {
        let client = if v6 { "2001:db8::9" } else { "203.0.113.9" };
        let list = format!("{theirs}, {client}");
        let (ip, _) = read("10.0.0.7:1", &[("x-forwarded-for", &list)]);
        prop_assert_eq!(ip.as_deref(), Some(client));
        let line = format!("{theirs}, for=\"{}\"", if v6 { "[2001:db8::9]" } else { "203.0.113.9" });
        let (ip, _) = read("10.0.0.7:1", &[("forwarded", &line)]);
        prop_assert_eq!(ip.as_deref(), Some(client));
        let lines = [("forwarded", theirs.as_str()), ("forwarded", line.as_str())];
        let (ip, _) = read("10.0.0.7:1", &lines);
        prop_assert_eq!(ip.as_deref(), Some(client));
    }
}
