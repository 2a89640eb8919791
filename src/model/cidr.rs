//! Ranges of addresses, and whom lists of them let pass. IPv4 addresses that came as IPv6 (`::ffff:10.0.0.1`) are the
//! IPv4 addresses that they are, in ranges and in what is looked up.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _};

/// A range of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr(IpNet);

/// Several ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Networks(pub Vec<Cidr>);

/// Whom a listener or a route lets pass by address: `deny` wins, and `allow`, where it names anything, is all there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    pub allow: Networks,
    pub deny: Networks,
}

/// Why an address may not pass. For logs: the public words do not show which list it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    #[error("{0} is in `deny`")]
    Denied(IpAddr),
    #[error("{0} is not in `allow`")]
    NotAllowed(IpAddr),
}

impl Cidr {
    /// Whether the address is in the range.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }

    /// Whether every address of the range is out of the reach of the public internet: loopback, private (RFC 1918),
    /// shared (RFC 6598), unique local, link-local.
    pub fn is_private(&self) -> bool {
        let within = |ranges: &[(IpAddr, u8)]| {
            ranges.iter().any(|(ip, prefix)| {
                IpNet::new(*ip, *prefix).is_ok_and(|range| range.contains(&self.0))
            })
        };
        within(&PRIVATE)
    }

    /// Whether the range is everything there is of its kind.
    pub fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }
}

const fn v4(a: u8, b: u8, prefix: u8) -> (IpAddr, u8) {
    (IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), prefix)
}

const fn v6(first: u16, prefix: u8) -> (IpAddr, u8) {
    let ip = Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0);
    (IpAddr::V6(ip), prefix)
}

/// What the public internet does not route.
const PRIVATE: [(IpAddr, u8); 9] = [
    v4(10, 0, 8),
    v4(127, 0, 8),
    v4(172, 16, 12),
    v4(192, 168, 16),
    v4(169, 254, 16),
    v4(100, 64, 10),
    v6(0xfc00, 7),
    v6(0xfe80, 10),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
];

/// Whether an address is one that the public internet does not route.
pub fn is_private(ip: IpAddr) -> bool {
    Cidr(IpNet::from(ip.to_canonical())).is_private()
}

impl Networks {
    /// Whether one of the ranges holds the address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|range| range.0.contains(&ip))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Access {
    /// Whether the address may pass, and if not, why.
    pub fn admits(&self, ip: IpAddr) -> Result<(), Barred> {
        if self.deny.contains(ip) {
            return Err(Barred::Denied(ip.to_canonical()));
        }
        if self.allow.is_empty() || self.allow.contains(ip) {
            Ok(())
        } else {
            Err(Barred::NotAllowed(ip.to_canonical()))
        }
    }

    /// Whether nothing is asked of an address.
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let written = match text.parse::<IpAddr>() {
            Ok(ip) => IpNet::from(ip),
            Err(_) => text.parse::<IpNet>().map_err(|_| {
                format!("{text:?} is not a range of addresses; write one such as 10.0.0.0/8, 2001:db8::/32, or one address")
            })?,
        };
        if written.trunc() != written {
            return Err(format!(
                "{text:?} names an address within its range; write {} or {}",
                written.trunc(),
                written.addr()
            ));
        }
        Ok(Cidr(canonical(written)))
    }
}

/// A range of IPv4 addresses in IPv6 clothes (RFC 4291, 2.5.5.2), undressed.
fn canonical(range: IpNet) -> IpNet {
    if let IpNet::V6(v6) = range
        && v6.prefix_len() >= 96
        && let Some(ip) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(ip, v6.prefix_len() - 96)
    {
        return IpNet::V4(v4);
    }
    range
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cidr, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Cidr {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Cidr".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A range of addresses such as `10.0.0.0/8` or `2001:db8::/32`, or one address."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(ranges: &[&str]) -> Networks {
        Networks(ranges.iter().map(|range| range.parse().unwrap()).collect())
    }

    #[test]
    fn ranges_are_read_and_shown_and_what_is_none_says_what_to_write() {
        for (written, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(written.parse::<Cidr>().unwrap().to_string(), shown);
        }
        for wrong in [
            "10.0.0.0/33",
            "10.0.0",
            "10.0.0.0/-1",
            "",
            "a",
            "fe80::1%eth0",
            "10.0.0.0/08x",
        ] {
            let said = wrong.parse::<Cidr>().unwrap_err();
            assert!(said.contains("is not a range"), "{wrong}: {said}");
        }
        assert_eq!(
            "10.0.0.5/8".parse::<Cidr>().unwrap_err(),
            "\"10.0.0.5/8\" names an address within its range; write 10.0.0.0/8 or 10.0.0.5"
        );
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_found_where_it_belongs() {
        let ten = networks(&["10.0.0.0/8"]);
        for (ip, inside) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.0", false),
            ("::ffff:11.0.0.0", false),
            ("::10.1.2.3", false),
            ("fe80::1", false),
        ] {
            assert_eq!(ten.contains(ip.parse().unwrap()), inside, "{ip}");
        }
        assert!(!networks(&["::/0"]).contains("10.1.2.3".parse().unwrap()));
        assert!(!networks(&["::/0"]).contains("::ffff:10.1.2.3".parse().unwrap()));
    }

    #[test]
    fn deny_wins_and_allow_is_all_there_is() {
        let access = Access {
            allow: networks(&["10.0.0.0/8"]),
            deny: networks(&["10.6.6.0/24"]),
        };
        let asked = |ip: &str| access.admits(ip.parse().unwrap());
        assert_eq!(asked("10.1.1.1"), Ok(()));
        assert_eq!(
            asked("::ffff:10.6.6.6").unwrap_err().to_string(),
            "10.6.6.6 is in `deny`"
        );
        assert_eq!(
            asked("192.0.2.1").unwrap_err().to_string(),
            "192.0.2.1 is not in `allow`"
        );
        let open = Access {
            deny: networks(&["192.0.2.0/24"]),
            ..Access::default()
        };
        assert_eq!(open.admits("10.6.6.6".parse().unwrap()), Ok(()));
        assert!(Access::default().is_open() && !open.is_open());
    }

    #[test]
    fn private_ranges_are_told_from_those_that_hold_public_addresses() {
        for (range, private) in [
            ("10.0.0.0/8", true),
            ("10.0.0.0/7", false),
            ("172.16.0.0/12", true),
            ("172.32.0.0/16", false),
            ("127.0.0.1", true),
            ("100.64.0.0/10", true),
            ("fd00::/8", true),
            ("2001:db8::/32", false),
            ("0.0.0.0/0", false),
            ("::1", true),
        ] {
            assert_eq!(
                range.parse::<Cidr>().unwrap().is_private(),
                private,
                "{range}"
            );
        }
        assert!(is_private("::ffff:192.168.0.1".parse().unwrap()));
        assert!(!is_private("0.0.0.0".parse().unwrap()));
    }
}
