//! Logging in, and opening the maildrop.
//!
//! Every way to log in comes down to an [`Identity`] first, and then takes the one path through [`open`]: what has to
//! be decided about a user who has proved who they are is decided there, for all ways alike.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use pillarbox_proto_core::auth::{
    Exchange, Identity, SaslError, Step, framing, prepare_user, verify_apop, verify_password,
};
use pillarbox_proto_core::backend::{
    Access, Account, Backend, Batch, Error, FetchData, FetchRequest, FinishRequest, Finished, Mailbox, OnRefusal,
    OpenRequest, StoreOp, StoreRequest,
};
use pillarbox_proto_core::mail::{MailboxName, SystemFlags, UidSet};
use pillarbox_proto_core::observe::LoginFailure;
use pillarbox_proto_core::{Connection, Env};

use super::Done;
use super::policy::{self, Admission};
use super::port::Port;
use super::report::{report, warn};
use crate::config::Config;
use crate::session::SaslLine;
use crate::session::job::{Credentials, Outcome, Reply};
use crate::session::maildrop::Maildrop;
use crate::texts::{Phrase, Text};
use crate::wire::reply::{Code, Refusal};

/// Rows that are read at a time.
const ROWS: usize = 512;
/// Rows after which others go first.
const BATCHES: usize = 4;

/// What is held while a maildrop is open.
pub(super) struct OpenMaildrop {
    pub(super) mailbox: Arc<dyn Mailbox>,
    pub(super) account: Arc<dyn Account>,
    /// All messages that the session shows.
    known: UidSet,
    /// Messages that had `\Deleted` when it began, and are not shown.
    marked: UidSet,
    read_only: bool,
    /// Keeps other POP3 sessions out.
    _lease: Option<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for OpenMaildrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenMaildrop")
    }
}

/// What a login needs besides the credentials.
pub(super) struct Context {
    pub(super) port: Port,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) connection: Arc<Connection>,
    pub(super) env: Arc<dyn Env>,
    pub(super) config: Arc<Config>,
}

/// Checks the credentials and opens the maildrop.
pub(super) async fn login(context: Context, credentials: Credentials) -> Done {
    let mechanism = credentials.mechanism();
    let observer = context.connection.observer.as_deref();
    let mut claim = Claim::default();
    let identity = match authenticate(&context, credentials, &mut claim).await {
        Ok(identity) => identity,
        Err(refused) => {
            if let Some(observer) = observer {
                observer.login_failed(mechanism, refused.cause());
            }
            if let Refused::Error(error) = &refused {
                report("checking credentials", error);
            }
            return refuse(&context, refused, &mut claim).await;
        }
    };
    match enter(&context, &identity).await {
        Ok((maildrop, open)) => {
            if let Some(observer) = observer {
                observer.logged_in(identity.user(), mechanism);
            }
            Done { open: Some(open), ..Done::new(Outcome::LoggedIn(Box::new(maildrop))) }
        }
        Err(refused) => {
            if let Some(observer) = observer {
                observer.login_failed(mechanism, refused.cause());
            }
            if let Refused::Error(error) = &refused {
                report("opening a maildrop", error);
            }
            refuse(&context, refused, &mut claim).await
        }
    }
}

/// Who the client says it is.
#[derive(Default)]
struct Claim {
    user: Option<String>,
    /// The backend has been told that it is not so.
    refused: bool,
}

/// The end of a login that has failed.
async fn refuse(context: &Context, refused: Refused, claim: &mut Claim) -> Done {
    if refused.is_attempt()
        && let Err(dropped) = slow_down(context, claim).await
    {
        return Done::new(dropped.into());
    }
    Done::new(refused.into())
}

/// Lets the backend take its time before the client hears that its credentials are not good; once for each login.
async fn slow_down(context: &Context, claim: &mut Claim) -> Result<(), Refused> {
    if !std::mem::replace(&mut claim.refused, true)
        && context.backend.login_refused(&context.connection, claim.user.as_deref()).await == OnRefusal::Drop
    {
        return Err(Refused::Dropped);
    }
    Ok(())
}

