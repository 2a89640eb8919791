//! How many connections each client address holds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections of a listener by their addresses; those of IPv6 by their /64, which is one subscriber's.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of an address, until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    sources: Sources,
    subscriber: IpAddr,
}

impl Sources {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection of an address; `None` if it holds `most` of them.
    pub(super) fn count(&self, address: IpAddr, most: usize) -> Option<Counted> {
        let subscriber = subscriber(address);
        let mut sources = self.lock();
        let held = sources.entry(subscriber).or_default();
        if *held >= most {
            return None;
        }
        *held += 1;
        Some(Counted {
            sources: self.clone(),
            subscriber,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut held) = self.sources.lock().entry(self.subscriber) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_so_many_and_no_more() {
        let sources = Sources::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let one = sources.count(address("192.0.2.1"), 2).unwrap();
        let _two = sources.count(address("::ffff:192.0.2.1"), 2).unwrap();
        assert!(sources.count(address("192.0.2.1"), 2).is_none());
        let _other = sources.count(address("192.0.2.2"), 2).unwrap();
        drop(one);
        let again = sources.count(address("192.0.2.1"), 2);
        assert!(again.is_some());
        let six = sources.count(address("2001:db8::1"), 1);
        assert!(sources.count(address("2001:db8::2"), 1).is_none());
        assert!(sources.count(address("2001:db8:0:1::1"), 1).is_some());
        drop((six, again));
        assert_eq!(sources.lock().len(), 2, "what holds none is forgotten");
    }
}
