//! Everything that the two revisions of IMAP consist of has a transcript, and capabilities do not lie.
//!
//! `coverage.txt` says where each thing is shown. What must have a row is written down here, once more and in the
//! standards' order, so that a row that is lost is noticed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use support::transcript::{Cut, Transcript};

struct Row {
    kind: String,
    name: String,
    transcript: String,
    needle: String,
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

fn table() -> Vec<Row> {
    let text = std::fs::read_to_string(folder().join("coverage.txt")).unwrap();
    let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        let columns: Vec<_> = line.splitn(4, " | ").collect();
        let [kind, name, transcript, needle] = columns.as_slice() else { panic!("not four columns: {line}") };
        let own = |text: &&str| text.trim().to_owned();
        Row { kind: own(kind), name: own(name), transcript: own(transcript), needle: own(needle) }
    });
    rows.collect()
}

fn text_of(transcript: &str) -> String {
    let path = folder().join("transcripts").join(format!("{transcript}.txt"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_row_is_shown_by_its_transcript() {
    let mut everything = String::new();
    for transcript in Transcript::all() {
        everything.push_str(&text_of(&transcript.name));
    }
    for row in table() {
        let text = text_of(&row.transcript);
        if let Some(reason) = row.needle.strip_prefix("never:") {
            assert!(!reason.trim().is_empty(), "{} {} has no reason", row.kind, row.name);
            let code = format!("[{}", row.name);
            assert!(!everything.contains(&code), "{} {} is sent after all", row.kind, row.name);
            continue;
        }
        // A word of the setting up is no proof: what counts is said by one of the two sides.
        let spoken = |line: &&str| line.starts_with(['C', 'S']) && line.contains([':', '~']);
        assert!(
            text.lines().filter(spoken).any(|line| line.contains(&row.needle)),
            "{} {}: {}.txt does not have {:?}",
            row.kind,
            row.name,
            row.transcript,
            row.needle
        );
    }
}

/// Kinds, and what of each the standards have.
const WHOLE: &[(&str, &str)] = &[
    (
        // RFC 3501 and RFC 9051, sections 6.1 to 6.4.
        "command",
        "CAPABILITY,NOOP,LOGOUT,STARTTLS,AUTHENTICATE,LOGIN,ENABLE,SELECT,EXAMINE,CREATE,DELETE,RENAME,SUBSCRIBE,\
         UNSUBSCRIBE,LIST,LSUB,NAMESPACE,STATUS,APPEND,IDLE,CLOSE,UNSELECT,EXPUNGE,CHECK,SEARCH,FETCH,STORE,COPY,MOVE,\
         UID COPY,UID MOVE,UID FETCH,UID STORE,UID SEARCH,UID EXPUNGE",
    ),
    // RFC 9051, section 6.3.9.
    ("select-option", "SUBSCRIBED,REMOTE,RECURSIVEMATCH,SPECIAL-USE"),
    ("return-option", "SUBSCRIBED,CHILDREN,STATUS,SPECIAL-USE"),
    (
        // RFC 9051, section 7.3.1. No store here has \Noinferiors, and none is remote.
        "mailbox-attribute",
        "\\NonExistent,\\Noselect,\\HasChildren,\\HasNoChildren,\\Marked,\\Unmarked,\\Subscribed,\\All,\\Archive,\
         \\Drafts,\\Flagged,\\Junk,\\Sent,\\Trash",
    ),
    // RFC 3501, section 6.3.10; RFC 9051, section 6.3.11; RFC 7889.
    ("status-item", "MESSAGES,RECENT,UIDNEXT,UIDVALIDITY,UNSEEN,DELETED,SIZE,APPENDLIMIT"),
    (
        // RFC 3501 and RFC 9051, section 6.4.5.
        "fetch-item",
        "ALL,FAST,FULL,BINARY[],BINARY.PEEK[],BINARY.SIZE[],BODY,BODY[],BODY.PEEK[],BODYSTRUCTURE,ENVELOPE,FLAGS,\
         INTERNALDATE,RFC822,RFC822.HEADER,RFC822.SIZE,RFC822.TEXT,UID",
    ),
    (
        // RFC 9051, section 6.4.5.1.
        "section",
        "(whole),HEADER,HEADER.FIELDS,HEADER.FIELDS.NOT,TEXT,part,part.MIME,part.HEADER,part.TEXT,part.HEADER.FIELDS,\
         part.HEADER.FIELDS.NOT,nested message/rfc822,partial",
    ),
    (
        // RFC 3501 and RFC 9051, section 6.4.4; RFC 5032.
        "search-key",
        "sequence-set,ALL,ANSWERED,BCC,BEFORE,BODY,CC,DELETED,DRAFT,FLAGGED,FROM,HEADER,KEYWORD,LARGER,NEW,NOT,OLD,ON,\
         OR,RECENT,SEEN,SENTBEFORE,SENTON,SENTSINCE,SINCE,SMALLER,SUBJECT,TEXT,TO,UID,UNANSWERED,UNDELETED,UNDRAFT,\
         UNFLAGGED,UNKEYWORD,UNSEEN,parentheses,$,CHARSET,OLDER,YOUNGER",
    ),
    ("search-return", "MIN,MAX,ALL,COUNT,SAVE"),
    ("store-item", "FLAGS,FLAGS.SILENT,+FLAGS,+FLAGS.SILENT,-FLAGS,-FLAGS.SILENT"),
    // RFC 9051, section 2.3.2.
    ("flag", "\\Answered,\\Flagged,\\Deleted,\\Seen,\\Draft,\\Recent,keyword,\\*"),
    (
        // RFC 9051, sections 7.1 to 7.6; RFC 3501, sections 7.1 to 7.5.
        "response",
        "OK,NO,BAD,PREAUTH,BYE,CAPABILITY,ENABLED,LIST,LSUB,NAMESPACE,STATUS,SEARCH,ESEARCH,FLAGS,EXISTS,RECENT,\
         EXPUNGE,FETCH,continuation request",
    ),
    (
        // RFC 3501 and RFC 9051, section 7.1; RFC 7889; RFC 6154.
        "code",
        "ALERT,ALREADYEXISTS,APPENDUID,AUTHENTICATIONFAILED,AUTHORIZATIONFAILED,BADCHARSET,CANNOT,CAPABILITY,CLIENTBUG,\
         CLOSED,CONTACTADMIN,COPYUID,CORRUPTION,EXPIRED,EXPUNGEISSUED,HASCHILDREN,INUSE,LIMIT,NONEXISTENT,NOPERM,\
         NOTSAVED,OVERQUOTA,PARSE,PERMANENTFLAGS,PRIVACYREQUIRED,READ-ONLY,READ-WRITE,SERVERBUG,TRYCREATE,UIDNEXT,\
         UIDNOTSTICKY,UIDVALIDITY,UNAVAILABLE,UNKNOWN-CTE,UNSEEN,TOOBIG,USEATTR",
    ),
];

#[test]
fn nothing_of_the_standards_is_without_a_row() {
    let mut rows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in table() {
        let new = rows.entry(row.kind.clone()).or_default().insert(row.name.clone());
        assert!(new, "{} {} has two rows", row.kind, row.name);
    }
    for (kind, names) in WHOLE {
        let wanted: BTreeSet<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
        assert_eq!(rows.remove(*kind).unwrap_or_default(), wanted, "rows of kind {kind}");
    }
    // The rows of capabilities are held against what is advertised.
    rows.remove("capability");
    assert!(rows.is_empty(), "rows of unknown kinds: {rows:?}");
}

/// The capabilities that sessions advertise in any transcript, whatever their state: connections with and without TLS,
/// before and after login, of every configuration.
fn advertised() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for transcript in Transcript::all() {
        for said in transcript.play(&Cut::Whole).into_values() {
            for line in String::from_utf8_lossy(&said).lines() {
                let list = if let Some(list) = line.strip_prefix("* CAPABILITY ") {
                    list
                } else if let Some((_, rest)) = line.split_once(" [CAPABILITY ") {
                    rest.split_once(']').unwrap().0
                } else {
                    continue;
                };
                for word in list.split(' ') {
                    let word = if word.starts_with("APPENDLIMIT=") { "APPENDLIMIT=" } else { word };
                    words.insert(word.to_owned());
                }
            }
        }
    }
    words
}

#[test]
fn capabilities_do_not_lie() {
    let tested: BTreeSet<_> = table().into_iter().filter(|row| row.kind == "capability").map(|row| row.name).collect();
    let advertised = advertised();
    let untested: Vec<_> = advertised.difference(&tested).collect();
    let hidden: Vec<_> = tested.difference(&advertised).collect();
    assert!(untested.is_empty(), "advertised without a transcript: {untested:?}");
    assert!(hidden.is_empty(), "tested and never advertised: {hidden:?}");
}
