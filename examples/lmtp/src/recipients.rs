//! Whose mail an address is.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::{Account, Backend, Error, Result};

/// Finds the account of a recipient.
#[async_trait]
pub trait Recipients: Send + Sync {
    /// The account that mail for this address goes to. `address` is as the client wrote it, without its brackets, without
    /// a source route, and without the quotes of a quoted local part; `postmaster` may come without a domain (RFC 5321,
    /// section 4.5.1).
    ///
    /// # Errors
    ///
    /// [`Error::AuthorizationFailed`] when there is no such recipient; others when the store fails.
    async fn account(&self, connection: &Connection, address: &str) -> Result<Arc<dyn Account>>;
}

/// The users of a backend: an address is a user's if the whole of it is the user's name, else if what stands before the
/// `@` is, else if what stands before a `+` in that is (RFC 5233).
pub struct Users(Arc<dyn Backend>);

impl Users {
    /// The users of this backend, which has to refuse to [open](Backend::open) the accounts of unknown ones.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self(backend)
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}

#[async_trait]
impl Recipients for Users {
    async fn account(&self, connection: &Connection, address: &str) -> Result<Arc<dyn Account>> {
        for name in names(address) {
            match self.0.open(connection, &Identity::new(name)).await {
                Err(Error::AuthenticationFailed | Error::AuthorizationFailed) => {}
                found => return found,
            }
        }
        Err(Error::AuthorizationFailed)
    }
}

/// The names that an address may stand for, the most exact first.
fn names(address: &str) -> impl Iterator<Item = String> {
    let (local, domain) = address.rsplit_once('@').map_or((address, None), |(local, domain)| (local, Some(domain)));
    let whole = domain.map(|domain| format!("{local}@{}", domain.to_ascii_lowercase()));
    let base = local.split_once('+').map(|(base, _)| base).filter(|base| !base.is_empty());
    [whole, Some(local.to_owned()), base.map(str::to_owned)].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_most_exact() {
        let all = |address| names(address).collect::<Vec<_>>();
        assert_eq!(all("Ada+news@Example.ORG"), ["Ada+news@example.org", "Ada+news", "Ada"]);
        assert_eq!(all("postmaster"), ["postmaster"]);
        assert_eq!(all("+x@example.org"), ["+x@example.org", "+x"]);
    }
}
