//! Tables of tcp-wrappers: reading them, and reading them again.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::pattern::{DaemonPattern, Fault, HostPattern, List, Need, Patterns, Request, Rule};

/// The largest table, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// How many files a table may name, those that they name included.
const MOST_FILES: usize = 64;
/// How deeply files may name files.
const DEEPEST: usize = 4;
/// A file that has changed less long ago may change once more without a sign of it: its time is coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// What cannot be used as a table of tcp-wrappers. Its message is one line and begins with the file's name, and the line's
/// number where there is one.
#[derive(Debug, thiserror::Error)]
#[error("{}:{} {fault}", file.display(), LineNumber(*line))]
pub struct HostsError {
    file: PathBuf,
    line: Option<usize>,
    fault: ReadFault,
}

impl HostsError {
    /// The file, which may be one that a table names.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The line, of the first is 1; of a line that is continued, where it begins.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

struct LineNumber(Option<usize>);

impl std::fmt::Display for LineNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, "{line}:"))
    }
}

#[derive(Debug, thiserror::Error)]
enum ReadFault {
    #[error("cannot read: {0}")]
    Read(io::Error),
    #[error("a pipe")]
    Pipe,
    #[error("larger than {LARGEST} bytes")]
    Large,
    #[error("{0}")]
    Line(Fault),
}

/// What tells one state of a file from another; `None` for a file that does not exist.
type Mark = Option<(u64, u64, u64, i64, i64, i64, i64)>;

fn mark(metadata: &std::fs::Metadata) -> Mark {
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}

/// A table, and the files that it was read from.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    rules: Arc<[Rule]>,
    seen: Vec<(PathBuf, Mark)>,
    settled: bool,
    /// What was wrong with it when it was last read, if anything was: the rules are then older.
    broken: Option<String>,
}

impl Table {
    /// Reads it. A file that does not exist is an empty one.
    pub(super) fn load(path: PathBuf) -> Result<Self, HostsError> {
        let mut loader = Loader::default();
        let rules = loader.table(&path)?;
        Ok(Self { path, rules: rules.into(), settled: loader.is_settled(), seen: loader.seen, broken: None })
    }

    /// The rules as they are now in the files. Where these have become unusable, they are as they were before, and the
    /// log says so, once.
    pub(super) fn refresh(&mut self) -> Arc<[Rule]> {
        if !self.settled || self.seen.iter().any(|(path, mark)| *mark != look(path)) {
            let mut loader = Loader::default();
            match loader.table(&self.path) {
                Ok(rules) => {
                    self.rules = rules.into();
                    if self.broken.take().is_some() {
                        tracing::info!(file = %self.path.display(), "the table can be used again");
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    if self.broken.as_ref() != Some(&error) {
                        tracing::error!(%error, "a table cannot be used: what it was before still holds");
                        self.broken = Some(error);
                    }
                }
            }
            self.settled = loader.is_settled();
            self.seen = loader.seen;
        }
        self.rules.clone()
    }
}

/// The line of the first rule that matches.
pub(super) fn first_match(rules: &[Rule], request: &Request) -> Result<Option<usize>, Need> {
    for rule in rules {
        if rule.matches(request)? {
            return Ok(Some(rule.line));
        }
    }
    Ok(None)
}

fn look(path: &Path) -> Mark {
    std::fs::metadata(path).ok().and_then(|metadata| mark(&metadata))
}

#[derive(Default)]
struct Loader {
    seen: Vec<(PathBuf, Mark)>,
    unsettled: bool,
    named: usize,
}

impl Loader {
    fn is_settled(&self) -> bool {
        !self.unsettled
    }

    fn table(&mut self, path: &Path) -> Result<Vec<Rule>, HostsError> {
        let text = self.read(path)?;
        let mut rules = Vec::new();
        for (line, content) in logical_lines(&text) {
            if content.starts_with('#') || content.trim().is_empty() {
                continue;
            }
            rules.push(self.rule(path, line, &content)?);
        }
        Ok(rules)
    }

