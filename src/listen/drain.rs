//! The way out: stop accepting, finish what is in flight, cut off at the deadline.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Starts the drain of every listener that holds one of its [`Drain`]s.
#[derive(Debug)]
pub struct DrainHandle(watch::Sender<Option<Instant>>);

/// What listeners and connections watch. While its handle lives and says nothing, they serve.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Option<Instant>>);

/// What was still open at the deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off, idle or not.
    pub connections: usize,
    /// Requests that were cut off before their answers were sent.
    pub requests: u64,
}

impl DrainHandle {
    /// A handle, and what it steers.
    pub fn new() -> (DrainHandle, Drain) {
        let (sender, receiver) = watch::channel(None);
        (DrainHandle(sender), Drain(receiver))
    }

    /// Stops accepting, and gives what is in flight so much time. A second call can only shorten it.
    pub fn start(&self, within: Duration) {
        let new = Instant::now() + within;
        self.0.send_modify(|deadline| {
            *deadline = Some(deadline.map_or(new, |old| old.min(new)));
        });
    }

    /// Ends everything at once.
    pub fn cut_off(&self) {
        self.start(Duration::ZERO);
    }
}

impl Drain {
    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits for the drain to begin: for ever, if its handle is gone.
    pub async fn started(&mut self) {
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the drain to begin and for its deadline to pass.
    pub async fn over(&mut self) {
        loop {
            self.started().await;
            let Some(deadline) = *self.0.borrow_and_update() else {
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                // a shorter deadline; without a handle there is none to come
                Ok(()) = self.0.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any of these tests should take.
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_second_start_only_shortens_the_deadline() {
        let (handle, mut drain) = DrainHandle::new();
        assert!(!drain.is_draining());
        let mut later = drain.clone();
        let over = tokio::spawn(async move { later.over().await });
        handle.start(LONG);
        drain.started().await;
        assert!(!over.is_finished());
        handle.start(SHORT);
        handle.start(LONG);
        tokio::time::timeout(LONG / 2, over).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_deadline_holds_after_the_handle_is_gone() {
        let (handle, mut drain) = DrainHandle::new();
        handle.start(SHORT);
        drop(handle);
        tokio::time::timeout(LONG, drain.over()).await.unwrap();
    }

    #[tokio::test]
    async fn without_a_word_of_its_handle_nothing_is_drained() {
        let (handle, mut drain) = DrainHandle::new();
        drop(handle);
        let waited = tokio::time::timeout(SHORT, drain.started()).await;
        assert!(waited.is_err());
    }
}
