//! From a command to the work that it asks for.

use std::sync::Arc;

use pillarbox_proto_core::auth::{Exchange, Mechanism, Secret};
use pillarbox_proto_core::backend::{AppendMessage, Backend, StoreOp};
use pillarbox_proto_core::connection::Connection;
use pillarbox_proto_core::conversation::{Layer, Next};
use pillarbox_proto_core::mail::{DateTime, MailboxName, SpecialUse, UidSet};

use super::view::NoSuchMessage;
use super::{Mode, Session, Work};
use crate::service::completion::Completion;
use crate::service::port::Port;
use crate::service::reply::SearchReturn;
use crate::service::select::SelectedMailbox;
use crate::service::{
    CommandFuture, Context, append, copy, expunge, fetch, idle, list, login, mailboxes, search, select, status, store,
    sync,
};
use crate::wire::command::{
    self, Append, Authenticate, CapabilityList, Command, CommandBody, CommandBuf, Create, Fetch, IdFields, List,
    Literal, Login, Lsub, MailboxArg, Rename, Search, Select, SequenceSet, Status, StatusItems, Store, StoreOperation,
    Transfer,
};
use crate::wire::encode::{self, Code, Condition};
use crate::wire::error::ParseError;

/// What becomes of a command: it is answered at once, or it takes work.
type Outcome = Result<Work, Completion>;

/// After a command, whether and how what happened in the mailbox is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// It is.
    All,
    /// All but removals (RFC 9051, section 7.5.1).
    NoExpunge,
    /// It is not: the selection ends, or has just begun.
    Nothing,
}

impl Session {
    /// Begins a command: answers it, or returns the work to be done.
    pub(crate) fn begin(&mut self, command: &CommandBuf) -> Option<Work> {
        let outcome = match command.parse(self.config.limits.parse) {
            Ok(parsed) => {
                self.set_tag(parsed.tag.as_bytes());
                self.command_began(parsed.body.name());
                self.dispatch(&parsed)
            }
            Err(error) => {
                self.set_tag(command.tag().map_or(b"*", |tag| tag.as_bytes()));
                self.command_began("UNKNOWN");
                Err(syntax(&error))
            }
        };
        self.settle(outcome)
    }

    /// Begins an APPEND whose first message has been announced.
    pub(crate) fn begin_append(&mut self, command: &CommandBuf, literal: Literal) -> Option<Work> {
        let outcome = match command.parse(self.config.limits.parse) {
            Ok(parsed) => {
                self.set_tag(parsed.tag.as_bytes());
                self.command_began(parsed.body.name());
                match parsed.body {
                    CommandBody::Append(append) => self.append(&append, literal),
                    _ => Err(Completion::bad("Only APPEND takes a message")),
                }
            }
            Err(error) => {
                self.set_tag(command.tag().map_or(b"*", |tag| tag.as_bytes()));
                self.command_began("UNKNOWN");
                Err(syntax(&error))
            }
        };
        if outcome.is_err() {
            self.framer.refuse_literal();
        }
        self.settle(outcome)
    }

    fn settle(&mut self, outcome: Outcome) -> Option<Work> {
        match outcome {
            Ok(work) => Some(work),
            Err(completion) => {
                self.complete(completion);
                None
            }
        }
    }

    pub(crate) fn set_tag(&mut self, tag: &[u8]) {
        self.tag.clear();
        self.tag.extend_from_slice(tag);
    }

    fn dispatch(&mut self, command: &Command<'_>) -> Outcome {
        match &command.body {
            CommandBody::Capability => {
                let capabilities = self.capabilities();
                encode::capability(self.output.tail_mut(), &capabilities);
                self.after("CAPABILITY completed")
            }
            CommandBody::Noop => self.after("NOOP completed"),
            CommandBody::Id(id) => self.id(id),
            CommandBody::Logout => {
                self.bye("Logging out");
                Err(Completion::ok("LOGOUT completed"))
            }
            CommandBody::StartTls | CommandBody::Login(_) | CommandBody::Authenticate(_) if self.is_authenticated() => {
                let text = format!("{} is not possible after login", command.body.name());
                Err(Completion::bad(text).with(Code::ClientBug))
            }
            CommandBody::StartTls => self.start_tls(),
            CommandBody::Login(login) => self.login(login),
            CommandBody::Authenticate(authenticate) => self.authenticate(authenticate),
            body => {
                let Some(context) = self.context() else {
                    return Err(Completion::bad(format!("{} needs a login first", body.name())));
                };
                self.authenticated(context, body)
            }
        }
    }

