//! The example configuration, the units and the documents for operators: what they say is what the program knows.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::{CONFIG, PILLARBOXD, Place, has, pillarboxd, run_with_input, text};

/// A file of the package, or beside it.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    let path = file(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A certificate and its key, in PEM.
fn certificate() -> &'static (String, String) {
    static MADE: OnceLock<(String, String)> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
}

/// What the program makes of a configuration: the settings that would hold, or what is wrong. The files that it names in
/// `/etc/pillarbox` are there.
fn check(config: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate();
    let keys = "7".repeat(1024);
    for (name, content) in [
        ("cert.pem", cert),
        ("key.pem", key),
        ("other.pem", cert),
        ("other-key.pem", key),
        ("ca.pem", cert),
        ("ident.keys", &keys),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    let path = folder.path().join("x.toml");
    let etc = format!("{}/", folder.path().display());
    fs::write(&path, config.replace("/etc/pillarbox/", &etc)).unwrap();
    let output = pillarboxd().env("PILLARBOX_KEY", key).arg("-C").arg(&path).arg("--check-config").output().unwrap();
    match output.status.success() {
        true => Ok(text(&output.stdout).replace(&etc, "/etc/pillarbox/")),
        false => Err(text(&output.stderr)),
    }
}

const EXAMPLE: &str = "dist/pillarboxd.toml";

/// What a line of the example says without the sign that makes it a comment; none for prose.
fn default_line(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|line| !line.starts_with(['#', ' ']) && !line.is_empty())
}

fn example_line(line: &str) -> Option<&str> {
    line.strip_prefix("##")
}

#[test]
fn the_example_says_what_holds_without_it() {
    let example = read(EXAMPLE);
    let plain = check(&example).unwrap();
    let lines: Vec<_> = example.lines().map(|line| default_line(line).unwrap_or(line)).collect();
    assert!(lines.len() - example.lines().filter(|line| default_line(line).is_none()).count() > 50, "no defaults");
    let filled = check(&lines.join("\n")).unwrap();
    for (with, without) in filled.lines().zip(plain.lines()) {
        assert_eq!(with, without, "a default is another one than the example says");
    }
    assert_eq!(filled, plain);
}

#[test]
fn each_example_of_a_value_is_good() {
    let lines: Vec<String> = read(EXAMPLE).lines().map(str::to_owned).collect();
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let end = at + lines[at..].iter().take_while(|line| example_line(line).is_some()).count();
        if end > at {
            blocks.push(at..end);
        }
        at = end.max(at + 1);
    }
    assert!(blocks.len() > 30, "{blocks:?}");
    let with = |mut lines: Vec<String>, block: &std::ops::Range<usize>| {
        for line in &mut lines[block.clone()] {
            *line = example_line(line).unwrap().to_owned();
        }
        lines
    };
    // One by one, and all together as far as they do not exclude each other.
    let mut all = lines.clone();
    for block in &blocks {
        if let Err(error) = check(&with(lines.clone(), block).join("\n")) {
            panic!("{:?}: {error}", &lines[block.clone()]);
        }
        let more = with(all.clone(), block);
        match check(&more.join("\n")) {
            Ok(_) => all = more,
            Err(error) => assert!(error.contains("exclude each other"), "{:?}: {error}", &lines[block.clone()]),
        }
    }
    assert!(all.iter().filter(|line| example_line(line).is_some()).count() < 8, "{}", all.join("\n"));
}

/// A name that is like no key.
const NO_KEY: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";

/// The keys that the program knows in a table, as it says itself; none if that is no table. What stands for a name that
/// the operator chooses is `*`.
fn known_in(table: &str) -> Option<Vec<String>> {
    let path = table.replace('*', "x");
    let probes = match table {
        "" => vec![format!("{NO_KEY} = 1\n")],
        _ => vec![format!("[{path}]\n{NO_KEY} = 1\n"), format!("[[{path}]]\n{NO_KEY} = 1\n")],
    };
    probes.iter().find_map(|probe| {
        let error = check(probe).expect_err("nobody knows this key");
        let (_, known) = error.trim_end().split_once("; known here: ")?;
        Some(known.split(", ").map(str::to_owned).collect())
    })
}

fn collect_known(table: &str, into: &mut BTreeSet<String>) {
    for key in known_in(table).unwrap_or_else(|| panic!("{table} is no table")) {
        let path = if table.is_empty() { key } else { format!("{table}.{key}") };
        match path.as_str() {
            // Tables whose keys are names.
            "server.listener" | "certificate" => collect_known(&format!("{path}.*"), into),
            // Values that may be a text or a table.
            "certificate.*.cert" | "certificate.*.private-key" => drop(into.insert(path)),
            _ if known_in(&path).is_some() => collect_known(&path, into),
            _ => drop(into.insert(path)),
        }
    }
}

