//! Whole commands: what is taken, in its canonical form, and what is refused, with the text that the client sees.

use bytes::BytesMut;

use super::*;
use crate::wire::encode::encode_command;

fn canonical(command: &[u8]) -> std::result::Result<String, ParseError> {
    let parsed = parse_command(command, ParseLimits::default())?;
    let mut out = BytesMut::new();
    encode_command(&mut out, &parsed);
    let again = parse_command(&out, ParseLimits::default()).expect("the canonical form parses");
    assert_eq!(again, parsed);
    // Printing must work for all of them, too.
    assert!(!format!("{parsed:?}").is_empty());
    Ok(String::from_utf8(out.to_vec()).expect("the canonical form of a test is UTF-8"))
}

#[track_caller]
fn takes(command: &str, expected: &str) {
    let taken = canonical(format!("a1 {command}\r\n").as_bytes()).unwrap_or_else(|error| panic!("{command}: {error}"));
    assert_eq!(taken.strip_prefix("a1 ").and_then(|rest| rest.strip_suffix("\r\n")), Some(expected), "{command}");
}

#[track_caller]
fn takes_as_is(command: &str) {
    takes(command, command);
}

#[track_caller]
fn refuses(command: &str, text: &str) {
    let error = canonical(format!("a1 {command}\r\n").as_bytes()).expect_err(command);
    assert_eq!(error.to_string(), text, "{command}");
    assert_eq!(tag_of(format!("a1 {command}\r\n").as_bytes()).expect("a tag").as_str(), "a1");
}

#[test]
fn commands_without_arguments() {
    for command in
        ["CAPABILITY", "NOOP", "LOGOUT", "STARTTLS", "NAMESPACE", "IDLE", "CHECK", "CLOSE", "UNSELECT", "EXPUNGE"]
    {
        takes_as_is(command);
        takes(&command.to_lowercase(), command);
        refuses(
            &format!("{command} x"),
            &format!("expected the end of the line at octet {}, found a space", command.len() + 4),
        );
    }
    assert_eq!(canonical(b"a NOOP\n").as_deref(), Ok("a NOOP\r\n"));
}

#[test]
fn tags() {
    for tag in ["a", "A001", "1", ".", "a]b[", "x-y_z", "!#$&',-./:;<=>?@^_`|~"] {
        let command = format!("{tag} NOOP\r\n");
        assert_eq!(parse_command(command.as_bytes(), ParseLimits::default()).expect("a tag").tag.as_str(), tag);
    }
    for tag in ["", "+", "a+", "*", "a(b", "a\"", "a\\", "a%", "a{", "\u{e9}"] {
        let command = format!("{tag} NOOP\r\n");
        assert!(parse_command(command.as_bytes(), ParseLimits::default()).is_err(), "{tag}");
        assert_eq!(tag_of(command.as_bytes()), None, "{tag}");
    }
    assert_eq!(tag_of(b"a1\r\n").expect("a tag").as_str(), "a1");
    assert_eq!(tag_of(b"a1"), None);
}

#[test]
fn broken_lines() {
    refuses("", "expected a command at octet 4, found the end of the line");
    refuses(" NOOP", "expected a command at octet 4, found a space");
    refuses("FOO", "unknown command at octet 4");
    refuses("UID", "expected a space at octet 7, found the end of the line");
    refuses("UID NOOP", "unknown command after UID at octet 8");
    refuses("NOOP\r", "expected the end of the line at octet 8, found the end of the line");
    let error = canonical(b"a1\r\n").expect_err("no command");
    assert_eq!(error.to_string(), "expected a space at octet 3, found the end of the line");
    let error = canonical(b"a1 NOOP").expect_err("no end");
    assert_eq!(error.to_string(), "expected the end of the command at octet 8, found the end");
    let error = canonical(b"\0 NOOP\r\n").expect_err("NUL");
    assert_eq!(error.to_string(), "expected a tag at octet 1, found NUL");
}