    /// Commands of a client that has logged in.
    fn authenticated(&mut self, context: Context, body: &CommandBody<'_>) -> Outcome {
        match body {
            CommandBody::Enable(enable) => self.enable(enable),
            CommandBody::Select(select) => self.select(context, select),
            CommandBody::Create(create) => self.create(context, create),
            CommandBody::Delete(mailbox) => {
                let name = self.name(*mailbox)?;
                let selected = self.selected_mailbox().is_some_and(|mailbox| mailbox.name() == name);
                let telling = if selected { Telling::Nothing } else { Telling::All };
                Ok(self.change(mailboxes::delete(context, name, selected), telling))
            }
            CommandBody::Rename(Rename { from, to }) => {
                let (from, to) = (self.name(*from)?, self.name(*to)?);
                let selected = self.selected_mailbox().cloned();
                Ok(self.change(mailboxes::rename(context, from, to, selected), Telling::All))
            }
            CommandBody::Subscribe(mailbox) => {
                let name = self.name(*mailbox)?;
                Ok(self.change(mailboxes::subscribe(context, name, true), Telling::All))
            }
            CommandBody::Unsubscribe(mailbox) => {
                let name = self.name(*mailbox)?;
                Ok(self.change(mailboxes::subscribe(context, name, false), Telling::All))
            }
            CommandBody::List(list) => self.list(context, list),
            CommandBody::Lsub(lsub) => self.lsub(context, lsub),
            CommandBody::Namespace => {
                encode::namespace(self.output.tail_mut(), &context.account.namespaces(), self.rev2);
                self.after("NAMESPACE completed")
            }
            CommandBody::Status(Status { mailbox, items, .. }) => {
                told_by_status(*items)?;
                let name = self.name(*mailbox)?;
                Ok(self.read(status::status(context, name, *items), Telling::All))
            }
            CommandBody::Append(_) => Err(Completion::bad("APPEND needs a message as a literal")),
            CommandBody::Idle => {
                let mailbox = self.selected_mailbox().cloned();
                let future = Box::pin(idle::idle(self.port.clone(), mailbox));
                Ok(Work { future, mode: Mode::Idle, changes: false })
            }
            body => {
                let Some(selected) = self.selected_mailbox().cloned() else {
                    return Err(Completion::bad(format!("{} needs a selected mailbox", body.name())));
                };
                self.in_mailbox(context, selected, body)
            }
        }
    }

    /// Commands on the selected mailbox.
    fn in_mailbox(&mut self, context: Context, selected: Arc<SelectedMailbox>, body: &CommandBody<'_>) -> Outcome {
        let writes = matches!(
            body,
            CommandBody::Store(_) | CommandBody::Expunge | CommandBody::UidExpunge(_) | CommandBody::Move(_)
        );
        if writes && !selected.is_writable() {
            return Err(Completion::no("The mailbox is open for reading only").with(Code::NoPerm));
        }
        match body {
            CommandBody::Check => self.after("CHECK completed"),
            CommandBody::Unselect => {
                self.close_mailbox();
                Err(Completion::ok("UNSELECT completed"))
            }
            CommandBody::Close => {
                let uids = self.known();
                Ok(self.change(expunge::close(context, selected, uids), Telling::Nothing))
            }
            CommandBody::Expunge => {
                let uids = self.known();
                Ok(self.change(expunge::expunge(context.port, selected, uids), Telling::All))
            }
            CommandBody::UidExpunge(set) => {
                let uids = self.resolve(true, *set)?;
                Ok(self.change(expunge::expunge(context.port, selected, uids), Telling::All))
            }
            CommandBody::Fetch(fetch) => self.fetch(context, selected, fetch),
            CommandBody::Store(store) => self.store(context, selected, store),
            CommandBody::Search(search) => self.search(context, selected, search),
            CommandBody::Copy(transfer) => {
                let plan = self.transfer(transfer)?;
                Ok(self.change(copy::copy(context, selected, plan), Telling::All))
            }
            CommandBody::Move(transfer) => {
                let plan = self.transfer(transfer)?;
                Ok(self.change(copy::move_to(context, selected, plan), Telling::All))
            }
            body => Err(Completion::bad(format!("{} is not supported", body.name()))),
        }
    }

    // What work is made of.

    /// What a login works with.
    fn at_the_door(&self) -> (Port, Arc<dyn Backend>, Arc<Connection>) {
        (self.port.clone(), Arc::clone(&self.backend), Arc::clone(&self.connection))
    }

