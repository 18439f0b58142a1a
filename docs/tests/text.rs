//! The documents' links lead somewhere, and nothing stands in the repository that belongs elsewhere.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests, and their helpers")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::repository;

/// Folders that are built or fetched, not written.
const FOREIGN: [&str; 5] = ["target", ".git", "corpus", "artifacts", "node_modules"];

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !FOREIGN.iter().any(|foreign| name == *foreign) {
            walk(&path, found);
        } else if kind.is_file() {
            found.push(path);
        }
    }
}

fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&repository(), &mut found);
    found
}

fn is(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension))
}

#[test]
fn links_lead_to_files() {
    let mut links = 0;
    for document in files().into_iter().filter(|path| is(path, &["md"])) {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with('#') || link.contains(char::is_whitespace) {
                continue;
            }
            let file = link.split('#').next().unwrap();
            let target = document.parent().unwrap().join(file);
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
            links += 1;
        }
    }
    assert!(links > 20, "only {links} links");
}

#[test]
fn the_documents_name_no_host_of_other_people() {
    for document in files().into_iter().filter(|path| is(path, &["md"]) || path.ends_with("Cargo.toml")) {
        let text = fs::read_to_string(&document).unwrap();
        for word in text.split(|letter: char| letter.is_whitespace() || "<>()[]\"'`,".contains(letter)) {
            let here = || format!("{}: {word}", document.display());
            if let Some((_, rest)) = word.split_once("://") {
                let host = rest.split(['/', ':', ';']).next().unwrap();
                let host = host.trim_end_matches('.');
                let known = ["docs.rs", "keepachangelog.com", "semver.org", "www.rfc-editor.org"].contains(&host);
                assert!(known || ours(host), "{}", here());
            } else if let Some((user, host)) = word.rsplit_once('@') {
                assert!(user.is_empty() || ours(host.trim_end_matches(['.', ':', ';'])), "{}", here());
            }
        }
    }
}

/// Hosts that belong to nobody (RFC 2606) or to this machine.
fn ours(host: &str) -> bool {
    let example = ["example.org", "example.com", "example.net", "localhost"];
    host.is_empty()
        || host.starts_with("127.0.0.1")
        || example.iter().any(|name| host == *name || host.ends_with(&format!(".{name}")))
}

#[test]
fn nothing_is_left_to_be_done() {
    // Written so that this file does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!(")];
    for path in files().into_iter().filter(|path| is(path, &["rs", "md", "toml", "py", "sh"])) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            for word in words {
                assert!(!line.contains(word), "{}:{}: {line}", path.display(), number + 1);
            }
        }
    }
}
