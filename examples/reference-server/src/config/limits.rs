//! How much of the server one client may take, and how much all of them.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use pillarbox_server_core::Network;
use pillarbox_server_core::limits::{AddressSettings, MinRate, PenaltySettings, Rate};
use serde::Deserialize;
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::value::{Size, Span, Texts};

/// Limits of the whole server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections of an address, and of its network.
    pub address: AddressSettings,
    /// How often an address may connect: so many in a time, and so many at once.
    pub rate: Option<(u32, Duration, u32)>,
    /// What failed logins bring upon an address.
    pub login: PenaltySettings,
    /// Sessions of a user at a time; `None` for as many as it likes.
    pub user_sessions: Option<u32>,
    /// Octets that all sessions together may take; `None` for no ceiling.
    pub memory: Option<u64>,
    /// How slow a client may be in the middle of something; `None` for as slow as it likes.
    pub min_rate: Option<MinRate>,
    /// How long a client may take nothing of what is there for it.
    pub write_stall: Duration,
}

/// Over how long a client's rate is looked at.
pub(super) const MIN_RATE_WINDOW: Duration = Duration::from_secs(240);

impl Default for Limits {
    /// Those of the library, but none for this machine itself: a webmail here logs in for everybody.
    fn default() -> Self {
        let mut limits = Self {
            address: AddressSettings::default(),
            rate: None,
            login: PenaltySettings::default(),
            user_sessions: None,
            memory: None,
            min_rate: None,
            write_stall: Duration::from_secs(300),
        };
        let here = [(IpAddr::from([127, 0, 0, 0]), 8), (IpAddr::from(Ipv6Addr::LOCALHOST), 128)];
        limits.set_exempt(here.into_iter().filter_map(|(address, prefix)| Network::new(address, prefix)).collect());
        limits
    }
}

impl Limits {
    fn set_exempt(&mut self, networks: Vec<Network>) {
        self.login.exempt.clone_from(&networks);
        self.address.exempt = networks;
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct Table {
    exempt: Option<Spanned<Texts>>,
    memory: Option<Size>,
    address: AddressTable,
    user: UserTable,
    login: LoginTable,
    transfer: TransferTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct TransferTable {
    min_rate: Option<u32>,
    window: Option<Span>,
    stall: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct AddressTable {
    connections: Option<u32>,
    network_connections: Option<u32>,
    rate: Option<Spanned<String>>,
    burst: Option<Spanned<u32>>,
    ipv6_prefix: Option<Spanned<u8>>,
    ipv4_network: Option<Spanned<u8>>,
    ipv6_network: Option<Spanned<u8>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct UserTable {
    sessions: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct LoginTable {
    window: Option<Span>,
    free: Option<u32>,
    first_delay: Option<Span>,
    longest_delay: Option<Span>,
    waiting: Option<u32>,
    block_after: Option<u32>,
    block_for: Option<Span>,
}

fn some(number: u32) -> Option<u32> {
    (number > 0).then_some(number)
}

impl Table {
    pub(super) fn resolve(&self, source: &Source<'_>) -> Result<Limits, ConfigError> {
        let mut limits = Limits::default();
        if let Some(value) = &self.exempt {
            let network = |text: &String| text.parse::<Network>().map_err(|error| source.error(&value.span(), error));
            limits.set_exempt(value.get_ref().0.iter().map(network).collect::<Result<_, _>>()?);
        }
        let (address, login) = (&mut limits.address, &mut limits.login);
        if let Some(number) = self.address.connections {
            address.connections = some(number);
        }
        if let Some(number) = self.address.network_connections {
            address.network_connections = some(number);
        }
        let prefix = |value: &Option<Spanned<u8>>, most: u8, into: &mut u8| {
            let Some(value) = value else { return Ok(()) };
            if *value.get_ref() > most {
                return Err(source.error(&value.span(), format_args!("must be at most {most}")));
            }
            *into = *value.get_ref();
            Ok(())
        };
        prefix(&self.address.ipv6_prefix, 128, &mut address.ipv6_address)?;
        prefix(&self.address.ipv4_network, 32, &mut address.ipv4_network)?;
        prefix(&self.address.ipv6_network, 128, &mut address.ipv6_network)?;
        login.ipv6_address = address.ipv6_address;
        limits.rate = match (&self.address.rate, &self.address.burst) {
            (None, Some(burst)) => return Err(source.error(&burst.span(), "is of no use without a rate")),
            (None, None) => None,
            (Some(value), burst) => {
                let Some((count, time)) = rate(value.get_ref()) else {
                    let text = format_args!("{:?} is no rate, such as \"10/1s\" or \"100/1m\"", value.get_ref());
                    return Err(source.error(&value.span(), text));
                };
                let burst = burst.as_ref().map_or(count, |burst| *burst.get_ref());
                Some((count, time, burst.max(1)))
            }
        };
        address.rate = limits.rate.map(|(count, time, burst)| Rate::new(count, time).burst(burst));
        let span = |value: Option<Span>, into: &mut Duration| {
            if let Some(span) = value {
                *into = span.0;
            }
        };
        span(self.login.window, &mut login.window);
        span(self.login.first_delay, &mut login.first_delay);
        span(self.login.longest_delay, &mut login.longest_delay);
        span(self.login.block_for, &mut login.block_for);
        login.free = self.login.free.unwrap_or(login.free);
        login.waiting = self.login.waiting.unwrap_or(login.waiting);
        if let Some(number) = self.login.block_after {
            login.block_after = some(number);
        }
        span(self.transfer.stall, &mut limits.write_stall);
        let window = self.transfer.window.map_or(MIN_RATE_WINDOW, |span| span.0);
        limits.min_rate = self.transfer.min_rate.and_then(some).map(|rate| MinRate::new(rate, window));
        limits.user_sessions = self.user.sessions.and_then(some);
        limits.memory = self.memory.map(|size| size.0).filter(|size| *size > 0);
        Ok(limits)
    }
}

/// `COUNT/TIME`.
fn rate(text: &str) -> Option<(u32, Duration)> {
    let (count, time) = text.split_once('/')?;
    let count: u32 = count.trim().parse().ok().filter(|count| *count > 0)?;
    let time = time.trim();
    // A unit alone is one of it.
    let time = if time.starts_with(|c: char| c.is_ascii_digit()) { time.to_owned() } else { format!("1{time}") };
    Span::units(&time).map(|span| (count, span.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(rate("10/1s"), Some((10, Duration::from_secs(1))));
        assert_eq!(rate("100/m"), Some((100, Duration::from_secs(60))));
        for text in ["", "10", "0/1s", "x/1s", "10/", "10/5", "-1/s"] {
            assert_eq!(rate(text), None, "{text}");
        }
    }
}
