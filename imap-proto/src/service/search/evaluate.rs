//! Searching message by message, for backends without an index.
//!
//! A message is looked at no deeper than the answer needs: first at its row, then at its header, last at its text.

use std::ops::ControlFlow;

use bytes::Bytes;
use pillarbox_proto_core::backend::{
    AddressField, Batch, Error, FetchData, FetchRequest, Mailbox, Query, Result, Row, SearchRequest,
};
use pillarbox_proto_core::mail::{DateTime, Keyword, ModSeq, SystemFlags, UidSet};

use crate::message::{HeaderText, Needle, TextKey, TextScope, TextSearch};
use crate::service::Context;
use crate::service::source::Source;

/// Rows that are read at a time.
const ROWS: usize = 256;
/// Octets of content that a batch of rows may bring along.
const INLINE: usize = 256 * 1024;
/// Messages of at most this size may come along with their row.
const INLINE_MESSAGE: usize = 64 * 1024;
/// How much of a header is searched; what follows counts as not there.
const MAX_HEADER: u64 = 1 << 20;

/// The messages that a search finds.
pub(super) async fn search(context: &Context, mailbox: &dyn Mailbox, request: SearchRequest) -> Result<UidSet> {
    let mut keys = Vec::new();
    let condition = Condition::new(request.query, &mut keys);
    let needs = condition.needs(!keys.is_empty());
    if needs == FetchData::default() {
        let mut found = UidSet::new();
        for (count, uid) in request.within.iter().enumerate() {
            if count % ROWS == ROWS - 1 {
                context.port.cooperate().await;
            }
            if condition.judge(&Facts::of(&Row::new(uid))) == Some(true) {
                found.insert(uid);
            }
        }
        return Ok(found);
    }
    let mut found = UidSet::new();
    let mut rows = mailbox.fetch(FetchRequest::new(request.within, needs)).await?;
    let mut batch = Batch::new(ROWS, INLINE);
    loop {
        let more = rows.next(&mut batch).await?;
        for row in batch.drain() {
            let uid = row.uid;
            match judge(mailbox, &condition, &keys, row).await {
                Ok(true) => {
                    found.insert(uid);
                }
                // A message that was expunged meanwhile is not found.
                Ok(false) | Err(Error::Expunged) => {}
                Err(error) => return Err(error),
            }
        }
        if !more {
            return Ok(found);
        }
        context.port.cooperate().await;
    }
}

async fn judge(
    mailbox: &dyn Mailbox,
    condition: &Condition,
    keys: &[(Needle, TextScope)],
    mut row: Row,
) -> Result<bool> {
    if let Some(verdict) = condition.judge(&Facts::of(&row)) {
        return Ok(verdict);
    }
    let mut source = Source::new(mailbox, &mut row);
    let sent = source.summary().await?.sent_date();
    let header = header(&mut source).await?;
    let header = HeaderText::new(&header);
    let facts = Facts { sent: Some(sent), header: Some(&header), ..Facts::of(&row) };
    let verdict = match condition.judge(&facts) {
        Some(verdict) => verdict,
        None => {
            let texts = texts(&mut source, keys).await?;
            condition.judge(&Facts { texts: Some(&texts), ..facts }).unwrap_or(false)
        }
    };
    source.remember().await;
    Ok(verdict)
}

async fn header(source: &mut Source<'_>) -> Result<Bytes> {
    if let Some(header) = source.cached_header() {
        return Ok(header);
    }
    let end = source.summary().await?.header_size().min(MAX_HEADER);
    let mut header = Vec::new();
    while (header.len() as u64) < end {
        let chunk = source.read(header.len() as u64, end).await?;
        header.extend_from_slice(&chunk);
    }
    Ok(header.into())
}

/// Which of the texts a message holds, in one pass over it.
async fn texts(source: &mut Source<'_>, keys: &[(Needle, TextScope)]) -> Result<Vec<bool>> {
    let keys: Vec<_> = keys.iter().map(|(needle, scope)| TextKey { needle, scope: *scope }).collect();
    source.open().await?;
    let mut search = TextSearch::new(source.structure().await?, &keys);
    while !search.is_done() {
        let Some(wanted) = search.wanted() else { break };
        search.seek(wanted.start);
        let chunk = source.read(wanted.start, wanted.end).await?;
        search.push(&chunk);
    }
    Ok(search.finish())
}

/// What is known of a message so far.
#[derive(Clone, Copy)]
struct Facts<'a> {
    row: &'a Row,
    /// What the `Date:` field says; the inner `None` is a date that can't be read.
    sent: Option<Option<DateTime>>,
    header: Option<&'a HeaderText<'a>>,
    /// Which of the texts are in it.
    texts: Option<&'a [bool]>,
}

impl<'a> Facts<'a> {
    fn of(row: &'a Row) -> Self {
        Self { row, sent: None, header: None, texts: None }
    }
}