#[test]
fn strings_and_mailbox_names() {
    takes_as_is("SELECT INBOX");
    takes("SELECT \"INBOX\"", "SELECT INBOX");
    takes("SELECT {5}\r\nINBOX", "SELECT INBOX");
    takes("SELECT {5+}\r\nINBOX", "SELECT INBOX");
    takes("SELECT {5}\nINBOX", "SELECT INBOX");
    takes("SELECT {3}\r\na b", "SELECT \"a b\"");
    takes("SELECT \"a\\\"\\\\b\"", "SELECT \"a\\\"\\\\b\"");
    takes("SELECT {0}\r\n", "SELECT \"\"");
    takes("SELECT {3}\r\na\nb", "SELECT {3+}\r\na\nb");
    takes_as_is("SELECT a]b");
    takes_as_is("SELECT \"Entw\u{fc}rfe\"");
    refuses("SELECT", "expected a space at octet 10, found the end of the line");
    refuses("SELECT ", "expected a mailbox name at octet 11, found the end of the line");
    refuses("SELECT a b", "expected \"(\" at octet 13, found 'b'");
    refuses("SELECT Entw\u{fc}rfe", "expected the end of the line at octet 15, found octet 0xc3");
    refuses("SELECT \"a\\b\"", "expected a quote or a backslash after a backslash at octet 14, found 'b'");
    refuses("SELECT \"a", "expected a quote that ends the string at octet 13, found the end of the line");
    refuses("SELECT {9}\r\nINBOX", "literal longer than what follows it at octet 11");
    refuses("SELECT {3}\r\na\0b", "NUL in a literal at octet 17");
    refuses("SELECT {3}", "literal longer than what follows it at octet 11");
    refuses("SELECT {99999999999999999999}\r\n", "number too large at octet 12");
    refuses("SELECT ~{3}\r\nabc", "expected the end of the line at octet 12, found '{'");
    let error = canonical(b"a1 SELECT \"\xff\"\r\n").expect_err("not UTF-8");
    assert_eq!(error.to_string(), "quoted string that is not UTF-8 at octet 11");
}

#[test]
fn select_and_its_kin() {
    takes_as_is("EXAMINE INBOX");
    takes_as_is("SELECT INBOX (CONDSTORE)");
    takes_as_is("SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211,214:541 (1,3 2,4)))");
    takes_as_is("DELETE foo");
    takes_as_is("SUBSCRIBE foo");
    takes_as_is("UNSUBSCRIBE foo");
    takes_as_is("RENAME foo \"b r\"");
    takes_as_is("CREATE foo/");
    takes_as_is("CREATE foo (USE (\\Sent \\Trash))");
    takes_as_is("CREATE foo (USE ())");
    takes_as_is("CREATE foo (USE (\\Unknown))");
    refuses("CREATE foo ()", "unknown parameter of CREATE at octet 16");
    refuses("CREATE foo (FOO)", "unknown parameter of CREATE at octet 16");
    refuses("CREATE foo (USE (Sent))", "expected an attribute such as \\Sent at octet 21, found 'S'");
    refuses("RENAME foo", "expected a space at octet 14, found the end of the line");
    refuses("DELETE foo bar", "expected the end of the line at octet 14, found a space");
}

#[test]
fn status() {
    takes_as_is("STATUS foo (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ APPENDLIMIT)");
    takes("STATUS foo (uidnext messages messages)", "STATUS foo (MESSAGES UIDNEXT)");
    refuses("STATUS foo ()", "expected a status item at octet 16, found ')'");
    refuses("STATUS foo (X)", "unknown status item at octet 16");
    refuses("STATUS foo MESSAGES", "expected \"(\" at octet 15, found 'M'");
    refuses("STATUS foo (MESSAGES", "expected a space or \")\" at octet 24, found the end of the line");
}

