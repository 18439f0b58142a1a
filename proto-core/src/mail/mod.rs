//! The vocabulary of mail stores that both protocols and every backend share.
//!
//! Types say what a number is: a [`Uid`] is never mistaken for a message sequence number, a [`ModSeq`] never for a
//! UIDVALIDITY. Sequence numbers themselves do not appear here, as no backend ever sees one.

mod date;
mod flags;
mod name;
mod number;
mod special_use;
mod uid_set;
pub mod utf7;

pub use date::{DateTime, InvalidDate, civil_from_days, days_from_civil, parse_date};
pub use flags::{Flags, InvalidKeyword, Keyword, Keywords, SystemFlags};
pub use name::{InvalidMailboxName, MailboxName};
pub use number::{ModSeq, Uid, UidValidity};
pub use special_use::SpecialUse;
pub use uid_set::{UidIter, UidRanges, UidSet};