/// Takes a user in who has proved who they are.
async fn enter(context: &Context, identity: &Identity) -> Result<(Maildrop, OpenMaildrop), Refused> {
    let account = context.backend.open(&context.connection, identity).await?;
    let admission = policy::admit(&*account, &*context.env).await;
    if let Admission::TooSoon = admission {
        return Err(Refused::TooSoon);
    }
    policy::bulletins(&*account, identity).await;
    let opened = open(context, &account).await;
    if opened.is_err() {
        policy::withdraw(&*account, admission).await;
    }
    Ok(opened?)
}

/// Why nobody was logged in.
enum Refused {
    Error(Error),
    Malformed(&'static str),
    Cancelled,
    /// Too soon after the last login.
    TooSoon,
    /// The backend has it that the client is not told.
    Dropped,
}

impl Refused {
    fn cause(&self) -> LoginFailure {
        match self {
            Self::Error(error) => LoginFailure::from(error),
            Self::Dropped => LoginFailure::Credentials,
            Self::Malformed(_) | Self::Cancelled => LoginFailure::Aborted,
            Self::TooSoon => LoginFailure::Refused,
        }
    }

    /// Whether it counts as one of the client's attempts. A store that is down is not the client's fault, and no attempt
    /// of its own.
    fn is_attempt(&self) -> bool {
        match self {
            Self::Error(error) => matches!(
                error,
                Error::AuthenticationFailed | Error::AuthorizationFailed | Error::Expired | Error::TokenRefused(_)
            ),
            Self::Malformed(_) => true,
            Self::TooSoon | Self::Cancelled | Self::Dropped => false,
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<SaslError> for Refused {
    fn from(error: SaslError) -> Self {
        match error {
            SaslError::Malformed(text) => Self::Malformed(text),
            SaslError::Refused(error) => Self::Error(error),
            _ => Self::Malformed("authentication failed"),
        }
    }
}

impl From<Refused> for Outcome {
    fn from(refused: Refused) -> Self {
        let attempt = refused.is_attempt();
        let refusal = match refused {
            Refused::Error(error) => Refusal::from(&error),
            Refused::Malformed(text) => Refusal::new(Phrase::from(Text::LoginMalformed).word(text)),
            Refused::TooSoon => Refusal::with(Code::LoginDelay, Text::LoginDelay),
            Refused::Cancelled => Refusal::new(Text::LoginCancelled),
            Refused::Dropped => return Self::Broken,
        };
        Self::LoginRefused { refusal, attempt }
    }
}

async fn authenticate(context: &Context, credentials: Credentials, claim: &mut Claim) -> Result<Identity, Refused> {
    let (backend, connection) = (&*context.backend, &*context.connection);
    match credentials {
        Credentials::Password { user, password } => {
            claim.user = prepare_user(&user).map(Into::into);
            let password_bytes = password.expose();
            // Beyond ASCII it has to be UTF-8 that SASLprep lets pass (RFC 6856, section 2.2), just as a name has to be.
            if !password_bytes.is_ascii() && prepare_user(password_bytes).is_none() {
                return Err(Error::AuthenticationFailed.into());
            }
            Ok(verify_password(backend, connection, &user, &password).await?)
        }
        Credentials::Apop { timestamp, user, digest } => {
            claim.user = prepare_user(&user).map(Into::into);
            Ok(verify_apop(backend, connection, &timestamp, &user, &digest).await?)
        }
        Credentials::Sasl { mechanism, offered, initial } => {
            let limit = context.config.limits.sasl_line;
            let exchange =
                Exchange::new(mechanism, &offered, Arc::clone(&context.connection), Arc::clone(&context.env))
                    .host_name(&context.config.host_name);
            let initial = initial.map(|initial| framing::decode_initial(initial.expose(), limit)).transpose()?;
            converse(context, exchange, initial.as_ref().map(|initial| initial.expose()), claim).await
        }
    }
}

/// Leads a SASL exchange to its end (RFC 5034, section 4).
async fn converse(
    context: &Context,
    mut exchange: Exchange,
    initial: Option<&[u8]>,
    claim: &mut Claim,
) -> Result<Identity, Refused> {
    let limit = context.config.limits.sasl_line;
    let authenticator = &*context.backend;
    let mut step = exchange.step(authenticator, initial).await;
    loop {
        claim.user = exchange.user().map(Into::into);
        match step? {
            Step::Challenge(challenge) => {
                if exchange.is_refused() {
                    // This challenge says that the credentials are not good.
                    slow_down(context, claim).await?;
                }
                let line = match answer(&context.port, challenge).await {
                    // What has been refused already is no less refused for being cancelled.
                    Err(Refused::Cancelled) => return Err(exchange.cancel().map_or(Refused::Cancelled, Into::into)),
                    answer => answer?,
                };
                let response = framing::decode(line.expose(), limit)?;
                step = exchange.step(authenticator, Some(response.expose())).await;
            }
            Step::Done { identity, data: None } => return Ok(identity),
            Step::Done { identity, data: Some(data) } => {
                // POP3 can't send it with +OK: it is a challenge that wants an empty answer.
                let line = answer(&context.port, data).await?;
                if line.expose().is_empty() {
                    return Ok(identity);
                }
                return Err(Refused::Malformed("an empty response is due after the server's last message"));
            }
            _ => return Err(Refused::Malformed("authentication failed")),
        }
    }
}

async fn answer(port: &Port, challenge: Vec<u8>) -> Result<pillarbox_proto_core::auth::Secret, Refused> {
    port.emit(Reply::Challenge(challenge)).await;
    match port.line().await {
        SaslLine::Line(line) => Ok(line),
        SaslLine::Cancelled => Err(Refused::Cancelled),
        SaslLine::TooLong => Err(Refused::Malformed("the response is too long")),
    }
}

/// Opens the maildrop of an authenticated user, and reads what a session needs to know of its messages.
async fn open(context: &Context, account: &Arc<dyn Account>) -> Result<(Maildrop, OpenMaildrop), Error> {
    let opened = account.open(OpenRequest::maildrop(MailboxName::inbox())).await?;
    let mut maildrop = Maildrop::new(opened.snapshot.uid_validity);
    maildrop.read_only = opened.access == Access::ReadOnly;
    let mut data = FetchData::default();
    data.size = true;
    data.flags = true;
    data.unique_id = true;
    let mut rows = opened.mailbox.fetch(FetchRequest::new(opened.snapshot.uids.clone(), data)).await?;
    let mut batch = Batch::new(ROWS, usize::MAX);
    let mut marked = UidSet::new();
    for round in 1.. {
        let more = rows.next(&mut batch).await?;
        for mut row in batch.drain() {
            if row.flags.system.contains(SystemFlags::DELETED) {
                marked.insert(row.uid);
                if !context.config.undelete {
                    continue;
                }
            }
            if row.size.is_none() {
                row.size = match opened.mailbox.message(row.uid).await {
                    Ok(message) => Some(message.len()),
                    Err(Error::Expunged) => continue,
                    Err(error) => return Err(error),
                };
            }
            maildrop.push(&row);
        }
        if !more {
            break;
        }
        if round % BATCHES == 0 {
            context.port.cooperate().await;
        }
    }
    maildrop.seal();
    let read_only = maildrop.read_only;
    if context.config.undelete {
        let marked = std::mem::take(&mut marked);
        if !read_only && !marked.is_empty() {
            let request = StoreRequest::new(marked, StoreOp::Remove, SystemFlags::DELETED.into());
            if let Err(error) = opened.mailbox.store(request).await {
                warn("deletion marks are not taken away", &error);
            }
        }
    }
    let known = opened.snapshot.uids.difference(&marked);
    let account = Arc::clone(account);
    let open = OpenMaildrop { mailbox: opened.mailbox, account, known, marked, read_only, _lease: opened.lease };
    Ok((maildrop, open))
}

impl OpenMaildrop {
    /// Ends the session in the backend, in one call.
    pub(super) async fn finish(&self, mut request: FinishRequest) -> Result<Finished, Error> {
        if self.read_only {
            return Ok(Finished::default());
        }
        request.expiry = self.account.expiry();
        match request.expiry {
            // Nothing is to be left on the server (RFC 2449, section 6.7).
            Some(expiry) if expiry.days() == 0 => request.delete.union_with(&request.retrieved),
            _ => {}
        }
        request.marked.clone_from(&self.marked);
        let may_expire = request.cutoff().is_some() && !self.known.is_empty();
        if may_expire {
            request.known.clone_from(&self.known);
        }
        let idle = [&request.delete, &request.marked, &request.retrieved].into_iter().all(UidSet::is_empty);
        if idle && !may_expire { Ok(Finished::default()) } else { self.mailbox.finish(request).await }
    }
}
