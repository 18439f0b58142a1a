//! FETCH (RFC 9051, section 6.4.5).

mod plan;
mod views;
mod writer;

use std::sync::Arc;

use pillarbox_proto_core::backend::{Batch, Error, FetchRequest, Row, StoreOp, StoreRequest};
use pillarbox_proto_core::mail::{Flags, SystemFlags, Uid, UidSet};

pub(crate) use plan::Plan;

use super::Context;
use super::completion::{Completion, OwnedCode};
use super::reply::{Reply, RowItem};
use super::report::report;
use super::select::SelectedMailbox;
use super::source::Source;
use crate::wire::encode::Code;
use plan::View;
use writer::Writer;

/// Rows that are read at a time.
const ROWS: usize = 256;
/// Octets of content that a batch of rows may bring along at first, and for a client that falls behind.
const INLINE: usize = 128 * 1024;
/// The same for a client that keeps up: it would go to sleep between smaller writes, and waking it takes longer than
/// copying them.
const INLINE_FLOWING: usize = 1024 * 1024;
/// Messages that can't be read, one after the other, before the store counts as down.
const PATIENCE: u32 = 100;

/// Tells of messages, batch by batch.
pub(crate) async fn fetch(context: Context, selected: Arc<SelectedMailbox>, plan: Plan) -> Completion {
    let items = Arc::clone(&plan.items);
    let mut job = Job { context, selected, told: 0, undecodable: false, unread: None, in_a_row: 0, items };
    match job.run(&plan).await {
        Ok(()) => job.completion(&plan),
        Err(error) => {
            job.context.port.settle().await;
            error.into()
        }
    }
}

struct Job {
    context: Context,
    selected: Arc<SelectedMailbox>,
    /// Messages that were told of.
    told: u64,
    /// The content of some part could not be decoded.
    undecodable: bool,
    /// Messages that could not be read: the first, why, and how many more there are.
    unread: Option<(Uid, Error, u64)>,
    /// How many of them came one after the other.
    in_a_row: u32,
    items: Arc<[RowItem]>,
}

impl Job {
    async fn run(&mut self, plan: &Plan) -> Result<(), Error> {
        let mut data = plan.data;
        let mut rows = self.selected.mailbox.fetch(FetchRequest::new(plan.uids.clone(), data)).await?;
        let mut reached = None;
        let mut inline = INLINE;
        loop {
            let mut batch = self.context.port.batch(ROWS, inline);
            let more = rows.next(&mut batch).await;
            reached = batch.rows().last().map(|row| row.uid).or(reached);
            let marked = if plan.sets_seen && self.selected.is_writable() {
                self.set_seen(&mut batch).await?
            } else {
                UidSet::new()
            };
            if plan.views.is_empty() {
                self.told += batch.len() as u64;
                self.context.port.emit(Reply::Rows { batch, items: Arc::clone(&self.items) }).await;
            } else if let Some(label) = plan.whole()
                && marked.is_empty()
                && batch.rows().iter().all(|row| row.content.is_some())
            {
                // What clients do that keep a copy of everything: nothing is gathered for each message.
                let (items, label) = (Arc::clone(&self.items), label.clone());
                self.told += batch.len() as u64;
                self.context.port.emit(Reply::Bodies { batch, items, label }).await;
            } else {
                for row in batch.drain() {
                    let note = marked.contains(row.uid).then(|| told(&row));
                    self.message(plan, row, note).await?;
                }
                self.context.port.recycle(batch);
            }
            match more {
                Ok(true) => {}
                Ok(false) => {
                    self.context.port.settle().await;
                    return Ok(());
                }
                // It may be one message that can't be read: each is opened by itself from here on.
                Err(error) if data.inline > 0 && !matches!(error, Error::MailboxGone) => {
                    report(&error);
                    data.inline = 0;
                    let rest = reached.map_or_else(|| plan.uids.clone(), |reached| plan.uids.after(reached));
                    rows = self.selected.mailbox.fetch(FetchRequest::new(rest, data)).await?;
                }
                Err(error) => return Err(error),
            }
            inline = if self.context.port.flows() { (inline * 2).min(INLINE_FLOWING) } else { INLINE };
        }
    }

