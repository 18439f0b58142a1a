//! Responses that grow with the mailbox, written piece by piece as the client takes them: what SEARCH found, which UIDs
//! COPY gave, which messages are gone.
//!
//! Nothing else is written, and no command works on, before such a response is whole.

use std::borrow::Cow;

use bytes::BytesMut;
use pillarbox_proto_core::backend::Changes;
use pillarbox_proto_core::mail::{Uid, UidSet, UidValidity};

use super::Session;
use super::view::View;
use crate::wire::encode;

/// Octets that are written at a time, about.
const PIECE: usize = 16 * 1024;

/// What of a long response has not been written yet.
pub(super) enum Pending {
    /// The numbers of a SEARCH response.
    Search { rest: UidSet, uid: bool },
    /// The ranges of ALL in an ESEARCH response; never empty.
    All { rest: UidSet, uid: bool },
    /// A COPYUID code and what follows it.
    CopyUid(CopyUid),
    /// EXPUNGE responses, then what else these changes tell.
    Changes(Box<Changes>),
}

/// A COPYUID code on its way (RFC 9051, section 7.1).
pub(super) struct CopyUid {
    pairs: Vec<(Uid, Uid)>,
    /// The set of old UIDs has been written; that of the new ones is.
    second: bool,
    /// How many of the set at work have been written.
    written: usize,
    text: Cow<'static, str>,
}

impl Session {
    /// Whether a response is still being written.
    pub(crate) fn is_writing(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether a response stands begun in the output, so that the client would take anything else for a part of it.
    pub(crate) fn is_mid_response(&self) -> bool {
        self.row_open || self.pending.as_deref().is_some_and(|pending| !matches!(pending, Pending::Changes(_)))
    }

    /// Forgets a response that will not be ended.
    pub(crate) fn stop_writing(&mut self) {
        self.pending = None;
        self.row_open = false;
    }

    pub(super) fn write_in_pieces(&mut self, pending: Pending) {
        self.pending = Some(Box::new(pending));
        self.write_piece();
    }

    /// Writes a COPYUID code and the text after it; the condition before it stands.
    pub(super) fn copy_uid(&mut self, uid_validity: UidValidity, pairs: Vec<(Uid, Uid)>, text: Cow<'static, str>) {
        let out = self.output.tail_mut();
        out.extend_from_slice(b" [COPYUID ");
        encode::number(out, uid_validity.get());
        out.extend_from_slice(b" ");
        self.write_in_pieces(Pending::CopyUid(CopyUid { pairs, second: false, written: 0, text }));
    }

    /// Writes the next piece of a long response; false if there is none.
    pub(crate) fn write_piece(&mut self) -> bool {
        let Some(mut pending) = self.pending.take() else { return false };
        let out = self.output.tail_mut();
        let full = out.len() + PIECE;
        let more = match (&mut *pending, &mut self.selected) {
            (Pending::CopyUid(copied), _) => copied.write(out, full),
            // There is none to tell of.
            (_, None) => false,
            (Pending::Search { rest, uid }, Some(selected)) => search(out, full, rest, *uid, &selected.view),
            (Pending::All { rest, uid }, Some(selected)) => all(out, full, rest, *uid, &selected.view),
            (Pending::Changes(_), Some(selected)) => loop {
                if self.holds_expunges {
                    break false;
                }
                if out.len() >= full {
                    break true;
                }
                match selected.view.expunge_next() {
                    Some(number) => encode::expunge(out, number),
                    None => break false,
                }
            },
        };
        if more {
            self.pending = Some(pending);
        } else if let Pending::Changes(changes) = *pending {
            self.changes_but_removals(*changes);
        }
        true
    }
}

/// ` 1 2 3` and the end of the line. Returns whether some is left.
fn search(out: &mut BytesMut, full: usize, rest: &mut UidSet, by_uid: bool, view: &View) -> bool {
    for uid in rest.iter() {
        out.extend_from_slice(b" ");
        encode::number(out, told(uid, by_uid, view));
        if out.len() >= full {
            *rest = rest.after(uid);
            return true;
        }
    }
    out.extend_from_slice(b"\r\n");
    false
}

/// `1:3,5` and the end of the line. Returns whether some is left, which then begins behind a comma.
fn all(out: &mut BytesMut, full: usize, rest: &mut UidSet, by_uid: bool, view: &View) -> bool {
    if by_uid {
        let mut runs = rest.ranges().peekable();
        while let Some((first, last)) = runs.next() {
            encode::ranges(out, [(first.get(), last.get())]);
            if runs.peek().is_some() {
                out.extend_from_slice(b",");
                if out.len() >= full {
                    *rest = rest.after(last);
                    return true;
                }
            }
        }
    } else {
        let mut uids = rest.iter().filter_map(|uid| Some((uid, view.number(uid)?))).peekable();
        while let Some((mut last, first)) = uids.next() {
            let mut number = first;
            while let Some((uid, next)) = uids.next_if(|(_, next)| *next == number + 1) {
                (last, number) = (uid, next);
            }
            encode::ranges(out, [(first, number)]);
            if uids.peek().is_some() {
                out.extend_from_slice(b",");
                if out.len() >= full {
                    *rest = rest.after(last);
                    return true;
                }
            }
        }
    }
    out.extend_from_slice(b"\r\n");
    false
}

fn told(uid: Uid, by_uid: bool, view: &View) -> u32 {
    if by_uid { uid.get() } else { view.number(uid).unwrap_or(0) }
}

impl CopyUid {
    /// Both sets are in the order of the copies, so that they tell which became which.
    fn write(&mut self, out: &mut BytesMut, full: usize) -> bool {
        loop {
            let second = self.second;
            let mut uids = self.pairs.iter().skip(self.written).map(|(from, to)| if second { to } else { from }.get());
            let Some(first) = uids.next() else {
                if second {
                    break;
                }
                out.extend_from_slice(b" ");
                (self.second, self.written) = (true, 0);
                continue;
            };
            let (mut last, mut run) = (first, 1);
            while let Some(next) = uids.next().filter(|next| last.checked_add(1) == Some(*next)) {
                (last, run) = (next, run + 1);
            }
            if self.written > 0 {
                out.extend_from_slice(b",");
            }
            encode::ranges(out, [(first, last)]);
            self.written += run;
            if out.len() >= full {
                return true;
            }
        }
        out.extend_from_slice(b"] ");
        encode::text(out, &self.text);
        out.extend_from_slice(b"\r\n");
        false
    }
}
