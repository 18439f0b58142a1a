//! Typed replies to bytes.
//!
//! Plain functions that append to a buffer; none reads what is there already. Whatever the arguments hold, what they
//! write is well-formed: a line never carries a CR, LF or NUL that would end it early, and strings take the form that
//! fits their content. Where it matters which characters the client takes, `utf8` says that it has enabled IMAP4rev2
//! (RFC 9051, section 5.1): mailbox names are then UTF-8 instead of modified UTF-7, and quoted strings may hold UTF-8.
//!
//! ```
//! use bytes::BytesMut;
//! use pillarbox_imap_proto::wire::encode::{Code, Condition, tagged};
//!
//! let mut out = BytesMut::new();
//! tagged(&mut out, b"a1", Condition::No, Some(&Code::TryCreate), "no such mailbox");
//! assert_eq!(out, "a1 NO [TRYCREATE] no such mailbox\r\n");
//! ```

mod code;
mod command;
mod fetch;
mod mailbox;
mod number;
mod search;
mod status;
mod string;
mod system_flags;

pub use code::Code;
pub use command::encode_command;
pub use fetch::{FetchRow, flags, uid_and_flags};
pub use mailbox::{
    ListExtras, enabled, exists, expunge, flags_line, id, list, list_root, lsub, namespace, recent, status,
};
pub use number::{number, ranges, uid_set, uids_in_order};
pub(crate) use search::esearch_head;
pub use search::{Esearch, esearch, search};
pub(crate) use status::text;
pub use status::{Condition, capability, challenge, continuation, tagged, untagged};
pub use string::{astring, date_time, literal, literal8, mailbox, nstring, quoted, string};
