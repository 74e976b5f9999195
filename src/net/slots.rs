//! Places for unfinished handshakes: so many of an access, so many of one network.
//!
//! A full house does not refuse the newcomer, it puts out the oldest. A handshake that means well ends within a
//! round trip or two, so the oldest is the least likely to end well; and somebody who only opens connections
//! cannot keep a site out that sits behind the same address.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::config::AccessLimits;

/// The places of one access. A clone is the same places.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    table: Arc<Mutex<Table>>,
}

impl Slots {
    /// Empty places within the limits.
    pub(crate) fn new(limits: AccessLimits) -> Self {
        let table = Table {
            limit: limits.handshakes.max(1),
            limit_per_network: limits.handshakes_per_address.max(1),
            next: 0,
            taken: BTreeMap::new(),
            by_network: HashMap::new(),
        };
        Self { table: Arc::new(Mutex::new(table)) }
    }

    /// A place for a connection from `address`, held until dropped. Who has to go for it is told so.
    ///
    /// Costs the logarithm of the places.
    pub(crate) fn take(&self, address: IpAddr) -> Slot {
        let network = network_of(address);
        let evicted = CancellationToken::new();
        let mut table = lock(&self.table);
        let crowded = table.by_network.get(&network).is_some_and(|of| of.len() >= table.limit_per_network);
        let oldest = if crowded {
            table.by_network.get(&network).and_then(|of| of.first()).copied()
        } else if table.taken.len() >= table.limit {
            table.taken.keys().next().copied()
        } else {
            None
        };
        let leaving = oldest.and_then(|number| table.remove(number));
        let number = table.next;
        table.next += 1;
        table.taken.insert(number, (network, evicted.clone()));
        table.by_network.entry(network).or_default().insert(number);
        drop(table);
        // Outside the lock: cancelling wakes the other's task.
        if let Some(leaving) = leaving {
            leaving.cancel();
        }
        Slot { table: Arc::clone(&self.table), number, evicted }
    }

    /// How many are taken.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        lock(&self.table).taken.len()
    }
}

/// One place; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Slot {
    table: Arc<Mutex<Table>>,
    number: u64,
    evicted: CancellationToken,
}

impl Slot {
    /// Cancelled when a newcomer was given the place.
    pub(crate) fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.table).remove(self.number);
    }
}

#[derive(Debug)]
struct Table {
    /// `taken.len() <= limit`
    limit: usize,
    /// `by_network[..].len() <= limit_per_network`
    limit_per_network: usize,
    next: u64,
    /// In order of age.
    taken: BTreeMap<u64, (IpAddr, CancellationToken)>,
    by_network: HashMap<IpAddr, BTreeSet<u64>>,
}

impl Table {
    /// Nothing for a place that was taken away already.
    fn remove(&mut self, number: u64) -> Option<CancellationToken> {
        let (network, evicted) = self.taken.remove(&number)?;
        if let Some(of) = self.by_network.get_mut(&network) {
            of.remove(&number);
            if of.is_empty() {
                self.by_network.remove(&network);
            }
        }
        Some(evicted)
    }
}

/// What counts as one address: of IPv6 the /64, of which any single host has all.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => IpAddr::V4(four),
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & NETWORK_MASK)),
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The upper 64 bits of an IPv6 address (RFC 4291 §2.5.1: the rest is the interface's own).
const NETWORK_MASK: u128 = !(u64::MAX as u128);

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(handshakes: usize, handshakes_per_address: usize) -> Slots {
        Slots::new(AccessLimits { handshakes, handshakes_per_address, ..AccessLimits::default() })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn evicted(slots: &[Slot]) -> Vec<bool> {
        slots.iter().map(|slot| slot.evicted().is_cancelled()).collect()
    }

    #[test]
    fn the_oldest_of_a_crowded_address_makes_room_and_other_addresses_stay() {
        let places = slots(100, 2);
        let held = ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.1"].map(|address| places.take(ip(address)));
        assert_eq!(evicted(&held), [true, false, false, false]);
        assert_eq!(places.taken(), 3);
    }

    #[test]
    fn the_oldest_of_all_makes_room_when_the_house_is_full() {
        let places = slots(2, 2);
        let held = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|address| places.take(ip(address)));
        assert_eq!(evicted(&held), [true, false, false]);
        assert_eq!(places.taken(), 2);
    }

    #[test]
    fn a_place_given_back_is_free_again_and_nothing_is_left_of_it() {
        let places = slots(1, 1);
        let first = places.take(ip("10.0.0.1"));
        drop(first);
        let second = places.take(ip("10.0.0.1"));
        assert!(!second.evicted().is_cancelled());
        drop(second);
        assert!(lock(&places.table).by_network.is_empty());
    }

    #[test]
    fn a_place_taken_away_is_not_given_back_twice() {
        let places = slots(1, 1);
        let first = places.take(ip("10.0.0.1"));
        let second = places.take(ip("10.0.0.1"));
        drop(first);
        assert_eq!(places.taken(), 1);
        drop(second);
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn one_network_is_one_address_whatever_its_form() {
        let cases = [
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("10.0.0.1", "10.0.0.2", false),
        ];
        for (one, other, same) in cases {
            assert_eq!(network_of(ip(one)) == network_of(ip(other)), same, "{one} and {other}");
        }
    }
}
