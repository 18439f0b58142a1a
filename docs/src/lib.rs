//! What the documentation says, compiled and run.
//!
//! * [`guide`]: the backend that `docs/backend.md` builds step by step. A test looks that every piece of code in that
//!   text is in it, and the conformance kit is run against it.
//! * The Rust code of the README files is compiled here, as documentation tests; what they can't show by that (commands,
//!   tables, links) is in `tests/`.
#![forbid(unsafe_code)]

pub mod guide;

#[cfg(doctest)]
mod readme {
    #[doc = include_str!("../../README.md")]
    mod family {}
    #[doc = include_str!("../../proto-core/README.md")]
    mod proto_core {}
    #[doc = include_str!("../../imap-proto/README.md")]
    mod imap_proto {}
    #[doc = include_str!("../../pop3-proto/README.md")]
    mod pop3_proto {}
    #[doc = include_str!("../../server-core/README.md")]
    mod server_core {}
}