    /// Reading a message's content sets `\Seen`; the client is told with the content. Returns the messages that have
    /// been changed. A store that takes no flags, as one that is full or where the user may only read, can still be
    /// read (RFC 4314, section 4).
    async fn set_seen(&mut self, batch: &mut Batch) -> Result<UidSet, Error> {
        let seen = |row: &Row| row.flags.system.contains(SystemFlags::SEEN);
        let unseen: UidSet = batch.rows().iter().filter(|row| !seen(row)).map(|row| row.uid).collect();
        if unseen.is_empty() {
            return Ok(unseen);
        }
        let request = StoreRequest::new(unseen, StoreOp::Add, Flags::from(SystemFlags::SEEN));
        let stored = match self.selected.mailbox.store(request).await {
            Ok(stored) => stored,
            Err(Error::NoPermission | Error::ReadOnly | Error::OverQuota | Error::Limit(_)) => {
                return Ok(UidSet::new());
            }
            Err(error) => return Err(error),
        };
        // Rows of both come in ascending order.
        let mut changed = stored.rows.iter().peekable();
        for row in batch.rows_mut() {
            while changed.next_if(|change| change.uid < row.uid).is_some() {}
            if let Some(change) = changed.next_if(|change| change.uid == row.uid) {
                row.flags = change.flags.clone();
                row.modseq = change.modseq;
            }
        }
        if !self.items.contains(&RowItem::Flags) {
            self.items = self.items.iter().copied().chain([RowItem::Flags]).collect();
        }
        Ok(stored.rows.iter().map(|row| row.uid).collect())
    }

    /// Tells of one message whose content is needed. `note` goes to the session once the client has its flags; before
    /// that, what sets `\Seen` is news to the client however this ends.
    async fn message(&mut self, plan: &Plan, mut row: Row, note: Option<Reply>) -> Result<(), Error> {
        let uid = row.uid;
        let mut source = Source::new(&*self.selected.mailbox, &mut row);
        let mut writer = Writer::new(&self.context.port, Arc::clone(&self.items), row);
        for view in &plan.views {
            match views::write(&mut writer, &mut source, view, self.context.rev2).await {
                Ok(()) => {
                    writer.relieve().await;
                    // An item may have read all of it and told a number.
                    if source.is_long() {
                        self.context.port.cooperate().await;
                    }
                }
                Err(views::Failure::Undecodable) => self.undecodable = true,
                // It was expunged meanwhile, which is told at the end (RFC 2180, section 4.1).
                Err(views::Failure::Store(Error::Expunged)) if !writer.has_begun() => return Ok(()),
                Err(views::Failure::Store(error)) if writer.in_literal() => {
                    // What was announced can't be sent.
                    self.context.port.emit(Reply::Abort).await;
                    return Err(error);
                }
                Err(views::Failure::Store(error)) => {
                    if writer.has_begun() {
                        writer.finish().await;
                        self.note(note).await;
                    }
                    return self.pass_over(uid, error);
                }
            }
        }
        self.told += 1;
        self.in_a_row = 0;
        writer.finish().await;
        self.note(note).await;
        source.remember().await;
        Ok(())
    }

    /// One message that can't be read is no reason to keep the others from the client. A store that can't read any is.
    fn pass_over(&mut self, uid: Uid, error: Error) -> Result<(), Error> {
        self.in_a_row += 1;
        if matches!(error, Error::MailboxGone) || self.in_a_row >= PATIENCE {
            return Err(error);
        }
        match &mut self.unread {
            Some((_, _, more)) => {
                *more += 1;
                report(&error);
            }
            // It is reported with the completion.
            none => *none = Some((uid, error, 0)),
        }
        Ok(())
    }

    async fn note(&self, note: Option<Reply>) {
        if let Some(note) = note {
            self.context.port.emit(note).await;
        }
    }

    fn completion(self, plan: &Plan) -> Completion {
        if let Some((uid, error, more)) = self.unread {
            let others = if more > 0 { format!(" and {more} more") } else { String::new() };
            let text = format!("Could not read the message with UID {}{others}: {error}", uid.get());
            return Completion { text: text.into(), ..error.into() };
        }
        if self.undecodable {
            return Completion::no("Some content has an unknown transfer encoding")
                .with(OwnedCode::Plain(Code::UnknownCte));
        }
        if !plan.uid && (plan.gone || self.told < plan.uids.len()) {
            return Completion::no("Some of the messages have been expunged").with(Code::ExpungeIssued);
        }
        Completion::ok("FETCH completed")
    }
}

/// Says to the session that the client knows the flags of this row.
fn told(row: &Row) -> Reply {
    let mut told = Row::new(row.uid);
    told.modseq = row.modseq;
    Reply::Stored { rows: vec![told], uid: false, silent: true }
}

/// Whether content is needed beyond what a row tells.
pub(crate) fn needs_content(views: &[View]) -> bool {
    !views.is_empty()
}
