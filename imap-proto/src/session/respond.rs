//! From a command's replies to output. Here UIDs become sequence numbers.

use bytes::BytesMut;
use pillarbox_proto_core::backend::{Access, Batch, Changes, Fate, Row};
use pillarbox_proto_core::conversation::Next;
use pillarbox_proto_core::mail::{DateTime, Keywords, MailboxName, SystemFlags, Uid, UidSet};

use super::pieces::Pending;
use super::view::View;
use super::{Flagging, Selected, Session};
use crate::service::completion::OwnedCode;
use crate::service::reply::{Found, Reply, RowItem};
use crate::service::select::Opening;
use crate::wire::encode::{self, Code, Condition, Esearch, FetchRow, ListExtras};

impl Session {
    /// Writes a reply.
    pub(crate) fn respond(&mut self, reply: Reply) {
        match reply {
            Reply::Challenge(challenge) => encode::challenge(self.output.tail_mut(), &challenge),
            Reply::Continue(text) => encode::continuation(self.output.tail_mut(), text),
            // The conversation knows whether the client waits for it.
            Reply::Accept => {}
            Reply::Lines(lines) => self.output.put_bytes(lines),
            Reply::Ok(OwnedCode::CopyUid(uid_validity, pairs), text) => {
                self.output.put(b"* OK");
                self.copy_uid(uid_validity, pairs, text.into());
            }
            Reply::Ok(code, text) => encode::untagged(self.output.tail_mut(), Condition::Ok, Some(&code.code()), text),
            Reply::Rows { batch, items } => {
                if *items == [RowItem::Uid, RowItem::Flags] {
                    self.uids_and_flags(batch.rows());
                } else {
                    for row in batch.rows() {
                        if self.open_row(row, &items) {
                            self.output.put(b")\r\n");
                        }
                    }
                }
                self.port.recycle(batch);
            }
            Reply::Bodies { batch, items, label } => self.bodies(batch, &items, &label),
            Reply::Message { row, items, attributes, complete } => {
                if !self.open_row(&row, &items) {
                    // The client does not know this message, which then was asked for by nobody.
                    return self.end(Next::Abort);
                }
                if items.is_empty() {
                    // Each attribute has a space before it, the first one a parenthesis too many.
                    self.attributes_without_first_space(attributes);
                } else {
                    self.output.append(attributes);
                }
                self.end_row(complete);
            }
            Reply::More { attributes, complete } => {
                self.output.append(attributes);
                self.end_row(complete);
            }
            Reply::Stored { rows, uid, silent } => self.stored(&rows, uid, silent),
            Reply::Found(found) => self.found(*found),
            Reply::Changes(changes) => self.changes(changes),
            Reply::LoggedIn { account, identity, preauth } => {
                self.account = Some(account);
                self.identity = Some(identity);
                self.set_limits();
                if preauth {
                    self.greet(Condition::PreAuth);
                }
            }
            Reply::Opened(opening) => self.opened(*opening),
            Reply::Closed { told } => {
                if self.close_mailbox() && !told {
                    let code = Some(&Code::Closed);
                    encode::untagged(
                        self.output.tail_mut(),
                        Condition::Ok,
                        code,
                        "The selected mailbox has been deleted",
                    );
                }
            }
            Reply::Abort => self.end(Next::Abort),
        }
    }

    /// Ends the selection; returns whether there was one.
    pub(crate) fn close_mailbox(&mut self) -> bool {
        self.saved = UidSet::new();
        self.selected.take().is_some()
    }

    /// `* n FETCH (` and the items that a row answers; false if the client does not know the message.
    fn open_row(&mut self, row: &Row, items: &[RowItem]) -> bool {
        let Some(selected) = &self.selected else { return false };
        let Some(number) = selected.view.number(row.uid) else { return false };
        let recent = !self.rev2 && selected.view.is_recent(row.uid);
        let out = self.output.tail_mut();
        let mut response = FetchRow::begin(out, number);
        for item in items {
            match item {
                RowItem::Uid => response.uid(out, row.uid),
                RowItem::Flags => response.flags(out, &row.flags, recent),
                RowItem::InternalDate => response.internal_date(out, row.internal_date.unwrap_or(EPOCH)),
                RowItem::Size => response.size(out, row.size.unwrap_or(0)),
            }
        }
        true
    }

