//! The conformance kit of the backend's traits, run on this store.

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Identity, Secret};
use pillarbox_proto_core::conformance::{Options, Subject, check_with};

use super::super::ExpireStamp;
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

/// What is asked of maildrops, with all of their policies, through the backend that the program serves.
#[tokio::test(flavor = "multi_thread")]
async fn maildrops_conform() {
    use crate::backend::UserBackend;
    use crate::config::{Config, Protocol};
    use crate::data::DataFolder;
    use crate::homes::MaildirHomes;
    use crate::maildrop::MaildropPolicies;
    use crate::users::{User, Users};

    let user = Arc::new(User::new("alice".to_owned(), &Secret::new(*b"pass")).unwrap());
    for (expire_stamp, database) in [(ExpireStamp::Header, false), (ExpireStamp::Index, true)] {
        let user = Arc::clone(&user);
        let fresh = move || {
            let user = Arc::clone(&user);
            async move {
                let dir = tempfile::tempdir().unwrap();
                let mut config = Config::built_in();
                let pop3 = &mut config.pop3;
                (pop3.login_delay, pop3.expire, pop3.expire_stamp) = (60, Some(5), expire_stamp);
                let source = dir.path().join("news");
                for place in ["new", "cur"] {
                    std::fs::create_dir_all(source.join(place)).unwrap();
                }
                for number in 0..20 {
                    std::fs::write(source.join(format!("new/{number}.x")), format!("Subject: {number}\n\nx\n"))
                        .unwrap();
                }
                pop3.bulletin_source = Some(source);
                pop3.bulletin_db = database.then_some(crate::config::BulletinDb::InDataFolder);
                let data = DataFolder::open(dir.path()).unwrap();
                std::fs::create_dir(data.mail()).unwrap();
                let users = Users::open(data.users()).unwrap();
                users.change(|table| Ok(table.insert("alice".to_owned(), user))).unwrap();
                let policies = MaildropPolicies::new(&config.pop3, &data);
                let homes = Arc::new(MaildirHomes::new(&config).unwrap());
                let backend = UserBackend::new(users, &data, policies, homes).unwrap().for_protocol(Protocol::Pop3);
                let identity = Identity::new("alice");
                Subject::new(Arc::new(backend), Connection::default(), identity).bulletins(20).keep(dir)
            }
        };
        for only in ["finish", "policies", "login-delay", "bulletins", "maildrop"] {
            let mut options = Options::default();
            options.only = Some(only.to_owned());
            let report = check_with(&fresh, &options).await;
            println!("{report}");
            report.into_result().unwrap();
        }
    }
}
