//! The `subscriptions` file of the root: which names the user is subscribed to.
//!
//! One name a line, as folder names without their first dot, which is what other servers read and write. A file with
//! the header of the newer form (`V<TAB>2`, levels separated by tabs) is read and written in that form.

use std::collections::BTreeSet;

use cap_std::fs::Dir;
use pillarbox_proto_core::mail::MailboxName;

use super::fault::Done;
use super::folder::{read_small_file, replace_file};
use super::name_codec::{subscribed_name, subscription_of};

const FILE: &str = "subscriptions";
const NEWER: &str = "V\t2";
const MOST: u64 = 4 * 1024 * 1024;

/// The names that the user is subscribed to. Lines that are no names are passed over.
pub(super) fn read(root: &Dir) -> Done<BTreeSet<MailboxName>> {
    let text = read_small_file(root, FILE, MOST)?.unwrap_or_default();
    Ok(entries(&text).filter_map(|entry| subscribed_name(&entry)).collect())
}

/// Adds or takes away a name. To be called within a transaction, which keeps other processes out.
pub(super) fn change(root: &Dir, name: &MailboxName, subscribed: bool) -> Done<()> {
    let text = read_small_file(root, FILE, MOST)?.unwrap_or_default();
    let newer = is_newer(&text);
    let mut all: Vec<String> = entries(&text).collect();
    let there = |entry: &String| subscribed_name(entry).is_some_and(|known| known == *name);
    if all.iter().any(there) == subscribed {
        return Ok(());
    }
    if subscribed {
        all.push(subscription_of(name)?);
    } else {
        all.retain(|entry| !there(entry));
    }
    let mut text = if newer { format!("{NEWER}\n\n") } else { String::new() };
    for entry in all {
        text.push_str(&if newer { entry.replace('.', "\t") } else { entry });
        text.push('\n');
    }
    Ok(replace_file(root, "", FILE, text.as_bytes())?)
}

fn is_newer(text: &str) -> bool {
    text.lines().next() == Some(NEWER)
}

/// The lines in the older form.
fn entries(text: &str) -> impl Iterator<Item = String> + '_ {
    let newer = is_newer(text);
    let lines = text.lines().skip(usize::from(newer)).filter(|line| !line.is_empty());
    lines.map(move |line| if newer { line.replace('\t', ".") } else { line.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_file_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(home.path(), cap_std::ambient_authority()).unwrap();
        let name = |name: &str| MailboxName::new(name).unwrap();
        let file = home.path().join(FILE);
        change(&root, &name("a/b.c"), true).unwrap();
        change(&root, &name("Inbox"), true).unwrap();
        change(&root, &name("a/b.c"), true).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a.b\\2ec\nINBOX\n");
        assert_eq!(read(&root).unwrap(), BTreeSet::from([name("INBOX"), name("a/b.c")]));
        change(&root, &name("a/b.c"), false).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "INBOX\n");
        std::fs::write(&file, "V\t2\n\nx\ty\n").unwrap();
        change(&root, &name("z/w"), true).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "V\t2\n\nx\ty\nz\tw\n");
        assert_eq!(read(&root).unwrap(), BTreeSet::from([name("x/y"), name("z/w")]));
    }
}
