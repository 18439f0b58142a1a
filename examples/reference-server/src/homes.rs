//! Where a user's mail is kept: in a Maildir++.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use pillarbox_proto_core::backend::{Account, Result};

use crate::backend::Homes;
use crate::config::{Config, Fsync};
use crate::exit::{Failure, Status};
use crate::store::{self, MaildirOptions, MaildirStores};

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
        };
        let stores = MaildirStores::new(options)
            .map_err(|error| Failure::io(Status::OsError, "following changes of mail folders", &error))?;
        Ok(Self { stores })
    }
}

#[async_trait]
impl Homes for MaildirHomes {
    async fn open(&self, home: &Path) -> Result<Arc<dyn Account>> {
        Ok(self.stores.open(home.to_owned()).await?.account())
    }
}
