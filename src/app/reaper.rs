//! Lets go of what a new configuration has replaced: not in a request that happens to hold it last, but here, where
//! dropping it may take its time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

/// How often it is looked whether anybody still holds it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What waits to be dropped. Dropping the reaper drops it at once.
#[derive(Debug, Default)]
pub(super) struct Reaper(JoinSet<()>);

impl Reaper {
    /// Drops a thing once nobody else holds it.
    pub(super) fn take<T: Send + Sync + 'static>(&mut self, old: Arc<T>) {
        while self.0.try_join_next().is_some() {}
        self.0.spawn(async move {
            while Arc::strong_count(&old) > 1 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let dropping = tokio::task::spawn_blocking(move || drop(old));
            if let Err(error) = dropping.await {
                tracing::error!(%error, "What a new configuration has replaced was not dropped in good order");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_somebody_holds_is_dropped_after_they_let_go() {
        let mut reaper = Reaper::default();
        let old = Arc::new(());
        let seen = Arc::downgrade(&old);
        let holder = old.clone();
        reaper.take(old);
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert!(seen.upgrade().is_some());
        drop(holder);
        reaper.0.join_next().await;
        assert!(seen.upgrade().is_none());
    }
}
