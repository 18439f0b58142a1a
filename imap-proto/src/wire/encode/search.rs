//! SEARCH and ESEARCH responses (RFC 9051, section 7.3.4; RFC 3501, section 7.2.5).

use bytes::BytesMut;
use pillarbox_proto_core::mail::ModSeq;

use super::number::{number, ranges};
use super::string::astring;

/// The SEARCH response of IMAP4rev1: message sequence numbers or UIDs.
pub fn search(out: &mut BytesMut, matches: impl IntoIterator<Item = u32>) {
    out.extend_from_slice(b"* SEARCH");
    for found in matches {
        out.extend_from_slice(b" ");
        number(out, found);
    }
    out.extend_from_slice(b"\r\n");
}

/// What an ESEARCH response reports; what is `None` is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Esearch<'a> {
    /// The tag of the command that it answers.
    pub tag: Option<&'a [u8]>,
    /// Whether the numbers are UIDs.
    pub uid: bool,
    /// `MIN`
    pub min: Option<u32>,
    /// `MAX`
    pub max: Option<u32>,
    /// `COUNT`
    pub count: Option<u32>,
    /// `MODSEQ` (RFC 7162, section 3.1.10)
    pub modseq: Option<ModSeq>,
}

/// An ESEARCH response. `all` are the ranges of ALL, ends included, in their order; no range leaves ALL out, as it must
/// be when nothing matches.
pub fn esearch(out: &mut BytesMut, report: &Esearch<'_>, all: impl IntoIterator<Item = (u32, u32)>) {
    esearch_head(out, report);
    let mut all = all.into_iter().peekable();
    if all.peek().is_some() {
        out.extend_from_slice(b" ALL ");
        ranges(out, all);
    }
    if let Some(modseq) = report.modseq {
        out.extend_from_slice(b" MODSEQ ");
        number(out, modseq.get());
    }
    out.extend_from_slice(b"\r\n");
}

/// What stands before ALL, without an end.
pub(crate) fn esearch_head(out: &mut BytesMut, report: &Esearch<'_>) {
    out.extend_from_slice(b"* ESEARCH");
    if let Some(tag) = report.tag {
        out.extend_from_slice(b" (TAG ");
        // Quoted, as every example has it and some clients expect.
        match std::str::from_utf8(tag) {
            Ok(tag) => super::string::quoted(out, tag, false),
            Err(_) => astring(out, tag, false),
        }
        out.extend_from_slice(b")");
    }
    if report.uid {
        out.extend_from_slice(b" UID");
    }
    for (name, value) in [(" MIN ", report.min), (" MAX ", report.max), (" COUNT ", report.count)] {
        if let Some(value) = value {
            out.extend_from_slice(name.as_bytes());
            number(out, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_responses() {
        let mut out = BytesMut::new();
        search(&mut out, [2, 84, 882]);
        search(&mut out, []);
        assert_eq!(out, "* SEARCH 2 84 882\r\n* SEARCH\r\n");
    }

    #[test]
    fn esearch_responses() {
        let mut out = BytesMut::new();
        let report = Esearch { tag: Some(b"A285"), uid: true, min: Some(7), max: Some(3800), ..Esearch::default() };
        esearch(&mut out, &report, []);
        assert_eq!(out, "* ESEARCH (TAG \"A285\") UID MIN 7 MAX 3800\r\n");
        out.clear();
        let report = Esearch { tag: Some(b"a"), count: Some(3), modseq: Some(ModSeq::new(9)), ..Esearch::default() };
        esearch(&mut out, &report, [(2, 2), (10, 11)]);
        assert_eq!(out, "* ESEARCH (TAG \"a\") COUNT 3 ALL 2,10:11 MODSEQ 9\r\n");
    }
}
