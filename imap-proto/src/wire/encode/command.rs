//! Commands back to bytes, in one canonical form.

use bytes::BytesMut;

use super::fetch::{spaced, write_section};
use super::number::number;
use super::string::{date_time, quoted};
use crate::wire::chars;
use crate::wire::command::{
    AString, Append, AppendMessage, Command, CommandBody, Create, Fetch, FetchItem, FetchMacro, Flag, FlagList,
    IdFields, List, ListPattern, MailboxArg, Param, Params, Partial, Search, SearchKey, SearchTerm, Section,
    SectionText, Select, SequenceSet, Store, StoreOperation, Transfer,
};

/// Writes a command in its canonical form: words in capitals, strings in the shortest form that fits, literals
/// non-synchronizing.
///
/// Parsing what this writes yields the same command again; tests and fuzzing lean on that. A server has no other use
/// for it.
pub fn encode_command(out: &mut BytesMut, command: &Command<'_>) {
    put(out, command.tag.as_bytes());
    put(out, b" ");
    put(out, command.body.name().as_bytes());
    body(out, &command.body);
    if !matches!(command.body, CommandBody::Append(_)) {
        put(out, b"\r\n");
    }
}

fn body(out: &mut BytesMut, body: &CommandBody<'_>) {
    match body {
        CommandBody::Append(Append { mailbox, message }) => {
            argument(out, *mailbox);
            append_message(out, message);
        }
        CommandBody::Authenticate(authenticate) => {
            put(out, b" ");
            put(out, authenticate.mechanism.as_str().as_bytes());
            if let Some(response) = authenticate.initial_response {
                put(out, b" ");
                put(out, response.as_bytes());
            }
        }
        CommandBody::Copy(transfer) | CommandBody::Move(transfer) => {
            let Transfer { set, mailbox, .. } = transfer;
            sequence_set(out, *set);
            argument(out, *mailbox);
        }
        CommandBody::Create(Create { mailbox, uses }) => {
            argument(out, *mailbox);
            if let Some(uses) = uses {
                put(out, b" (USE (");
                for (index, attribute) in uses.iter().enumerate() {
                    put(out, if index > 0 { b" " } else { b"" });
                    put(out, attribute.map_or_else(|unknown| unknown, |known| known.as_str().as_bytes()));
                }
                put(out, b"))");
            }
        }
        CommandBody::Delete(mailbox) | CommandBody::Subscribe(mailbox) | CommandBody::Unsubscribe(mailbox) => {
            argument(out, *mailbox);
        }
        CommandBody::Enable(capabilities) => {
            for capability in capabilities.iter() {
                put(out, b" ");
                put(out, capability);
            }
        }
        CommandBody::Fetch(command) => fetch(out, command),
        CommandBody::Id(fields) => id_fields(out, *fields),
        CommandBody::List(command) => list(out, command),
        CommandBody::Login(login) => {
            put(out, b" ");
            string(out, login.userid, chars::ASTRING);
            put(out, b" ");
            string(out, login.password.as_astring(), chars::ASTRING);
        }
        CommandBody::Lsub(lsub) => {
            argument(out, lsub.reference);
            put(out, b" ");
            pattern(out, lsub.pattern);
        }
        CommandBody::Rename(rename) => {
            argument(out, rename.from);
            argument(out, rename.to);
        }
        CommandBody::Search(command) => search(out, command),
        CommandBody::Select(Select { mailbox, params: parameters, .. }) => {
            argument(out, *mailbox);
            params(out, *parameters);
        }
        CommandBody::Status(status) => {
            argument(out, status.mailbox);
            put(out, b" (");
            spaced(out, status.items.names());
            put(out, b")");
        }
        CommandBody::Store(command) => store(out, command),
        CommandBody::UidExpunge(set) => sequence_set(out, *set),
        CommandBody::Capability
        | CommandBody::Check
        | CommandBody::Close
        | CommandBody::Expunge
        | CommandBody::Idle
        | CommandBody::Logout
        | CommandBody::Namespace
        | CommandBody::Noop
        | CommandBody::StartTls
        | CommandBody::Unselect => {}
    }
}

