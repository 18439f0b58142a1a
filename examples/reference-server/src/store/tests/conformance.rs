//! The conformance kit of the backend's traits, run on this store.

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::conformance::{Options, Subject, check_with};

use super::*;

/// One account for everybody.
struct OneAccount(MaildirStores, PathBuf);

#[async_trait]
impl Authenticator for OneAccount {
    async fn check_password(&self, _: &Connection, _: &str, _: &Secret) -> Result<Identity> {
        Err(Error::AuthenticationFailed)
    }
}

#[async_trait]
impl Backend for OneAccount {
    async fn open(&self, _: &Connection, _: &Identity) -> Result<Arc<dyn Account>> {
        Ok(self.0.open(self.1.clone()).await?.account())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_conforms() {
    let fresh = || async {
        let dir = tempfile::tempdir().unwrap();
        let options = MaildirOptions { append_limit: Some(1_000_000), ..MaildirOptions::default() };
        let backend = OneAccount(MaildirStores::new(options).unwrap(), dir.path().join("Maildir"));
        Subject::new(Arc::new(backend), Connection::default(), Identity::new("alice")).keep(dir)
    };
    let mut options = Options::default();
    options.only = std::env::var("CONFORMANCE_ONLY").ok();
    let report = check_with(&fresh, &options).await;
    println!("{report}");
    report.into_result().unwrap();
}
