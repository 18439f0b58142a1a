//! The policies of POP3 maildrops.

use std::sync::{MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use pillarbox_proto_core::backend::{Bulletins, Expiry, LoginDelay, Policies, Result};
use pillarbox_proto_core::mail::{DateTime, Flags, MailboxName};

use super::account::{Desk, Session};
use super::notebook::Note;

/// The least time between two logins, in seconds.
const DELAY: u32 = 60;

/// Notes are removed thirty days after they were first retrieved.
pub(super) const EXPIRY: Expiry = Expiry::after(30).deleting();

/// What every user of this program is told. Here, all have the same policies.
pub(super) fn policies() -> Policies {
    let mut policies = Policies::default();
    policies.login_delay = Some(DELAY);
    policies.expire = Some(EXPIRY.days());
    policies
}

impl Desk {
    fn last(&self) -> MutexGuard<'_, Option<i64>> {
        self.last_login.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LoginDelay for Session {
    fn seconds(&self) -> u32 {
        DELAY
    }

    async fn last(&self) -> Result<Option<i64>> {
        Ok(*self.desk.last())
    }

    async fn replace(&self, last: Option<i64>, with: Option<i64>) -> Result<bool> {
        let mut held = self.desk.last();
        let same = *held == last;
        if same {
            *held = with;
        }
        Ok(same)
    }
}

#[async_trait]
impl Bulletins for Session {
    async fn deliver(&self) -> Result<u64> {
        let inbox = self.desk.find(&MailboxName::inbox())?;
        let mut delivered = 0;
        // The note and the number of those that the user has had change in one step.
        let mut had = self.desk.bulletins_had.lock().unwrap_or_else(PoisonError::into_inner);
        for text in self.bulletins.iter().skip(*had) {
            let date = DateTime::from(SystemTime::now());
            let note = Note::new(text.clone(), Flags::NONE, date, self.desk.unique_id());
            inbox.change(|state| state.add(vec![note]).map(drop))?;
            *had += 1;
            delivered += 1;
        }
        Ok(delivered)
    }
}
