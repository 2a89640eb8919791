//! What the benches share: a client that reads whole answers, and the address that a gateway prints.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::Child;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Reads one answer, which has to be a success.
pub async fn answered(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    let broken = |what: &str| std::io::Error::other(what.to_owned());
    let mut read = 0;
    loop {
        let more = stream.read(&mut buffer[read..]).await?;
        if more == 0 {
            return Err(broken("the server hung up"));
        }
        read += more;
        let Some(head) = buffer[..read]
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
        else {
            continue;
        };
        let text =
            std::str::from_utf8(&buffer[..head]).map_err(|_| broken("a head that is no text"))?;
        if !text.starts_with("HTTP/1.1 20") {
            return Err(broken(text));
        }
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|length| length.parse().ok());
        if read >= head + 4 + length.unwrap_or(0usize) {
            return Ok(());
        }
    }
}

/// Waits for the address of the first listener. The child's stderr is read on, so that it never waits for a full pipe.
pub fn address(child: &mut Child) -> Result<SocketAddr, Box<dyn std::error::Error>> {
    let said = BufReader::new(child.stderr.take().ok_or("no output")?);
    let mut lines = said.lines();
    let address = loop {
        let line = lines.next().ok_or("the gateway has ended")??;
        if let Some(rest) = line.strip_prefix("listening on http://") {
            break rest.split(' ').next().unwrap_or(rest).parse()?;
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    Ok(address)
}
