//! How many connections an address and a network may have, and how often an address may connect.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::table::Table;
use super::{LimitReached, is_exempt, network};
use crate::network::Network;

/// What [`AddressLimits`] allows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressSettings {
    /// The most open connections of one address. Default: 50, as a household or an office behind one address has many
    /// clients, and each of them a handful of connections. `None`: as many as it likes.
    pub connections: Option<u32>,
    /// The most open connections of one network. Default: `None`.
    pub network_connections: Option<u32>,
    /// How often an address may connect. Default: `None`.
    pub rate: Option<Rate>,
    /// The bits of an IPv6 address that make it another one. Default: 64.
    pub ipv6_address: u8,
    /// The prefix length of an IPv4 network. Default: 24.
    pub ipv4_network: u8,
    /// The prefix length of an IPv6 network. Default: 56.
    pub ipv6_network: u8,
    /// Networks to which no limit applies: a webmail, a proxy in front of many users, the monitoring. Default: none.
    pub exempt: Vec<Network>,
}

impl Default for AddressSettings {
    fn default() -> Self {
        Self {
            connections: Some(50),
            network_connections: None,
            rate: None,
            ipv6_address: 64,
            ipv4_network: 24,
            ipv6_network: 56,
            exempt: Vec::new(),
        }
    }
}

/// So many in a time, and so many at once.
///
/// ```
/// use std::time::Duration;
/// use pillarbox_server_core::limits::Rate;
///
/// // Five in a second in the long run, but a client that opens ten connections at once gets them.
/// let rate = Rate::new(5, Duration::from_secs(1)).burst(10);
/// assert_eq!(rate.interval(), Duration::from_millis(200));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    /// So many (at least one) in that time, and as many at once.
    #[must_use]
    pub fn new(count: u32, time: Duration) -> Self {
        let count = count.max(1);
        Self { interval: time / count, burst: count }
    }

    /// So many at once (at least one), when there were none before.
    #[must_use]
    pub fn burst(self, burst: u32) -> Self {
        Self { burst: burst.max(1), ..self }
    }

    /// The time in which one more is allowed.
    #[must_use]
    pub const fn interval(self) -> Duration {
        self.interval
    }

    /// How far the next one may lie ahead: a bucket of tokens told as a time.
    fn reserve(self) -> Duration {
        self.interval.saturating_mul(self.burst - 1)
    }
}

/// Limits on the connections of addresses and networks, over all listeners that share it.
///
/// Clones are handles of the same limits.
///
/// ```
/// use pillarbox_server_core::limits::{AddressLimits, AddressSettings, LimitReached};
///
/// let mut settings = AddressSettings::default();
/// settings.connections = Some(1);
/// let limits = AddressLimits::new(settings);
///
/// let client = "192.0.2.1".parse()?;
/// let guard = limits.admit(client)?;
/// assert_eq!(limits.admit(client).unwrap_err(), LimitReached::Address);
/// assert!(limits.admit("192.0.2.2".parse()?).is_ok());
/// drop(guard);
/// assert!(limits.admit(client).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AddressLimits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Mutex<Arc<AddressSettings>>,
    addresses: Table<Known>,
    networks: Table<u32>,
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Known {
    open: u32,
    /// When its bucket of tokens will be full again.
    full: Option<Instant>,
}

