//! What proxies say about their clients. Input: header lines (`X-Forwarded-For`, `Forwarded`, `X-Forwarded-Proto`), an
//! empty line, and a range of addresses.
//!
//! Nobody who is not trusted can say who they are: what a client puts before what the first trusted proxy wrote changes
//! nothing. And a range that is read is printed, and read again, as itself.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use penstock::model::cidr::{Cidr, Networks};
use penstock::model::forwarded::believed;
use penstock::model::peer::{Endpoint, ForwardingHeader, Peer, Trust};

fn peer(ip: &str, header: ForwardingHeader) -> Peer {
    let any = "127.0.0.1:1".parse().unwrap();
    let mut peer = Peer::tcp(any, any, "public");
    peer.source = Endpoint::Ip(std::net::SocketAddr::new(ip.parse().unwrap(), 1));
    peer.remote = peer.source;
    let proxies = ["10.0.0.0/8", "fd00::/8"].map(|range| range.parse().unwrap());
    peer.trust = Arc::new(Trust {
        proxies: Networks(proxies.to_vec()),
        header,
    });
    peer
}

pub fn run(data: &[u8]) {
    let (head, rest) = super::head_and_body(data);
    let headers = super::headers(head.lines());
    for kind in [
        ForwardingHeader::Either,
        ForwardingHeader::XForwardedFor,
        ForwardingHeader::Forwarded,
    ] {
        let trusted = peer("10.1.2.3", kind);
        let said = believed(&trusted, &headers);
        let stranger = believed(&peer("203.0.113.9", kind), &headers);
        assert_eq!((stranger.ip, stranger.secure), (None, None));
        let outside = said.ip.filter(|ip| !trusted.trust.proxies.contains(*ip));
        if let Some(ip) = outside {
            assert_eq!(ip, ip.to_canonical());
            let mut lied = HeaderMap::new();
            for (name, value) in &headers {
                let lie: &[u8] = match name.as_str() {
                    "x-forwarded-for" => b"6.6.6.6, ",
                    "forwarded" => b"for=6.6.6.6;proto=https, ",
                    _ => b"",
                };
                let value = [lie, value.as_bytes()].concat();
                lied.append(name, HeaderValue::from_bytes(&value).unwrap());
            }
            let again = believed(&trusted, &lied);
            // where two headers are read and no longer agree, neither is believed
            if again.ip.is_some() {
                assert_eq!(
                    (again.ip, again.secure),
                    (Some(ip), said.secure),
                    "{headers:?}"
                );
            } else {
                assert_eq!(kind, ForwardingHeader::Either);
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(rest) {
        range(text.trim());
    }
}

fn range(text: &str) {
    let Ok(range) = text.parse::<Cidr>() else {
        return;
    };
    let printed = range.to_string();
    assert_eq!(printed.parse::<Cidr>(), Ok(range), "{printed}");
    let Some((first, bits)) = printed.split_once('/') else {
        assert!(range.contains(printed.parse::<IpAddr>().unwrap()));
        return;
    };
    let (first, bits) = (
        first.parse::<IpAddr>().unwrap(),
        bits.parse::<u32>().unwrap(),
    );
    assert!(range.contains(first));
    assert_eq!(range.is_everything(), bits == 0);
    // an address that differs in the last bit of the prefix is outside, in the first one after it inside
    let flipped = |bit: u32| match first {
        IpAddr::V4(ip) => {
            (bit < 32).then(|| IpAddr::V4((u32::from(ip) ^ (1 << (31 - bit))).into()))
        }
        IpAddr::V6(ip) => {
            (bit < 128).then(|| IpAddr::V6((u128::from(ip) ^ (1 << (127 - bit))).into()))
        }
    };
    if let Some(inside) = flipped(bits).filter(|ip| ip.to_canonical() == *ip) {
        assert!(range.contains(inside), "{range} has {inside}");
    }
    if let Some(outside) = bits.checked_sub(1).and_then(flipped) {
        assert!(!range.contains(outside), "{range} has not {outside}");
    }
}