fn put(out: &mut BytesMut, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// A string: bare if all its characters are of this class, else quoted, else a literal.
fn string(out: &mut BytesMut, string: AString<'_>, class: u8) {
    let value = string.value();
    if !value.is_empty() && value.iter().all(|byte| chars::is(*byte, class)) {
        return put(out, &value);
    }
    match std::str::from_utf8(&value) {
        Ok(text) if !text.contains(['\r', '\n']) => quoted(out, text, true),
        _ => {
            put(out, b"{");
            number(out, value.len() as u64);
            put(out, b"+}\r\n");
            put(out, &value);
        }
    }
}

fn argument(out: &mut BytesMut, mailbox: MailboxArg<'_>) {
    put(out, b" ");
    string(out, mailbox.as_astring(), chars::ASTRING);
}

fn pattern(out: &mut BytesMut, pattern: ListPattern<'_>) {
    string(out, pattern.as_astring(), chars::LIST);
}

fn sequence_set(out: &mut BytesMut, set: SequenceSet<'_>) {
    put(out, b" ");
    put(out, set.as_bytes());
}

fn params(out: &mut BytesMut, params: Params<'_>) {
    if params.is_empty() {
        return;
    }
    put(out, b" (");
    for (index, Param { name, value }) in params.iter().enumerate() {
        put(out, if index > 0 { b" " } else { b"" });
        put(out, name.as_bytes());
        if let Some(value) = value {
            put(out, b" ");
            put(out, value.as_bytes());
        }
    }
    put(out, b")");
}

fn flags(out: &mut BytesMut, flags: FlagList<'_>) {
    put(out, b" (");
    for (index, flag) in flags.iter().enumerate() {
        put(out, if index > 0 { b" " } else { b"" });
        match flag {
            Flag::System(flag) => put(out, flag.names().next().unwrap_or_default().as_bytes()),
            Flag::Keyword(keyword) => put(out, keyword.as_str().as_bytes()),
            Flag::Recent => put(out, b"\\Recent"),
            Flag::Extension(name) => {
                put(out, b"\\");
                put(out, name);
            }
        }
    }
    put(out, b")");
}

fn append_message(out: &mut BytesMut, message: &AppendMessage<'_>) {
    if let Some(list) = message.flags {
        flags(out, list);
    }
    if let Some(date) = message.date {
        put(out, b" ");
        date_time(out, date);
    }
    put(out, if message.literal.literal8 { b" ~{" } else { b" {" });
    number(out, message.literal.size);
    put(out, if message.literal.synchronizing { b"}\r\n" } else { b"+}\r\n" });
}

fn id_fields(out: &mut BytesMut, fields: IdFields<'_>) {
    if fields.is_empty() {
        return put(out, b" NIL");
    }
    for (index, (name, value)) in fields.iter().enumerate() {
        put(out, if index > 0 { b" " } else { b" (" });
        // Never bare: the class 0 has no characters.
        string(out, name, 0);
        put(out, b" ");
        match value {
            Some(value) => string(out, value, 0),
            None => put(out, b"NIL"),
        }
    }
    put(out, b")");
}

fn list(out: &mut BytesMut, list: &List<'_>) {
    let selection = &list.selection;
    if list.extended {
        put(out, b" (");
        let options = [
            (selection.subscribed, "SUBSCRIBED"),
            (selection.remote, "REMOTE"),
            (selection.recursive_match, "RECURSIVEMATCH"),
            (selection.special_use, "SPECIAL-USE"),
        ];
        spaced(out, options.into_iter().filter(|(given, _)| *given).map(|(_, name)| name));
        put(out, b")");
    }
    argument(out, list.reference);
    put(out, if list.extended { b" (" } else { b" " });
    for (index, each) in list.patterns.iter().enumerate() {
        put(out, if index > 0 { b" " } else { b"" });
        pattern(out, each);
    }
    if !list.extended {
        return;
    }
    put(out, b") RETURN (");
    let returns = &list.returns;
    let options = [
        (returns.subscribed, "SUBSCRIBED"),
        (returns.children, "CHILDREN"),
        (returns.special_use, "SPECIAL-USE"),
        (!returns.status.is_empty(), "STATUS"),
    ];
    spaced(out, options.into_iter().filter(|(given, _)| *given).map(|(_, name)| name));
    if !returns.status.is_empty() {
        put(out, b" (");
        spaced(out, returns.status.names());
        put(out, b")");
    }
    put(out, b")");
}

fn store(out: &mut BytesMut, store: &Store<'_>) {
    sequence_set(out, store.set);
    params(out, store.modifiers);
    put(
        out,
        match store.operation {
            StoreOperation::Replace => b" FLAGS",
            StoreOperation::Add => b" +FLAGS",
            StoreOperation::Remove => b" -FLAGS",
        },
    );
    put(out, if store.silent { b".SILENT" } else { b"" });
    flags(out, store.flags);
}

fn fetch(out: &mut BytesMut, fetch: &Fetch<'_>) {
    sequence_set(out, fetch.set);
    match fetch.items.shorthand() {
        Some(FetchMacro::All) => put(out, b" ALL"),
        Some(FetchMacro::Fast) => put(out, b" FAST"),
        Some(FetchMacro::Full) => put(out, b" FULL"),
        None => {
            for (index, item) in fetch.items.iter().enumerate() {
                put(out, if index > 0 { b" " } else { b" (" });
                fetch_item(out, &item);
            }
            put(out, b")");
        }
    }
    params(out, fetch.modifiers);
}

fn fetch_item(out: &mut BytesMut, item: &FetchItem<'_>) {
    match item {
        FetchItem::Envelope => put(out, b"ENVELOPE"),
        FetchItem::Flags => put(out, b"FLAGS"),
        FetchItem::InternalDate => put(out, b"INTERNALDATE"),
        FetchItem::Rfc822 => put(out, b"RFC822"),
        FetchItem::Rfc822Header => put(out, b"RFC822.HEADER"),
        FetchItem::Rfc822Size => put(out, b"RFC822.SIZE"),
        FetchItem::Rfc822Text => put(out, b"RFC822.TEXT"),
        FetchItem::Body => put(out, b"BODY"),
        FetchItem::BodyStructure => put(out, b"BODYSTRUCTURE"),
        FetchItem::Uid => put(out, b"UID"),
        FetchItem::BodySection { section, peek, partial } => {
            put(out, if *peek { b"BODY.PEEK" } else { b"BODY" });
            command_section(out, section);
            write_partial(out, *partial);
        }
        FetchItem::Binary { part, peek, partial } => {
            put(out, if *peek { b"BINARY.PEEK[" } else { b"BINARY[" });
            put(out, part.as_bytes());
            put(out, b"]");
            write_partial(out, *partial);
        }
        FetchItem::BinarySize { part } => {
            put(out, b"BINARY.SIZE[");
            put(out, part.as_bytes());
            put(out, b"]");
        }
    }
}

/// As in a response, but with literals that a server takes without being asked.
fn command_section(out: &mut BytesMut, section: &Section<'_>) {
    let names = match section.text {
        SectionText::HeaderFields(names) | SectionText::HeaderFieldsNot(names) => names,
        _ => return write_section(out, section, true),
    };
    put(out, b"[");
    put(out, section.part.as_bytes());
    put(out, if section.part.is_empty() { b"" } else { b"." });
    let not = matches!(section.text, SectionText::HeaderFieldsNot(_));
    put(out, if not { b"HEADER.FIELDS.NOT" } else { b"HEADER.FIELDS" });
    for (index, name) in names.iter().enumerate() {
        put(out, if index > 0 { b" " } else { b" (" });
        string(out, name, chars::ASTRING);
    }
    put(out, b")]");
}

fn write_partial(out: &mut BytesMut, partial: Option<Partial>) {
    if let Some(Partial { start, length }) = partial {
        put(out, b"<");
        number(out, start);
        put(out, b".");
        number(out, length);
        put(out, b">");
    }
}

fn search(out: &mut BytesMut, search: &Search<'_>) {
    if let Some(returns) = search.returns {
        put(out, b" RETURN (");
        spaced(out, returns.names());
        put(out, b")");
    }
    if let Some(charset) = search.charset {
        put(out, b" CHARSET ");
        string(out, charset, chars::ASTRING);
    }
    for term in search.program.keys() {
        put(out, b" ");
        search_term(out, &term);
    }
}

/// Recursion is as deep as the parser let the keys nest.
fn search_term(out: &mut BytesMut, term: &SearchTerm<'_, '_>) {
    let key = term.key();
    if key == SearchKey::And {
        for (index, nested) in term.nested().enumerate() {
            put(out, if index > 0 { b" " } else { b"(" });
            search_term(out, &nested);
        }
        return put(out, b")");
    }
    if let SearchKey::Sequence(set) = key {
        return put(out, set.as_bytes());
    }
    put(out, search_key_name(&key).as_bytes());
    match key {
        SearchKey::Not | SearchKey::Or => {
            for nested in term.nested() {
                put(out, b" ");
                search_term(out, &nested);
            }
        }
        SearchKey::Bcc(text)
        | SearchKey::Body(text)
        | SearchKey::Cc(text)
        | SearchKey::From(text)
        | SearchKey::Subject(text)
        | SearchKey::Text(text)
        | SearchKey::To(text) => {
            put(out, b" ");
            string(out, text, chars::ASTRING);
        }
        SearchKey::Header(name, text) => {
            put(out, b" ");
            string(out, name, chars::ASTRING);
            put(out, b" ");
            string(out, text, chars::ASTRING);
        }
        SearchKey::Before(date)
        | SearchKey::On(date)
        | SearchKey::SentBefore(date)
        | SearchKey::SentOn(date)
        | SearchKey::SentSince(date)
        | SearchKey::Since(date) => put(out, format!(" {date}").as_bytes()),
        SearchKey::Keyword(keyword) | SearchKey::Unkeyword(keyword) => {
            put(out, b" ");
            put(out, keyword.as_str().as_bytes());
        }
        SearchKey::Larger(octets) | SearchKey::Smaller(octets) => {
            put(out, b" ");
            number(out, octets);
        }
        SearchKey::Older(seconds) | SearchKey::Younger(seconds) => {
            put(out, b" ");
            number(out, seconds);
        }
        SearchKey::Uid(set) => sequence_set(out, set),
        _ => {}
    }
}

const fn search_key_name(key: &SearchKey<'_>) -> &'static str {
    match key {
        // These have no name: their callers write them.
        SearchKey::And | SearchKey::Sequence(_) => "",
        SearchKey::Or => "OR",
        SearchKey::Not => "NOT",
        SearchKey::All => "ALL",
        SearchKey::Answered => "ANSWERED",
        SearchKey::Bcc(_) => "BCC",
        SearchKey::Before(_) => "BEFORE",
        SearchKey::Body(_) => "BODY",
        SearchKey::Cc(_) => "CC",
        SearchKey::Deleted => "DELETED",
        SearchKey::Draft => "DRAFT",
        SearchKey::Flagged => "FLAGGED",
        SearchKey::From(_) => "FROM",
        SearchKey::Header(..) => "HEADER",
        SearchKey::Keyword(_) => "KEYWORD",
        SearchKey::Larger(_) => "LARGER",
        SearchKey::New => "NEW",
        SearchKey::Old => "OLD",
        SearchKey::Older(_) => "OLDER",
        SearchKey::On(_) => "ON",
        SearchKey::Recent => "RECENT",
        SearchKey::Seen => "SEEN",
        SearchKey::SentBefore(_) => "SENTBEFORE",
        SearchKey::SentOn(_) => "SENTON",
        SearchKey::SentSince(_) => "SENTSINCE",
        SearchKey::Since(_) => "SINCE",
        SearchKey::Smaller(_) => "SMALLER",
        SearchKey::Subject(_) => "SUBJECT",
        SearchKey::Text(_) => "TEXT",
        SearchKey::To(_) => "TO",
        SearchKey::Uid(_) => "UID",
        SearchKey::Unanswered => "UNANSWERED",
        SearchKey::Undeleted => "UNDELETED",
        SearchKey::Undraft => "UNDRAFT",
        SearchKey::Unflagged => "UNFLAGGED",
        SearchKey::Unkeyword(_) => "UNKEYWORD",
        SearchKey::Unseen => "UNSEEN",
        SearchKey::Younger(_) => "YOUNGER",
    }
}
