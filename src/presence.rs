//! Who is here at this moment: connections of the process and of each client address, requests under way of each organization. Not
//! how often somebody comes (the rate limits are) and no clock. Invariants: every table holds only who is here, so that none outgrows
//! the connections; whatever entered leaves, because leaving is a drop or the one place where a connection is closed.

use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// How many may be here; 0 in the last two: as many as like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// `MAX_CONNECTIONS`: client connections of the process.
    pub connections_max: usize,
    /// `MAX_CONNECTIONS_PER_IP`: of each address (IPv6: the /64).
    pub per_address_max: u32,
    /// `MAX_IN_FLIGHT_PER_ORG`: requests of each organization that are being forwarded.
    pub per_organization_max: u32,
}

/// The counts that all workers share.
#[derive(Debug)]
pub struct Presence {
    bounds: Bounds,
    connections: AtomicUsize,
    /// Idle connections that workers without any of their own want others to give up.
    wanted: AtomicUsize,
    addresses: Option<Counts>,
    organizations: Option<Arc<Counts>>,
}

impl Presence {
    /// Nobody is here yet. What is not bounded is not counted and costs nothing.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            connections: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
            addresses: (bounds.per_address_max > 0).then(Counts::default),
            organizations: (bounds.per_organization_max > 0).then(Arc::default),
        }
    }

    /// A connection has come; how many there are beyond the bound, this one included.
    pub fn arrived(&self) -> usize {
        let now = self.connections.fetch_add(1, Relaxed) + 1;
        now.saturating_sub(self.bounds.connections_max)
    }

    /// A connection has gone.
    pub fn left(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// A worker is over the bound and has no idle connection: another one may have.
    pub fn want_room(&self) {
        // One wish at a time is enough: it is asked again with each newcomer that finds no room.
        self.wanted.store(1, Relaxed);
    }

    /// Whether somebody wants room; asking takes the wish.
    pub fn take_wish(&self) -> bool {
        // A load first: this is asked on every tick of every worker, and nearly never so.
        self.wanted.load(Relaxed) > 0 && self.wanted.swap(0, Relaxed) > 0
    }

    /// An address's connection has come. False: it is over the address's bound (and counted all the same, until it leaves).
    pub fn address_arrived(&self, peer: IpAddr) -> bool {
        let Some(addresses) = &self.addresses else {
            return true;
        };
        addresses.enter(addresses.address(peer)) <= self.bounds.per_address_max
    }

    /// An address's connection has gone.
    pub fn address_left(&self, peer: IpAddr) {
        if let Some(addresses) = &self.addresses {
            addresses.leave(addresses.address(peer));
        }
    }

    /// Lets one more request of an organization begin; it has ended when the guard is dropped, however that comes about.
    ///
    /// # Errors
    /// As many as may be are under way.
    pub fn organization_begins(&self, id: &str) -> Result<InFlight, TooMany> {
        let Some(organizations) = &self.organizations else {
            return Ok(InFlight(None));
        };
        let key = organizations.key(id);
        let guard = InFlight(Some((Arc::clone(organizations), key)));
        if organizations.enter(key) <= self.bounds.per_organization_max {
            Ok(guard)
        } else {
            Err(TooMany)
        }
    }
}

/// An organization has `MAX_IN_FLIGHT_PER_ORG` requests under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// A request under way, counted until this is dropped; nothing when nobody counts.
#[derive(Default)]
pub struct InFlight(Option<(Arc<Counts>, u64)>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some((counts, key)) = self.0.take() {
            counts.leave(key);
        }
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "InFlight(counted)"
        } else {
            "InFlight"
        })
    }
}

/// Counts by a keyed hash that nobody outside can search collisions for; by chance two of a million keys share one with a
/// probability of 2^-25.
#[derive(Default)]
pub struct Counts {
    hasher: RandomState,
    map: DashMap<u64, u32, RandomState>,
}

