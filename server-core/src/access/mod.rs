//! Who may connect: access control lists and tcp-wrappers tables, as [gates](crate::Gate).
//!
