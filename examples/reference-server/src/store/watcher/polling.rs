//! Where the kernel's word is not used: everything is polled.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::MaildirStore;
use super::{Target, Watcher};

/// Never made.
pub(in super::super) enum Kernel {}

impl Kernel {
    pub(super) fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn listen(&self, _: &Arc<Watcher>) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn wake(&self) {
        match *self {}
    }

    pub(super) fn watch(&self, _: &[PathBuf], _: &Target) -> bool {
        match *self {}
    }

    pub(super) fn forget(&self, _: &MaildirStore, _: i64) {
        match *self {}
    }
}
