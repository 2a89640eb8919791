//! Time as buckets count it: nanoseconds since the clock was made, never backwards.

use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Tells buckets the time. Clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    Monotonic(Instant),
    #[cfg(test)]
    Set(AtomicU64),
}

impl Clock {
    /// The monotonic clock of the machine.
    pub fn monotonic() -> Clock {
        Clock(Arc::new(Source::Monotonic(Instant::now())))
    }

    /// A clock that stands at 0 until it is moved.
    #[cfg(test)]
    pub fn standing() -> Clock {
        Clock(Arc::new(Source::Set(AtomicU64::new(0))))
    }

    /// Moves a standing clock.
    #[cfg(test)]
    pub fn advance(&self, by: std::time::Duration) {
        if let Source::Set(now) = &*self.0 {
            now.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
        }
    }

    /// Nanoseconds since the clock was made: enough for 584 years.
    pub fn now(&self) -> u64 {
        match &*self.0 {
            Source::Monotonic(start) => {
                u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
            }
            #[cfg(test)]
            Source::Set(now) => now.load(Ordering::SeqCst),
        }
    }
}