    fn read(&mut self, future: impl Future<Output = Completion> + Send + 'static, telling: Telling) -> Work {
        Work { future: self.telling(future, telling), mode: Mode::Wait, changes: false }
    }

    fn change(&mut self, future: impl Future<Output = Completion> + Send + 'static, telling: Telling) -> Work {
        Work { future: self.telling(future, telling), mode: Mode::Wait, changes: true }
    }

    /// A command, and then what happened in the mailbox meanwhile.
    fn telling(
        &mut self,
        command: impl Future<Output = Completion> + Send + 'static,
        telling: Telling,
    ) -> CommandFuture {
        self.holds_expunges = telling == Telling::NoExpunge;
        match self.selected_mailbox() {
            Some(selected) if telling != Telling::Nothing => {
                let (port, selected) = (self.port.clone(), Arc::clone(selected));
                Box::pin(async move {
                    let completion = command.await;
                    sync::sync(&port, &selected).await;
                    completion
                })
            }
            _ => Box::pin(command),
        }
    }

    /// A command that is done as soon as the news has been told.
    fn after(&mut self, text: &'static str) -> Outcome {
        match self.selected_mailbox() {
            Some(_) => Ok(self.read(std::future::ready(Completion::ok(text)), Telling::All)),
            None => Err(Completion::ok(text)),
        }
    }

    fn name(&self, mailbox: MailboxArg<'_>) -> Result<MailboxName, Completion> {
        mailbox.name(self.rev2).map_err(|error| Completion::no(error.to_string()).with(Code::Cannot))
    }

    /// The messages that the client knows.
    fn known(&self) -> UidSet {
        self.selected.as_ref().map_or_else(UidSet::new, |selected| selected.view.uids().clone())
    }

    fn resolve(&self, uid: bool, set: SequenceSet<'_>) -> Result<UidSet, Completion> {
        let Some(selected) = &self.selected else { return Ok(UidSet::new()) };
        if set.is_saved_result() {
            return Ok(self.saved.intersection(selected.view.uids()));
        }
        if uid {
            return Ok(selected.view.resolve_uids(set));
        }
        selected
            .view
            .resolve_numbers(set)
            .map_err(|NoSuchMessage| Completion::bad("There is no message of this sequence number"))
    }

    // The commands.

    fn id(&mut self, id: &IdFields<'_>) -> Outcome {
        self.identified(id);
        let fields = self.config.id_fields.iter().map(|(name, value)| (name, Some(value)));
        encode::id(self.output.tail_mut(), fields);
        self.after("ID completed")
    }

    fn start_tls(&mut self) -> Outcome {
        if !self.offers_starttls() {
            return Err(Completion::bad("STARTTLS is not available"));
        }
        // What the client sent along in plain text could come from anybody (RFC 9051, section 6.2.1).
        self.input.clear();
        self.framer.reset();
        self.end(Next::Upgrade(Layer::Tls));
        Err(Completion::ok("Begin TLS negotiation now"))
    }

    fn login(&mut self, login: &Login<'_>) -> Outcome {
        if !self.takes_login() {
            let refusal = Completion::no("LOGIN is disabled here");
            // Where TLS would not help either, nobody is told to try it.
            return Err(match () {
                () if self.config.login_disabled || !self.backend.questions().password => refusal,
                () if self.offers_starttls() => {
                    Completion::no("LOGIN is disabled: use STARTTLS first").with(Code::PrivacyRequired)
                }
                () => refusal.with(Code::PrivacyRequired),
            });
        }
        let user = login.userid.value().into_owned();
        let password = Secret::new(login.password.expose().into_owned());
        let (port, backend, connection) = self.at_the_door();
        self.login_began("LOGIN");
        let future = Box::pin(login::login(port, backend, connection, user, password));
        Ok(Work { future, mode: Mode::Wait, changes: false })
    }

    fn authenticate(&mut self, authenticate: &Authenticate<'_>) -> Outcome {
        if self.needs_tls() {
            return Err(Completion::no("AUTHENTICATE is disabled: use STARTTLS first").with(Code::PrivacyRequired));
        }
        let offered = self.mechanisms();
        let wanted = Mechanism::parse(authenticate.mechanism.as_str().as_bytes());
        let Some(mechanism) = wanted.filter(|mechanism| offered.contains(mechanism)) else {
            self.login_impossible();
            return Err(Completion::no("This mechanism is not available").with(Code::Cannot));
        };
        let initial = authenticate.initial_response.map(|response| response.decode());
        let initial = initial.transpose().map_err(|error| Completion::bad(error.to_string()))?;
        let exchange = Exchange::new(mechanism, &offered, Arc::clone(&self.connection), Arc::clone(&self.env));
        let (port, backend, connection) = self.at_the_door();
        self.login_began(mechanism.name());
        let future = Box::pin(login::authenticate(port, backend, connection, exchange, initial));
        Ok(Work { future, mode: Mode::Sasl, changes: false })
    }

