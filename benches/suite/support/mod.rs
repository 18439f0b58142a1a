//! What several rows share.

pub(crate) mod bare;
pub(crate) mod certificate;
pub(crate) mod child;
pub(crate) mod client;
pub(crate) mod drive;
pub(crate) mod load;
pub(crate) mod maildir;
pub(crate) mod serving;
pub(crate) mod synthetic;
