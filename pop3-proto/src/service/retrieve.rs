//! RETR and TOP: a message goes from the backend to the session, whole or in pieces, and as it is or as a surrogate.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use pillarbox_proto_core::backend::{Batch, Error, FetchData, FetchRequest, Mailbox, Message};
use pillarbox_proto_core::mail::{Uid, UidSet};

use super::Done;
use super::port::Port;
use super::report::report;
use crate::config::Limits;
use crate::downgrade::{self, Downgrade};
use crate::session::job::{Form, Outcome, Reply, Retrieve};
use crate::texts::Text;
use crate::wire::reply::{Code, Refusal};
use crate::wire::top::Top;

/// Octets that are read at a time, of what may have to be changed or is not wanted whole.
const CHUNK: usize = 32 << 10;
/// The same for bodies that have to be looked through on their way.
const BODY_CHUNK: usize = 96 << 10;
/// The same for what goes out as it is. Each write costs, and the client may go to sleep after each; so a large message
/// goes out in large pieces, of which there is one at a time.
const LARGE_CHUNK: usize = 160 << 10;
/// The same for what the store holds in memory anyway.
const SHARED_CHUNK: usize = 1 << 20;
/// Once so much has been read, it is waited until that is out.
const LEAST_CHUNK: usize = 64 << 10;

/// Pieces that are read after which others go first, if nothing is sent of them: a header may go on for as long as it
/// likes without anything that is shown.
const PIECES: u32 = 8;

/// Messages that have been fetched before they were asked for, in the order in which they will be.
pub(super) type Ahead = VecDeque<(Uid, Bytes)>;

/// What is wanted of a message that is at hand, if it may be shown as it is.
pub(super) fn whole(content: &Bytes, request: &Retrieve) -> Option<Reply> {
    if request.form != Form::Native && downgrade::is_internationalized(content) {
        return None;
    }
    Some(match request.top {
        None => Reply::Message { octets: Some(content.len() as u64), piece: content.clone() },
        Some(lines) => {
            let wanted = Top::new(lines).cut(content).unwrap_or(content.len());
            Reply::Message { octets: None, piece: part(content.slice(..wanted.min(content.len()))) }
        }
    })
}

/// Some of what was read, which may wait in the output for long: little of it does not keep all of it in memory.
fn part(piece: Bytes) -> Bytes {
    if piece.len() <= CHUNK / 2 { Bytes::copy_from_slice(&piece) } else { piece }
}

/// Shows a message that is at hand and can't be shown as it is.
pub(super) async fn at_hand(port: Port, content: Bytes, request: Retrieve) -> Done {
    let mut done = Done::new(Outcome::Shown { uid: request.uid, whole: request.top.is_none() });
    if let Err(outcome) = convert(&port, content, &request).await {
        done.outcome = outcome;
    }
    done
}

async fn convert(port: &Port, content: Bytes, request: &Retrieve) -> Result<(), Outcome> {
    if request.form == Form::Refused {
        let mut scan = Scan::new(request.top);
        scan.look(content.clone());
        scan.verdict()?;
    }
    let mut show = Show::new(port, request, content.len() as u64);
    show.write(content).await;
    show.end().await;
    Ok(())
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
                        match whole(&content, &request) {
                            Some(reply) => port.emit(reply).await,
                            None => {
                                if let Err(outcome) = convert(&port, content, &request).await {
                                    done.outcome = outcome;
                                }
                            }
                        }
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
    if request.form == Form::Refused {
        let mut scan = Scan::new(request.top);
        let mut at = 0;
        let mut pieces: u32 = 0;
        while at < octets && !scan.over {
            if pieces == PIECES {
                pieces = 0;
                port.cooperate().await;
            }
            pieces += 1;
            let piece = read(&mut *message, request, at, CHUNK).await.map_err(|error| not_shown(&error))?;
            at += piece.len() as u64;
            scan.look(piece);
        }
        scan.verdict()?;
    }
    let mut show = Show::new(port, request, octets);
    let (mut at, mut held) = (0, 0);
    while at < octets && !show.over {
        if show.silent >= PIECES {
            show.silent = 0;
            port.cooperate().await;
        }
        let mut most = show.most(message.is_in_memory());
        if (LEAST_CHUNK..SHARED_CHUNK).contains(&most) {
            if held >= LEAST_CHUNK {
                port.drained().await;
                held = 0;
            }
            most -= held;
        }
        match read(&mut *message, request, at, most).await {
            Ok(piece) => {
                at += piece.len() as u64;
                held += piece.len();
                show.write(piece).await;
            }
            Err(error) => {
                // Once the message has begun, there is no way to say that the rest will not come.
                let outcome = not_shown(&error);
                return Err(if show.begun { Outcome::Broken } else { outcome });
            }
        }
    }
    show.end().await;
    Ok(())
}