/// All keys of the example, whether they are set or in a comment.
fn keys_of_the_example() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut table = String::new();
    for line in read(EXAMPLE).lines() {
        let line = example_line(line).or(default_line(line)).unwrap_or(line);
        if let Some(header) = line.strip_prefix('[') {
            let mut parts: Vec<&str> = header.trim_matches(['[', ']']).split('.').collect();
            let named = match parts[..] {
                ["server", "listener", ..] => Some(2),
                ["certificate", ..] => Some(1),
                _ => None,
            };
            if let Some(at) = named {
                parts[at] = "*";
            }
            table = parts.join(".");
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let path = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
            if let Some(inner) = value.strip_prefix("[{ ") {
                for pair in inner.trim_end_matches(" }]").split(", ") {
                    keys.insert(format!("{path}.{}", pair.split_once(" = ").unwrap().0));
                }
            } else {
                keys.insert(path);
            }
        }
    }
    keys
}

#[test]
fn the_example_has_every_key_that_there_is_and_no_other() {
    let mut known = BTreeSet::new();
    collect_known("", &mut known);
    assert!(known.len() > 150, "{known:?}");
    let example = keys_of_the_example();
    let too_many: Vec<_> = example.difference(&known).collect();
    assert!(too_many.is_empty(), "nobody knows {too_many:?}");
    // What a listener may have as well as the server stands in one of the two places.
    let shown = |key: &str| {
        let of_server = key.strip_prefix("server.listener.*.").map(|key| format!("server.{key}"));
        let of_listener = key.strip_prefix("server.").map(|key| format!("server.listener.*.{key}"));
        example.contains(key) || of_server.into_iter().chain(of_listener).any(|key| example.contains(&key))
    };
    let missing: Vec<_> = known.iter().filter(|key| !shown(key)).collect();
    assert!(missing.is_empty(), "the example lacks {missing:?}");
}

/// Documents with blocks of TOML, each of which is a configuration that can be read.
const DOCUMENTS: [&str; 2] = ["../../docs/operating.md", "README.md"];

#[test]
fn each_configuration_in_the_documents_is_read() {
    let mut count = 0;
    for document in DOCUMENTS {
        let text = read(document);
        for (number, block) in text.split("```toml\n").skip(1).enumerate() {
            let block = block.split("\n```").next().unwrap();
            // The users' file is none.
            if block.contains("[user.") {
                continue;
            }
            // What is shown of a table alone is served by some listener.
            let listener = "\n[server.listener.any]\nbind = \"127.0.0.1\"\nprotocol = \"imap\"\n";
            let whole = format!("{block}{}", if block.contains("[server.listener.") { "" } else { listener });
            let shown = check(&whole).unwrap_or_else(|error| panic!("{document}, block {number}: {error}\n{block}"));
            assert!(shown.contains("[server]"));
            count += 1;
        }
    }
    assert!(count > 15, "only {count} configurations");
}

/// Keys in the tables of what other servers call them are ours.
#[test]
fn the_keys_that_others_are_compared_with_are_known() {
    let mut known = BTreeSet::new();
    collect_known("", &mut known);
    let whole = read("../../docs/operating.md");
    let (_, tables) = whole.split_once("\n## Settings of other servers\n").expect("the tables");
    let mut count = 0;
    for row in tables.lines().filter(|line| line.starts_with("| `")) {
        let ours = row.trim_matches('|').split(" | ").nth(1).expect("a column with ours");
        for word in ours.split('`').skip(1).step_by(2) {
            // Options, files and values are no keys.
            if word.starts_with(['-', '"', '/', '[']) || word.contains(['/', '<', '{', ' ', '=']) {
                continue;
            }
            let is_known =
                |key: &str| known.contains(key) || known.iter().any(|known| known.starts_with(&format!("{key}.")));
            let places = [word.to_owned(), format!("server.{word}"), format!("server.listener.*.{word}")];
            assert!(places.iter().any(|place| is_known(place)), "{word} is no key: {row}");
            count += 1;
        }
    }
    assert!(count > 60, "only {count} keys");
}

#[test]
fn the_units_are_good() {
    if !has("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for entry in fs::read_dir(file("dist")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "service" || end == "socket") {
            let unit = folder.path().join(path.file_name().unwrap());
            // Where this program is installed, nobody knows here.
            fs::write(&unit, fs::read_to_string(&path).unwrap().replace("/usr/bin/pillarboxd", PILLARBOXD)).unwrap();
            units.push(unit);
        }
    }
    assert!(units.len() >= 3, "{units:?}");
    let output = Command::new("systemd-analyze").arg("verify").args(&units).output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && !err.contains(".service:") && !err.contains(".socket:"), "{out}{err}");
}

