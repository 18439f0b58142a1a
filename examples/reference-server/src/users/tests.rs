use std::os::unix::fs::PermissionsExt;

use super::*;

fn user() -> Arc<User> {
    // One hash for all tests: it is slow to make.
    static USER: std::sync::LazyLock<Arc<User>> =
        std::sync::LazyLock::new(|| Arc::new(User::new("h".to_owned(), &Secret::new(*b"pass")).unwrap()));
    Arc::clone(&USER)
}

#[test]
fn changes_are_seen_by_others_who_have_the_file_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let (writer, reader) = (Users::open(path.clone()).unwrap(), Users::open(path.clone()).unwrap());
    assert!(reader.get("a@example.org").is_none());
    writer.change(|table| Ok(table.insert("a@example.org".to_owned(), user()))).unwrap();
    let found = reader.get("a@example.org").unwrap();
    assert!(found.secret.verify(&Secret::new(*b"pass")));
    assert_eq!(found.home, "h");
    assert!(found.scram_keys(ScramHash::Sha1).is_some() && found.scram_keys(ScramHash::Sha256).is_some());
    assert_eq!(found.pop3, Pop3Settings::default());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    writer.change(|table| Ok(table.remove("a@example.org"))).unwrap();
    assert!(reader.get("a@example.org").is_none());
}

#[test]
fn a_failed_change_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let users = Users::open(folder.path().join("users.toml")).unwrap();
    users.change(|table| Ok(table.insert("a".to_owned(), user()))).unwrap();
    let failed = users.change(|table| {
        table.clear();
        Err::<(), _>(Failure::new(Status::NoUser, "no"))
    });
    assert!(failed.is_err());
    assert!(users.get("a").is_some());
}

#[test]
fn a_file_that_breaks_while_the_server_runs_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let users = Users::open(path.clone()).unwrap();
    users.change(|table| Ok(table.insert("a".to_owned(), user()))).unwrap();
    assert!(users.get("a").is_some());
    fs::write(&path, "[user.a]\nhome = 1\n").unwrap();
    assert!(users.get("a").is_some());
}

#[test]
fn faults_name_file_and_line_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.toml");
    let secret = user().secret.expose().to_owned();
    for (text, fault) in [
        ("[user.a]\nhome = \"a\"\n".to_owned(), ":1: missing field `secret`"),
        ("\n[user.a]\nhom = \"a\"\n".to_owned(), ":3: unknown field `hom`"),
        (format!("[user.a]\nhome = \"../a\"\nsecret = \"{secret}\"\n"), ":2: user.a: home is not the name of a folder"),
        (format!("[user.a]\nhome = \"..\"\nsecret = \"{secret}\"\n"), ":2: user.a: home is not"),
        ("[user.\"a b\"]\nhome = \"a\"\nsecret = \"HIDDEN\"\n".to_owned(), ":3: user.\"a b\": secret is no hash"),
        (
            format!("[user.a]\nhome = \"a\"\nsecret = \"{secret}\"\nscram-sha-1 = \"HIDDEN\"\n"),
            ":4: user.a: SCRAM keys are not",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let failure = Users::open(path.clone()).unwrap_err();
        let shown = failure.to_string();
        assert!(shown.contains(path.to_str().unwrap()) && shown.contains(fault), "{shown}");
        assert!(!shown.contains("HIDDEN") && !shown.contains(&secret), "{shown}");
        assert_eq!(failure.status, Status::Config);
    }
}

#[test]
fn folder_names_are_safe() {
    for (name, home) in [
        ("demo", "demo"),
        ("a.b@example.org", "a.b@example.org"),
        ("../etc", "%2E.%2Fetc"),
        ("..", "%2E."),
        (".", "%2E"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("j\u{fc}rgen", "j%C3%BCrgen"),
    ] {
        assert_eq!(names(name).unwrap(), (name.to_owned(), home.to_owned()));
        assert!(is_home(home));
    }
    for name in ["", "a\nb", "a\0b"] {
        assert_eq!(names(name).unwrap_err().status, Status::Usage);
    }
    assert!(names(&"a".repeat(121)).is_err());
}
