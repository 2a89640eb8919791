//! Word to a request that its client will send no more.

use tokio_util::sync::CancellationToken;

/// Whether the client of an HTTP/1 connection has closed its sending half: it is gone, or sends nothing more and waits.
#[derive(Clone, Debug, Default)]
pub struct Leaving(CancellationToken);

impl Leaving {
    /// The client has closed its sending half.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Waits until it has.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}
