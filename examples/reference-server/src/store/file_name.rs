//! Names of message files: what Maildir puts into them, and how new ones are made.
//!
//! A name is a base, which stays with the message, and an info part with its flags: `1700000000.M5P7.host,S=12:2,FS`.
//! The base may claim the file's size (`,S=`) and the size with CRLF line ends (`,W=`). Where a file took the place of
//! another whose unique-id it keeps, the base ends with that (`,I=`). Letters of the info part that
//! this store does not know are kept when it writes the name anew.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use pillarbox_proto_core::mail::SystemFlags;
use sha2::{Digest, Sha256};

/// Keywords 0 to 25 have a letter in the file name; these are their bits.
pub(super) const LETTER_BITS: u64 = (1 << 26) - 1;
/// The longest unique-id of POP3 (RFC 1939, section 7).
const MAX_UNIQUE_ID: usize = 70;
/// What stands before the unique-id of the file that this one took the place of.
const KEPT: &str = ",I=";

const LETTERS: [(u8, SystemFlags); 5] = [
    (b'D', SystemFlags::DRAFT),
    (b'F', SystemFlags::FLAGGED),
    (b'R', SystemFlags::ANSWERED),
    (b'S', SystemFlags::SEEN),
    (b'T', SystemFlags::DELETED),
];

/// Cuts a file name into base and info; the info part starts with `:` or is empty.
pub(super) fn split(name: &str) -> (&str, &str) {
    name.split_at(name.find(':').unwrap_or(name.len()))
}

/// The system flags and the keyword bits that an info part tells.
pub(super) fn parse_info(info: &str) -> (SystemFlags, u64) {
    let Some(letters) = info.strip_prefix(":2,") else { return (SystemFlags::NONE, 0) };
    let (mut flags, mut keywords) = (SystemFlags::NONE, 0);
    for letter in letters.bytes() {
        if let Some((_, flag)) = LETTERS.iter().find(|(known, _)| *known == letter) {
            flags |= *flag;
        } else if letter.is_ascii_lowercase() {
            keywords |= 1 << (letter - b'a');
        }
    }
    (flags, keywords)
}

/// The info part for these flags, in place of an old one whose unknown letters stay.
pub(super) fn info_for(old: &str, flags: SystemFlags, keywords: u64) -> String {
    let old = old.strip_prefix(":2,").unwrap_or_default();
    let known = |letter: u8| letter.is_ascii_lowercase() || LETTERS.iter().any(|(known, _)| *known == letter);
    let mut letters: Vec<u8> = old.bytes().filter(|letter| letter.is_ascii_graphic() && !known(*letter)).collect();
    letters.extend(LETTERS.iter().filter(|(_, flag)| flags.contains(*flag)).map(|(letter, _)| *letter));
    letters.extend((0..26u8).filter(|number| keywords & (1 << number) != 0).map(|number| b'a' + number));
    letters.sort_unstable();
    letters.dedup();
    let mut info = String::with_capacity(letters.len() + 3);
    info.push_str(":2,");
    info.extend(letters.into_iter().map(char::from));
    info
}

/// The sizes that a base claims: of the file (`,S=`), and with CRLF line ends (`,W=`).
pub(super) fn claimed_sizes(base: &str) -> (Option<u64>, Option<u64>) {
    let field = |key: &str| {
        let fields = base.split(',').skip(1);
        fields.filter_map(|field| field.strip_prefix(key)).find_map(|digits| digits.parse().ok())
    };
    (field("S="), field("W="))
}

/// A base that no other message has, with the sizes of the message.
pub(super) fn new_base(host: &str, sizes: Option<(u64, u64)>) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Process numbers repeat where containers share a folder.
    static PROCESS: LazyLock<u64> = LazyLock::new(super::random_number);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut base = format!(
        "{}.M{:06}P{}Q{}R{:08x}.{}",
        now.as_secs(),
        now.subsec_micros(),
        std::process::id(),
        count,
        *PROCESS as u32,
        host
    );
    if let Some((bytes, wire)) = sizes {
        base.push_str(&format!(",S={bytes},W={wire}"));
    }
    base
}

