//! What the table of coverage names is there: each test exists, and nothing keeps it from running.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests, and their helpers")]

mod support;

use std::path::Path;

use support::{quoted, read, repository};

/// The last cells of all tables, and the line of each.
fn shown_by(document: &str) -> Vec<(usize, String)> {
    let rows = document.lines().enumerate().filter(|(_, line)| line.starts_with('|') && !line.starts_with("|--"));
    let cells = rows.map(|(number, line)| (number + 1, line.trim_matches('|').rsplit('|').next().unwrap().to_owned()));
    cells.filter(|(_, cell)| cell.trim() != "Shown by").collect()
}

/// Why a named test shows nothing; none if it does.
fn fault(name: &str) -> Option<String> {
    let (path, test) = name.split_once("::").map_or((name, None), |(path, test)| (path, Some(test)));
    if !repository().join(path).is_file() {
        return Some(format!("{path} is not there"));
    }
    let Some(test) = test else {
        let replayed =
            Path::new(path).extension().is_some_and(|end| end == "txt") && path.contains("/tests/transcripts/");
        let all = || read(path).contains("#[test]") || read(path).contains("#[tokio::test");
        return (!replayed && !all()).then(|| format!("{path} has no tests"));
    };
    let text = read(path);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = |line: &&str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ").is_some_and(|line| line.starts_with(&format!("{test}(")))
    };
    let Some(at) = lines.iter().position(head) else { return Some(format!("{path} has no {test}")) };
    let attributes: Vec<&str> = lines[..at].iter().rev().take_while(|line| line.starts_with("#[")).copied().collect();
    let is_test = attributes.iter().any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"));
    if !is_test {
        return Some(format!("{test} in {path} is no test"));
    }
    attributes.iter().any(|line| line.contains("ignore")).then(|| format!("{test} in {path} is ignored"))
}

#[test]
fn each_test_that_is_named_exists_and_runs() {
    let document = read("docs/coverage.md");
    let cells = shown_by(&document);
    assert!(cells.len() >= 30, "only {} rows", cells.len());
    let mut faults = Vec::new();
    for (line, cell) in cells {
        let names = quoted(&cell);
        if names.is_empty() {
            faults.push(format!("line {line}: no test is named"));
        }
        faults.extend(names.iter().filter_map(|name| fault(name)).map(|fault| format!("line {line}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_test_that_is_not_there_is_noticed() {
    assert!(fault("docs/tests/coverage.rs::a_test_that_is_not_there_is_noticed").is_none());
    assert!(fault("docs/tests/coverage.rs::nothing").unwrap().contains("has no nothing"));
    assert!(fault("docs/tests/coverage.rs::shown_by").unwrap().contains("is no test"));
    assert!(fault("docs/tests/nowhere.rs").unwrap().contains("is not there"));
    assert!(fault("docs/coverage.md").unwrap().contains("has no tests"));
}
