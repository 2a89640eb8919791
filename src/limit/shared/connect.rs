//! Keeps a Redis connected, in the background.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};

use super::{Link, TAKE, address};
use crate::telemetry::metrics::Level;

/// How long connecting, and the first answer, may take.
const CONNECTING: Duration = Duration::from_secs(2);
/// Between two attempts: at first, and at most.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often a Redis that nobody asks is asked whether it is there.
const ASKED_EVERY: Duration = Duration::from_secs(5);

/// Connects, hands the connection out, waits until it is let go, and connects again, without end.
pub(super) async fn keep_connected(link: Arc<Link>) {
    let mut pause = PAUSE;
    let mut said = String::new();
    loop {
        match connected(&link).await {
            Ok(connection) => {
                tracing::info!(server = %link.address, "The Redis of shared throttles is connected");
                link.failures.store(0, Ordering::Relaxed);
                let counted = Counted::new(&link.meters.connected);
                link.connection.store(Some(Arc::new(connection.clone())));
                watched(&link, connection).await;
                link.connection.store(None);
                drop(counted);
                said.clear();
                pause = PAUSE;
            }
            Err(reason) => {
                if reason != said {
                    tracing::warn!(server = %link.address, reason, "The Redis of shared throttles cannot be reached");
                    said = reason;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Counts a server as connected, also when the task ends in the middle.
struct Counted<'m>(&'m Level);

impl<'m> Counted<'m> {
    fn new(level: &'m Level) -> Counted<'m> {
        level.inc();
        Counted(level)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Does what requests will do, with a bucket that nobody uses: a replica, a full server or one that lacks permissions
/// would answer a `PING`, and refuse this.
async fn tried(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    let mut call = TAKE.prepare_invoke();
    call.key("penstock:throttle").arg(1.0).arg(1).arg(1);
    call.invoke_async::<Vec<i64>>(connection).await.map(drop)
}

/// A connection on which Redis has taken a token.
pub(super) async fn connected(link: &Link) -> Result<MultiplexedConnection, String> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECTING))
        .set_response_timeout(Some(CONNECTING));
    let connecting = async {
        let client = Client::open(link.address.info())?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        tried(&mut connection).await?;
        Ok(connection)
    };
    match tokio::time::timeout(CONNECTING * 2, Box::pin(connecting)).await {
        Ok(answered) => answered.map_err(|error: RedisError| address::described(&error)),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

/// Returns when the connection has been let go, or does not answer any more.
async fn watched(link: &Link, mut connection: MultiplexedConnection) {
    loop {
        tokio::select! {
            () = link.lost.notified() => return,
            () = tokio::time::sleep(ASKED_EVERY) => {}
        }
        if let Err(error) = Box::pin(tried(&mut connection)).await {
            let reason = address::described(&error);
            tracing::warn!(server = %link.address, reason, "The Redis of shared throttles is gone");
            return;
        }
    }
}
