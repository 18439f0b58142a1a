//! Where a user's mail is kept: in a Maildir++.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::backend::{Account, Result};

use crate::backend::{Home, Homes};
use crate::config::{Config, Fsync};
use crate::exit::{Failure, Status};
use crate::store::{self, Delivered, Expired, MaildirOptions, MaildirStore, MaildirStores};

/// Keeps each user's mail in a Maildir++.
#[derive(Debug)]
pub struct MaildirHomes {
    stores: MaildirStores,
}

impl MaildirHomes {
    /// Settings are those of the configuration.
    ///
    /// # Errors
    ///
    /// [`Status::OsError`] when the system gives no thread, or can't watch folders.
    pub fn new(config: &Config) -> crate::exit::Result<Self> {
        let options = MaildirOptions {
            fsync: match config.fsync {
                Fsync::Always => store::Fsync::Always,
                Fsync::Optimized => store::Fsync::Optimized,
            },
            append_limit: Some(config.max_message_size),
            host: None,
            expire_stamp: config.pop3.expire_stamp,
            message_cache: config.message_cache,
        };
        let stores = MaildirStores::new(options)
            .map_err(|error| Failure::io(Status::OsError, "following changes of mail folders", &error))?;
        Ok(Self { stores })
    }
}

#[async_trait]
impl Homes for MaildirHomes {
    async fn open(&self, home: &Path) -> Result<Arc<dyn Home>> {
        Ok(Arc::new(MaildirHome(self.stores.open(home.to_owned()).await?)))
    }
}

struct MaildirHome(Arc<MaildirStore>);

#[async_trait]
impl Home for MaildirHome {
    fn account(&self) -> Arc<dyn Account> {
        self.0.account()
    }

    async fn lock_bulletins(&self) -> Result<Box<dyn Any + Send + Sync>> {
        Ok(Box::new(self.0.lock_bulletins().await?))
    }

    async fn deliver_bulletins(&self, messages: &[(u64, PathBuf)]) -> Delivered {
        self.0.deliver_bulletins(messages).await
    }

    async fn forget_bulletins(&self, counted: u64) -> Result<()> {
        self.0.forget_bulletins(counted).await
    }

    async fn expire(&self, cutoff: i64, only_ask: bool) -> Result<Vec<Expired>> {
        self.0.expire(cutoff, only_ask).await
    }
}
