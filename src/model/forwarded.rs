//! What proxies say about their clients: `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded` (RFC 7239).
//!
//! Each hop adds its client at the right. So the list is read from the right, and only as long as the hop that wrote the
//! entry is trusted: the first address that is not trusted is the client. An entry that is no address (`unknown`,
//! `_hidden`, garbage) ends the reading at the hop that wrote it: nothing to the left of it is believed.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::peer::{ForwardingHeader, Peer};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is believed of a client behind proxies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Believed {
    /// Its address; `None` where nothing is believed beyond the connection's own.
    pub ip: Option<IpAddr>,
    /// Whether it spoke TLS; `None` where nothing is said.
    pub secure: Option<bool>,
}

/// Reads the headers of a request that came over a connection.
pub fn believed(peer: &Peer, headers: &HeaderMap) -> Believed {
    if !peer.is_trusted() {
        return Believed::default();
    }
    let both =
        headers.contains_key(X_FORWARDED_FOR) && headers.contains_key(http::header::FORWARDED);
    if both && peer.trust.header == ForwardingHeader::Either {
        // A proxy writes one of them; the other one may be the client's. Where they agree it makes no difference.
        let (list, elements) = (by_list(peer, headers), by_elements(peer, headers));
        return if list == elements.ip {
            elements
        } else {
            Believed::default()
        };
    }
    let by_x = match peer.trust.header {
        ForwardingHeader::XForwardedFor => true,
        ForwardingHeader::Forwarded => false,
        ForwardingHeader::Either => {
            headers.contains_key(X_FORWARDED_FOR) || !headers.contains_key(http::header::FORWARDED)
        }
    };
    if by_x {
        Believed {
            ip: by_list(peer, headers),
            secure: protocol(headers),
        }
    } else {
        by_elements(peer, headers)
    }
}

/// The lines of a header from the last to the first: together they are one list (RFC 9110, 5.3).
fn from_the_right<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h HeaderValue> {
    headers.get_all(name).iter().rev()
}

fn by_list(peer: &Peer, headers: &HeaderMap) -> Option<IpAddr> {
    let mut source = None;
    for line in from_the_right(headers, &X_FORWARDED_FOR) {
        for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
            let Some(ip) = std::str::from_utf8(entry)
                .ok()
                .and_then(|text| node(text.trim()))
            else {
                return source;
            };
            source = Some(ip);
            if !peer.trust.proxies.contains(ip) {
                return source;
            }
        }
    }
    source
}

/// The protocol that the nearest proxy has seen: what it wrote is the last of the list.
fn protocol(headers: &HeaderMap) -> Option<bool> {
    let last = from_the_right(headers, &X_FORWARDED_PROTO).next()?;
    let last = last.as_bytes().rsplit(|byte| *byte == b',').next()?;
    is_tls(std::str::from_utf8(last).ok()?.trim())
}

fn is_tls(protocol: &str) -> Option<bool> {
    match protocol.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

fn by_elements(peer: &Peer, headers: &HeaderMap) -> Believed {
    let mut believed = Believed::default();
    for line in from_the_right(headers, &http::header::FORWARDED) {
        let Ok(line) = std::str::from_utf8(line.as_bytes()) else {
            return believed;
        };
        for element in Elements(Some(line)) {
            let Some(element) = Element::read(element) else {
                return believed;
            };
            let Some(ip) = element.ip else {
                return believed;
            };
            believed = Believed {
                ip: Some(ip),
                secure: element.secure,
            };
            if !peer.trust.proxies.contains(ip) {
                return believed;
            }
        }
    }
    believed
}

/// The elements of a `Forwarded` line, from the right. An element ends at a comma that leaves an even number of quotation
/// marks behind it, so that a mark which a client has left open cannot swallow what the proxies have added.
struct Elements<'h>(Option<&'h str>);

impl<'h> Iterator for Elements<'h> {
    type Item = &'h str;

    fn next(&mut self) -> Option<&'h str> {
        let line = self.0.take()?;
        let bytes = line.as_bytes();
        let mut marks = 0usize;
        for at in (0..bytes.len()).rev() {
            let escaped = || {
                bytes[..at]
                    .iter()
                    .rev()
                    .take_while(|byte| **byte == b'\\')
                    .count()
                    % 2
                    == 1
            };
            match bytes[at] {
                b'"' if !escaped() => marks += 1,
                b',' if marks.is_multiple_of(2) => {
                    self.0 = Some(&line[..at]);
                    return Some(&line[at + 1..]);
                }
                _ => {}
            }
        }
        Some(line)
    }
}

/// What one proxy says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element {
    ip: Option<IpAddr>,
    secure: Option<bool>,
}

impl Element {
    /// `None` where the element is not well-formed or says a thing twice (RFC 7239, 4).
    fn read(text: &str) -> Option<Element> {
        let (mut client, mut protocol) = (None, None);
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=')?;
            let name = name.trim();
            if !is_token(name) {
                return None;
            }
            let (value, after) = value(after)?;
            let slot = match name.to_ascii_lowercase().as_str() {
                "for" => Some(&mut client),
                "proto" => Some(&mut protocol),
                _ => None,
            };
            if let Some(slot) = slot
                && slot.replace(value).is_some()
            {
                return None;
            }
            rest = match after.trim_start() {
                "" => "",
                more => more.strip_prefix(';')?.trim_start(),
            };
        }
        Some(Element {
            ip: client.and_then(|client| node(&client)),
            secure: protocol.and_then(|protocol| is_tls(&protocol)),
        })
    }
}

/// Whether it can be a parameter's name (RFC 9110, 5.6.2). One that held a quotation mark would make the marks of a line
/// uneven, and with them what counts as an element.
fn is_token(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(letter)
}

/// A token or a quoted string at the start, and what comes after it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (token, after) = text.split_at(end);
        // brackets and colons stand in quotation marks by the letter of RFC 7239, and without them in practice
        let plain = !token.is_empty() && !token.contains(['"', '\\', '=']);
        return plain.then(|| (token.to_owned(), after));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .map(|text| text.parse().map(IpAddr::V6));
    let ip = match bracketed {
        Some(ip) => ip.ok(),
        None => text
            .parse::<IpAddr>()
            .ok()
            .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
            .or_else(|| without_hidden_port(text)),
    };
    ip.map(|ip| ip.to_canonical())
}

/// `192.0.2.1:_port`: a port may be hidden (RFC 7239, 6).
fn without_hidden_port(text: &str) -> Option<IpAddr> {
    let (host, port) = text.rsplit_once(":_")?;
    let hidden = !port.is_empty()
        && port
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !hidden {
        return None;
    }
    match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(v6) => v6.parse().map(IpAddr::V6).ok(),
        None => host.parse().map(IpAddr::V4).ok(),
    }
}

#[cfg(test)]
mod tests;
