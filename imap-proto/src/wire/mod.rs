//! Bytes to typed commands, typed replies to bytes: the grammar of IMAP4rev1 and IMAP4rev2.
//!
//! Three parts that know nothing of each other's callers:
//!
//! * [`framer`] finds where a command ends, literals included, without looking at a byte twice, and hands the literals
//!   of APPEND on in pieces instead of gathering them.
//! * [`parse`] turns one finished command into a [`command::Command`] that borrows from it. Lists stay what they were
//!   on the wire: they are checked once and read again when somebody asks for their members, so that the commands
//!   which clients send all day decode without an allocation.
//! * [`encode`] writes responses into a buffer.
//!
//! Nothing here reads a socket or a clock, keeps state of a session, or decides what a command means. The same syntax
//! is accepted whatever was advertised: whether a command is allowed at this moment is the session's affair.
//!
//! ```
//! use pillarbox_imap_proto::wire::command::{CommandBody, CommandBuf};
//! use pillarbox_imap_proto::wire::limits::ParseLimits;
//!
//! let buf = CommandBuf::copy_from_slice(b"a1 UID FETCH 1:* (FLAGS)\r\n");
//! let command = buf.parse(ParseLimits::default())?;
//! assert_eq!(command.tag.as_bytes(), b"a1");
//! let CommandBody::Fetch(fetch) = command.body else { panic!("another command") };
//! assert!(fetch.uid);
//! assert_eq!(fetch.items.iter().count(), 1);
//! # Ok::<(), pillarbox_imap_proto::wire::error::ParseError>(())
//! ```

pub(crate) mod chars;
pub mod classify;
pub mod command;
pub(crate) mod cursor;
pub mod encode;
pub mod error;
pub mod framer;
pub mod limits;
pub mod parse;
pub mod string;
