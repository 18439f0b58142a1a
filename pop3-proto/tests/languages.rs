//! Whatever a session says comes from the table of texts: it speaks a language in which every text is marked.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "what the test programs share is public among them")]

mod support;

use std::path::Path;
use std::sync::Arc;

use pillarbox_pop3_proto::{Config, Language};
use pillarbox_proto_core::connection::TlsMode;
use pillarbox_proto_core::memory::MemoryBackend;
use support::Client;

/// Every text begins with this.
const MARK: &str = "\u{a7} ";

fn marked() -> Language {
    let english = Language::english().to_string();
    let data: String = english
        .lines()
        .map(|line| match line.split_once(": ") {
            Some(("tag", _)) => "tag: en-x-marked\n".to_owned(),
            Some(("name", name)) => format!("name: {name}\n"),
            Some((key, text)) => format!("{key}: {MARK}{text}\n"),
            None => panic!("{line}"),
        })
        .collect();
    Language::parse(&data).unwrap()
}

/// The text of a response, without its code; `None` for data.
fn text(line: &str) -> Option<&str> {
    let text = line.strip_prefix("+OK").or_else(|| line.strip_prefix("-ERR"))?.trim_start();
    let text = if text.starts_with('[') { text.split_once("] ").map_or("", |(_, text)| text) } else { text };
    let is_data = text.is_empty() || text.starts_with(|char: char| char.is_ascii_digit());
    (!is_data).then_some(text)
}

/// The commands of all dialogues, in a session that speaks the marked language from its second line on.
#[test]
fn nothing_is_said_that_is_not_in_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut said = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let dialogue = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for tls_mode in [TlsMode::No, TlsMode::OnDemand, TlsMode::Required] {
            let store = MemoryBackend::builder()
                .user("tim", "tanstaaf")
                .shared_secret("tim", "tanstaaf")
                .token("tim", "t0ken")
                .anonymous("tim")
                .build()
                .unwrap();
            store.deliver("tim", "INBOX", "Subject: x\r\n\r\nx\r\n").unwrap();
            let mut config = Config::default();
            config.allow_plaintext = true;
            config.tls_mode = tls_mode;
            config.languages = vec![marked()];
            config.limits.bad_commands = u32::MAX;
            config.limits.failed_logins = u32::MAX;
            let mut client = Client::connect(Arc::new(store), config);
            client.say("LANG en\r\nLANG *\r\n");
            for command in dialogue.lines().filter_map(|line| line.strip_prefix("C: ")) {
                // LANG tells the tag first; the others leave the language.
                if command.to_ascii_uppercase().starts_with("LANG") || client.asked.is_some() {
                    continue;
                }
                let heard = client.say(&format!("{command}\r\n"));
                for text in heard.lines().filter_map(text) {
                    assert!(text.starts_with(MARK), "{command:?} is answered {text:?}");
                    said += 1;
                }
            }
        }
    }
    assert!(said > 500, "{said} texts were looked at");
}

#[test]
fn the_first_language_is_the_administrators() {
    let mut config = Config::default();
    config.languages = vec![marked(), Language::german()];
    let store = MemoryBackend::builder().build().unwrap();
    let mut client = Client::connect(Arc::new(store), config);
    client.settle();
    client.heard();
    assert_eq!(client.say("LANG\r\n"), "+OK Language listing follows\r\nen-x-marked English\r\nde Deutsch\r\n.\r\n");
    assert_eq!(client.say("LANG *\r\n"), "+OK en-x-marked \u{a7} Language changed\r\n");
    assert_eq!(
        client.say("LANG en-x\r\n"),
        "-ERR \u{a7} Language en-x is not known here; LANG lists those that are\r\n"
    );
    assert_eq!(client.say("LANG de-x-marked\r\n"), "+OK de Sprache gewechselt\r\n");
}
