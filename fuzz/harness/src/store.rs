//! A store that is slow, fails and changes by itself, as an input says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use pillarbox_proto_core::backend::{Access, Error, Expiry, StoreOp};
use pillarbox_proto_core::env::{Env, FixedEnv};
use pillarbox_proto_core::mail::{SystemFlags, UidSet};
use pillarbox_proto_core::memory::{Builder, Call, MemoryBackend, NewMessage, Outcome};

use crate::control::Control;

/// What may go wrong in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mood {
    /// Calls are pending for a while.
    pub slow: bool,
    /// Calls fail.
    pub failing: bool,
    /// Others deliver, flag, expunge, rename and delete meanwhile.
    pub busy: bool,
    /// Calls fail whose number depends on how input and output are cut: the output is not the same then.
    pub torn: bool,
}

impl Mood {
    /// As this decision says.
    #[must_use]
    pub fn of(byte: u8) -> Self {
        Self { slow: byte & 1 != 0, failing: byte & 2 != 0, busy: byte & 4 != 0, torn: byte & 24 == 24 }
    }
}

/// The time of all runs.
const NOW: u64 = 1_767_323_045;

/// The clock of all runs.
#[must_use]
pub fn env() -> Arc<dyn Env> {
    Arc::new(FixedEnv { now: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW), byte: 7 })
}

const MULTIPART: &str = "From: Alice <alice@example.org>\r\nTo: Bob <bob@example.org>\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n\
    Date: Fri, 2 Jan 2026 03:04:05 +0100\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9t=C3=A9 =\r\nend\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
    Subject: inner\r\n\r\n.inner text\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\
    Content-Disposition: attachment; filename=\"x.bin\"\r\nContent-Type: application/octet-stream\r\n\r\nAAEC/w==\r\n--b--\r\n";

/// The client certificate of `alice`.
pub const CERTIFICATE: &[u8] = b"a certificate";

/// A message for clients with UTF-8: addresses, encoded words, parameters, parts, and a message in a part.
const INTERNATIONAL: &str = "Return-Path: <\u{6765}@\u{4f8b}.example>\r\nFrom: \u{6765}\u{4fe1} <\u{6765}@\u{4f8b}.example>\r\n\
    To: Jos\u{e9} <jose@example.org>, K\u{e4}fer: a@example.org, \u{e9}@example.org;\r\n\
    Subject: =?utf-8?q?caf=C3=A9?= \u{e9}\r\nX-Note: \u{e9}\r\nno field \u{e9}\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
    Content-Disposition: attachment;\r\n filename=\u{e9}; size=3\r\n\r\n.\u{e9}\r\n--b\r\n\
    Content-Type: message/global\r\n\r\nSubject: inner \u{e9}\r\n\r\n\u{e9}\r\n--b--\r\n";

/// What a maildrop's account has besides messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policies(pub u8);

impl Policies {
    /// Whether what the client sends is a message too.
    #[must_use]
    pub fn is_input_a_message(self) -> bool {
        self.0 & 32 != 0
    }
}

/// A user `alice` with the password `secret`, some mailboxes and messages, and calls that go as the decisions say.
pub fn open(mood: Mood, control: &Control<'_>) -> MemoryBackend {
    hooked(builder().build().unwrap(), mood, control)
}

/// The same, with all ways to log in, policies, an internationalized message and, if the policies say so, the input itself
/// as a message.
pub fn open_maildrop(mood: Mood, policies: Policies, input: &[u8], control: &Control<'_>) -> MemoryBackend {
    let Policies(bits) = policies;
    let international = NewMessage::new(INTERNATIONAL);
    let stamped = NewMessage::new("Subject: stamped\r\n\r\nstamped\r\n").expire_stamp("1767000000");
    let mut builder = builder()
        .token("alice", "t0ken")
        .shared_secret("alice", "secret")
        .certificate("alice", CERTIFICATE)
        .anonymous("alice")
        .deliver("alice", "INBOX", international)
        .deliver("alice", "INBOX", stamped);
    if bits & 1 != 0 {
        builder = builder.login_delay(60);
    }
    builder = match bits >> 2 & 3 {
        0 => builder,
        1 => builder.expiry(Expiry::after(2)),
        2 => builder.expiry(Expiry::after(2).deleting()),
        _ => builder.expiry(Expiry::after(0)),
    };
    if bits & 16 != 0 {
        builder = builder.bulletin("Subject: first\r\n\r\n1\r\n").bulletin("Subject: second\r\n\r\n2\r\n");
    }
    if policies.is_input_a_message() {
        builder = builder.deliver("alice", "INBOX", NewMessage::new(input.to_vec()));
    }
    let backend = builder.build().unwrap();
    if bits & 2 != 0 {
        backend.set_last_login("alice", Some(NOW as i64 - 30)).unwrap();
    }
    hooked(backend, mood, control)
}

