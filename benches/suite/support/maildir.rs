//! The reference server's Maildir store, with any password.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::backend::{Account, Authenticator, Backend, Result};
use pillarbox_reference_server::store::{MaildirOptions, MaildirStores};

/// One Maildir for whoever comes.
pub(crate) struct Maildir {
    stores: MaildirStores,
    root: PathBuf,
}

impl Maildir {
    /// The Maildir at this root, filled by whoever.
    pub(crate) fn new(root: PathBuf) -> Arc<Self> {
        Self::with(root, MaildirOptions::default())
    }

    /// The same, with no message kept in memory: each reading opens its file.
    pub(crate) fn uncached(root: PathBuf) -> Arc<Self> {
        Self::with(root, MaildirOptions { message_cache: 0, ..MaildirOptions::default() })
    }

    fn with(root: PathBuf, options: MaildirOptions) -> Arc<Self> {
        Arc::new(Self { stores: MaildirStores::new(options).unwrap(), root })
    }
}

#[async_trait]
impl Authenticator for Maildir {
    async fn check_password(&self, _: &Connection, user: &str, _: &Secret) -> Result<Identity> {
        Ok(Identity::new(user))
    }
}

#[async_trait]
impl Backend for Maildir {
    async fn open(&self, _: &Connection, _: &Identity) -> Result<Arc<dyn Account>> {
        Ok(self.stores.open(self.root.clone()).await?.account())
    }
}
