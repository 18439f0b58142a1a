//! BODY and BODYSTRUCTURE (RFC 9051, section 7.5.2).

use bytes::BufMut;

use super::nstring::{Dialect, write_nstring, write_number, write_string};
use super::params::{Param, find};
use super::structure::{Part, PartKind, Structure};

impl Structure {
    /// Writes the body structure without extension data: what follows `BODY ` in a FETCH response.
    pub fn write_body(&self, dialect: Dialect, out: &mut impl BufMut) {
        Writer { structure: self, dialect, extended: false }.part(self.root(), out);
    }

    /// Writes the body structure with extension data: what follows `BODYSTRUCTURE ` in a FETCH response.
    pub fn write_body_structure(&self, dialect: Dialect, out: &mut impl BufMut) {
        Writer { structure: self, dialect, extended: true }.part(self.root(), out);
    }
}

struct Writer<'a> {
    structure: &'a Structure,
    dialect: Dialect,
    extended: bool,
}

impl Writer<'_> {
    /// Writes a part and, by recursion, those in it. The parser and the reader of summaries limit how deep that goes.
    fn part<B: BufMut>(&self, part: &Part, out: &mut B) {
        out.put_u8(b'(');
        if part.kind == PartKind::Multipart {
            for child in self.children(part) {
                self.part(child, out);
            }
            out.put_u8(b' ');
            self.string(&part.subtype, out);
            if self.extended {
                out.put_u8(b' ');
                self.params(&part.params, false, out);
            }
        } else {
            self.single(part, out);
            if self.extended {
                out.put_u8(b' ');
                self.nstring(part.md5.as_deref(), out);
            }
        }
        if self.extended {
            out.put_u8(b' ');
            self.disposition(part, out);
            out.put_u8(b' ');
            self.languages(part, out);
            out.put_u8(b' ');
            self.nstring(part.location.as_deref(), out);
        }
        out.put_u8(b')');
    }

    fn single<B: BufMut>(&self, part: &Part, out: &mut B) {
        let is_text = part.is_type(b"text");
        self.string(&part.media_type, out);
        out.put_u8(b' ');
        self.string(&part.subtype, out);
        out.put_u8(b' ');
        self.params(&part.params, is_text, out);
        out.put_u8(b' ');
        self.nstring(part.id.as_deref(), out);
        out.put_u8(b' ');
        self.nstring(part.description.as_deref(), out);
        out.put_u8(b' ');
        self.string(part.encoding.as_deref().unwrap_or(b"7BIT"), out);
        out.put_u8(b' ');
        write_number(part.body.end - part.body.start, out);
        // To a client of IMAP4rev1, message/global is a body like any other.
        if part.kind == PartKind::Message && (self.dialect == Dialect::Rev2 || part.is(b"message", b"rfc822")) {
            for child in self.children(part).take(1) {
                out.put_u8(b' ');
                if let Some(envelope) = &child.envelope {
                    out.put_slice(envelope.get(self.dialect));
                }
                out.put_u8(b' ');
                self.part(child, out);
            }
            out.put_u8(b' ');
            write_number(part.lines, out);
        } else if is_text {
            out.put_u8(b' ');
            write_number(part.lines, out);
        }
    }

    fn children<'a>(&'a self, part: &'a Part) -> impl Iterator<Item = &'a Part> {
        part.children.iter().filter_map(|&child| self.structure.get(child))
    }

    /// Writes parameters; to those of a text the charset is added, if there is none (RFC 2045, section 5.2).
    fn params<B: BufMut>(&self, params: &[Param], is_text: bool, out: &mut B) {
        let charset_missing = is_text && find(params, b"charset").is_none();
        if params.is_empty() && !charset_missing {
            out.put_slice(b"NIL");
            return;
        }
        out.put_u8(b'(');
        for (index, param) in params.iter().enumerate() {
            if index > 0 {
                out.put_u8(b' ');
            }
            self.string(&param.name, out);
            out.put_u8(b' ');
            match self.dialect {
                Dialect::Rev1 => self.string(&param.value, out),
                Dialect::Rev2 => self.string(&param.decoded(), out),
            }
        }
        if charset_missing {
            if !params.is_empty() {
                out.put_u8(b' ');
            }
            out.put_slice(b"\"CHARSET\" \"us-ascii\"");
        }
        out.put_u8(b')');
    }

    fn disposition<B: BufMut>(&self, part: &Part, out: &mut B) {
        match &part.disposition {
            Some(disposition) => {
                out.put_u8(b'(');
                self.string(&disposition.kind, out);
                out.put_u8(b' ');
                self.params(&disposition.params, false, out);
                out.put_u8(b')');
            }
            None => out.put_slice(b"NIL"),
        }
    }

    fn languages<B: BufMut>(&self, part: &Part, out: &mut B) {
        match part.languages.as_slice() {
            [] => out.put_slice(b"NIL"),
            [tag] => self.string(tag, out),
            tags => {
                for (index, tag) in tags.iter().enumerate() {
                    out.put_u8(if index == 0 { b'(' } else { b' ' });
                    self.string(tag, out);
                }
                out.put_u8(b')');
            }
        }
    }

    fn string<B: BufMut>(&self, text: &[u8], out: &mut B) {
        write_string(text, self.dialect, out);
    }

    fn nstring<B: BufMut>(&self, text: Option<&[u8]>, out: &mut B) {
        write_nstring(text, self.dialect, out);
    }
}
