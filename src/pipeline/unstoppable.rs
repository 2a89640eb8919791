//! A call that stores, on its request's own task for as long as that lives: hyper drops the future of a client that
//! vanishes, and the call then goes on in a task of its own. Most calls never need one.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use tokio_util::task::TaskTracker;

/// What a call comes to; `Err`: it has panicked.
type Ended<T> = Result<T, Box<dyn Any + Send>>;

/// See the module's text.
pub(super) struct Unstoppable<T: Send + 'static> {
    /// Taken when it has ended.
    call: Option<Pin<Box<dyn Future<Output = Ended<T>> + Send>>>,
    orphans: TaskTracker,
}

impl<T: Send + 'static> Unstoppable<T> {
    /// `orphans`: who keeps account of calls whose request is gone.
    pub fn new(call: impl Future<Output = T> + Send + 'static, orphans: TaskTracker) -> Self {
        Unstoppable {
            call: Some(Box::pin(AssertUnwindSafe(call).catch_unwind())),
            orphans,
        }
    }
}

impl<T: Send + 'static> Future for Unstoppable<T> {
    type Output = Ended<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended<T>> {
        let Some(call) = &mut self.call else {
            return Poll::Pending;
        };
        let polled = call.as_mut().poll(context);
        if polled.is_ready() {
            self.call = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Unstoppable<T> {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else {
            return;
        };
        // Without a runtime the process is at its end, and the call with it.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.orphans.spawn(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_call_goes_on_when_nobody_waits_for_it() {
        let (go, gone) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let orphans = TaskTracker::new();
        let mut call = Box::pin(Unstoppable::new(
            async move {
                let _ = gone.await;
                let _ = tell.send("stored");
            },
            orphans.clone(),
        ));
        assert!(futures_util::poll!(&mut call).is_pending());
        assert_eq!(orphans.len(), 0);
        drop(call);
        assert_eq!(orphans.len(), 1);
        go.send(()).unwrap();
        assert_eq!(told.await, Ok("stored"));
        orphans.close();
        orphans.wait().await;
    }

    #[tokio::test]
    async fn a_call_that_has_ended_or_panicked_leaves_nothing_behind() {
        let orphans = TaskTracker::new();
        let ended = Unstoppable::new(async { 1 }, orphans.clone()).await;
        assert_eq!(ended.ok(), Some(1));
        let panicked = Unstoppable::new(async { panic!("a bug") }, orphans.clone());
        assert!(panicked.await.is_err());
        assert_eq!(orphans.len(), 0);
    }
}