#[test]
fn list_and_lsub() {
    takes_as_is("LIST \"\" *");
    takes_as_is("LIST \"\" \"\"");
    takes("LIST \"\" \"%\"", "LIST \"\" %");
    takes_as_is("LIST ~/Mail/ %");
    takes_as_is("LSUB #news. comp.mail.*");
    takes_as_is(
        "LIST (SUBSCRIBED REMOTE RECURSIVEMATCH SPECIAL-USE) \"\" (a b/% *) RETURN (SUBSCRIBED CHILDREN SPECIAL-USE STATUS (MESSAGES UNSEEN))",
    );
    takes("LIST () \"\" *", "LIST () \"\" (*) RETURN ()");
    takes("LIST \"\" * RETURN ()", "LIST () \"\" (*) RETURN ()");
    takes("LIST \"\" (*)", "LIST () \"\" (*) RETURN ()");
    takes("LIST (REMOTE) \"\" \"a b\"", "LIST (REMOTE) \"\" (\"a b\") RETURN ()");
    refuses("LIST (RECURSIVEMATCH) \"\" *", "RECURSIVEMATCH without SUBSCRIBED at octet 9");
    refuses("LIST (REMOTE RECURSIVEMATCH) \"\" *", "RECURSIVEMATCH without SUBSCRIBED at octet 9");
    refuses("LIST (FOO) \"\" *", "unknown selection option at octet 10");
    refuses("LIST \"\" ()", "expected a mailbox name or pattern at octet 13, found ')'");
    refuses("LIST \"\" * RETURN", "expected a space at octet 20, found the end of the line");
    refuses("LIST \"\" * FOO", "expected RETURN or the end of the line at octet 14, found 'F'");
    refuses("LIST \"\" * RETURN (FOO)", "unknown return option at octet 22");
    refuses("LIST \"\" * RETURN (STATUS ())", "expected a status item at octet 30, found ')'");
    refuses("LIST \"\"", "expected a space at octet 11, found the end of the line");
    refuses("LSUB \"\" (a)", "expected a mailbox name or pattern at octet 12, found '('");
}

#[test]
fn login_and_its_kin() {
    takes_as_is("LOGIN fred \"blurdy bloop\"");
    takes("LOGIN {4}\r\nfred {5+}\r\nw\u{fc}rd", "LOGIN fred \"w\u{fc}rd\"");
    takes_as_is("AUTHENTICATE PLAIN");
    takes_as_is("AUTHENTICATE PLAIN dGVzdAB0ZXN0AHRlc3Q=");
    takes_as_is("AUTHENTICATE EXTERNAL =");
    takes_as_is("ENABLE IMAP4rev2 CONDSTORE");
    takes_as_is("ID NIL");
    takes("ID ()", "ID NIL");
    takes_as_is("ID (\"name\" \"x\" \"version\" NIL)");
    refuses("ENABLE", "expected a space at octet 10, found the end of the line");
    refuses("ENABLE ", "expected a capability at octet 11, found the end of the line");
    refuses("ID", "expected a space at octet 6, found the end of the line");
    refuses("ID (name \"x\")", "expected a field's name as a string at octet 8, found 'n'");
    refuses("ID (\"name\")", "expected a space at octet 14, found ')'");
    refuses("AUTHENTICATE", "expected a space at octet 16");
    refuses("AUTHENTICATE PLAIN *", "expected base64 or \"=\" at octet 23");
    // What follows is a part of the password: it is not repeated.
    refuses("LOGIN fred blurdy(bloop", "expected the end of the line at octet 21");
    refuses("LOGIN fred", "expected a space at octet 14");
}

#[test]
fn secrets_are_not_printed() {
    let command = b"a1 LOGIN fred opensesame\r\n";
    let parsed = parse_command(command, ParseLimits::default()).expect("a login");
    assert!(!format!("{parsed:?}").contains("opensesame"));
    let command = b"a1 AUTHENTICATE PLAIN b3BlbnNlc2FtZQ==\r\n";
    let parsed = parse_command(command, ParseLimits::default()).expect("an authenticate");
    assert!(!format!("{parsed:?}").contains("b3Bl"));
    let CommandBody::Authenticate(authenticate) = parsed.body else { panic!("another command") };
    assert_eq!(authenticate.initial_response.map(|response| response.decode()), Some(Ok(b"opensesame".to_vec())));
    let buf = crate::wire::command::CommandBuf::copy_from_slice(b"a1 LOGIN fred opensesame\r\n");
    assert_eq!(format!("{buf:?}"), "CommandBuf(26 octets)");
}