    fn enable(&mut self, enable: &CapabilityList<'_>) -> Outcome {
        let rev2 = enable.iter().any(|word| word.eq_ignore_ascii_case(b"IMAP4rev2"));
        encode::enabled(self.output.tail_mut(), (rev2 && !self.rev2).then_some("IMAP4rev2"));
        self.rev2 |= rev2;
        self.after("ENABLE completed")
    }

    fn select(&mut self, context: Context, select: &Select<'_>) -> Outcome {
        if !select.params.is_empty() {
            return Err(Completion::bad("Parameters of SELECT are not supported"));
        }
        let name = self.name(select.mailbox);
        // The old mailbox is closed even if the new one can't be opened (RFC 9051, section 6.3.2).
        if self.close_mailbox() && self.rev2 {
            encode::untagged(self.output.tail_mut(), Condition::Ok, Some(&Code::Closed), "The mailbox has been closed");
        }
        Ok(Work { future: Box::pin(select::select(context, name?, select.examine)), mode: Mode::Wait, changes: false })
    }

    fn create(&mut self, context: Context, create: &Create<'_>) -> Outcome {
        let text =
            create.mailbox.text(self.rev2).map_err(|error| Completion::no(error.to_string()).with(Code::Cannot))?;
        // A trailing delimiter only says that children will follow (RFC 9051, section 6.3.4).
        let delimiter = context.account.delimiter();
        let trimmed = delimiter.and_then(|delimiter| text.strip_suffix(delimiter));
        let name = MailboxName::new(trimmed.unwrap_or(&text))
            .map_err(|error| Completion::no(format!("Not a mailbox name: {error}")).with(Code::Cannot))?;
        let mut special_use: Vec<SpecialUse> = Vec::new();
        for usage in create.uses.iter().flat_map(|uses| uses.iter()) {
            special_use.push(usage.map_err(|_| Completion::no("Unknown special use").with(Code::UseAttr))?);
        }
        Ok(self.change(mailboxes::create(context, name, special_use, trimmed.is_some()), Telling::All))
    }

    fn list(&mut self, context: Context, list: &List<'_>) -> Outcome {
        told_by_status(list.returns.status)?;
        let reference = self.text(list.reference)?;
        let mut patterns = Vec::new();
        for pattern in list.patterns.iter() {
            // A pattern that can't be that of a name is no error: it matches nothing (RFC 9051, section 6.3.9).
            let Ok(pattern) = pattern.text(self.rev2) else { continue };
            if pattern.is_empty() && !list.extended {
                self.output.put(&list::root(context.account.delimiter(), self.rev2));
                return self.after("LIST completed");
            }
            patterns.push(format!("{reference}{pattern}"));
        }
        let plan = list::Plan { patterns, selection: list.selection, returns: list.returns, lsub: false };
        Ok(self.read(list::list(context, plan), Telling::All))
    }

    fn lsub(&mut self, context: Context, lsub: &Lsub<'_>) -> Outcome {
        let reference = self.text(lsub.reference)?;
        let pattern = lsub.pattern.text(self.rev2).ok();
        let plan = list::Plan {
            patterns: pattern.map(|pattern| format!("{reference}{pattern}")).into_iter().collect(),
            selection: command::ListSelection::default(),
            returns: command::ListReturn::default(),
            lsub: true,
        };
        Ok(self.read(list::list(context, plan), Telling::All))
    }

    fn text(&self, mailbox: MailboxArg<'_>) -> Result<String, Completion> {
        let text = mailbox.text(self.rev2).map_err(|error| Completion::no(error.to_string()).with(Code::Cannot))?;
        Ok(text.into_owned())
    }

    fn append(&mut self, append: &Append<'_>, literal: Literal) -> Outcome {
        let Some(context) = self.context() else {
            return Err(Completion::bad("APPEND needs a login first"));
        };
        let name = self.name(append.mailbox)?;
        let message = append_message(&append.message, literal);
        let work = self.change(append::append(context, name, message), Telling::All);
        Ok(Work { mode: Mode::Message { accepted: false, synchronizing: literal.synchronizing }, ..work })
    }

