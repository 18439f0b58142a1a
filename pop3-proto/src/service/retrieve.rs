//! RETR and TOP: a message goes from the backend to the session, whole or in pieces.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use pillarbox_proto_core::backend::{Batch, Error, FetchData, FetchRequest, Mailbox};
use pillarbox_proto_core::mail::{Uid, UidSet};

use super::Done;
use super::port::Port;
use super::report::report;
use crate::config::Limits;
use crate::session::job::{Outcome, Reply, Retrieve};
use crate::wire::reply::Refusal;
use crate::wire::top::Top;

/// Octets that are read at a time.
const CHUNK: usize = 32 << 10;

/// Messages that have been fetched before they were asked for, in the order in which they will be.
pub(super) type Ahead = VecDeque<(Uid, Bytes)>;

/// What is wanted of a message that is at hand.
pub(super) fn whole(content: Bytes, top: Option<u64>) -> Reply {
    match top {
        None => Reply::Message { octets: Some(content.len() as u64), piece: content },
        Some(lines) => {
            let wanted = Top::new(lines).cut(&content).unwrap_or(content.len());
            Reply::Message { octets: None, piece: content.slice(..wanted.min(content.len())) }
        }
    }
}

/// Shows a message. A small one is asked for together with those that the client wants next; with `inline` off, the
/// backend is known not to give messages with their rows.
pub(super) async fn retrieve(
    port: Port,
    mailbox: Arc<dyn Mailbox>,
    request: Retrieve,
    limits: Limits,
    inline: bool,
) -> Done {
    let mut done = Done::new(Outcome::Shown { uid: request.uid, whole: request.top.is_none() });
    if inline && request.size <= limits.inline as u64 {
        let mut fetched = fetch(&*mailbox, request.uid, &request.ahead, limits).await;
        if fetched.is_err() && !request.ahead.is_empty() {
            // It may be one of the others that is damaged; that is no fault of this one.
            fetched = fetch(&*mailbox, request.uid, &[], limits).await;
        }
        match fetched {
            Ok((mut found, rows)) => match found.iter().position(|(uid, _)| *uid == request.uid) {
                Some(at) => {
                    if let Some((_, content)) = found.remove(at) {
                        port.emit(whole(content, request.top)).await;
                    }
                    done.ahead = found;
                    return done;
                }
                // Not even one of several: this backend does not do it. None at all: the message is gone.
                None => done.inlines = rows == 0 || !found.is_empty(),
            },
            Err(error) => {
                done.outcome = not_shown(&error);
                return done;
            }
        }
    }
    if let Err(outcome) = stream(&port, &*mailbox, &request).await {
        done.outcome = outcome;
    }
    done
}

/// Asks for small messages in one go; also tells how many there are at all. The backend may leave out any of them.
async fn fetch(mailbox: &dyn Mailbox, uid: Uid, ahead: &[Uid], limits: Limits) -> Result<(Ahead, usize), Error> {
    let mut data = FetchData::default();
    data.inline = limits.inline;
    let uids: UidSet = std::iter::once(uid).chain(ahead.iter().copied()).collect();
    let mut batch = Batch::new(limits.read_ahead.max(1), limits.read_ahead_bytes);
    let mut rows = mailbox.fetch(FetchRequest::new(uids, data)).await?;
    let mut found = Ahead::new();
    let (mut bytes, mut count) = (0, 0);
    loop {
        let more = rows.next(&mut batch).await?;
        count += batch.len();
        for row in batch.drain() {
            if let Some(content) = row.content {
                bytes += content.len();
                found.push_back((row.uid, content));
            }
        }
        // A backend whose messages turn out larger than their sizes said does not get to fill the memory.
        if !more || bytes >= limits.read_ahead_bytes {
            return Ok((found, count));
        }
    }
}

fn not_shown(error: &Error) -> Outcome {
    report("reading a message", error);
    Outcome::NotShown(Refusal::from(error))
}

/// Shows a message piece by piece.
async fn stream(port: &Port, mailbox: &dyn Mailbox, request: &Retrieve) -> Result<(), Outcome> {
    let mut message = mailbox.message(request.uid).await.map_err(|error| not_shown(&error))?;
    let octets = message.len();
    let shown_octets = request.top.is_none().then_some(octets);
    let mut top = request.top.map(Top::new);
    let mut at = 0;
    while at < octets {
        let room = CHUNK.min(usize::try_from(octets - at).unwrap_or(CHUNK));
        let mut piece = match message.read(at, room).await {
            Ok(piece) if !piece.is_empty() => piece,
            read => {
                let error = read.err().unwrap_or_else(|| {
                    Error::corrupt(format!("message {} of {octets} octets ends at {at}", request.uid))
                });
                // Once the message has begun, there is no way to say that the rest will not come.
                let outcome = not_shown(&error);
                return Err(if at > 0 { Outcome::Broken } else { outcome });
            }
        };
        piece.truncate(room);
        let begins = at == 0;
        at += piece.len() as u64;
        let last = match top.as_mut().and_then(|top| top.cut(&piece)) {
            Some(wanted) => {
                piece.truncate(wanted);
                true
            }
            None => false,
        };
        port.emit(if begins { Reply::Message { octets: shown_octets, piece } } else { Reply::Piece(piece) }).await;
        if last {
            return Ok(());
        }
    }
    if octets == 0 {
        port.emit(Reply::Message { octets: shown_octets, piece: Bytes::new() }).await;
    }
    Ok(())
}