#[test]
fn sasl_lines() {
    use crate::wire::command::SaslLine;
    assert_eq!(SaslLine::parse(b"*\r\n"), SaslLine::Cancel);
    let decoded = |line| match SaslLine::parse(line) {
        SaslLine::Response(response) => response.decode().ok(),
        SaslLine::Cancel => None,
    };
    assert_eq!(decoded(b"YWJj\r\n"), Some(b"abc".to_vec()));
    assert_eq!(decoded(b"\n"), Some(vec![]));
    assert_eq!(decoded(b"YWJ\r\n"), None);
    assert_eq!(decoded(b"YW Jj\r\n"), None);
}

#[test]
fn fetch() {
    takes_as_is("FETCH 1 ALL");
    takes_as_is("FETCH 1:* FAST");
    takes_as_is("UID FETCH 2,4:7,9,12:* FULL");
    takes("FETCH 1 FLAGS", "FETCH 1 (FLAGS)");
    takes("FETCH $ body[]", "FETCH $ (BODY[])");
    takes_as_is(
        "FETCH 1 (ENVELOPE FLAGS INTERNALDATE RFC822 RFC822.HEADER RFC822.SIZE RFC822.TEXT BODY BODYSTRUCTURE UID)",
    );
    takes_as_is("FETCH 1 (BODY[] BODY.PEEK[HEADER] BODY[TEXT] BODY[1] BODY[4.2.1.MIME] BODY[4.1.HEADER]<0.1>)");
    takes_as_is(
        "FETCH 1 (BODY[HEADER.FIELDS (From \"a b\")] BODY.PEEK[3.HEADER.FIELDS.NOT (Subject)]<2.9223372036854775807>)",
    );
    takes_as_is("FETCH 1 (BINARY[] BINARY.PEEK[1.2]<3.4> BINARY.SIZE[4])");
    takes_as_is("FETCH 1 (FLAGS) (CHANGEDSINCE 12345 VANISHED)");
    refuses("FETCH 1  (UID)", "expected a fetch item at octet 12, found a space");
    refuses("FETCH 1 ()", "expected a fetch item at octet 13, found ')'");
    refuses("FETCH 1 (ALL)", "unknown fetch item at octet 13");
    refuses("FETCH 1 FOO", "unknown fetch item at octet 12");
    refuses("FETCH 1 (UID )", "expected a fetch item at octet 17, found ')'");
    refuses("FETCH 1 (UID", "expected a space or \")\" at octet 16, found the end of the line");
    refuses("FETCH 1 FLAGS UID", "expected \"(\" at octet 18, found 'U'");
    refuses("FETCH 1 BODY[]<0>", "expected \".\" and the number of octets at octet 20, found '>'");
    refuses("FETCH 1 BODY[]<0.0>", "expected a number of octets from 1 at octet 21, found '0'");
    refuses("FETCH 1 BODY[]<9223372036854775808.1>", "number too large at octet 19");
    refuses("FETCH 1 BODY[0]", "expected a part number from 1 at octet 17, found '0'");
    refuses("FETCH 1 BODY[1.]", "expected a section at octet 19, found ']'");
    refuses("FETCH 1 BODY[MIME]", "expected a part number before MIME at octet 17, found 'M'");
    refuses("FETCH 1 BODY[1.HEADER.FIELDS]", "expected a space at octet 32, found ']'");
    refuses("FETCH 1 BODY[HEADER.FIELDS ()]", "expected a header field's name at octet 32, found ')'");
    refuses("FETCH 1 BODY[FOO]", "unknown section at octet 17");
    refuses("FETCH 1 BODY[1", "expected \"]\" at octet 18, found the end of the line");
    refuses("FETCH 1 BODY.PEEK", "expected \"[\" and a section at octet 21, found the end of the line");
    refuses("FETCH 1 BINARY", "expected \"[\" at octet 18, found the end of the line");
    refuses("FETCH 1 BINARY[TEXT]", "expected a part number from 1 at octet 19, found 'T'");
    refuses("FETCH 0 FLAGS", "expected a number from 1 or \"*\" at octet 10, found '0'");
    refuses("FETCH 1", "expected a space at octet 11, found the end of the line");
}

