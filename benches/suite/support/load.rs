//! The mail that is fetched, in memory and in Maildirs.

use std::fs;
use std::sync::Arc;

use pillarbox_proto_core::backend::Backend;
use pillarbox_proto_core::mail::SystemFlags;
use pillarbox_proto_core::memory::MemoryBackend;
use tempfile::TempDir;

use super::maildir::Maildir;

/// Messages to be fetched.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) count: usize,
    pub(crate) size: usize,
    /// The part of a bare server's rate that the Maildir store has to reach.
    pub(crate) maildir: f64,
}

pub(crate) const LOADS: [Load; 2] = [
    Load { name: "2,000 x 8 KiB", count: 2000, size: 8 << 10, maildir: 0.4 },
    Load { name: "1 x 50 MiB", count: 1, size: 50 << 20, maildir: 0.7 },
];

/// A store that holds these messages.
pub(crate) fn memory(load: &Load) -> Arc<dyn Backend> {
    let mut builder = MemoryBackend::builder().user("alice", "secret");
    for number in 0..load.count {
        builder = builder.message("alice", "INBOX", SystemFlags::SEEN, message(load, number, "\r\n"));
    }
    Arc::new(builder.build().unwrap())
}

/// A message of about the load's size, once its line ends are CRLF.
fn message(load: &Load, number: usize, end: &str) -> Vec<u8> {
    let mut text = format!(
        "From: Alice <alice@example.org>{end}To: Bob <bob@example.org>{end}Subject: Message {number}{end}\
         Date: Mon, 1 Jan 2024 12:00:00 +0000{end}Message-ID: <{number}@example.org>{end}{end}"
    );
    let mut line = 0;
    while text.len() + 80 < load.size {
        text.push_str(&format!("{line:08} The quick brown fox jumps over the lazy dog, and once more over it.{end}"));
        line += 1;
    }
    text.into_bytes()
}

/// A Maildir with these messages, their lines ending so.
pub(crate) fn maildir(load: &Load, end: &str) -> (TempDir, Arc<dyn Backend>) {
    let folder = tempfile::tempdir().unwrap();
    for place in ["cur", "new", "tmp"] {
        fs::create_dir(folder.path().join(place)).unwrap();
    }
    for number in 0..load.count {
        let name = format!("{}.M{number}.localhost:2,S", 1_767_323_045 + number);
        fs::write(folder.path().join("cur").join(name), message(load, number, end)).unwrap();
    }
    let backend = Maildir::new(folder.path().to_owned());
    (folder, backend)
}

/// The same Maildir, with no message kept in memory.
pub(crate) fn uncached(folder: &TempDir) -> Arc<dyn Backend> {
    Maildir::uncached(folder.path().to_owned())
}
