//! `penstock health`: asks a running gateway how it is, for health checks of containers that hold no other program.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::load::{blueprint_or_problems, compiled};
use super::{Exit, print};

/// Where the admin listener is unless something says otherwise.
const DEFAULT_ADMIN: &str = "127.0.0.1:9901";
/// The largest answer that is read.
const LARGEST: u64 = 256 * 1024;

/// Ask a running gateway whether it is ready: exit 0 if it is, 1 if it is not, or does not answer
#[derive(Debug, Args)]
pub struct Health {
    /// The admin listener, as in http://127.0.0.1:9901; default: PENSTOCK_ADMIN, else that of FILE, else this
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Route files that say where the admin listener is
    #[arg(short, long = "config", value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Ask only whether the process lives (/livez), not whether it is ready (/readyz)
    #[arg(long)]
    live: bool,
    /// How many seconds the answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    timeout: u64,
    /// Print nothing
    #[arg(long)]
    quiet: bool,
}

impl Health {
    pub fn run(&self) -> Exit {
        let Some(address) = self.address() else {
            return Exit::Problems;
        };
        let path = if self.live { "/livez" } else { "/readyz" };
        let timeout = Duration::from_secs(self.timeout.max(1));
        match asked(&address, path, timeout) {
            Ok((200, said)) => {
                if !self.quiet {
                    print(&format!("{}\n", said.trim_end()));
                }
                Exit::Ok
            }
            Ok((status, said)) => {
                if !self.quiet {
                    eprintln!(
                        "error: {address}{path} answered {status}: {}",
                        said.trim_end()
                    );
                }
                Exit::Problems
            }
            Err(error) => {
                if !self.quiet {
                    eprintln!("error: {address}{path} does not answer: {error}");
                }
                Exit::Problems
            }
        }
    }

    /// `host:port`.
    fn address(&self) -> Option<String> {
        let from_environment = std::env::var("PENSTOCK_ADMIN").ok();
        let from_environment = from_environment.filter(|url| !url.is_empty());
        let named = self.admin.clone().or(from_environment);
        let address = match named {
            Some(named) => named,
            None if !self.config.is_empty() => blueprint_or_problems(compiled(&self.config))?.admin,
            None => DEFAULT_ADMIN.to_owned(),
        };
        let address = address.strip_prefix("http://").unwrap_or(&address);
        let address = address.trim_end_matches('/');
        // an address that means every interface is asked on this one
        Some(
            address
                .replace("0.0.0.0:", "127.0.0.1:")
                .replace("[::]:", "[::1]:"),
        )
    }
}

/// Status and body of a GET. Through no proxy, whatever the environment says: it is this machine that is asked about.
fn asked(address: &str, path: &str, timeout: Duration) -> std::io::Result<(u16, String)> {
    let resolved = address.to_socket_addrs()?.next();
    let resolved = resolved.ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&resolved, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => Err(std::io::Error::other("that is no HTTP")),
    }
}