    /// What clients ask of every message of a mailbox.
    fn uids_and_flags(&mut self, rows: &[Row]) {
        let Some(selected) = &self.selected else { return };
        let out = self.output.tail_mut();
        for row in rows {
            if let Some(number) = selected.view.number(row.uid) {
                let recent = !self.rev2 && selected.view.is_recent(row.uid);
                encode::uid_and_flags(out, number, row.uid, &row.flags, recent);
            }
        }
    }

    /// Whole messages out of their rows.
    fn bodies(&mut self, mut batch: Batch, items: &[RowItem], label: &[u8]) {
        // Each attribute has a space before it, the first one a parenthesis too many.
        let label = if items.is_empty() { label.get(1..).unwrap_or_default() } else { label };
        // One buffer for what stands between the messages, which are not copied.
        self.output.tail_mut().reserve(batch.len() * (label.len() + 96));
        for mut row in batch.drain() {
            if let Some(content) = row.content.take()
                && self.open_row(&row, items)
            {
                let out = self.output.tail_mut();
                out.extend_from_slice(label);
                encode::literal(out, content.len() as u64);
                self.output.put_bytes(content);
                self.output.put(b")\r\n");
            }
        }
        self.port.recycle(batch);
    }

    fn end_row(&mut self, complete: bool) {
        self.row_open = !complete;
        if complete {
            self.output.put(b")\r\n");
        }
    }

    fn attributes_without_first_space(&mut self, mut attributes: pillarbox_proto_core::Output) {
        attributes.advance(1);
        self.output.append(attributes);
    }

    fn stored(&mut self, rows: &[Row], uid: bool, silent: bool) {
        let items: &[RowItem] = if uid { &[RowItem::Uid, RowItem::Flags] } else { &[RowItem::Flags] };
        for row in rows {
            if !silent && self.open_row(row, items) {
                self.output.put(b")\r\n");
            }
            if let Some(selected) = &mut self.selected {
                selected.view.note_told(row.uid, row.modseq);
            }
        }
    }

    fn found(&mut self, found: Found) {
        let Some(selected) = &self.selected else { return };
        let view = &selected.view;
        let known = found.uids.intersection(view.uids());
        let told = |uid: Uid| if found.uid { uid.get() } else { view.number(uid).unwrap_or(0) };
        let out = self.output.tail_mut();
        let Some(returns) = found.returns else {
            out.extend_from_slice(b"* SEARCH");
            return self.write_in_pieces(Pending::Search { rest: known, uid: found.uid });
        };
        if returns.save {
            // With MIN or MAX and neither ALL nor COUNT, only what was told is saved (RFC 9051, section 6.4.4.1).
            self.saved = if (returns.min || returns.max) && !(returns.all || returns.count) {
                let ends = [known.first().filter(|_| returns.min), known.last().filter(|_| returns.max)];
                ends.into_iter().flatten().collect()
            } else {
                known.clone()
            };
        }
        if returns.min || returns.max || returns.all || returns.count {
            let report = Esearch {
                tag: Some(&self.tag),
                uid: found.uid,
                min: known.first().filter(|_| returns.min).map(told),
                max: known.last().filter(|_| returns.max).map(told),
                count: returns.count.then(|| known.count()),
                ..Esearch::default()
            };
            if returns.all && !known.is_empty() {
                encode::esearch_head(out, &report);
                out.extend_from_slice(b" ALL ");
                self.write_in_pieces(Pending::All { rest: known, uid: found.uid });
            } else {
                encode::esearch(out, &report, []);
            }
        }
    }

    fn opened(&mut self, opening: Opening) {
        let Opening { selected, snapshot, recent } = opening;
        let view = View::new(snapshot.uids.clone(), recent);
        let rev2 = self.rev2;
        let out = self.output.tail_mut();
        encode::exists(out, view.exists());
        if !rev2 {
            encode::recent(out, view.recent().count());
        }
        let flagging = Flagging::new(&snapshot);
        encode::flags_line(out, SystemFlags::ALL, &flagging.keywords);
        tell_permanent(out, &flagging, selected.is_writable());
        encode::untagged(out, Condition::Ok, Some(&Code::UidValidity(snapshot.uid_validity)), "UIDs are valid");
        if let Some(next) = snapshot.uid_next {
            encode::untagged(out, Condition::Ok, Some(&Code::UidNext(next)), "Predicted next UID");
        }
        let unseen = snapshot.first_unseen.filter(|_| !rev2).and_then(|uid| view.number(uid));
        if let Some(number) = unseen {
            encode::untagged(out, Condition::Ok, Some(&Code::Unseen(number)), "First unseen message");
        }
        if rev2 {
            let delimiter = self.account.as_ref().and_then(|account| account.delimiter());
            encode::list(out, [], delimiter, &selected.name(), ListExtras::default(), rev2);
        }
        self.selected = Some(Selected { mailbox: selected, view, snapshot: flagging });
    }

