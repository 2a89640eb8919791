//! The PROXY protocol, versions 1 and 2 (HAProxy's specification of 2020): what a load balancer says about the connection
//! that it passes on, before anything else. Reading is pure here; `arrival` feeds it from the socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Which headers are read on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// None.
    #[default]
    Off,
    /// Each connection begins with a header of version 1.
    V1,
    /// Each connection begins with a header of version 2.
    V2,
    /// A connection may begin with a header of either version.
    Auto,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// The load balancer speaks for itself (its health checks), or cannot say for whom: the connection's own addresses
    /// hold.
    Own,
    /// It passes on somebody else's connection.
    Passed(Passed),
}

/// A connection that was passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// The VPC endpoint that it came through (AWS's own field).
    pub vpce: Option<String>,
    /// Whether the client spoke TLS with the load balancer.
    pub secure: bool,
}

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The header is not complete.
    More,
    /// A header of so many bytes.
    Header(Header, usize),
    /// The connection begins with something else. Only where it may.
    Absent,
}

/// Why a connection that has to begin with a header is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the connection does not begin with a PROXY header")]
    Absent,
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, with its line's end.
const LONGEST_V1: usize = 107;

/// Signature, version and command, family and protocol, length.
const V2_PREFIX: usize = 16;

/// The longest header of version 2 that is read. The format allows 65,551 bytes; those in use take a few hundred, or a
/// few thousand where they carry certificates.
pub(super) const LONGEST_V2: usize = 16 * 1024;

/// PP2_TYPE_CRC32C, PP2_TYPE_SSL, PP2_TYPE_AWS and its subtype for VPC endpoints.
const TYPE_CRC32C: u8 = 0x03;
const TYPE_SSL: u8 = 0x20;
const TYPE_AWS: u8 = 0xea;
const AWS_VPCE_ID: u8 = 0x01;

/// The bit of PP2_TYPE_SSL's first byte that says that the client connected over TLS.
const CLIENT_SSL: u8 = 0x01;

/// Reads the first bytes of a connection.
pub fn read(bytes: &[u8], mode: ProxyProtocol) -> Result<Read, Fault> {
    let wanted = match mode {
        ProxyProtocol::Off => return Ok(Read::Absent),
        ProxyProtocol::V1 => [Some(V1), None],
        ProxyProtocol::V2 => [Some(V2), None],
        ProxyProtocol::Auto => [Some(V1), Some(V2)],
    };
    if let Some(signature) = wanted
        .into_iter()
        .flatten()
        .find(|wanted| bytes.starts_with(wanted))
    {
        return if signature == V1 {
            version_1(bytes)
        } else {
            version_2(bytes)
        };
    }
    if wanted
        .into_iter()
        .flatten()
        .any(|wanted| wanted.starts_with(bytes))
    {
        return Ok(Read::More);
    }
    match mode {
        ProxyProtocol::Auto => Ok(Read::Absent),
        _ => Err(Fault::Absent),
    }
}

fn version_1(bytes: &[u8]) -> Result<Read, Fault> {
    let searched = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
        return if searched.len() == LONGEST_V1 {
            Err(Fault::Malformed("its line is longer than 107 bytes"))
        } else {
            Ok(Read::More)
        };
    };
    let line = std::str::from_utf8(&bytes[V1.len()..end])
        .map_err(|_| Fault::Malformed("its line is not ASCII"))?;
    let consumed = end + 2;
    // whatever follows is to be ignored
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(Read::Header(Header::Own, consumed));
    }
    let fields: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = fields.as_slice() else {
        return Err(Fault::Malformed(
            "its line has not the fields it should have",
        ));
    };
    let address = |text: &str| -> Option<IpAddr> {
        match *family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (Some(source), Some(destination)) = (address(source), address(destination)) else {
        return Err(Fault::Malformed("its addresses cannot be read"));
    };
    let (Some(source_port), Some(destination_port)) = (port(source_port), port(destination_port))
    else {
        return Err(Fault::Malformed("its ports cannot be read"));
    };
    let passed = Passed {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
        vpce: None,
        secure: false,
    };
    Ok(Read::Header(Header::Passed(passed), consumed))
}

/// Digits, without a sign and without leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let led = text.len() > 1 && text.starts_with('0');
    (plain && !led).then(|| text.parse().ok()).flatten()
}

