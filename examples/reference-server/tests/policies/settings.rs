//! The TLS modes of a POP3 listener, and values that are wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::support::pop3::Pop3;
use crate::support::{Place, text};
use crate::{config, place};

#[test]
fn four_tls_modes() {
    let mut config = "data = \"data\"\n[server.tls]\ncertificate = \"self-signed\"\n".to_owned();
    for mode in ["no", "ondemand", "required", "connection"] {
        config +=
            &format!("[server.listener.{mode}]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\ntls-mode = \"{mode}\"\n");
    }
    let place = Place::with_config(&config);
    let server = place.start();
    let told = |mode: &str| {
        let mut client = Pop3::connect(server.address(mode));
        let lines = client.capabilities();
        let has = |name: &str| lines.iter().any(|line| line == name);
        let told = (has("STLS"), has("XTLSREQUIRED"), has("USER"));
        (told, client.command("USER alice"), Pop3::connect(server.address(mode)).command("STLS"))
    };
    let (lines, user, stls) = told("no");
    assert_eq!(lines, (false, false, true));
    assert!(user.starts_with("+OK") && stls.starts_with("-ERR"), "{user} {stls}");
    let (lines, user, stls) = told("ondemand");
    assert_eq!(lines, (true, false, true));
    assert!(user.starts_with("+OK") && stls.starts_with("+OK"), "{user} {stls}");
    let (lines, user, stls) = told("required");
    assert_eq!(lines, (true, true, false));
    assert!(user.starts_with("-ERR") && stls.starts_with("+OK"), "{user} {stls}");
    // A client that does not begin with TLS is told nothing.
    assert!(Pop3::try_connect(server.address("connection"), Duration::from_millis(300)).is_none());
}

#[test]
fn each_wrong_value_is_named_in_one_line() {
    let place = place("");
    let file = place.path().join("pillarboxd.toml");
    for (line, part) in [
        ("login-delay = -1", "pop3.login-delay"),
        ("login-delay = \"soon\"", "pop3.login-delay"),
        ("login-delay = \"1500ms\"", "pop3.login-delay"),
        ("stat-file = \"\"", "pop3.stat-file"),
        ("stat-file = 7", "pop3.stat-file"),
        ("expire = -1", "pop3.expire"),
        ("expire = \"never\"", "pop3.expire"),
        ("expire = 99999999999", "pop3.expire"),
        ("delete-expired = \"yes\"", "pop3.delete-expired"),
        ("expire-stamp = \"haeder\"", "did you mean \"header\"?"),
        ("bulletin-source = \"mbox:/srv/news\"", "pop3.bulletin-source: mbox: mailboxes are not supported yet"),
        ("bulletin-source = \"mh:/srv/news\"", "pop3.bulletin-source: mh: mailboxes are not supported yet"),
        ("bulletin-source = \"imap://x\"", "pop3.bulletin-source: unknown kind"),
        ("bulletin-source = \"\"", "pop3.bulletin-source"),
        ("bulletin-db = 3", "pop3.bulletin-db"),
        ("undelete = 1", "pop3.undelete"),
        ("internationalized = \"refused\"", "did you mean \"refuse\"?"),
        ("language = \"xx\"", "pop3.language"),
        ("login-dely = 1", "did you mean \"login-delay\"?"),
    ] {
        fs::write(&file, config(line)).unwrap();
        let output = place.command().output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains(part) && error.contains("pillarboxd.toml:"), "{line}: {error}");
    }
    fs::write(&file, config("login-delay = 60")).unwrap();
    let users = place.data().join("users.toml");
    let good = fs::read_to_string(&users).unwrap();
    for line in ["login-delay = \"x\"", "expire = \"later\"", "expire = -1", "delete-expired = 1"] {
        fs::write(&users, format!("{good}\n[user.alice.pop3]\n{line}\n")).unwrap();
        let output = place.command().output().unwrap();
        let error = text(&output.stderr);
        assert_eq!((output.status.code(), error.lines().count()), (Some(78), 1), "{line}: {error}");
        assert!(error.contains("users.toml:"), "{error}");
    }
    fs::write(&users, good).unwrap();
    let secrets = place.data().join("apop.toml");
    fs::write(&secrets, "[secret]\nalice = \"x\"\n").unwrap();
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o644)).unwrap();
    let output = place.command().output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("apop.toml: others may read or write it"));
}