    /// Tells what happened in the mailbox, as far as it may be told now.
    fn changes(&mut self, mut changes: Box<Changes>) {
        match changes.fate {
            Fate::Deleted => return self.bye("The selected mailbox has been deleted"),
            Fate::Recreated => return self.bye("The selected mailbox has been recreated"),
            Fate::Renamed(ref name) => self.renamed(name),
            _ => {}
        }
        let Some(selected) = &mut self.selected else { return };
        let out = self.output.tail_mut();
        if let Some(access) = changes.access {
            let writable = access == Access::ReadWrite;
            if selected.mailbox.is_writable() && !writable {
                encode::untagged(out, Condition::Ok, Some(&Code::ReadOnly), "The mailbox is read-only now");
            }
            selected.mailbox.set_writable(writable && selected.mailbox.is_writable());
        }
        if let Some(keywords) = changes.keywords.take().filter(|keywords| *keywords != selected.snapshot.keywords) {
            selected.snapshot.keywords = keywords;
            encode::flags_line(out, SystemFlags::ALL, &selected.snapshot.keywords);
            tell_permanent(out, &selected.snapshot, selected.mailbox.is_writable());
        }
        for (uid, _) in &changes.expunged {
            selected.view.note_gone(*uid);
        }
        if let Some(present) = &changes.present {
            selected.view.note_present(present);
        }
        self.write_in_pieces(Pending::Changes(changes));
    }

    /// Others have renamed the mailbox, which clients that know OLDNAME are told (RFC 9051, section 6.3.6). What this
    /// client has renamed itself has its new name already.
    fn renamed(&mut self, name: &MailboxName) {
        let Some(mailbox) = self.selected_mailbox().cloned() else { return };
        let old = mailbox.name();
        if old == *name {
            return;
        }
        mailbox.set_name(name.clone());
        if self.rev2 {
            let delimiter = self.account.as_ref().and_then(|account| account.delimiter());
            let extras = ListExtras { old_name: Some(&old), ..ListExtras::default() };
            encode::list(self.output.tail_mut(), [], delimiter, name, extras, true);
        }
    }

    /// What is told of changes once the removals have been.
    pub(super) fn changes_but_removals(&mut self, changes: Changes) {
        let Some(selected) = &mut self.selected else { return };
        let out = self.output.tail_mut();
        let mut arrived = changes.arrived;
        if let Some(present) = changes.present {
            arrived.union_with(&present);
        }
        if selected.view.arrive(&arrived, &changes.recent) {
            encode::exists(out, selected.view.exists());
            if !self.rev2 {
                encode::recent(out, selected.view.recent().count());
            }
        }
        let told: Vec<&Row> = changes.changed.iter().filter(|row| !selected.view.knows(row.uid, row.modseq)).collect();
        if !changes.more {
            selected.view.forget_told();
        }
        let items: &[RowItem] = if self.rev2 { &[RowItem::Uid, RowItem::Flags] } else { &[RowItem::Flags] };
        for row in told {
            if self.open_row(row, items) {
                self.output.put(b")\r\n");
            }
        }
    }
}

/// The flags that the client can change for good: none where the mailbox is read-only.
fn tell_permanent(out: &mut BytesMut, flagging: &Flagging, writable: bool) {
    let none = Keywords::NONE;
    let code = if writable {
        let keywords = flagging.permanent.keywords.union(&flagging.keywords);
        let code = Code::PermanentFlags {
            system: flagging.permanent.system,
            keywords: if flagging.new_keywords { &keywords } else { &flagging.permanent.keywords },
            create: flagging.new_keywords,
        };
        return encode::untagged(out, Condition::Ok, Some(&code), "These flags are kept");
    } else {
        Code::PermanentFlags { system: SystemFlags::NONE, keywords: &none, create: false }
    };
    encode::untagged(out, Condition::Ok, Some(&code), "No flags can be changed");
}

/// The date of a message that has none: a store that fails to say is no reason to fail a FETCH.
const EPOCH: DateTime = DateTime::from_unix(0);