/// The next piece of a message, which is not empty.
async fn read(message: &mut dyn Message, request: &Retrieve, at: u64, most: usize) -> Result<Bytes, Error> {
    let octets = message.len();
    let room = most.min(usize::try_from(octets - at).unwrap_or(most));
    let mut piece = message.read(at, room).await?;
    if piece.is_empty() {
        return Err(Error::corrupt(format!("message {} of {octets} octets ends at {at}", request.uid)));
    }
    piece.truncate(room);
    Ok(piece)
}

/// Looks whether what is asked for of a message can be shown to a client without UTF-8.
struct Scan {
    top: Option<Top>,
    downgrade: Downgrade,
    over: bool,
}

impl Scan {
    fn new(top: Option<u64>) -> Self {
        Self { top: top.map(Top::new), downgrade: Downgrade::new(), over: false }
    }

    fn look(&mut self, mut piece: Bytes) {
        if let Some(wanted) = self.top.as_mut().and_then(|top| top.cut(&piece)) {
            piece.truncate(wanted);
            self.over = true;
        }
        while !self.downgrade.found() && self.downgrade.next(&mut piece).is_some() {}
        self.over |= self.downgrade.found() || self.downgrade.is_settled();
    }

    fn verdict(self) -> Result<(), Outcome> {
        if self.downgrade.ends_internationalized() {
            Err(Outcome::NotShown(Refusal::with(Code::Utf8, Text::NeedsUtf8)))
        } else {
            Ok(())
        }
    }
}

/// A message on its way out.
struct Show<'a> {
    port: &'a Port,
    /// The size to be told, of the message as it is stored: RFC 6858, section 4, allows that for surrogates, and so it is
    /// the size that LIST tells.
    octets: Option<u64>,
    /// Lines are counted in what goes out (RFC 6858, section 4).
    top: Option<Top>,
    downgrade: Option<Downgrade>,
    begun: bool,
    /// Pieces of which nothing was sent since something was.
    silent: u32,
    /// No more is wanted.
    over: bool,
}

impl<'a> Show<'a> {
    fn new(port: &'a Port, request: &Retrieve, octets: u64) -> Self {
        Self {
            port,
            octets: request.top.is_none().then_some(octets),
            top: request.top.map(Top::new),
            downgrade: (request.form == Form::Surrogate).then(Downgrade::new),
            begun: false,
            silent: 0,
            over: false,
        }
    }

    /// How many octets to read next at most.
    fn most(&self, in_memory: bool) -> usize {
        let body = match &self.downgrade {
            _ if self.top.is_some() => return CHUNK,
            None => LARGE_CHUNK,
            Some(downgrade) if downgrade.is_settled() => LARGE_CHUNK,
            Some(downgrade) if downgrade.is_in_body() => BODY_CHUNK,
            Some(_) => return CHUNK,
        };
        if in_memory { SHARED_CHUNK } else { body }
    }

    async fn write(&mut self, mut piece: Bytes) {
        self.silent += 1;
        let Some(mut downgrade) = self.downgrade.take() else { return self.put(piece).await };
        while let Some(piece) = downgrade.next(&mut piece).filter(|_| !self.over) {
            self.put(piece).await;
        }
        self.downgrade = Some(downgrade);
    }

    async fn put(&mut self, mut piece: Bytes) {
        if let Some(wanted) = self.top.as_mut().and_then(|top| top.cut(&piece)) {
            piece.truncate(wanted);
            self.over = true;
        }
        if self.top.is_some() {
            piece = part(piece);
        }
        self.silent = 0;
        let begins = !std::mem::replace(&mut self.begun, true);
        let reply = if begins { Reply::Message { octets: self.octets, piece } } else { Reply::Piece(piece) };
        self.port.emit(reply).await;
    }

    async fn end(mut self) {
        if let Some(downgrade) = self.downgrade.take().filter(|_| !self.over) {
            let rest = downgrade.end();
            if !rest.is_empty() {
                self.put(rest).await;
            }
        }
        if !self.begun {
            self.put(Bytes::new()).await;
        }
        // It is over when the session is done with the last piece.
        self.port.settled().await;
    }
}