    fn fetch(&mut self, context: Context, selected: Arc<SelectedMailbox>, fetch: &Fetch<'_>) -> Outcome {
        if !fetch.modifiers.is_empty() {
            return Err(Completion::bad("Modifiers of FETCH are not supported"));
        }
        let uids = self.resolve(fetch.uid, fetch.set)?;
        let gone = self.selected.as_ref().is_some_and(|selected| selected.view.any_gone(&uids));
        let plan = fetch::Plan::new(fetch, uids, gone);
        let telling = if fetch.uid { Telling::All } else { Telling::NoExpunge };
        Ok(self.read(fetch::fetch(context, selected, plan), telling))
    }

    fn store(&mut self, context: Context, selected: Arc<SelectedMailbox>, store: &Store<'_>) -> Outcome {
        if !store.modifiers.is_empty() {
            return Err(Completion::bad("Modifiers of STORE are not supported"));
        }
        let plan = store::Plan {
            uids: self.resolve(store.uid, store.set)?,
            op: match store.operation {
                StoreOperation::Replace => StoreOp::Replace,
                StoreOperation::Add => StoreOp::Add,
                StoreOperation::Remove => StoreOp::Remove,
            },
            flags: store.flags.to_flags(),
            silent: store.silent,
            uid: store.uid,
        };
        let telling = if store.uid { Telling::All } else { Telling::NoExpunge };
        Ok(self.change(store::store(context, selected, plan), telling))
    }

    fn search(&mut self, context: Context, mailbox: Arc<SelectedMailbox>, search: &Search<'_>) -> Outcome {
        let Some(selected) = &self.selected else { return Err(Completion::bad("No mailbox is selected")) };
        let now = DateTime::from(self.env.wall_time()).unix();
        let scope = search::Scope { view: &selected.view, saved: &self.saved, now };
        let query = match search::compile(search, &scope) {
            Ok(query) => query,
            Err(error @ search::Unsearchable::BadCharset) => {
                // A search that was to be saved and is refused leaves `$` empty (RFC 9051, section 6.4.4.1).
                if search.returns.is_some_and(|returns| returns.contains(command::SearchReturn::SAVE)) {
                    self.saved = UidSet::new();
                }
                return Err(Completion::no(error.to_string()).with(Code::BadCharset(&["US-ASCII", "UTF-8"])));
            }
            Err(error) => return Err(Completion::bad(error.to_string())),
        };
        let returns = search.returns.map(|wanted| {
            let has = |option| wanted.contains(option);
            let returns = SearchReturn {
                min: has(command::SearchReturn::MIN),
                max: has(command::SearchReturn::MAX),
                all: has(command::SearchReturn::ALL),
                count: has(command::SearchReturn::COUNT),
                save: has(command::SearchReturn::SAVE),
            };
            let default = wanted.is_empty();
            SearchReturn { all: returns.all || default, ..returns }
        });
        // IMAP4rev2 knows no other response (RFC 9051, section 6.4.4).
        let returns = returns.or(self.rev2.then(|| SearchReturn { all: true, ..SearchReturn::default() }));
        let plan = search::Plan { query, within: selected.view.present(), uid: search.uid, returns };
        let telling = if search.uid { Telling::All } else { Telling::NoExpunge };
        Ok(self.read(search::search(context, mailbox, plan), telling))
    }

    fn transfer(&self, transfer: &Transfer<'_>) -> Result<copy::Plan, Completion> {
        Ok(copy::Plan {
            uids: self.resolve(transfer.uid, transfer.set)?,
            to: self.name(transfer.mailbox)?,
            uid: transfer.uid,
        })
    }
}

/// Refuses a STATUS item that the grammar knows and this server does not.
fn told_by_status(items: StatusItems) -> Result<(), Completion> {
    if items.contains(StatusItems::HIGHESTMODSEQ) {
        return Err(Completion::bad("STATUS item HIGHESTMODSEQ is not supported"));
    }
    Ok(())
}

/// What is told about a message before its octets come.
pub(crate) fn append_message(message: &command::AppendMessage<'_>, literal: Literal) -> AppendMessage {
    let flags = message.flags.map(|flags| flags.to_flags()).unwrap_or_default();
    let mut announced = AppendMessage::new(literal.size, flags, message.date);
    announced.binary = literal.literal8;
    announced
}

pub(crate) fn syntax(error: &ParseError) -> Completion {
    let completion = Completion::bad(error.to_string());
    if error.is_limit() { completion.with(Code::Limit) } else { completion }
}