    fn rule(&mut self, path: &Path, line: usize, content: &str) -> Result<Rule, HostsError> {
        let fault = |fault| HostsError { file: path.into(), line: Some(line), fault: ReadFault::Line(fault) };
        let (daemons, rest) = split_at_colon(content).map_err(fault)?;
        let (clients, command) = split_at_colon(rest.ok_or_else(|| fault(Fault::NoColon))?).map_err(fault)?;
        if let Some(command) = command.map(str::trim).filter(|command| !command.is_empty()) {
            return Err(fault(Fault::Command(command.into())));
        }
        // An error in a file that is named has a place of its own.
        let mut inner = None;
        let mut files = |name: &str| self.patterns(Path::new(name), 1, &mut inner);
        let daemons = List::parse(daemons, |word| DaemonPattern::parse(word, &mut files));
        let clients = daemons
            .and_then(|daemons| Ok((daemons, List::parse(clients, |word| HostPattern::parse(word, &mut files))?)));
        match (clients, inner) {
            (_, Some(error)) => Err(error),
            (Err(error), None) => Err(fault(error)),
            (Ok((daemons, clients)), None) => Ok(Rule { line, daemons, clients }),
        }
    }

    /// The patterns of a file that is named. An error that is about a place in that file comes out of `inner`.
    fn patterns(&mut self, path: &Path, depth: usize, inner: &mut Option<HostsError>) -> Result<Patterns, Fault> {
        if depth > DEEPEST {
            return Err(Fault::Depth(DEEPEST));
        }
        self.named += 1;
        if self.named > MOST_FILES {
            return Err(Fault::Files(MOST_FILES));
        }
        let mut patterns = Vec::new();
        let text = match self.read(path) {
            Ok(text) => text,
            Err(error) => {
                inner.get_or_insert(error);
                return Ok(patterns.into());
            }
        };
        for (number, line) in (1..).zip(text.lines()) {
            for word in line.split_ascii_whitespace() {
                let pattern = HostPattern::parse(word, &mut |name| self.patterns(Path::new(name), depth + 1, inner));
                match pattern {
                    Ok(pattern) => patterns.push(pattern),
                    Err(fault) => {
                        let fault = ReadFault::Line(fault);
                        inner.get_or_insert(HostsError { file: path.into(), line: Some(number), fault });
                        return Ok(patterns.into());
                    }
                }
            }
        }
        Ok(patterns.into())
    }

    fn read(&mut self, path: &Path) -> Result<String, HostsError> {
        let error = |fault| HostsError { file: path.into(), line: None, fault };
        // Looked at before it is opened, so that a change in between is found the next time.
        self.seen.push((path.into(), look(path)));
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
            // Opening it would wait for a writer.
            return Err(error(ReadFault::Pipe));
        }
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
            Err(cause) => return Err(error(ReadFault::Read(cause))),
        };
        let metadata = file.metadata().map_err(|cause| error(ReadFault::Read(cause)))?;
        let changed = u64::try_from(metadata.ctime()).map(Duration::from_secs).unwrap_or_default();
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed).unwrap_or_default();
        self.unsettled |= age < SETTLED;
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|cause| error(ReadFault::Read(cause)))?;
        if bytes.len() as u64 > LARGEST {
            return Err(error(ReadFault::Large));
        }
        // Comments may be in any character set; in a pattern what is no UTF-8 will not do.
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Lines with the number of each; one that ends with a backslash goes on in the next.
fn logical_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut lines = (1..).zip(text.lines());
    std::iter::from_fn(move || {
        let (number, line) = lines.next()?;
        let mut logical = line.to_owned();
        while logical.ends_with('\\') {
            logical.pop();
            let Some((_, line)) = lines.next() else { break };
            logical.push_str(line);
        }
        Some((number, logical))
    })
}