impl Counts {
    fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    /// One subscriber is given a whole /64 and could connect from a new address each time.
    fn address(&self, peer: IpAddr) -> u64 {
        match peer.to_canonical() {
            IpAddr::V4(v4) => self.key((4_u8, u128::from(v4.to_bits()))),
            IpAddr::V6(v6) => self.key((6_u8, v6.to_bits() >> 64)),
        }
    }

    /// Counts one more and says how many there are now.
    fn enter(&self, key: u64) -> u32 {
        let mut count = self.map.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    fn leave(&self, key: u64) {
        if let Entry::Occupied(mut held) = self.map.entry(key) {
            if *held.get() <= 1 {
                held.remove();
            } else {
                *held.get_mut() -= 1;
            }
        }
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counts({})", self.map.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(
        connections_max: usize,
        per_address_max: u32,
        per_organization_max: u32,
    ) -> Presence {
        Presence::new(Bounds {
            connections_max,
            per_address_max,
            per_organization_max,
        })
    }

    fn held(presence: &Presence) -> (usize, usize) {
        let addresses = presence.addresses.as_ref().map_or(0, |a| a.map.len());
        let organizations = presence.organizations.as_ref().map_or(0, |o| o.map.len());
        (addresses, organizations)
    }

    #[test]
    fn connections_beyond_the_bound_are_told() {
        let here = presence(2, 0, 0);
        assert_eq!([(); 4].map(|()| here.arrived()), [0, 0, 1, 2]);
        here.left();
        here.left();
        assert_eq!(here.arrived(), 1);
        assert!(!here.take_wish());
        here.want_room();
        here.want_room();
        assert!(here.take_wish() && !here.take_wish());
    }

    #[test]
    fn an_address_is_bounded_as_a_whole_network_and_forgotten_when_it_has_left() {
        let here = presence(9, 2, 0);
        let table = [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::ffff:2", true),
            ("2001:db8::3", false),
            ("2001:db8:0:1::1", true),
        ];
        let peers = table.map(|(text, _)| text.parse::<IpAddr>());
        for ((text, fits), peer) in table.iter().zip(&peers) {
            let found = peer.clone().is_ok_and(|peer| here.address_arrived(peer));
            assert_eq!(found, *fits, "{text}");
        }
        for peer in peers.into_iter().flatten() {
            here.address_left(peer);
            // More leaving than coming must not wrap around.
        }
        assert_eq!(held(&here), (0, 0));
        here.address_left(IpAddr::from([1, 2, 3, 4]));
        assert_eq!(held(&here), (0, 0));
    }

    #[test]
    fn an_organization_is_bounded_until_its_requests_have_ended() {
        let here = presence(9, 0, 2);
        let first = here.organization_begins("1");
        let second = here.organization_begins("1");
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(here.organization_begins("1").err(), Some(TooMany));
        assert!(here.organization_begins("2").is_ok());
        drop(first);
        assert!(
            here.organization_begins("1").is_ok(),
            "it was dropped at once"
        );
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = here.organization_begins("1");
            assert!(std::hint::black_box(false), "on purpose");
        }));
        assert!(panicked.is_err());
        drop(second);
        assert_eq!(held(&here), (0, 0));
    }

    #[test]
    fn what_is_off_counts_nobody() {
        let here = presence(1, 0, 0);
        let guards: Vec<_> = (0..100).map(|_| here.organization_begins("1")).collect();
        assert!(guards.iter().all(Result::is_ok));
        assert!((0..100).all(|_| here.address_arrived(IpAddr::from([1, 2, 3, 4]))));
        assert_eq!(held(&here), (0, 0));
    }

    #[test]
    fn threads_that_come_and_go_leave_nothing() {
        let here = presence(usize::MAX, 1_000, 1_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..5_000_u32 {
                        let peer = IpAddr::from((number % 7).to_be_bytes());
                        here.arrived();
                        assert!(here.address_arrived(peer));
                        let guard = here.organization_begins(&(number % 3).to_string());
                        assert!(guard.is_ok());
                        here.address_left(peer);
                        here.left();
                    }
                });
            }
        });
        assert_eq!(held(&here), (0, 0));
        assert_eq!(here.connections.load(Relaxed), 0);
    }
}
