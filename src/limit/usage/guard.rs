//! Whether the wall clock is to be believed when it says that a day is over.

use std::sync::{Mutex, OnceLock, PoisonError};

use crate::store::{Clock, Store, Watch};

/// Asks the store, which also knows what the clock said before the process began; and a watch of its own for as long as
/// there is none. Asked once for each key and day, not for each request.
pub(super) struct Guard {
    store: OnceLock<Store>,
    watch: Mutex<Watch>,
}

impl Guard {
    pub fn new(clock: Clock) -> Guard {
        Guard {
            store: OnceLock::new(),
            watch: Mutex::new(Watch::new(clock)),
        }
    }

    /// From here on the store is asked.
    pub fn attach(&self, store: &Store) {
        // The first one stays: there is one store in a process.
        let _ = self.store.set(store.clone());
    }

    /// Whether the clock is to be believed now.
    pub fn believes(&self) -> bool {
        match self.store.get() {
            Some(store) => !store.time_in_doubt(),
            None => !self
                .watch
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .in_doubt(),
        }
    }
}
