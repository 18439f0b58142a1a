//! Names of addresses.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// How many questions are put to the system's resolver at once: each keeps a thread waiting.
const AT_ONCE: usize = 32;

/// Looks up the name of an address, and the addresses of a name.
///
/// The caller limits the time, by dropping the future; and it compares: a name counts only if the address is among its
/// addresses, since whoever has an address gives it any name.
#[async_trait]
pub trait NameLookup: fmt::Debug + Send + Sync {
    /// The name of this address; `None` if it has none.
    ///
    /// # Errors
    ///
    /// When it cannot be found out.
    async fn name(&self, address: IpAddr) -> io::Result<Option<String>>;

    /// The addresses of this name; none if there is no such name.
    ///
    /// # Errors
    ///
    /// When it cannot be found out.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// Asks the system's resolver (`getnameinfo`, `getaddrinfo`), so that `/etc/hosts` and what else is configured there counts.
///
/// At most 32 questions wait for an answer at once, each in a thread of tokio's pool for blocking calls; further ones
/// wait for their turn. A question that nobody waits for any more keeps its place until the resolver gives up.
#[derive(Clone, Debug)]
pub struct SystemNames {
    room: Arc<Semaphore>,
}

impl Default for SystemNames {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl SystemNames {
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> Result<T, dns_lookup::LookupError> + Send + 'static,
    ) -> io::Result<Option<T>> {
        let room = self.room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let asked = tokio::task::spawn_blocking(move || {
            let _room = room;
            question()
        });
        match asked.await.map_err(io::Error::other)? {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if matches!(error.kind(), dns_lookup::LookupErrorKind::NoName) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl NameLookup for SystemNames {
    async fn name(&self, address: IpAddr) -> io::Result<Option<String>> {
        self.ask(move || dns_lookup::lookup_addr(&address)).await
    }

    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let name = name.to_owned();
        let found = self.ask(move || Ok(dns_lookup::lookup_host(&name)?.collect())).await?;
        Ok(found.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_itself() {
        let names = SystemNames::default();
        let local: IpAddr = [127, 0, 0, 1].into();
        assert!(names.addresses("localhost").await.unwrap().contains(&local));
        assert!(names.name(local).await.unwrap().unwrap().starts_with("localhost"));
    }
}