fn builder() -> Builder {
    let broken = b"Subject: \xff\xfe\r\nContent-Type: multipart/x\r\n\r\n.\r\n..\r\n\0".as_slice();
    MemoryBackend::builder()
        .env(env())
        .user("alice", "secret")
        .quota(64 << 10)
        .max_keywords(20)
        .expunge_history(4)
        .message("alice", "INBOX", SystemFlags::SEEN, "Subject: one\r\n\r\none\r\n")
        .message("alice", "INBOX", SystemFlags::NONE, MULTIPART)
        .message("alice", "INBOX", SystemFlags::DELETED, "")
        .message("alice", "INBOX", SystemFlags::FLAGGED, broken)
        .message("alice", "Archive/2024", SystemFlags::NONE, "Subject: old\r\n\r\nold\r\n")
        .mailbox("alice", "Entw\u{fc}rfe & mehr")
        .subscribe("alice", "Gone")
        .read_only("alice", "Archive/2024")
}

/// Calls go as the decisions say.
fn hooked(backend: MemoryBackend, mood: Mood, control: &Control<'_>) -> MemoryBackend {
    let others = backend.clone();
    let plan = Mutex::new(Plan { counts: HashMap::new(), control: control.clone_seed(), mood, copies: 0 });
    let busy = AtomicBool::new(false);
    backend.hook(move |call| {
        let (outcome, act) = plan.lock().unwrap().decide(call);
        // What others do asks no hook, but be sure.
        if let Some(act) = act
            && !busy.swap(true, Ordering::SeqCst)
        {
            meddle(&others, act);
            busy.store(false, Ordering::SeqCst);
        }
        outcome
    });
    backend
}

struct Plan {
    counts: HashMap<Call, u32>,
    control: u64,
    mood: Mood,
    copies: u32,
}

impl Plan {
    /// Decides by the call's kind and how often it came, so that the order between kinds does not matter.
    fn decide(&mut self, call: Call) -> (Outcome, Option<u8>) {
        let count = self.counts.entry(call).or_default();
        *count += 1;
        if matches!(call, Call::Copy | Call::Move) {
            self.copies += 1;
            // Else each copy could double the store.
            if self.copies > 6 {
                return (Outcome::fail(Error::OverQuota), None);
            }
        }
        let mut hash = self.control ^ u64::from(*count) << 8 ^ (format!("{call:?}").len() as u64) << 40;
        for letter in format!("{call:?}").bytes() {
            hash = (hash ^ u64::from(letter)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let dice = (hash >> 32) as u8;
        let pending = if self.mood.slow { u32::from(dice & 3) } else { 0 };
        // How often these come depends on how the input and the output are cut.
        let torn = matches!(
            call,
            Call::Write
                | Call::Read
                | Call::Rows
                | Call::Changes
                | Call::Remember
                | Call::Message
                | Call::Fetch
                | Call::Search
        );
        if (if torn { self.mood.torn } else { self.mood.failing }) && dice & 0x70 == 0x30 {
            return (Outcome::fail(error((hash >> 40) as u8)), None);
        }
        let act = (self.mood.busy && !torn && dice & 0x80 != 0).then_some((hash >> 48) as u8);
        (Outcome::proceed().pending(pending), act)
    }
}

fn error(choice: u8) -> Error {
    match choice % 12 {
        0 => Error::Unavailable(None),
        1 => Error::NoPermission,
        2 => Error::InUse,
        3 => Error::NoSuchMailbox,
        4 => Error::AlreadyExists,
        5 => Error::Expunged,
        6 => Error::OverQuota,
        7 => Error::TooBig,
        8 => Error::Limit("so many".into()),
        9 => Error::ReadOnly,
        10 => Error::Corrupt(None),
        _ => Error::MailboxGone,
    }
}

/// What another program or client does. That it may be refused does not matter.
fn meddle(store: &MemoryBackend, act: u8) {
    let inbox = || store.snapshot("alice", "INBOX").map(|snapshot| snapshot.uids).unwrap_or_default();
    let some: UidSet = inbox().iter().nth(usize::from(act >> 4)).into_iter().collect();
    let _ = match act & 15 {
        0..=4 => store.deliver("alice", "INBOX", "Subject: new\r\n\r\nnew\r\n").map(drop),
        5..=7 => store.store_flags("alice", "INBOX", inbox(), StoreOp::Add, SystemFlags::ANSWERED),
        8..=10 => store.expunge("alice", "INBOX", some).map(drop),
        11 => store.forget_removals("alice", "INBOX"),
        12 => store.delete("alice", "Archive/2024"),
        13 => store.rename("alice", "Archive", "Old"),
        14 => store.recreate("alice", "INBOX"),
        _ => store.set_access("alice", "INBOX", if act & 16 == 0 { Access::ReadOnly } else { Access::ReadWrite }),
    };
}
