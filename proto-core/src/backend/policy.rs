//! Policies of POP3 maildrops: how often a user may log in, how long messages stay, and bulletins (RFC 2449, sections
//! 6.5 and 6.7).
//!
//! The protocol decides, the store remembers: when a login is too soon, which messages a session has shown and what
//! clients are told is worked out by the library; an [`Account`](super::Account) says which policies its user has
//! (each a method that answers `None` by default) and keeps a number or a stamp for them.

use async_trait::async_trait;

use super::error::Result;

/// What every client is told before it logs in (RFC 2449): [`Backend::policies`](super::Backend::policies). After the
/// login, the account's own values take their place. Default: no login delay, and messages stay for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policies {
    /// The largest [`LoginDelay::seconds`] that any user may have. `None` when nobody has one, or when the record of
    /// logins can't be read and written now: then logins are not held up, and clients are not told that they are.
    pub login_delay: Option<u32>,
    /// Whether users may have other delays.
    pub login_delay_per_user: bool,
    /// The smallest [`Expiry::days`] that any user may have. `None` when nobody's messages ever expire.
    pub expire: Option<u32>,
    /// Whether users may have other times, or none.
    pub expire_per_user: bool,
}

/// The least time between two POP3 logins of a user: a facet of an account (RFC 2449, section 6.5).
///
/// It is a record of one number for each user, the time of the last login, shared by all who open this account: other
/// processes too, if there are any. The library reads it when the credentials have been found good and before the
/// maildrop is opened, replaces it when the login is admitted, takes that back when the maildrop can't be opened after
/// all, and replaces it once more at QUIT.
///
/// A record that can't be read or written never keeps a user out, nor does one that lies in the future, as the clock was
/// set back: the login goes on, and the library logs why.
///
/// ```
/// use std::sync::{Mutex, PoisonError};
///
/// use async_trait::async_trait;
/// use pillarbox_proto_core::backend::{LoginDelay, Result};
///
/// /// A user's last login; in a program with a database, a row of it.
/// struct LastLogin(Mutex<Option<i64>>);
///
/// #[async_trait]
/// impl LoginDelay for LastLogin {
///     fn seconds(&self) -> u32 {
///         60
///     }
///
///     async fn last(&self) -> Result<Option<i64>> {
///         Ok(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
///     }
///
///     async fn replace(&self, last: Option<i64>, with: Option<i64>) -> Result<bool> {
///         let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         let as_believed = *held == last;
///         if as_believed {
///             *held = with;
///         }
///         Ok(as_believed)
///     }
/// }
/// ```
///
/// An account says so by [`Account::login_delay`](super::Account::login_delay), which borrows the record from it: it has
/// to be the same record in all sessions of the user, and outlives them. [`Backend::policies`](super::Backend::policies)
/// tells of it before the login.
#[async_trait]
pub trait LoginDelay: Send + Sync {
    /// The least time between two logins, in seconds. 0 for none: then nothing is recorded.
    fn seconds(&self) -> u32;

    /// The time of the last login, in seconds since 1970; `None` when there is none. A record that is damaged counts as
    /// none, here and for [`replace`](Self::replace); the store says so in its log.
    ///
    /// # Errors
    ///
    /// When the record can't be read.
    async fn last(&self) -> Result<Option<i64>>;

    /// Puts a time in place of the last one, or nothing, provided that [`last`](Self::last) is still what the caller
    /// believes. Returns whether it was: of several who try at once with the same belief, one succeeds.
    ///
    /// # Errors
    ///
    /// When the record can't be written.
    async fn replace(&self, last: Option<i64>, with: Option<i64>) -> Result<bool>;

    /// Whether the record can be read and written now: asked by CAPA, which tells of the delay only if so. Default: by
    /// replacing the record by itself.
    ///
    /// # Errors
    ///
    /// When it can't, for this reason.
    async fn check(&self) -> Result<()> {
        let last = self.last().await?;
        self.replace(last, last).await.map(drop)
    }
}

/// How long messages stay after they were first retrieved over POP3 (RFC 2449, section 6.7):
/// [`Account::expiry`](super::Account::expiry).
///
/// ```
/// use pillarbox_proto_core::backend::Expiry;
///
/// let expiry = Expiry::after(5).deleting();
/// let retrieved = 1_000_000_000;
/// assert!(!expiry.is_expired(retrieved, retrieved + 5 * 86_400 - 1));
/// assert!(expiry.is_expired(retrieved, retrieved + 5 * 86_400));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expiry {
    days: u32,
    deletes: bool,
}

impl Expiry {
    /// Messages expire so many days after their first retrieval, and are left for somebody else to remove. With 0 days
    /// they are not to stay at all: what a session has retrieved is removed at its QUIT.
    #[must_use]
    pub const fn after(days: u32) -> Self {
        Self { days, deletes: days == 0 }
    }

    /// Expired messages are removed at QUIT.
    #[must_use]
    pub const fn deleting(self) -> Self {
        Self { deletes: true, ..self }
    }

