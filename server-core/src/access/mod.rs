//! Who may connect: access control lists and tcp-wrappers tables, as [gates](crate::Gate).
//!
//! * [`Acl`]: entries that are looked at in order; they let in, turn away, write to the log and run programs.
//! * [`HostsAccess`]: the tables of tcp-wrappers, `hosts.allow` and `hosts.deny`, which are read again when they change.
//!
//! A [gate of a listener](crate::Listener::gate) decides about that listener's clients, one of the server about all;
//! whoever is let in has passed both. "Address" is the client's as [`Connection::client`] has it, so behind a trusted
//! proxy the one that the proxy names, and an IPv4 address mapped into IPv6 is that IPv4 address. A client without an
//! address (a Unix socket, standard input) is always let in.
//!
//! No shell ever runs, and nothing that a client sends is read: what is not let in gets no byte.
//!
//! [`Connection::client`]: pillarbox_proto_core::Connection::client

mod acl;
mod clients;
mod entry;
mod hosts;
mod names;

pub use acl::Acl;
pub use clients::{Clients, ClientsError};
pub use entry::EntryError;
pub use hosts::{HostsAccess, HostsAccessBuilder, HostsError};
pub use names::{NameLookup, SystemNames};