fn version_2(bytes: &[u8]) -> Result<Read, Fault> {
    let Some((prefix, _)) = bytes.split_at_checked(V2_PREFIX) else {
        return Ok(Read::More);
    };
    let (version_and_command, family, length) = (
        prefix[12],
        prefix[13],
        u16::from_be_bytes([prefix[14], prefix[15]]),
    );
    if version_and_command >> 4 != 2 {
        return Err(Fault::Malformed("its version is not 2"));
    }
    let total = V2_PREFIX + usize::from(length);
    if total > LONGEST_V2 {
        return Err(Fault::Malformed("it is longer than 16 KiB"));
    }
    let Some(header) = bytes.get(..total) else {
        return Ok(Read::More);
    };
    let local = match version_and_command & 0x0f {
        0 => true,
        1 => false,
        _ => return Err(Fault::Malformed("its command is neither LOCAL nor PROXY")),
    };
    let body = &header[V2_PREFIX..];
    let (ends, fields) = match family {
        // the sender's own connection may come with whatever family
        _ if local => (None, &[][..]),
        0x00 => (None, &[][..]),
        0x11 => {
            let (addresses, fields) = addresses::<12>(body)?;
            let ip = |at: usize| {
                IpAddr::V4(Ipv4Addr::new(
                    addresses[at],
                    addresses[at + 1],
                    addresses[at + 2],
                    addresses[at + 3],
                ))
            };
            let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
            (
                Some((
                    SocketAddr::new(ip(0), port(8)),
                    SocketAddr::new(ip(4), port(10)),
                )),
                fields,
            )
        }
        0x21 => {
            let (addresses, fields) = addresses::<36>(body)?;
            let ip = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&addresses[at..at + 16]);
                IpAddr::V6(Ipv6Addr::from(octets))
            };
            let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
            (
                Some((
                    SocketAddr::new(ip(0), port(32)),
                    SocketAddr::new(ip(16), port(34)),
                )),
                fields,
            )
        }
        // a Unix socket of the load balancer's machine says nothing that could be used here
        0x31 => (None, addresses::<216>(body)?.1),
        _ => {
            return Err(Fault::Malformed(
                "its family is none of a stream over IPv4, IPv6 or a Unix socket",
            ));
        }
    };
    let said = Fields::read(header, fields)?;
    let header = match ends {
        Some((source, destination)) => Header::Passed(Passed {
            source,
            destination,
            vpce: said.vpce,
            secure: said.secure,
        }),
        None => Header::Own,
    };
    Ok(Read::Header(header, total))
}

/// The addresses, and the fields after them.
fn addresses<const LENGTH: usize>(body: &[u8]) -> Result<(&[u8; LENGTH], &[u8]), Fault> {
    body.split_first_chunk::<LENGTH>()
        .ok_or(Fault::Malformed("it is too short for its addresses"))
}

/// What the fields after the addresses (TLVs) say.
#[derive(Debug, Default)]
struct Fields {
    vpce: Option<String>,
    secure: bool,
}

impl Fields {
    /// `fields`: the end of `header`.
    fn read(header: &[u8], mut fields: &[u8]) -> Result<Fields, Fault> {
        const SHORT: Fault = Fault::Malformed("one of its fields is cut off");
        let mut said = Fields::default();
        let mut checked = false;
        while !fields.is_empty() {
            let ([kind, high, low], rest) = fields.split_first_chunk().ok_or(SHORT)?;
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (value, rest) = rest.split_at_checked(length).ok_or(SHORT)?;
            match *kind {
                TYPE_CRC32C => {
                    if std::mem::replace(&mut checked, true) {
                        return Err(Fault::Malformed("it has two checksums"));
                    }
                    let sum: [u8; 4] = value
                        .try_into()
                        .map_err(|_| Fault::Malformed("its checksum has not four bytes"))?;
                    let at = header.len() - rest.len() - sum.len();
                    if u32::from_be_bytes(sum) != crc32c_without(header, at) {
                        return Err(Fault::Checksum);
                    }
                }
                TYPE_SSL => {
                    // the bits, and four bytes on the check of a client's certificate
                    let [client, ..] = value.first_chunk::<5>().ok_or(SHORT)?;
                    said.secure = client & CLIENT_SSL != 0;
                }
                TYPE_AWS => {
                    if let Some((&AWS_VPCE_ID, id)) = value.split_first() {
                        let id = endpoint_id(id)?;
                        if said.vpce.replace(id).is_some() {
                            return Err(Fault::Malformed("it names two VPC endpoints"));
                        }
                    }
                }
                _ => {}
            }
            fields = rest;
        }
        Ok(said)
    }
}

fn endpoint_id(id: &[u8]) -> Result<String, Fault> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    match std::str::from_utf8(id) {
        Ok(text) if (1..=64).contains(&id.len()) && id.iter().all(plain) => Ok(text.to_owned()),
        _ => Err(Fault::Malformed(
            "the id of its VPC endpoint cannot be read",
        )),
    }
}

/// CRC-32C (RFC 3720, B.4) over the header, with its four bytes at `at` taken for zero.
fn crc32c_without(header: &[u8], at: usize) -> u32 {
    let mut crc = u32::MAX;
    for (index, byte) in header.iter().enumerate() {
        let byte = if (at..at + 4).contains(&index) {
            0
        } else {
            *byte
        };
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (carry * 0x82f6_3b78);
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
