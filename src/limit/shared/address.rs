//! Where a Redis is, as an operator wrote it. The URL may hold a password, so it is never shown.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError};

use crate::model::secret::Secret;

/// The address of a Redis. Shown without user and password.
#[derive(Clone)]
pub struct Address {
    url: Secret<String>,
    info: ConnectionInfo,
}

impl Address {
    /// Reads a URL; what is wrong with it is said without showing it.
    pub fn parse(url: &Secret<String>) -> Result<Address, &'static str> {
        let text = url.expose();
        let scheme = text.split(':').next().unwrap_or_default();
        if !["redis", "rediss"].contains(&scheme) {
            return Err("it does not begin with redis:// or rediss://");
        }
        if text.contains('#') {
            return Err("a Redis URL has nothing behind `#`: TLS is always checked");
        }
        let info = text
            .as_str()
            .into_connection_info()
            .map_err(|_| "it is not a Redis URL")?;
        match info.addr() {
            ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { .. } => Ok(Address {
                url: url.clone(),
                info,
            }),
            _ => Err("it names no host"),
        }
    }

    /// What to connect to.
    pub(super) fn info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

/// An error for the log: its kind and what it says, where that cannot hold what was sent.
pub(super) fn described(error: &RedisError) -> String {
    match error.code() {
        // NOAUTH, WRONGPASS, NOPERM, LOADING, READONLY, OOM…: the server's own word.
        Some(code) => format!("Redis answered {code}"),
        None if error.is_io_error() => error.to_string(),
        None => format!("{:?}", error.kind()),
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.url == other.url
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => ("redis", host, port),
            ConnectionAddr::TcpTls { host, port, .. } => ("rediss", host, port),
            // `parse` takes no others.
            _ => return f.write_str("redis"),
        };
        write!(
            f,
            "{scheme}://{host}:{port}/{}",
            self.info.redis_settings().db()
        )
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, &'static str> {
        Address::parse(&Secret::new(url.to_owned()))
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address = parse("redis://ann:hunter2@cache.example:6380/3").unwrap();
        assert_eq!(address.to_string(), "redis://cache.example:6380/3");
        assert!(!format!("{address:?}").contains("hunter2"));
        let secure = parse("rediss://:hunter2@cache.example").unwrap();
        assert_eq!(secure.to_string(), "rediss://cache.example:6379/0");
        assert_ne!(address, secure);
    }

    #[test]
    fn what_is_no_redis_url_is_refused_and_not_shown() {
        for url in [
            "",
            "cache.example:6379",
            "http://cache.example",
            "unix:///run/redis",
            "redis+unix:///run/redis",
            "rediss://cache.example/#insecure",
            "redis://cache.example/notadatabase",
            "redis://:hunter2@[half",
        ] {
            let refused = parse(url).unwrap_err();
            assert!(!refused.contains("hunter2"), "{url}: {refused}");
        }
    }
}
