//! Limits on what one client, one network, one user, and all of them together may take.
//!
//! * [`AddressLimits`]: open connections for each address and each network, and new connections in a time.
//! * [`Penalties`]: failed logins make the next answer wait, and then block the address for a while.
//! * [`MemoryCeiling`]: from how much memory of all sessions on new connections are refused.
//! * [`UserLimits`]: open sessions of each user.
//! * [`Throttled`]: puts penalties and user limits in front of any backend.
//! * [`MinRate`]: how slow a client may be in the middle of something; a part of
//!   [`ServeOptions`](crate::ServeOptions::min_rate).
//!
//! The first three decide about a connection before it is told a byte, and belong to the [`Server`](crate::Server), over
//! all its listeners; `Penalties` belongs to the backend as well, which is where logins fail:
//!
//! ```
//! use std::sync::Arc;
//!
//! use pillarbox_proto_core::backend::Backend;
//! use pillarbox_server_core::limits::{
//!     AddressLimits, AddressSettings, MemoryCeiling, Penalties, PenaltySettings, Throttled, UserLimits,
//! };
//!
//! # fn protect(backend: Arc<dyn Backend>) {
//! let addresses = AddressLimits::new(AddressSettings::default());
//! let penalties = Penalties::new(PenaltySettings::default());
//! let memory = MemoryCeiling::new(1 << 30);
//! let backend: Arc<dyn Backend> =
//!     Arc::new(Throttled::new(backend).penalties(penalties.clone()).users(UserLimits::new(30)));
//! # drop((addresses, memory, backend));
//! # }
//! ```
//!
//! # What an attacker can't do
//!
//! Each table has a fixed number of places, and each look into it costs the same, however full it is: places are found by
//! a hash with a random key, and only sixteen of them are looked at. What is newest takes the place of what weighs least
//! among the sixteen; what has a connection open, or an answer waiting, stays. So whoever wants to be forgotten has to
//! find addresses that share his places, without knowing which these are, and let each of them do worse than he did.
//!
//! A client with IPv6 has more addresses than a table has places: there, addresses of the same /64 are one.

mod addresses;
mod memory;
pub(crate) mod pace;
mod penalties;
mod table;
mod throttled;
mod users;

use std::net::IpAddr;

pub use addresses::{AddressGuard, AddressLimits, AddressSettings, Rate};
pub use memory::{MemoryCeiling, MemoryShare};
pub use pace::MinRate;
pub use penalties::{Delay, Penalties, Penalty, PenaltySettings};
pub use throttled::Throttled;
pub use users::{UserGuard, UserLimits};

use crate::network::Network;

/// Which limit a new connection has reached, or a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LimitReached {
    /// Its address has as many connections as one address may have.
    #[error("too many connections from this address")]
    Address,
    /// Its network has as many connections as one network may have.
    #[error("too many connections from this network")]
    Network,
    /// Its address connects too often.
    #[error("too many new connections from this address")]
    Rate,
    /// Its address is blocked after failed logins, or by the operator.
    #[error("this address is blocked")]
    Blocked,
    /// All sessions together take as much memory as they may.
    #[error("the memory of all sessions has reached its ceiling")]
    Memory,
    /// The user has as many sessions as one user may have.
    #[error("too many sessions of this user")]
    User,
}

impl LimitReached {
    /// Its name, for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Network => "network",
            Self::Rate => "rate",
            Self::Blocked => "blocked",
            Self::Memory => "memory",
            Self::User => "user",
        }
    }
}

/// The network of this address with the prefix length of its family. A length that the family does not have is taken for
/// the longest.
fn network(address: IpAddr, v4: u8, v6: u8) -> Network {
    let address = address.to_canonical();
    let prefix = if address.is_ipv4() { v4.min(32) } else { v6.min(128) };
    Network::new(address, prefix).unwrap_or_else(|| Network::host(address))
}

fn is_exempt(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}
