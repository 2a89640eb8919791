//! What one connection may take: time in silence, bytes of head, streams. Requests have limits of their own, in the
//! pipeline.

use std::time::Duration;

/// The limits of a listener's connections. A change applies to the connections accepted after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// From the first byte of a request's head to its last: 408 after that. Also how long a new connection may stay
    /// silent before it is closed without a word.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request before it is closed, and how long a client may refuse to take
    /// any byte of its answer.
    pub idle_timeout: Duration,
    /// How many connections a listener keeps open. For the next one that connection is closed which has been without a
    /// request for longest; where all are busy it is answered 503 and closed.
    pub connections: usize,
    /// How many of them may come from one address (from one /64 of IPv6), where the address is the client's own: no
    /// PROXY header, and not among the trusted proxies. `None`: any number.
    pub per_address: Option<usize>,
    /// How old a connection may become, give or take a tenth: after that its next answer is its last (`Connection:
    /// close`; GOAWAY on HTTP/2). `None`: any age.
    pub age: Option<Duration>,
    /// The bytes of a head at which hyper gives up with 431: well above the limit that the pipeline refuses at, so
    /// that a refusal is worded by the pipeline.
    pub max_head: usize,
    /// The number of header fields at which hyper gives up with 431 on HTTP/1; see `max_head`.
    pub max_headers: usize,
    /// How long a request goes on after its HTTP/1 client closed the sending half: such a client may still want the
    /// answer, or be gone; TCP does not tell.
    pub half_close: Duration,
    /// How long a closed connection is still read from, so that unread bytes do not make the kernel reset it before
    /// the client has read its answer (RFC 9112, 9.6).
    pub linger: Duration,
    /// The number of requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// How often an HTTP/2 client is asked whether it is still there.
    pub ping_interval: Duration,
    /// How long the answer to that may take.
    pub ping_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> ConnectionLimits {
        ConnectionLimits {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            connections: 10_000,
            per_address: None,
            age: None,
            max_head: 64 * 1024,
            max_headers: 256,
            half_close: Duration::from_secs(1),
            linger: Duration::from_secs(2),
            max_streams: 256,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

impl ConnectionLimits {
    /// Raises hyper's limits well above those that the pipeline refuses heads at (bytes and number of fields).
    pub fn above(mut self, head_bytes: usize, header_count: usize) -> ConnectionLimits {
        self.max_head = self.max_head.max(head_bytes.saturating_mul(4));
        self.max_headers = self.max_headers.max(header_count.saturating_mul(2));
        self
    }

    /// The most that is buffered of what a connection sends. hyper accepts no less than 8 KiB.
    pub(super) fn read_buffer(&self) -> usize {
        self.max_head.max(128 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_hyper_stay_above_those_of_the_pipeline() {
        let limits = ConnectionLimits::default().above(16 * 1024, 100);
        assert_eq!((limits.max_head, limits.max_headers), (64 * 1024, 256));
        let raised = ConnectionLimits::default().above(128 * 1024, 1000);
        assert_eq!((raised.max_head, raised.max_headers), (512 * 1024, 2000));
        assert_eq!(raised.read_buffer(), 512 * 1024);
    }
}
