//! PROXY headers, as they come from the socket in pieces. Input: the mode (first byte), then the connection's bytes.
//!
//! However the bytes are cut, what is read is the same; a header says no more than its own bytes do; and what version 1
//! says can be said again.

use penstock::listen::ProxyProtocol;
use penstock::listen::proxy_protocol::{Fault, Header, Read, read};

pub fn run(data: &[u8]) {
    let Some((mode, bytes)) = data.split_first() else {
        return;
    };
    let mode = match mode % 4 {
        0 => ProxyProtocol::V1,
        1 => ProxyProtocol::V2,
        2 => ProxyProtocol::Auto,
        _ => ProxyProtocol::Off,
    };
    let whole = read(bytes, mode);
    let length = match &whole {
        Ok(Read::Header(_, length)) => *length,
        _ => bytes.len(),
    };
    assert!(length <= bytes.len());
    // pieces: the reader may ask for more until it knows, and then knows the same
    let step = (length / 64).max(1);
    for cut in (0..length).step_by(step) {
        match read(&bytes[..cut], mode) {
            Ok(Read::More) => {}
            early => assert_eq!(early, whole, "with {cut} of {length} bytes"),
        }
    }
    match &whole {
        Ok(Read::Header(header, length)) => {
            assert_eq!(read(&bytes[..*length], mode), whole, "what follows counts");
            if bytes.starts_with(b"PROXY ") {
                again(header);
            }
        }
        Ok(Read::More) => {
            let most = if bytes.starts_with(b"PROXY ") {
                107
            } else {
                16 * 1024
            };
            assert!(bytes.len() < most, "more than {most} bytes are waited for");
            assert_ne!(mode, ProxyProtocol::Off);
        }
        Ok(Read::Absent) => assert!(matches!(mode, ProxyProtocol::Off | ProxyProtocol::Auto)),
        Err(Fault::Absent) => assert_ne!(mode, ProxyProtocol::Auto),
        Err(_) => {}
    }
}

fn again(header: &Header) {
    let Header::Passed(passed) = header else {
        return;
    };
    let (source, destination) = (passed.source, passed.destination);
    assert_eq!(source.is_ipv4(), destination.is_ipv4());
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let line = format!(
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    );
    let said = read(line.as_bytes(), ProxyProtocol::V1);
    assert_eq!(said, Ok(Read::Header(header.clone(), line.len())));
}
