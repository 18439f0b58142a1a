//! Mailbox names and the names of their folders on the disk.
//!
//! To clients the levels of a name are separated by `/`. On the disk a mailbox is one folder beside the others, as
//! Maildir++ has it: `Archive/2024` is `.Archive.2024`, in modified UTF-7. A dot inside a level is written `\2e`, a
//! backslash that would read as such an escape `\5c`; every other backslash stands for itself, so that folders which
//! other programs made keep their names. INBOX is the root itself and has the empty folder name.
//!
//! A folder name that does not come back to itself (broken UTF-7, 8-bit letters) is shown as it is; the index
//! remembers which folder a name belongs to.

use std::borrow::Cow;

use pillarbox_proto_core::backend::Error;
use pillarbox_proto_core::mail::{MailboxName, utf7};

/// The delimiter that clients see.
pub(super) const DELIMITER: char = '/';
/// The longest name that common file systems take, in octets.
const MAX_FOLDER: usize = 255;

/// The folder of a mailbox of this name.
///
/// # Errors
///
/// [`Error::Cannot`] where no folder can have that name: an empty level, or too long.
pub(super) fn folder_of(name: &MailboxName) -> Result<String, Error> {
    if name.is_inbox() {
        return Ok(String::new());
    }
    if name.has_empty_level(DELIMITER) {
        return Err(Error::Cannot(Cow::Borrowed("a mailbox name must not have an empty level")));
    }
    let mut folder = String::with_capacity(name.as_str().len() + 1);
    for level in name.components(DELIMITER) {
        folder.push('.');
        escape(&utf7::encode(level), &mut folder);
    }
    if folder.len() > MAX_FOLDER {
        return Err(Error::Cannot(Cow::Borrowed("the mailbox name is too long for this store")));
    }
    Ok(folder)
}

/// The mailbox name of a folder, or `None` if the folder can't be a mailbox.
pub(super) fn name_of(folder: &str) -> Option<MailboxName> {
    if folder.is_empty() {
        return Some(MailboxName::inbox());
    }
    let levels = folder.strip_prefix('.')?;
    if levels.split('.').any(str::is_empty) {
        return None;
    }
    let exact = decode(levels).and_then(|text| MailboxName::new(&text).ok());
    if let Some(name) = exact
        && folder_of(&name).is_ok_and(|back| back == folder)
    {
        return Some(name);
    }
    // Not a name that this codec writes: shown level by level as it stands.
    let raw = MailboxName::new(&levels.replace('.', "/")).ok()?;
    (!raw.is_inbox()).then_some(raw)
}

/// A name as the `subscriptions` file has it: the folder without its first dot, `INBOX` for INBOX.
pub(super) fn subscription_of(name: &MailboxName) -> Result<String, Error> {
    let folder = folder_of(name)?;
    Ok(folder.strip_prefix('.').map_or_else(|| "INBOX".to_owned(), str::to_owned))
}

/// The name that an entry of the `subscriptions` file stands for.
pub(super) fn subscribed_name(entry: &str) -> Option<MailboxName> {
    if entry.eq_ignore_ascii_case("INBOX") {
        return Some(MailboxName::inbox());
    }
    name_of(&format!(".{entry}"))
}

fn decode(levels: &str) -> Option<String> {
    let mut text = String::with_capacity(levels.len());
    for (at, level) in levels.split('.').enumerate() {
        if at > 0 {
            text.push(DELIMITER);
        }
        let decoded = utf7::decode(level.as_bytes()).ok()?;
        if decoded.contains(DELIMITER) {
            return None;
        }
        unescape(&decoded, &mut text);
    }
    Some(text)
}

fn escape(level: &str, out: &mut String) {
    for (at, c) in level.char_indices() {
        match c {
            '.' => out.push_str("\\2e"),
            '\\' if is_escape(level.get(at + 1..).unwrap_or_default()) => out.push_str("\\5c"),
            c => out.push(c),
        }
    }
}

fn unescape(level: &str, out: &mut String) {
    let mut rest = level;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        if let Some(after) = after.strip_prefix("2e") {
            out.push('.');
            rest = after;
        } else if let Some(after) = after.strip_prefix("5c") {
            out.push('\\');
            rest = after;
        } else {
            out.push('\\');
            rest = after;
        }
    }
    out.push_str(rest);
}

fn is_escape(after: &str) -> bool {
    after.starts_with("2e") || after.starts_with("5c")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folder(name: &str) -> String {
        folder_of(&MailboxName::new(name).unwrap()).unwrap()
    }

    #[test]
    fn names_become_maildir_folders() {
        assert_eq!(folder("INBOX"), "");
        assert_eq!(folder("inbox"), "");
        assert_eq!(folder("Archive/2024"), ".Archive.2024");
        assert_eq!(folder("Entw\u{fc}rfe"), ".Entw&APw-rfe");
        assert_eq!(folder("v1.2/a\\b"), ".v1\\2e2.a\\b");
        assert_eq!(folder("a\\2eb"), ".a\\5c2eb");
        assert_eq!(folder("../.."), ".\\2e\\2e.\\2e\\2e");
        assert_eq!(folder("inbox/x"), ".inbox.x");
    }

    #[test]
    fn names_without_a_folder_are_refused() {
        for name in ["/a", "a/", "a//b"] {
            assert!(folder_of(&MailboxName::new(name).unwrap()).is_err(), "{name}");
        }
        assert!(folder_of(&MailboxName::new(&"\u{fc}".repeat(200)).unwrap()).is_err());
    }

    #[test]
    fn folders_of_other_programs_keep_their_names() {
        assert_eq!(name_of(".a\\b").unwrap().as_str(), "a\\b");
        assert_eq!(name_of(".caf\u{e9}").unwrap().as_str(), "caf\u{e9}");
        assert_eq!(name_of(".bad&x.y").unwrap().as_str(), "bad&x/y");
        for none in ["..trash", ".", ".INBOX", "cur", ".a..b"] {
            assert_eq!(name_of(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in "[a-zA-Z0-9.\\\\&~ \u{e4}\u{4e2d}2e5c%*-]{1,12}(/[a-z.\\\\&2e5c]{1,6}){0,3}") {
            let name = MailboxName::new(&name).unwrap();
            let folder = folder_of(&name).unwrap();
            prop_assert!(!folder.contains('/'));
            prop_assert_eq!(name_of(&folder), Some(name.clone()));
            let entry = subscription_of(&name).unwrap();
            prop_assert_eq!(subscribed_name(&entry), Some(name));
        }
    }
}