/// A query with its texts made ready. Its depth is that of the query, which the parser bounds.
enum Condition {
    All,
    Uids(UidSet),
    Flags(SystemFlags),
    Keyword(Keyword),
    Not(Box<Condition>),
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Larger(u64),
    Smaller(u64),
    /// The day of the internal date.
    Day(Order, i64),
    /// The day of the `Date:` field.
    SentDay(Order, i64),
    ReceivedUntil(i64),
    ReceivedFrom(i64),
    Address(&'static [u8], Needle),
    Field(Box<[u8]>, Needle),
    /// One of the texts that are looked for together.
    Text(usize),
    ModSeq(ModSeq),
}

#[derive(Clone, Copy)]
enum Order {
    Before,
    On,
    Since,
}

impl Order {
    fn holds(self, day: i64, than: i64) -> bool {
        match self {
            Self::Before => day < than,
            Self::On => day == than,
            Self::Since => day >= than,
        }
    }
}

impl Condition {
    fn new(query: Query, keys: &mut Vec<(Needle, TextScope)>) -> Self {
        let mut text = |text: &str, scope| {
            keys.push((Needle::new(text), scope));
            Self::Text(keys.len() - 1)
        };
        match query {
            Query::All => Self::All,
            Query::Uids(uids) => Self::Uids(uids),
            Query::Flags(flags) => Self::Flags(flags),
            Query::Keyword(keyword) => Self::Keyword(keyword),
            Query::Not(query) => Self::Not(Box::new(Self::new(*query, keys))),
            Query::And(queries) => Self::And(queries.into_iter().map(|query| Self::new(query, keys)).collect()),
            Query::Or(queries) => Self::Or(queries.into_iter().map(|query| Self::new(query, keys)).collect()),
            Query::Larger(size) => Self::Larger(size),
            Query::Smaller(size) => Self::Smaller(size),
            Query::Before(day) => Self::Day(Order::Before, day),
            Query::On(day) => Self::Day(Order::On, day),
            Query::Since(day) => Self::Day(Order::Since, day),
            Query::SentBefore(day) => Self::SentDay(Order::Before, day),
            Query::SentOn(day) => Self::SentDay(Order::On, day),
            Query::SentSince(day) => Self::SentDay(Order::Since, day),
            Query::ReceivedUntil(time) => Self::ReceivedUntil(time),
            Query::ReceivedFrom(time) => Self::ReceivedFrom(time),
            Query::Address(field, needle) => {
                let name: &[u8] = match field {
                    AddressField::From => b"from",
                    AddressField::To => b"to",
                    AddressField::Cc => b"cc",
                    AddressField::Bcc => b"bcc",
                };
                Self::Address(name, Needle::new(&needle))
            }
            Query::Subject(needle) => Self::Field(Box::from(&b"subject"[..]), Needle::new(&needle)),
            Query::Header(name, needle) => Self::Field(name.as_bytes().into(), Needle::new(&needle)),
            Query::Body(needle) => text(&needle, TextScope::Body),
            Query::Text(needle) => text(&needle, TextScope::Text),
            Query::ModSeq(modseq) => Self::ModSeq(modseq),
            // A condition that this library does not know can't have come from it.
            _ => Self::Or(Vec::new()),
        }
    }

    /// What rows have to tell.
    fn needs(&self, texts: bool) -> FetchData {
        let mut data = FetchData::default();
        self.visit(&mut |condition| match condition {
            Self::Flags(_) | Self::Keyword(_) | Self::ModSeq(_) => data.flags = true,
            Self::Larger(_) | Self::Smaller(_) => data.size = true,
            Self::Day(..) | Self::ReceivedUntil(_) | Self::ReceivedFrom(_) => data.internal_date = true,
            Self::SentDay(..) | Self::Address(..) | Self::Field(..) | Self::Text(_) => data.summary = true,
            _ => {}
        });
        if texts {
            data.inline = INLINE_MESSAGE;
        }
        data
    }

    fn visit(&self, look: &mut impl FnMut(&Self)) {
        look(self);
        match self {
            Self::Not(inner) => inner.visit(look),
            Self::And(all) | Self::Or(all) => all.iter().for_each(|inner| inner.visit(look)),
            _ => {}
        }
    }

    /// Whether a message matches, or `None` if more must be known of it.
    fn judge(&self, facts: &Facts<'_>) -> Option<bool> {
        let row = facts.row;
        match self {
            Self::All => Some(true),
            Self::Uids(uids) => Some(uids.contains(row.uid)),
            Self::Flags(flags) => Some(row.flags.system.contains(*flags)),
            Self::Keyword(keyword) => Some(row.flags.keywords.contains(keyword)),
            Self::Not(inner) => inner.judge(facts).map(|verdict| !verdict),
            Self::And(all) => combine(all, facts, false),
            Self::Or(any) => combine(any, facts, true),
            Self::Larger(size) => Some(row.size.is_some_and(|octets| octets > *size)),
            Self::Smaller(size) => Some(row.size.is_some_and(|octets| octets < *size)),
            Self::Day(order, than) => Some(row.internal_date.is_some_and(|date| order.holds(date.days(), *than))),
            Self::SentDay(order, than) => {
                facts.sent.map(|sent| sent.is_some_and(|date| order.holds(date.days(), *than)))
            }
            Self::ReceivedUntil(time) => Some(row.internal_date.is_some_and(|date| date.unix() <= *time)),
            Self::ReceivedFrom(time) => Some(row.internal_date.is_some_and(|date| date.unix() >= *time)),
            Self::Address(name, needle) => facts.header.map(|header| header.address(name, needle)),
            Self::Field(name, needle) => facts.header.map(|header| header.field(name, needle)),
            Self::Text(index) => facts.texts.map(|texts| texts.get(*index).copied().unwrap_or(false)),
            Self::ModSeq(modseq) => Some(row.modseq >= *modseq),
        }
    }
}

/// AND and OR: `decisive` is the verdict of one condition that settles all.
fn combine(conditions: &[Condition], facts: &Facts<'_>, decisive: bool) -> Option<bool> {
    let judged = conditions.iter().try_fold(Some(!decisive), |so_far, condition| match condition.judge(facts) {
        Some(verdict) if verdict == decisive => ControlFlow::Break(()),
        Some(_) => ControlFlow::Continue(so_far),
        None => ControlFlow::Continue(None),
    });
    match judged {
        ControlFlow::Break(()) => Some(decisive),
        ControlFlow::Continue(verdict) => verdict,
    }
}
