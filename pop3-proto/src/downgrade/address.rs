//! Lists of addresses (RFC 5322, section 3.4) in which some are internationalized.
//!
//! An address that can be written in ASCII stays usable: only its display name becomes encoded words. Any other one is
//! replaced by [`NOBODY`], and its display name shows what it was. Addresses without octets beyond ASCII stay as they
//! are, to the octet.

use memchr::memmem;

use super::parameters::{Marks, Place};
use super::words::{Folded, LONG, is_blank, is_encoded};

/// The address that stands for one that can't be written: RFC 2606 keeps its domain from ever being anybody's.
const NOBODY: &[u8] = b"<invalid@internationalized-address.invalid>";
/// So many octets a list may become; internationalized addresses after that are left out.
pub(super) const MAX_LIST: usize = 32 << 10;

/// A field with a list of addresses.
pub(super) fn list(name: &[u8], value: &[u8]) -> Folded {
    let mut list = List { out: Folded::new(name), due: None, in_group: false };
    let mut start = 0;
    // In an angle or a domain literal nothing separates.
    let (mut angle, mut literal) = (false, false);
    for (at, octet, place) in Marks::new(value) {
        let item = value.get(start..at).unwrap_or_default();
        match octet {
            _ if place != Place::Open => continue,
            b'<' => angle = true,
            b'>' => angle = false,
            b'[' => literal = true,
            b']' => literal = false,
            _ if angle || literal => {}
            b',' => {
                list.item(item);
                start = at + 1;
            }
            b':' if !list.in_group => {
                list.group(item);
                start = at + 1;
            }
            // Outside of a group some write it for a comma.
            b';' => {
                list.item(item);
                list.end_group();
                start = at + 1;
            }
            _ => {}
        }
    }
    list.item(value.get(start..).unwrap_or_default());
    list.end_group();
    list.out
}

/// A field with one address in angle brackets and nothing else, as Return-Path (RFC 5322, section 3.6.7).
pub(super) fn path(name: &[u8], value: &[u8]) -> Folded {
    let mut out = Folded::new(name);
    let address = Mailbox::parse(value).address;
    // `<>` means something: no answer is wanted.
    let is_known = !address.is_empty() || memmem::find(value, b"<>").is_some();
    if address.is_ascii() && is_known {
        out.word(b" ", &[b"<", &*address, b">"].concat());
    } else {
        out.word(b" ", NOBODY);
    }
    out
}

struct List {
    out: Folded,
    /// What has to stand before the next address.
    due: Option<u8>,
    in_group: bool,
}

impl List {
    fn separate(&mut self) {
        if let Some(separator) = self.due.take() {
            self.out.raw(&[separator]);
        }
    }

    fn group(&mut self, name: &[u8]) {
        self.separate();
        if name.is_ascii() {
            self.copy(name);
        } else {
            self.name(&Mailbox::parse(name).name);
        }
        self.out.raw(b":");
        self.due = None;
        self.in_group = true;
    }

    fn end_group(&mut self) {
        if std::mem::take(&mut self.in_group) {
            self.out.raw(b";");
            self.due = Some(b',');
        }
    }

    fn item(&mut self, item: &[u8]) {
        if item.iter().all(|octet| is_blank(*octet)) {
            return;
        }
        if item.is_ascii() {
            self.separate();
            self.copy(item);
        } else if self.out.len() < MAX_LIST {
            self.separate();
            self.mailbox(item);
        } else {
            return;
        }
        // The comma comes with the next address: there may be none, or none that is shown.
        self.due = Some(b',');
    }

    /// As it stands, but on a line of its own if it does not fit here.
    fn copy(&mut self, item: &[u8]) {
        match item.split_first() {
            Some((blank @ (b' ' | b'\t'), word)) if !item.contains(&b'\n') => self.out.word(&[*blank], word),
            _ => self.out.raw(item),
        }
    }

    fn mailbox(&mut self, item: &[u8]) {
        let Mailbox { mut name, address } = Mailbox::parse(item);
        if address.is_ascii() && !address.is_empty() {
            self.name(&name);
            self.out.word(b" ", &[b"<", &*address, b">"].concat());
            return;
        }
        let text = match (name.is_empty(), address.is_empty()) {
            (true, _) => address,
            (false, true) => Vec::new(),
            (false, false) => [b"(", &*address, b")"].concat(),
        };
        if !text.is_empty() {
            name.push(Piece { text, encoded: false });
        }
        self.name(&name);
        self.out.word(b" ", NOBODY);
    }

