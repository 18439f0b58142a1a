//! Secrets for APOP and CRAM-MD5.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::pop3::Pop3;
use crate::support::{PASSWORD, USER, run_with_input, text};
use crate::{login_soon, place, user};

#[test]
fn apop_and_cram_md5_need_a_secret_of_their_own() {
    let place = place("");
    let server = place.start();
    let client = Pop3::connect(server.address("pop3"));
    assert!(!client.greeting.contains('<'), "{}", client.greeting);
    let sasl = |client: &mut Pop3| client.capabilities().into_iter().find(|line| line.starts_with("SASL")).unwrap();
    let mut client = client;
    assert!(!sasl(&mut client).contains("CRAM-MD5"));
    assert!(client.command("APOP alice 00000000000000000000000000000000").starts_with("-ERR"));

    user(&place, &["passwd", USER, "--apop"], "tanstaaf\n");
    let file = place.data().join("apop.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(place.data().join("users.toml")).unwrap().contains("tanstaaf"));
    // A running server notices.
    let mut client = Pop3::connect(server.address("pop3"));
    assert!(sasl(&mut client).contains("CRAM-MD5"));
    let stamp = client.greeting[client.greeting.find('<').unwrap()..].trim().to_owned();
    let digest = |stamp: &str, secret: &str| md5(format!("{stamp}{secret}").as_bytes());
    let reply = client.command(&format!("APOP {USER} {}", digest(&stamp, PASSWORD)));
    assert!(reply.starts_with("-ERR [AUTH]"), "{reply}");
    let reply = client.command(&format!("APOP {USER} {}", digest(&stamp, "tanstaaf")));
    assert!(reply.starts_with("+OK"), "{reply}");
    client.quit();
    for (secret, good) in [(PASSWORD, false), ("tanstaaf", true)] {
        let mut client = Pop3::connect(server.address("pop3"));
        let challenge = client.command("AUTH CRAM-MD5");
        let challenge = STANDARD.decode(challenge.strip_prefix("+ ").expect("a challenge")).unwrap();
        let response = format!("{USER} {}", hmac_md5(secret.as_bytes(), &challenge));
        let reply = client.command(&STANDARD.encode(response));
        assert_eq!(reply.starts_with("+OK"), good, "{reply}");
        client.quit();
    }
    // The password is what it was.
    login_soon(&server).quit();
    assert!(!server.log().contains("tanstaaf"));
    user(&place, &["passwd", USER, "--apop", "--remove"], "");
    assert!(!Pop3::connect(server.address("pop3")).greeting.contains('<'));
    let output = run_with_input(place.command().args(["user", "passwd", USER, "--apop", "--remove"]), "");
    assert_eq!(output.status.code(), Some(67));
}

fn hmac_md5(key: &[u8], octets: &[u8]) -> String {
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect() };
    let inner = md5(&[&pad(0x36)[..], octets].concat());
    let inner: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&inner[2 * at..2 * at + 2], 16).unwrap()).collect();
    md5(&[&pad(0x5c)[..], &inner].concat())
}

fn md5(octets: &[u8]) -> String {
    let mut child = std::process::Command::new("md5sum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("md5sum, of the system's coreutils");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), octets).unwrap();
    text(&child.wait_with_output().unwrap().stdout)[..32].to_owned()
}