#[test]
fn store_copy_and_move() {
    takes("STORE 1,3 +FLAGS \\Deleted", "STORE 1,3 +FLAGS (\\Deleted)");
    takes("UID STORE 1:* -flags.silent (\\seen $X)", "UID STORE 1:* -FLAGS.SILENT (\\Seen $X)");
    takes_as_is("STORE 1 FLAGS ()");
    takes_as_is("STORE 1 FLAGS.SILENT (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\Recent \\Foo)");
    takes_as_is("STORE 1 (UNCHANGEDSINCE 320162338) +FLAGS (\\Seen)");
    takes_as_is("COPY 2:4 MEETING");
    takes_as_is("UID COPY $ \"a b\"");
    takes_as_is("MOVE 1 x");
    takes_as_is("UID MOVE 42:69 foo");
    takes_as_is("UID EXPUNGE 3000:3002");
    refuses("STORE 1 FLAGS", "expected a space at octet 17, found the end of the line");
    refuses("STORE 1 FLAGS ", "expected a keyword at octet 18, found the end of the line");
    refuses("STORE 1 FLAG (\\Seen)", "expected FLAGS or FLAGS.SILENT at octet 12, found 'F'");
    refuses("STORE 1 ++FLAGS (\\Seen)", "expected FLAGS or FLAGS.SILENT at octet 13, found '+'");
    refuses("STORE 1 +FLAGS (\\Seen) \\Deleted", "expected the end of the line at octet 26, found a space");
    refuses("STORE 1 +FLAGS \\*", "expected a flag's name after the backslash at octet 20, found '*'");
    refuses("COPY 2:4", "expected a space at octet 12, found the end of the line");
    refuses("UID EXPUNGE", "expected a space at octet 15, found the end of the line");
}

#[test]
fn search() {
    takes_as_is("SEARCH ALL");
    takes_as_is("UID SEARCH RETURN (MIN MAX ALL COUNT SAVE) CHARSET UTF-8 UNSEEN");
    takes_as_is("SEARCH RETURN () $");
    takes_as_is(
        "SEARCH ANSWERED DELETED DRAFT FLAGGED NEW OLD RECENT SEEN UNANSWERED UNDELETED UNDRAFT UNFLAGGED UNSEEN",
    );
    takes_as_is("SEARCH BCC a BODY b CC c FROM d SUBJECT e TEXT f TO \"g h\" HEADER X-Foo \"\"");
    takes("SEARCH before \"1-feb-1994\" ON 01-Feb-1994", "SEARCH BEFORE 1-Feb-1994 ON 1-Feb-1994");
    takes_as_is("SEARCH SINCE 29-Feb-2024 SENTBEFORE 1-Jan-1969 SENTON 31-Dec-9999 SENTSINCE 1-Jan-0000");
    takes_as_is("SEARCH LARGER 4294967295 SMALLER 9223372036854775807 OLDER 1 YOUNGER 4294967295");
    takes_as_is("SEARCH KEYWORD $Junk UNKEYWORD work UID 1:* 2,4:7 UID $ $ *");
    takes_as_is("SEARCH NOT OR (SEEN FLAGGED) NOT (ALL) OR 1 2");
    takes("SEARCH TEXT {6}\r\n\u{43f}\u{440}\u{438}", "SEARCH TEXT \"\u{43f}\u{440}\u{438}\"");
    refuses("SEARCH", "expected a space at octet 10, found the end of the line");
    refuses("SEARCH RETURN (FOO) ALL", "unknown result option at octet 19");
    refuses("SEARCH RETURN (MIN)", "expected a space at octet 23, found the end of the line");
    refuses("SEARCH CHARSET UTF-8", "expected a space at octet 24, found the end of the line");
    refuses("SEARCH FOO", "unknown search key at octet 11");
    refuses("SEARCH ALL ", "expected a search key at octet 15, found the end of the line");
    refuses("SEARCH ()", "expected a search key at octet 12, found ')'");
    refuses("SEARCH (ALL", "expected a space or \")\" at octet 15, found the end of the line");
    refuses("SEARCH OR ALL", "expected a space at octet 17, found the end of the line");
    refuses("SEARCH KEYWORD \\Seen", "expected a keyword at octet 19, found '\\'");
    refuses("SEARCH OLDER 0", "expected a number of seconds from 1 at octet 17, found '0'");
    refuses("SEARCH OLDER 4294967296", "number too large at octet 17");
    refuses("SEARCH ON 32-Jan-2020", "not a date such as 1-Feb-1994 at octet 14");
    refuses("SEARCH ON 29-Feb-2023", "not a date such as 1-Feb-1994 at octet 14");
    refuses("SEARCH LARGER 9223372036854775808", "number too large at octet 18");
    refuses("SEARCH LARGER -1", "expected a number of octets at octet 18, found '-'");
    refuses("SEARCH SUBJECT", "expected a space at octet 18, found the end of the line");
    refuses("SEARCH HEADER a", "expected a space at octet 19, found the end of the line");
}