    /// A display name as encoded words. Those that are there already stay.
    fn name(&mut self, name: &[Piece]) {
        let mut pieces = name.iter().peekable();
        let mut after_encoded = false;
        while let Some(piece) = pieces.next() {
            if piece.encoded {
                self.out.word(b" ", &piece.text);
                after_encoded = true;
                continue;
            }
            let mut run = if after_encoded { b" ".to_vec() } else { Vec::new() };
            run.extend_from_slice(&piece.text);
            while let Some(next) = pieces.next_if(|next| !next.encoded) {
                run.push(b' ');
                run.extend_from_slice(&next.text);
            }
            if pieces.peek().is_some() {
                run.push(b' ');
            }
            self.out.encoded(&run);
            after_encoded = true;
        }
    }
}

/// A word of a display name.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    text: Vec<u8>,
    /// It is an encoded word, and stays one.
    encoded: bool,
}

/// An address, taken apart as far as it goes.
#[derive(Debug)]
struct Mailbox {
    /// The display name, or else the comments, which once stood for one.
    name: Vec<Piece>,
    /// What stands in angle brackets or, without them, all but the comments. Beyond ASCII if it can't be understood.
    address: Vec<u8>,
}

impl Mailbox {
    fn parse(item: &[u8]) -> Self {
        let (mut phrase, mut comments) = (Phrase::of(item), Phrase::of(item));
        // What stands outside of angle brackets, as it would be written in an address.
        let mut bare = Vec::new();
        let mut angle: Option<Vec<u8>> = None;
        let mut in_angle = false;
        let mut marks = Marks::new(item);
        let mut escaped = false;
        for (_, octet, place) in marks.by_ref() {
            let escape = octet == b'\\' && place != Place::Open && !std::mem::take(&mut escaped);
            escaped |= escape;
            match place {
                Place::Comment if escape || (!escaped && matches!(octet, b'(' | b')')) => comments.end_word(),
                Place::Comment => comments.push(octet),
                _ if in_angle => match octet {
                    b'>' if place == Place::Open => in_angle = false,
                    b'\r' | b'\n' => {}
                    _ => angle.get_or_insert_default().push(octet),
                },
                Place::Open if octet == b'<' => {
                    // A second one is no address.
                    if angle.is_some() {
                        return Self::unknown(item);
                    }
                    angle = Some(Vec::new());
                    in_angle = true;
                    phrase.end_word();
                }
                _ => {
                    if !is_blank(octet) || place == Place::Quoted {
                        bare.push(octet);
                    } else if !bare.is_empty() {
                        bare.push(b' ');
                    }
                    match (place, octet) {
                        (Place::Quoted, b'"') if !escaped => {}
                        _ if escape => {}
                        _ => phrase.push(octet),
                    }
                }
            }
            if !escape {
                escaped = false;
            }
        }
        if marks.is_open() || in_angle {
            return Self::unknown(item);
        }
        comments.end_word();
        phrase.end_word();
        match angle {
            Some(angle) => {
                let address = angle.trim_ascii().to_vec();
                Self { name: if phrase.pieces.is_empty() { comments.pieces } else { phrase.pieces }, address }
            }
            None => {
                let address = bare.trim_ascii().to_vec();
                match (address.contains(&b' '), address.is_ascii() || address.contains(&b'@')) {
                    (false, true) => Self { name: comments.pieces, address },
                    (false, false) => Self { name: phrase.pieces, address: Vec::new() },
                    (true, _) => Self::unknown(item),
                }
            }
        }
    }

    /// What can't be understood is all display name.
    fn unknown(item: &[u8]) -> Self {
        let mut phrase = Phrase::of(item);
        item.iter().for_each(|octet| phrase.push(*octet));
        phrase.end_word();
        Self { name: phrase.pieces, address: Vec::new() }
    }
}

struct Phrase {
    pieces: Vec<Piece>,
    word: Vec<u8>,
    /// Encoded words stay.
    short: bool,
}

impl Phrase {
    /// A part of this item.
    fn of(item: &[u8]) -> Self {
        Self { pieces: Vec::new(), word: Vec::new(), short: item.len() <= LONG }
    }

    fn push(&mut self, octet: u8) {
        if is_blank(octet) {
            self.end_word();
        } else {
            self.word.push(octet);
        }
    }

    fn end_word(&mut self) {
        if !self.word.is_empty() {
            let text = std::mem::take(&mut self.word);
            let encoded = self.short && is_encoded(&text);
            match self.pieces.last_mut() {
                Some(last) if !last.encoded && !encoded => {
                    last.text.push(b' ');
                    last.text.extend_from_slice(&text);
                }
                _ => self.pieces.push(Piece { text, encoded }),
            }
        }
    }
}