impl Known {
    fn weight(&self, now: Instant) -> Option<u64> {
        (self.open == 0).then(|| {
            let missing = self.full.map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
            u64::try_from(missing.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

/// One open connection; dropped, it no longer counts.
#[derive(Debug)]
#[must_use = "what is dropped does not count"]
pub struct AddressGuard(Option<Counted>);

#[derive(Debug)]
struct Counted {
    shared: Arc<Shared>,
    address: Network,
    network: Network,
}

impl AddressLimits {
    /// With these settings, and room for 65,536 addresses and as many networks.
    #[must_use]
    pub fn new(settings: AddressSettings) -> Self {
        Self::with_room(settings, 65_536)
    }

    /// With these settings, and room for so many addresses and networks; about 48 bytes each when they are taken. There
    /// should be a few times as many as there are connections: an address without an open connection needs its place
    /// only so that its [rate](AddressSettings::rate) is known.
    #[must_use]
    pub fn with_room(settings: AddressSettings, entries: usize) -> Self {
        Self(Arc::new(Shared {
            settings: Mutex::new(Arc::new(settings)),
            addresses: Table::new(entries),
            networks: Table::new(entries),
        }))
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> Arc<AddressSettings> {
        self.0.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the settings. What is open stays open and counted, by the prefix lengths of its time.
    pub fn set(&self, settings: AddressSettings) {
        *self.0.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Lets a connection of this address in, if there is room for it.
    ///
    /// # Errors
    ///
    /// [`LimitReached::Address`], [`LimitReached::Network`], [`LimitReached::Rate`]. Nothing is counted then, except
    /// that a connection for which only its network has no room counts for its address's rate.
    pub fn admit(&self, address: IpAddr) -> Result<AddressGuard, LimitReached> {
        let settings = self.settings();
        if is_exempt(&settings.exempt, address) {
            return Ok(AddressGuard(None));
        }
        let now = crate::now();
        let shared = &self.0;
        let counted = Counted {
            shared: shared.clone(),
            address: network(address, 32, settings.ipv6_address),
            network: network(address, settings.ipv4_network, settings.ipv6_network),
        };
        let enter_address = |known: &mut Known| {
            if settings.connections.is_some_and(|most| known.open >= most) {
                return Err(LimitReached::Address);
            }
            if let Some(rate) = settings.rate {
                let full = known.full.map_or(now, |full| full.max(now));
                if full.duration_since(now) > rate.reserve() {
                    return Err(LimitReached::Rate);
                }
                known.full = full.checked_add(rate.interval);
            }
            known.open += 1;
            Ok(())
        };
        let enter_network = |open: &mut u32| {
            if settings.network_connections.is_some_and(|most| *open >= most) {
                return Err(LimitReached::Network);
            }
            *open += 1;
            Ok(())
        };
        shared.addresses.change(counted.address, |known| known.weight(now), enter_address)?;
        if let Err(full) = shared.networks.change(counted.network, |open| (*open == 0).then_some(0), enter_network) {
            counted.leave_address();
            return Err(full);
        }
        Ok(AddressGuard(Some(counted)))
    }

    /// How many connections of this address are open, as far as they are counted.
    #[must_use]
    pub fn open(&self, address: IpAddr) -> u32 {
        let address = network(address, 32, self.settings().ipv6_address);
        self.0.addresses.look(address, |known| known.open).unwrap_or(0)
    }
}

impl Counted {
    fn leave_address(&self) {
        self.shared.addresses.release(self.address, |known| {
            known.open = known.open.saturating_sub(1);
            // The clock is asked only where there may be something to remember.
            known.open == 0 && known.full.is_none_or(|full| full <= crate::now())
        });
    }
}

impl Drop for AddressGuard {
    fn drop(&mut self) {
        if let Some(counted) = self.0.take() {
            counted.leave_address();
            counted.shared.networks.release(counted.network, |open| {
                *open = open.saturating_sub(1);
                *open == 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(change: impl FnOnce(&mut AddressSettings)) -> AddressLimits {
        let mut settings = AddressSettings::default();
        change(&mut settings);
        AddressLimits::new(settings)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn connections_of_an_address() {
        let limits = limits(|settings| settings.connections = Some(2));
        let one = limits.admit(ip("192.0.2.1")).unwrap();
        let two = limits.admit(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(limits.admit(ip("192.0.2.1")).unwrap_err(), LimitReached::Address);
        assert_eq!(limits.open(ip("192.0.2.1")), 2);
        drop(one);
        let _three = limits.admit(ip("192.0.2.1")).unwrap();
        drop(two);
        assert_eq!(limits.open(ip("192.0.2.1")), 1);
    }

    #[test]
    fn a_64_is_one_address_of_ipv6() {
        let limits = limits(|settings| settings.connections = Some(1));
        let _one = limits.admit(ip("2001:db8::1")).unwrap();
        assert_eq!(limits.admit(ip("2001:db8::ffff:1")).unwrap_err(), LimitReached::Address);
        assert!(limits.admit(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn connections_of_a_network() {
        let limits = limits(|settings| settings.network_connections = Some(2));
        let guards = [limits.admit(ip("192.0.2.1")).unwrap(), limits.admit(ip("192.0.2.200")).unwrap()];
        assert_eq!(limits.admit(ip("192.0.2.3")).unwrap_err(), LimitReached::Network);
        assert_eq!(limits.open(ip("192.0.2.3")), 0, "given back");
        assert!(limits.admit(ip("192.0.3.3")).is_ok());
        let six = [limits.admit(ip("2001:db8::1")).unwrap(), limits.admit(ip("2001:db8:0:ff::1")).unwrap()];
        assert_eq!(limits.admit(ip("2001:db8:0:2::1")).unwrap_err(), LimitReached::Network);
        assert!(limits.admit(ip("2001:db8:0:100::1")).is_ok());
        drop((guards, six));
        assert!(limits.admit(ip("192.0.2.3")).is_ok());
        let left = limits.0.addresses.list(|_, _| Some(())).len() + limits.0.networks.list(|_, _| Some(())).len();
        assert_eq!(left, 0, "nothing is kept of who has gone");
    }

    #[tokio::test(start_paused = true)]
    async fn new_connections_in_a_time() {
        let limits = limits(|settings| settings.rate = Some(Rate::new(2, Duration::from_secs(1)).burst(3)));
        let connect = || limits.admit(ip("192.0.2.1")).map(drop);
        for _ in 0..3 {
            connect().unwrap();
        }
        for _ in 0..100 {
            assert_eq!(connect(), Err(LimitReached::Rate), "who is refused loses nothing by it");
        }
        assert!(limits.admit(ip("192.0.2.2")).is_ok());
        tokio::time::advance(Duration::from_millis(500)).await;
        connect().unwrap();
        assert_eq!(connect(), Err(LimitReached::Rate));
        tokio::time::advance(Duration::from_secs(3600)).await;
        for _ in 0..3 {
            connect().unwrap();
        }
        assert_eq!(connect(), Err(LimitReached::Rate), "no more than the burst is saved up");
    }

    #[test]
    fn exempt_networks_and_new_settings() {
        let limits = limits(|settings| {
            settings.connections = Some(0);
            settings.exempt = vec!["127.0.0.0/8".parse().unwrap()];
        });
        let _one = limits.admit(ip("127.0.0.1")).unwrap();
        assert_eq!(limits.admit(ip("192.0.2.1")).unwrap_err(), LimitReached::Address);
        let mut settings = AddressSettings::clone(&limits.settings());
        settings.connections = None;
        limits.set(settings);
        let guards: Vec<_> = (0..1000).map(|_| limits.admit(ip("192.0.2.1")).unwrap()).collect();
        assert_eq!(limits.open(ip("192.0.2.1")), 1000);
        drop(guards);
    }

    #[test]
    fn many_addresses_come_and_go() {
        let limits = AddressLimits::with_room(
            AddressSettings { rate: Some(Rate::new(1, Duration::from_secs(3600))), ..AddressSettings::default() },
            4096,
        );
        let open: Vec<_> = (0..100_u32).map(|n| limits.admit(std::net::Ipv4Addr::from(n).into()).unwrap()).collect();
        for number in 1000..201_000_u32 {
            drop(limits.admit(std::net::Ipv4Addr::from(number).into()));
        }
        assert!(limits.0.addresses.size() <= 5000 * 64, "{}", limits.0.addresses.size());
        assert!(limits.0.networks.size() <= 5000 * 48);
        for number in 0..100_u32 {
            assert_eq!(limits.open(std::net::Ipv4Addr::from(number).into()), 1, "what is open is not forgotten");
        }
        drop(open);
    }

    proptest::proptest! {
        /// However small the table is and whatever has to be forgotten: what is open is counted exactly.
        #[test]
        fn counts_are_exact(steps in proptest::collection::vec((0_u8..60, 0_usize..100, proptest::bool::ANY), 0..400)) {
            let settings = AddressSettings {
                connections: Some(3),
                network_connections: Some(20),
                rate: Some(Rate::new(1000, Duration::from_secs(1))),
                ..AddressSettings::default()
            };
            let limits = AddressLimits::with_room(settings, 1);
            let mut open: Vec<(IpAddr, AddressGuard)> = Vec::new();
            for (host, which, connects) in steps {
                let address = IpAddr::from([192, 0, host % 3, host]);
                if connects {
                    let count = |near: &dyn Fn([u8; 4]) -> bool| {
                        open.iter().filter(|(ip, _)| matches!(ip, IpAddr::V4(ip) if near(ip.octets()))).count()
                    };
                    let (own, net) = (count(&|ip| ip[3] == host), count(&|ip| ip[2] == host % 3));
                    match limits.admit(address) {
                        Ok(guard) => {
                            assert!(own < 3 && net < 20);
                            open.push((address, guard));
                        }
                        Err(LimitReached::Address) => assert_eq!(own, 3),
                        Err(LimitReached::Network) => assert_eq!(net, 20),
                        Err(other) => panic!("{other}"),
                    }
                } else if !open.is_empty() {
                    drop(open.swap_remove(which % open.len()));
                }
            }
            open.clear();
            assert!(limits.0.networks.list(|_, open| Some(*open)).is_empty());
            assert!(limits.0.addresses.list(|_, known| (known.open > 0).then_some(())).is_empty());
        }
    }
}