#[test]
fn nested_search_keys_are_found_again() {
    use crate::wire::command::{SearchKey, SearchTerm};
    let command = b"a SEARCH OR (SEEN NOT DELETED) FLAGGED 1:3\r\n";
    let parsed = parse_command(command, ParseLimits::default()).expect("a search");
    let CommandBody::Search(search) = parsed.body else { panic!("another command") };
    let top: Vec<SearchTerm<'_, '_>> = search.program.keys().collect();
    assert_eq!(top.len(), 2);
    assert_eq!(top[0].key(), SearchKey::Or);
    let branches: Vec<SearchTerm<'_, '_>> = top[0].nested().collect();
    assert_eq!((branches[0].key(), branches[1].key()), (SearchKey::And, SearchKey::Flagged));
    let inner: Vec<SearchKey<'_>> = branches[0].nested().map(|term| term.key()).collect();
    assert_eq!(inner, [SearchKey::Seen, SearchKey::Not]);
    assert_eq!(search.program.len(), 7);
    assert!(matches!(top[1].key(), SearchKey::Sequence(_)));
}

#[test]
fn append() {
    let parse = |command: &str| canonical(command.as_bytes()).map_err(|error| error.to_string());
    for command in [
        "a1 APPEND INBOX {310}\r\n",
        "a1 APPEND \"a b\" (\\Seen $x) {310+}\r\n",
        "a1 APPEND INBOX () \" 7-Feb-1994 21:52:25 -0800\" ~{0}\r\n",
        "a1 APPEND INBOX \"17-Feb-1994 21:52:25 -0800\" {9223372036854775807}\r\n",
    ] {
        assert_eq!(parse(command).as_deref(), Ok(command));
    }
    assert_eq!(parse("a1 append {5}\r\nINBOX {3}\n").as_deref(), Ok("a1 APPEND INBOX {3}\r\n"));
    for (command, text) in [
        ("a1 APPEND INBOX\r\n", "expected a space at octet 16, found the end of the line"),
        (
            "a1 APPEND INBOX \r\n",
            "expected flags, a date-time or the message as a literal at octet 17, found the end of the line",
        ),
        ("a1 APPEND INBOX hello\r\n", "expected flags, a date-time or the message as a literal at octet 17, found 'h'"),
        (
            "a1 APPEND INBOX {3}\r\nabc\r\n",
            "expected nothing after the announcement of the message at octet 22, found 'a'",
        ),
        ("a1 APPEND INBOX \"x\" {3}\r\n", "not a date-time such as \" 7-Feb-1994 22:43:04 -0800\" at octet 17"),
        (
            "a1 APPEND INBOX \" 7-Feb-1994 21:52:25 -0800\" () {3}\r\n",
            "expected flags, a date-time or the message as a literal at octet 46, found '('",
        ),
    ] {
        assert_eq!(parse(command).expect_err(command), text);
    }
    let next = append::parse_next(b" (\\Seen) {3+}\r\n", ParseLimits::default()).expect("a message");
    assert_eq!((next.literal.size, next.literal.synchronizing, next.date), (3, false, None));
    assert!(append::parse_next(b"\r\n", ParseLimits::default()).is_err());
    assert!(append::parse_next(b"{3}\r\n", ParseLimits::default()).is_err());
}

