//! What happens around the sessions of a transcript.

use std::collections::BTreeMap;
use std::sync::Arc;

use pillarbox_proto_core::backend::{Access, Error, StoreOp};
use pillarbox_proto_core::conversation::{Control, Conversation};
use pillarbox_proto_core::mail::{DateTime, Flags, Keyword, SystemFlags, Uid, UidSet};
use pillarbox_proto_core::memory::{MemoryBackend, NewMessage, Outcome};

use super::transcript::Player;

/// `\r`, `\n`, `\0` and `\xNN` stand for octets when a doubled backslash is before them: `\\r`.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, later @ ..] = rest {
        rest = later;
        if *first == b'\\' && rest.first() == Some(&b'\\') {
            match rest {
                [_, b'r', later @ ..] => (octets.push(b'\r'), rest = later).1,
                [_, b'n', later @ ..] => (octets.push(b'\n'), rest = later).1,
                [_, b'0', later @ ..] => (octets.push(0), rest = later).1,
                [_, b'x', high, low, later @ ..] => {
                    let hex = [*high, *low];
                    octets.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
                    rest = later;
                }
                _ => octets.push(b'\\'),
            }
            continue;
        }
        octets.push(*first);
    }
    octets
}

fn flags(text: &str) -> Flags {
    let mut flags = Flags::NONE;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match SystemFlags::parse(word.as_bytes()) {
            Some(flag) => flags.system |= flag,
            None => flags.keywords = flags.keywords.union(&[Keyword::new(word).unwrap()].into_iter().collect()),
        }
    }
    flags
}

pub fn message(about: &str, content: Vec<u8>) -> NewMessage {
    let (words, date) = about.split_once('"').unwrap_or((about, ""));
    let message = NewMessage::new(content).flags(flags(words));
    match date.strip_suffix('"') {
        Some(date) => message.received(DateTime::parse(date.as_bytes()).unwrap()),
        None => message,
    }
}

fn uids(text: &str) -> UidSet {
    let mut set = UidSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        set.insert_range(Uid::new(first.parse().unwrap()).unwrap(), Uid::new(last.parse().unwrap()).unwrap());
    }
    set
}

/// What the world does, and the server, while sessions go on.
pub fn elsewhere(backend: &MemoryBackend, sessions: &mut BTreeMap<usize, Player>, words: &[String], place: &str) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let control = |text: &[&str]| -> Arc<str> { String::from_utf8(unescape(&text.join(" "))).unwrap().into() };
    match words.as_slice() {
        ["deliver", user, mailbox, content] => {
            let content = content.replace("\\r", "\r").replace("\\n", "\n");
            backend.deliver(user, mailbox, content).map(|_| ()).unwrap();
        }
        ["expunge", user, mailbox, set] => backend.expunge(user, mailbox, uids(set)).map(|_| ()).unwrap(),
        ["flags", user, mailbox, rest] => {
            let (set, names) = rest.split_once(' ').unwrap_or((rest, ""));
            backend.store_flags(user, mailbox, uids(set), StoreOp::Replace, flags(names)).map(|_| ()).unwrap();
        }
        ["create", user, mailbox] => backend.create(user, mailbox).unwrap(),
        ["delete", user, mailbox] => backend.delete(user, mailbox).unwrap(),
        ["recreate", user, mailbox] => backend.recreate(user, mailbox).unwrap(),
        ["rename", user, from, to] => backend.rename(user, from, to).unwrap(),
        ["readonly", user, mailbox] => backend.set_access(user, mailbox, Access::ReadOnly).unwrap(),
        ["forget", user, mailbox] => backend.forget_removals(user, mailbox).unwrap(),
        ["readwrite", user, mailbox] => backend.set_access(user, mailbox, Access::ReadWrite).unwrap(),
        ["heal"] => backend.unhook(),
        ["fail", call, error] => {
            let (call, error) = ((*call).to_owned(), (*error).to_owned());
            failure(&error).unwrap_or_else(|| panic!("{place}: unknown error"));
            backend.hook(move |made| {
                if format!("{made:?}") == call { Outcome::fail(failure(&error).unwrap()) } else { Outcome::proceed() }
            });
        }
        ["shutdown", text @ ..] => tell(sessions, &Control::Shutdown { text: control(text) }),
        ["kick", text @ ..] => tell(sessions, &Control::Kick { text: control(text) }),
        ["unavailable", text @ ..] => tell(sessions, &Control::Unavailable { text: control(text) }),
        ["alert", text @ ..] => tell(sessions, &Control::Alert(control(text))),
        _ => panic!("{place}: unknown happening"),
    }
}

fn tell(sessions: &mut BTreeMap<usize, Player>, control: &Control) {
    for player in sessions.values_mut() {
        let now = player.client.now;
        player.client.conversation.handle_control(control.clone(), now);
    }
}

fn failure(name: &str) -> Option<Error> {
    Some(match name {
        "AuthorizationFailed" => Error::AuthorizationFailed,
        "Cannot" => Error::Cannot("not in this store".into()),
        "ContactAdmin" => Error::ContactAdmin("your account is closed".into()),
        "Corrupt" => Error::Corrupt(None),
        "Expired" => Error::Expired,
        "Expunged" => Error::Expunged,
        "HasChildren" => Error::HasChildren,
        "InUse" => Error::InUse,
        "Limit" => Error::Limit("too many mailboxes".into()),
        "MailboxGone" => Error::MailboxGone,
        "NoPermission" => Error::NoPermission,
        "OverQuota" => Error::OverQuota,
        "PrivacyRequired" => Error::PrivacyRequired,
        "ReadOnly" => Error::ReadOnly,
        "TooBig" => Error::TooBig,
        "Unavailable" => Error::Unavailable(None),
        _ => return None,
    })
}
