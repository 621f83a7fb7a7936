//! How many connections each address has, over all workers.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

/// The connections of each address. Cloning is cheap, and shares them.
#[derive(Clone)]
pub(crate) struct Peers {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    /// Most of one address; `None` for any number.
    most: Option<usize>,
}

impl Peers {
    pub(crate) fn new(most: Option<usize>) -> Self {
        Self { open: Arc::default(), most }
    }

    /// Counts a connection of an address, until the guard is dropped. A Unix socket has no address, and no limit.
    pub(super) fn enter(&self, peer: Option<IpAddr>) -> Option<Peer> {
        let address = peer?.to_canonical();
        let most = self.most?;
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        *count += 1;
        let is_beyond = *count > most;
        Some(Peer { among: self.clone(), address, is_beyond })
    }

    fn leave(&self, address: IpAddr) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

/// A connection of an address.
pub(super) struct Peer {
    among: Peers,
    address: IpAddr,
    /// Whether the address has more than it may.
    pub(super) is_beyond: bool,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.among.leave(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_limit_and_gets_its_places_back() {
        let peers = Peers::new(Some(1));
        let (one, other) = ("10.0.0.1".parse().ok(), "::ffff:10.0.0.2".parse().ok());
        let first = peers.enter(one).unwrap();
        assert!(!first.is_beyond && peers.enter(one).unwrap().is_beyond && !peers.enter(other).unwrap().is_beyond);
        drop(first);
        assert!(!peers.enter(one).unwrap().is_beyond);
        assert!(peers.open.lock().is_empty());
        assert!(peers.enter(None).is_none() && Peers::new(None).enter(one).is_none());
    }
}
