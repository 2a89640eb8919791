//! The end: what can still be forwarded is, and then no call of ours is under way.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::Forward;
use crate::store::Store;

/// How often the spools are looked at when nothing is heard of them.
const LOOK: Duration = Duration::from_millis(100);
/// How long the store may take to hear how the last deliveries went.
const LAST_WORD: Duration = Duration::from_secs(2);

impl Forward {
    /// Forwards until the spools are empty or until the deadline; afterwards no call of ours is under way. How many
    /// records are left. For the end of the process: nothing is forwarded any more.
    pub async fn drain(&self, deadline: Instant) -> u64 {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // from here on nothing is missed
            settled.as_mut().enable();
            if self.left() == 0 || Instant::now() >= deadline {
                break;
            }
            let _ = timeout_at(deadline.min(Instant::now() + LOOK), settled).await;
        }
        self.ending.cancel();
        self.tasks.close();
        if timeout_at(deadline, self.tasks.wait()).await.is_err() {
            self.cut.cancel();
            if timeout(LAST_WORD, self.tasks.wait()).await.is_err() {
                tracing::error!("The store did not take how the last deliveries went in time");
            }
        }
        self.left()
    }

    /// Records in all spools.
    fn left(&self) -> u64 {
        let Ok(store) = self.targets.open_store() else {
            return 0;
        };
        let depth = |store: &Store, target: &String| store.spool_depth(target).depth;
        let targets = store.spooled_targets();
        targets.iter().map(|target| depth(&store, target)).sum()
    }
}
