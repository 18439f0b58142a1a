//! Views of one message: envelope, body structure, sections, transfer decoding and text search.
//!
//! Everything here is a pure function of the bytes of one message in wire form (CRLF line ends; bare LF is taken as a
//! line end too). Nothing here reads a store, waits, or knows sequence numbers and flags.
//!
//! Large messages need not be in memory: [`StructureParser`], [`SummaryBuilder`], [`BinaryDecoder`], [`FieldSelector`]
//! and [`TextSearch`] take a message piece by piece and give the same result however it is cut. What they keep is
//! bounded by limits of their own ([`MAX_PARTS`], [`MAX_DEPTH`], [`MAX_FIELD`], [`MAX_FIELDS_TOTAL`]), not by the
//! message.
//!
//! A broken message is served as it is: parsing never fails, and what cannot be understood counts as the default that
//! RFC 2045 gives (section 5.2: plain text in US-ASCII).
//!
//! ```
//! use pillarbox_imap_proto::message::{Dialect, SectionKind, Structure};
//!
//! let message = b"Subject: hello\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHi!\r\n";
//! let structure = Structure::parse(message);
//! let text = structure.section([1], SectionKind::Whole).unwrap();
//! assert_eq!(&message[text.start as usize..text.end as usize], b"Hi!\r\n");
//!
//! let mut out = Vec::new();
//! structure.write_body(Dialect::Rev1, &mut out);
//! assert_eq!(out, br#"("text" "plain" ("charset" "utf-8") NIL NIL "7BIT" 5 1)"#);
//! ```

mod address;
mod binary;
mod body_structure;
mod charset;
mod date;
mod decode;
mod envelope;
mod field;
mod fold;
mod header_search;
mod html;
mod nstring;
mod params;
mod parser;
mod section;
mod structure;
mod summary;
mod summary_tree;
#[cfg(test)]
mod tests;
mod text_search;

pub use address::{Address, parse_addresses};
pub use binary::{BinaryDecoder, TransferEncoding};
pub use charset::Charset;
pub use date::parse_sent_date;
pub use decode::decode_header;
pub use envelope::{EncodedEnvelope, Envelope};
pub use field::{Field, FieldSelector, fields};
pub use fold::{Needle, fold};
pub use header_search::HeaderText;
pub use nstring::{Dialect, write_nstring, write_string};
pub use params::Param;
pub use parser::{MAX_DEPTH, MAX_FIELD, MAX_FIELDS_TOTAL, MAX_PARTS, StructureParser};
pub use section::{SectionKind, Undecodable, partial};
pub use structure::{Disposition, Part, PartKind, Structure};
pub use summary::{MAX_CACHED_HEADER, Summary, SummaryBuilder};
pub use text_search::{TextKey, TextScope, TextSearch};