#[test]
fn tls_modes_have_the_names_that_others_give_them() {
    for (mode, names) in [
        ("no", ["no", "false", "off", "0"].as_slice()),
        ("ondemand", &["ondemand", "stls"]),
        ("required", &["required"]),
        ("connection", &["connection", "yes", "true", "on", "1"]),
    ] {
        for name in names {
            let listener =
                "[server.listener.any]\nbind = \"127.0.0.1\"\nprotocol = \"pop3\"\ntls.certificate = \"self-signed\"";
            let shown = check(&format!("{listener}\ntls-mode = \"{name}\"\n")).unwrap();
            let (_, listener) = shown.split_once("[server.listener.any]").unwrap();
            assert!(listener.contains(&format!("\ntls-mode = \"{mode}\"\n")), "{name}: {listener}");
        }
    }
}

#[test]
fn id_tells_of_the_system_where_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pillarboxd();
    command.arg("--data").arg(folder.path()).args(["--test", "--set", "imap.id-fields=['os-version', 'os', 'vendor']"]);
    let output = run_with_input(&mut command, "1 ID NIL\r\n2 LOGOUT\r\n");
    let uname = |what: &str| text(&Command::new("uname").arg(what).output().unwrap().stdout).trim().to_owned();
    let wanted =
        format!("* ID (\"os-version\" \"{}\" \"os\" \"{}\" \"vendor\" \"Pillarbox\")", uname("-r"), uname("-s"));
    let said = text(&output.stdout);
    assert!(said.lines().any(|line| line == wanted), "no {wanted} in {said}{}", text(&output.stderr));
}

#[test]
fn tls_is_there_where_a_certificate_is_unless_that_is_said() {
    let certificate = "tls.certificate = \"self-signed\"";
    for (lines, mode) in [
        ("", "no"),
        (certificate, "ondemand"),
        (&format!("{certificate}\ntls.enable = false"), "no"),
        (&format!("{certificate}\ntls.enable = true"), "ondemand"),
        (&format!("{certificate}\ntls.implicit = true"), "connection"),
        (&format!("{certificate}\ntls.enable = false\ntls.implicit = true"), "no"),
    ] {
        let shown =
            check(&format!("[server.listener.any]\nbind = \"127.0.0.1\"\nprotocol = \"imap\"\n{lines}\n")).unwrap();
        let (_, listener) = shown.split_once("[server.listener.any]").unwrap();
        assert!(listener.contains(&format!("\ntls-mode = \"{mode}\"\n")), "{lines}: {listener}");
    }
    let error =
        check("[server.listener.any]\nbind = \"127.0.0.1\"\nprotocol = \"imap\"\ntls.enable = true\n").unwrap_err();
    assert!(error.contains("server.listener.any: no certificate set"), "{error}");
}

#[test]
fn d_without_a_number_is_that_of_the_program_it_is_called_by() {
    let folder = tempfile::tempdir().unwrap();
    for (name, most) in [("imap4d", 20), ("pop3d", 10), ("pillarboxd", 20)] {
        let program = folder.path().join(name);
        std::os::unix::fs::symlink(PILLARBOXD, &program).unwrap();
        let output = Command::new(&program).args(["-d", "--check-config"]).output().unwrap();
        let shown = text(&output.stdout);
        assert!(shown.contains(&format!("\nmax-children = {most}\n")), "{name}: {shown}{}", text(&output.stderr));
    }
}

#[test]
fn lines_of_the_log_have_what_is_asked_for() {
    for (lines, line_info, severity, session) in [
        ("", false, true, true),
        ("[logging]\nprint-severity = false\nsession-id = false\n[debug]\nline-info = true\n", true, false, false),
    ] {
        let place = Place::with_config(&format!("{CONFIG}{lines}"));
        let server = place.start();
        let mut imap = server.imap();
        imap.command("ID (\"name\" \"a client\" \"version\" NIL)").unwrap().ok();
        drop(imap);
        let log = place.path().join("log");
        server.signal("TERM");
        server.wait();
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains("a client"), "what the client says that it is: {log}");
        let line = log.lines().find(|line| line.contains("logged in")).unwrap_or_else(|| panic!("{log}"));
        assert_eq!(line.contains(".rs:"), line_info, "{line}");
        let has_severity = line.split(' ').any(|word| word.trim_matches(['[', ']', ':']).eq_ignore_ascii_case("info"));
        assert_eq!(has_severity, severity, "{line}");
        let name = |word: &str| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert_eq!(line.split(' ').any(name), session, "{line}");
    }
}