/// Splits at the first colon that is not in brackets.
fn split_at_colon(text: &str) -> Result<(&str, Option<&str>), Fault> {
    let mut from = 0;
    while let Some(rest) = text.get(from..) {
        match rest.find([':', '[']).map(|place| from + place) {
            Some(place) if text.as_bytes().get(place) == Some(&b'[') => {
                let end = text.get(place..).and_then(|rest| rest.find(']')).ok_or(Fault::Bracket)?;
                from = place + end + 1;
            }
            Some(place) => {
                let (before, after) = text.split_at(place);
                return Ok((before, after.strip_prefix(':')));
            }
            None => break,
        }
    }
    Ok((text, None))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
            std::fs::write(self.path(name), text).unwrap();
            self.path(name)
        }

        fn load(&self, text: &str) -> Result<Table, String> {
            let text = text.replace("DIR", self.0.path().to_str().unwrap());
            let shown = |error: HostsError| error.to_string().replace(self.0.path().to_str().unwrap(), "DIR");
            Table::load(self.write("hosts", text)).map_err(shown)
        }
    }

    fn line_for(table: &Table, client: &str) -> Option<usize> {
        let request = Request::new("imapd", client.parse().unwrap(), None);
        first_match(&table.rules, &request).unwrap()
    }

    #[test]
    fn lines() {
        let table = Folder::new().load(
            "# a comment: with a colon, \\\nwhich goes on: here\n\n \t\r\npop3d : ALL\nimapd,\\\n  pop3d: 192.0.2.1 \\\n 192.0.2.2\r\n\
             ALL EXCEPT pop3d : [2001:db8::]/32, 192.0.2.3 :\nimapd: 192.0.2.0/24 EXCEPT 192.0.2.4\n\
             imapd: 192.0.2.4",
        );
        let table = table.unwrap();
        for (client, line) in [
            ("192.0.2.1", Some(6)),
            ("192.0.2.2", Some(6)),
            ("::ffff:192.0.2.2", Some(6)),
            ("192.0.2.3", Some(9)),
            ("2001:db8::1", Some(9)),
            ("192.0.2.9", Some(10)),
            ("192.0.2.4", Some(11)),
            ("192.0.3.4", None),
        ] {
            assert_eq!(line_for(&table, client), line, "{client}");
        }
    }

    #[test]
    fn files_that_are_named() {
        let folder = Folder::new();
        folder.write("more", "192.0.2.2\n\n  [2001:db8::1] 198.51.100.\n");
        folder.write("list", format!("192.0.2.1 {}\n", folder.path("more").display()));
        let table = folder.load("imapd: DIR/none\nimapd: DIR/list EXCEPT 198.51.100.9\n").unwrap();
        for (client, line) in [
            ("192.0.2.1", Some(2)),
            ("192.0.2.2", Some(2)),
            ("2001:db8::1", Some(2)),
            ("198.51.100.1", Some(2)),
            ("198.51.100.9", None),
            ("192.0.2.3", None),
        ] {
            assert_eq!(line_for(&table, client), line, "{client}");
        }
    }

    #[test]
    fn lines_that_are_wrong() {
        let folder = Folder::new();
        folder.write("bad", "192.0.2.1\n192.0.2.1 10.0.0.0/33");
        folder.write("loop", format!("{}", folder.path("loop").display()));
        std::fs::create_dir(folder.path("folder")).unwrap();
        folder.write("many", format!("{} ", folder.path("none").display()).repeat(64));
        for (text, error) in [
            ("imapd ALL", "DIR/hosts:1: missing ':' between daemons and clients"),
            ("\n\nimapd\\\nALL", "DIR/hosts:3: missing ':' between daemons and clients"),
            (
                "imapd: ALL\npop3d: ALL: /usr/bin/mail -s %d-%h root",
                "DIR/hosts:2: shell commands are not run (and an IPv6 address stands in brackets): '/usr/bin/mail -s %d-%h root'",
            ),
            (
                "pop3d: ALL: spawn (a \\\n b) &",
                "DIR/hosts:1: shell commands are not run (and an IPv6 address stands in brackets): 'spawn (a  b) &'",
            ),
            (
                "imapd: ALL : DENY",
                "DIR/hosts:1: shell commands are not run (and an IPv6 address stands in brackets): 'DENY'",
            ),
            ("imapd: ::1", "DIR/hosts:1: shell commands are not run (and an IPv6 address stands in brackets): ':1'"),
            (": ALL", "DIR/hosts:1: an empty list"),
            ("imapd:", "DIR/hosts:1: an empty list"),
            ("imapd: ALL EXCEPT", "DIR/hosts:1: EXCEPT stands between two lists"),
            ("imapd: [::1", "DIR/hosts:1: '[' without ']'"),
            (
                "imapd: 10.0.0.0/255.0.255.0",
                "DIR/hosts:1: 10.0.0.0/255.0.255.0: not a netmask: 255.0.255.0 has ones after a zero",
            ),
            ("imapd: 10.0.0", "DIR/hosts:1: neither a host name, an address nor a pattern: '10.0.0'"),
            ("imapd: @x", "DIR/hosts:1: netgroups are not known: '@x'"),
            ("imapd: ALL@ALL", "DIR/hosts:1: clients' user names are not known: 'ALL@ALL'"),
            ("imapd@@x: ALL", "DIR/hosts:1: netgroups are not known: '@x'"),
            ("ALL: DIR/bad", "DIR/bad:2: 10.0.0.0/33: not a prefix length of IPv4: 33"),
            ("ALL: DIR/folder", "DIR/folder: cannot read: Is a directory (os error 21)"),
            ("ALL: DIR/loop", "DIR/loop:1: files name files to more than 4 levels"),
            ("ALL: DIR/many", "DIR/many:1: more than 64 files are named"),
        ] {
            assert_eq!(folder.load(text).unwrap_err(), error);
        }
        let error = Table::load(folder.path("folder")).unwrap_err();
        assert_eq!((error.file(), error.line()), (&*folder.path("folder"), None));
        let large = folder.load(&"#\n".repeat(600_000)).unwrap_err();
        assert_eq!(large, "DIR/hosts: larger than 1048576 bytes");
    }

    #[test]
    fn changes_are_seen() {
        let folder = Folder::new();
        let mut table = Table::load(folder.path("hosts")).unwrap();
        assert_eq!(line_for(&table, "192.0.2.1"), None);
        folder.write("hosts", "ALL: 192.0.2.1");
        table.refresh();
        assert_eq!(line_for(&table, "192.0.2.1"), Some(1));
        // As long, and within the same tick of the clock.
        folder.write("hosts", "ALL: 192.0.2.2");
        table.refresh();
        assert_eq!(line_for(&table, "192.0.2.1"), None);
        assert_eq!(line_for(&table, "192.0.2.2"), Some(1));
        // Unusable: the last good one stays.
        folder.write("hosts", "ALL: 192.0.2.1: /bin/true");
        table.refresh();
        assert!(table.broken.is_some());
        assert_eq!(line_for(&table, "192.0.2.2"), Some(1));
        // A file that is named counts too.
        folder.write("hosts", format!("ALL: {}", folder.path("list").display()));
        table.refresh();
        assert_eq!((line_for(&table, "192.0.2.2"), &table.broken), (None, &None));
        folder.write("list", "192.0.2.2");
        table.refresh();
        assert_eq!(line_for(&table, "192.0.2.2"), Some(1));
        std::fs::remove_file(folder.path("hosts")).unwrap();
        table.refresh();
        assert_eq!(line_for(&table, "192.0.2.2"), None);
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused_in_one_line(
            words in proptest::collection::vec("ALL|LOCAL|EXCEPT|except|:|,| |\\[|\\]|@|\\*|\\.|[0-9.]{1,9}|[a-z]{1,4}|\\\\\n|\n|#|\\PC", 0..12),
        ) {
            let text = words.concat();
            let mut loader = Loader::default();
            for (line, content) in logical_lines(&text) {
                match loader.rule(Path::new("x"), line, &content) {
                    Err(error) => prop_assert!(!error.to_string().contains('\n')),
                    Ok(rule) => {
                        let mut request = Request::new("imapd", [192, 0, 2, 1].into(), Some(([127, 0, 0, 1], 143).into()));
                        let name = Some(super::super::pattern::HostName::Known("a.example.org".into()));
                        let _ = rule.matches(&request);
                        request.client.name.clone_from(&name);
                        if let Some(server) = &mut request.server {
                            server.name = name;
                        }
                        prop_assert!(rule.matches(&request).is_ok());
                    }
                }
            }
        }
    }
}