    /// How many days.
    #[must_use]
    pub const fn days(self) -> u32 {
        self.days
    }

    /// Whether expired messages are removed at QUIT.
    #[must_use]
    pub const fn deletes(self) -> bool {
        self.deletes
    }

    /// The latest stamp of messages that are to be removed at this time; `None` when none are. Both are in seconds
    /// since 1970.
    #[must_use]
    pub const fn cutoff(self, now: i64) -> Option<i64> {
        if self.deletes { Some(now.saturating_sub(self.days as i64 * 86_400)) } else { None }
    }

    /// Whether a message that was first retrieved at the time `stamp` is to be removed now.
    #[must_use]
    pub const fn is_expired(self, stamp: i64, now: i64) -> bool {
        match self.cutoff(now) {
            Some(cutoff) => stamp <= cutoff,
            None => false,
        }
    }

    /// Reads a stamp that is kept as text: decimal digits, with blanks around them. Whatever else stands there is no
    /// stamp that a message could expire by.
    #[must_use]
    pub fn parse_stamp(text: &[u8]) -> Option<i64> {
        let digits = text.trim_ascii();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

/// Announcements for everyone, which a user's maildrop gets at a POP3 login: a facet of an account.
///
/// ```
/// use std::sync::{Mutex, PoisonError};
///
/// use async_trait::async_trait;
/// use pillarbox_proto_core::backend::{Bulletins, Result};
///
/// struct User {
///     news: Vec<String>,
///     /// INBOX, and how many of the news are in it. One lock, or one transaction of a database, for both.
///     held: Mutex<(Vec<String>, usize)>,
/// }
///
/// #[async_trait]
/// impl Bulletins for User {
///     async fn deliver(&self) -> Result<u64> {
///         let (inbox, had) = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner);
///         let mut delivered = 0;
///         for message in self.news.iter().skip(*had) {
///             inbox.push(message.clone());
///             *had += 1;
///             delivered += 1;
///         }
///         Ok(delivered)
///     }
/// }
/// ```
#[async_trait]
pub trait Bulletins: Send + Sync {
    /// Adds to INBOX, in order, the bulletins that the user has not had, and returns how many. Each is added together
    /// with the note that the user has had it, in one step: with two logins at once, when the call is dropped or the
    /// process killed, each user gets each bulletin once. Called after the login was admitted and before the maildrop
    /// is opened. A note of more bulletins than there are delivers nothing and stays; the store says so in its log.
    ///
    /// # Errors
    ///
    /// When a bulletin can't be read or added, or the note can't be written; those before it have been delivered. It is
    /// logged, and costs the user neither the login nor what is delivered next time.
    async fn deliver(&self) -> Result<u64>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_expire_to_the_second_and_only_where_that_is_wanted() {
        let day = 86_400;
        assert!(Expiry::after(5).deleting().is_expired(1000, 1000 + 5 * day));
        assert!(!Expiry::after(5).deleting().is_expired(1001, 1000 + 5 * day));
        assert!(!Expiry::after(5).is_expired(0, i64::MAX));
        assert!(Expiry::after(0).deletes());
        assert!(Expiry::after(0).is_expired(7, 7));
        assert!(!Expiry::after(0).is_expired(8, 7));
        // No time overflows.
        assert!(!Expiry::after(u32::MAX).deleting().is_expired(0, i64::MIN));
        assert!(!Expiry::after(u32::MAX).deleting().is_expired(i64::MAX, i64::MAX));
        assert!(Expiry::after(u32::MAX).deleting().is_expired(i64::MIN, 0));
    }

    #[test]
    fn only_numbers_are_stamps() {
        assert_eq!(Expiry::parse_stamp(b"697170952"), Some(697_170_952));
        assert_eq!(Expiry::parse_stamp(b" 697170952 \t"), Some(697_170_952));
        for text in ["", " ", "-1", "+1", "1x", "1 2", "0x10", "99999999999999999999", "\u{661}"] {
            assert_eq!(Expiry::parse_stamp(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_record_that_can_be_replaced_by_itself_can_be_used() {
        use std::sync::Mutex;

        struct Record(Mutex<Option<i64>>, bool);

        #[async_trait]
        impl LoginDelay for Record {
            fn seconds(&self) -> u32 {
                60
            }

            async fn last(&self) -> Result<Option<i64>> {
                Ok(*self.0.lock().unwrap())
            }

            async fn replace(&self, last: Option<i64>, with: Option<i64>) -> Result<bool> {
                if !self.1 {
                    return Err(crate::backend::Error::unavailable("read-only"));
                }
                let mut held = self.0.lock().unwrap();
                let same = *held == last;
                if same {
                    *held = with;
                }
                Ok(same)
            }
        }

        for last in [None, Some(5)] {
            let record = Record(Mutex::new(last), true);
            assert!(futures::executor::block_on(record.check()).is_ok());
            assert_eq!(*record.0.lock().unwrap(), last);
            assert!(futures::executor::block_on(Record(Mutex::new(last), false).check()).is_err());
        }
    }
}
