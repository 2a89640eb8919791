//! Questions to a fake endpoint or an admin listener, outside of what is measured: one connection each, blocking.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Outcome;

/// The body of the answer to `GET path`.
pub fn get(address: SocketAddr, path: &str) -> Outcome<Vec<u8>> {
    ask(address, "GET", path, "")
}

pub fn get_json(address: SocketAddr, path: &str) -> Outcome<serde_json::Value> {
    Ok(serde_json::from_slice(&get(address, path)?)?)
}

pub fn post(address: SocketAddr, path: &str, body: &str) -> Outcome<Vec<u8>> {
    ask(address, "POST", path, body)
}

fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Outcome<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or("no answer")?;
    let text = String::from_utf8_lossy(&answer[..head]);
    if !text.starts_with("HTTP/1.1 2") {
        return Err(format!("{method} {path}: {text}").into());
    }
    Ok(answer.split_off(head + 4))
}