#[test]
fn limits() {
    let limits = ParseLimits { set_ranges: 3, search_depth: 2, search_keys: 5, list_items: 2 };
    let parse = |command: &str| {
        let command = format!("a {command}\r\n");
        parse_command(command.as_bytes(), limits).map(drop).map_err(|error| {
            assert!(error.is_limit());
            error.to_string()
        })
    };
    assert_eq!(parse("FETCH 1,2,3 (FLAGS UID)"), Ok(()));
    assert_eq!(parse("FETCH 1,2,3,4 FLAGS"), Err("too many ranges in one sequence set at octet 15".into()));
    assert_eq!(parse("FETCH 1 (FLAGS UID FLAGS)"), Err("too many fetch items at octet 22".into()));
    assert_eq!(parse("STORE 1 FLAGS a b c"), Err("too many flags at octet 21".into()));
    assert_eq!(parse("ENABLE a b c"), Err("too many capabilities at octet 14".into()));
    assert_eq!(parse("SEARCH NOT NOT SEEN"), Ok(()));
    assert_eq!(parse("SEARCH NOT NOT NOT SEEN"), Err("too many levels of search keys at octet 18".into()));
    assert_eq!(parse("SEARCH (((SEEN)))"), Err("too many levels of search keys at octet 12".into()));
    assert_eq!(parse("SEARCH 1 2 3 4 5"), Ok(()));
    assert_eq!(parse("SEARCH 1 2 3 4 5 6"), Err("too many search keys at octet 20".into()));
}

#[test]
fn deep_nesting_ends_at_the_limit() {
    for open in ["(", "NOT ", "OR ALL "] {
        let command = format!("a SEARCH {}\r\n", open.repeat(10_000));
        let error = parse_command(command.as_bytes(), ParseLimits::default()).expect_err("too deep");
        assert!(error.is_limit());
    }
    let command = format!("a SELECT x (A {})\r\n", "(".repeat(10_000));
    assert!(parse_command(command.as_bytes(), ParseLimits::default()).expect_err("too deep").is_limit());
}

#[test]
fn mailbox_names_are_decoded() {
    let name = |command: &str, utf8| {
        let command = format!("a {command}\r\n");
        let parsed = parse_command(command.as_bytes(), ParseLimits::default()).expect("a command");
        match parsed.body {
            CommandBody::Select(select) => select.mailbox.name(utf8).map(|name| name.as_str().to_owned()).ok(),
            CommandBody::List(list) => list.patterns.iter().next().and_then(|p| p.text(utf8).map(String::from).ok()),
            _ => None,
        }
    };
    assert_eq!(name("SELECT inBOX", false).as_deref(), Some("INBOX"));
    assert_eq!(name("SELECT Entw&APw-rfe", false).as_deref(), Some("Entw\u{fc}rfe"));
    assert_eq!(name("SELECT Entw&APw-rfe", true).as_deref(), Some("Entw&APw-rfe"));
    assert_eq!(name("SELECT \"Entw\u{fc}rfe\"", true).as_deref(), Some("Entw\u{fc}rfe"));
    assert_eq!(name("SELECT \"Entw\u{fc}rfe\"", false), None);
    assert_eq!(name("SELECT \"\"", true), None);
    assert_eq!(name("SELECT \"a\\\\&-b\"", false).as_deref(), Some("a\\&b"));
    assert_eq!(name("LIST \"\" &APw-*", false).as_deref(), Some("\u{fc}*"));
}