/// The base's fields other than its unique part and the unique-id that it keeps, such as `,S=12,W=13`; they go with a
/// copy of the message.
pub(super) fn fields(base: &str) -> &str {
    let own = kept_id(base).map_or(base, |(own, _)| own);
    own.find(',').and_then(|at| own.get(at..)).unwrap_or_default()
}

/// A base that no other message has, for a file that takes the place of another and keeps its unique-id.
pub(super) fn base_in_place_of(old: &str, host: &str, sizes: (u64, u64)) -> String {
    format!("{}{KEPT}{}", new_base(host, Some(sizes)), unique_id(old))
}

/// Takes a base apart that keeps the unique-id of another: what comes before, and that.
fn kept_id(base: &str) -> Option<(&str, &str)> {
    base.split_once(KEPT).filter(|(_, id)| is_unique_id(id))
}

fn is_unique_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_UNIQUE_ID && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A host name fit for a file name.
pub(super) fn clean_host(host: &str) -> String {
    let clean: String =
        host.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')).take(64).collect();
    if clean.trim_matches('.').is_empty() { "localhost".to_owned() } else { clean }
}

/// The unique-id of a message of this base: the one that it keeps, or the base itself if it has the form that POP3
/// wants, else a digest of it.
pub(super) fn unique_id(base: &str) -> String {
    if let Some((_, id)) = kept_id(base) {
        return id.to_owned();
    }
    // A base that looks like a digest is digested too, so that the two kinds never meet.
    if is_unique_id(base) && !base.starts_with("sha256=") {
        return base.to_owned();
    }
    let digest = Sha256::digest(base.as_bytes());
    let mut id = String::with_capacity(MAX_UNIQUE_ID);
    id.push_str("sha256=");
    for byte in digest.iter().take(24) {
        id.push_str(&format!("{byte:02x}"));
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_letters_in_order() {
        let flags = SystemFlags::SEEN | SystemFlags::ANSWERED | SystemFlags::FLAGGED;
        assert_eq!(info_for("", flags, 0b101), ":2,FRSac");
        assert_eq!(parse_info(":2,FRSac"), (flags, 0b101));
        assert_eq!(info_for(":2,PSz", SystemFlags::DELETED, 0), ":2,PT");
        assert_eq!(parse_info(":1,experimental"), (SystemFlags::NONE, 0));
        assert_eq!(info_for(":1,S", SystemFlags::NONE, 0), ":2,");
        assert_eq!(split("a,S=3:2,S"), ("a,S=3", ":2,S"));
        assert_eq!(split("a"), ("a", ""));
    }

    #[test]
    fn sizes_are_read_from_the_base() {
        assert_eq!(claimed_sizes("1.M2.host,S=10,W=12"), (Some(10), Some(12)));
        assert_eq!(claimed_sizes("1.M2.host,W=12"), (None, Some(12)));
        assert_eq!(claimed_sizes("1.M2.host,S=x"), (None, None));
        assert_eq!(fields("1.M2.host,S=10,W=12"), ",S=10,W=12");
    }

    #[test]
    fn bases_differ_and_make_unique_ids() {
        let (a, b) = (new_base("mail.example.org", Some((1, 1))), new_base("mail.example.org", Some((1, 1))));
        assert_ne!(a, b);
        for base in [a.as_str(), "x y", "", &"long".repeat(30), "sha256=0", "caf\u{e9}"] {
            let id = unique_id(base);
            assert!((1..=70).contains(&id.len()), "{base}");
            assert!(id.bytes().all(|byte| (b'!'..=b'~').contains(&byte)), "{base}");
        }
        assert_eq!(unique_id("1.M2.host"), "1.M2.host");
        assert_ne!(unique_id("sha256=0"), "sha256=0");
        for base in ["1.M2.host,S=10,W=12", "x y", &"long".repeat(30)] {
            let once = base_in_place_of(base, "host", (30, 30));
            let twice = base_in_place_of(&once, "host", (40, 41));
            assert_ne!(once, twice);
            assert_eq!((unique_id(&once), unique_id(&twice)), (unique_id(base), unique_id(base)));
            assert_eq!(claimed_sizes(&twice), (Some(40), Some(41)));
            // A copy is another message.
            assert_eq!(fields(&twice), ",S=40,W=41");
        }
        assert_eq!(clean_host("a/b:c"), "abc");
        assert_eq!(clean_host("../"), "localhost");
    }
}
