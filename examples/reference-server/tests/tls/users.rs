//! Clients' certificates: who is let in, and as whom.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::authority::{Authority, Made};
use super::support::{PASSWORD, PATIENCE, Place, Server, USER, has, run_with_input};
use super::{World, listener, refused, told};

const MAIL: &str = "ada@example.org";

struct Users {
    world: World,
    authority: Authority,
    server: Server,
}

impl Users {
    /// Listeners of both protocols that want a certificate, and that like one, at once and on demand.
    fn new() -> Self {
        let mut listeners = "ssl-ca-file = \"users.pem\"\n".to_owned();
        for (wish, mode) in [("required", "connection"), ("optional", "connection"), ("required", "ondemand")] {
            for protocol in ["imap", "pop3"] {
                let settings = format!("tls-mode = \"{mode}\"\ntls.client-certificate = \"{wish}\"");
                listeners += &listener(&format!("{protocol}-{wish}-{mode}"), protocol, &settings);
            }
        }
        listeners += &listener("imap-plain", "imap", "tls-mode = \"no\"");
        let world = World::new(&listeners);
        told(&run_with_input(world.place.command().args(["user", "add", MAIL]), "x\n"));
        let authority = Authority::new(world.path(), "users");
        let mut command = world.place.command();
        command.env("PILLARBOX_LOG", "pillarbox_server_core=debug,info");
        let server = Server::start(&mut command, world.path());
        Self { world, authority, server }
    }

    fn talk(&self, listener: &str, shown: Option<&Made>, more: &str, steps: &str) -> String {
        let shown = shown
            .map(|made| format!(", \"certificate\": {:?}, \"key\": {:?}", made.certificate, made.key))
            .unwrap_or_default();
        self.world.talk(&self.server, listener, &format!("{shown}{more}"), steps)
    }

    /// Certificates that are good for nobody, and the word for the alert that they bring.
    fn bad(&self) -> Vec<(Made, &'static str)> {
        let stranger = Authority::new(self.world.path(), "strangers");
        vec![
            (stranger.user("strange", USER, None, |_| {}), "TLSV1_ALERT_UNKNOWN_CA"),
            (
                self.authority
                    .user("expired", USER, None, |wanted| wanted.not_after = rcgen::date_time_ymd(2020, 1, 1)),
                "CERTIFICATE_EXPIRED",
            ),
            (
                self.authority.user("early", USER, None, |wanted| wanted.not_before = rcgen::date_time_ymd(2099, 1, 1)),
                "CERTIFICATE_EXPIRED",
            ),
            (
                self.authority.user("server", USER, None, |wanted| {
                    wanted.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
                }),
                "CERTIFICATE",
            ),
        ]
    }
}

#[test]
fn who_has_no_good_certificate_has_no_session() {
    if !has("python3") {
        return;
    }
    let users = Users::new();
    let bad = users.bad();
    for protocol in ["imap", "pop3"] {
        for (listener, begin) in [("required-connection", "tls\n"), ("required-ondemand", "")] {
            let (upgrade, ask) = match protocol {
                "imap" => ("< * OK\n> a STARTTLS\n< a OK\ntls\n", "> b CAPABILITY\n< b OK\n"),
                _ => ("< +OK\n> STLS\n< +OK\ntls\n", "> CAPA\n.\n"),
            };
            let steps = format!("{}{ask}", if begin.is_empty() { upgrade } else { begin });
            for version in ["TLSv1_2", "TLSv1_3"] {
                let version = format!(", \"version\": \"{version}\"");
                let listener = format!("{protocol}-{listener}");
                for (made, alert) in &bad {
                    let transcript = users.talk(&listener, Some(made), &version, &steps);
                    let last = transcript.lines().last().unwrap();
                    assert!(last.starts_with("refused ") && last.contains(alert), "{alert}: {transcript}");
                    assert!(!transcript.contains("b OK") && !transcript.contains("\n.\n"));
                }
                let none = users.talk(&listener, None, &version, &steps);
                assert!(none.contains("CERTIFICATE_REQUIRED") || none.contains("HANDSHAKE_FAILURE"), "{none}");
            }
        }
        // One that is not good is no better than none, also where none would do.
        for (made, alert) in &bad {
            let transcript = users.talk(&format!("{protocol}-optional-connection"), Some(made), "", "tls\n< \nend\n");
            assert!(transcript.lines().last().unwrap().contains(alert), "{transcript}");
        }
    }
    let log = users.server.log();
    for why in
        ["has expired", "is not valid yet", "is from no authority that is trusted here", "is not made for clients"]
    {
        assert!(log.contains(&format!("the client's certificate {why}")), "{why}: {log}");
    }
    assert!(log.contains("the client showed no certificate"), "{log}");
}

#[test]
fn a_good_certificate_logs_its_user_in() {
    if !has("python3") {
        return;
    }
    let users = Users::new();
    let by_name = users.authority.user("by-name", USER, None, |_| {});
    let by_mail = users.authority.user("by-mail", "Somebody", Some(MAIL), |_| {});
    // The address is what counts where there is one.
    let unknown_mail = users.authority.user("unknown", USER, Some("nobody@example.org"), |_| {});
    for listener in ["required-connection", "optional-connection", "required-ondemand"] {
        let imap = |shown: &Made, answer: &str| {
            let begin =
                if listener.ends_with("ondemand") { "< * OK\n> a STARTTLS\n< a OK\ntls\n" } else { "tls\n< * OK\n" };
            let steps = format!(
                "{begin}> b CAPABILITY\n< b OK\n> c AUTHENTICATE EXTERNAL {answer}\n< c \n> d SELECT INBOX\n< d \n> e LOGOUT\nend\n"
            );
            users.talk(&format!("imap-{listener}"), Some(shown), "", &steps)
        };
        // An empty answer is written "="; the other is the user's own name in Base64.
        for (shown, answer) in [(&by_name, "="), (&by_name, "YWxpY2U="), (&by_mail, "=")] {
            let transcript = imap(shown, answer);
            assert!(transcript.contains(" AUTH=EXTERNAL "), "{transcript}");
            assert!(transcript.contains("\nc OK ") && transcript.contains("\nd OK "), "{transcript}");
        }
        for (shown, answer, refusal) in [
            (&unknown_mail, "=", "c NO [AUTHENTICATIONFAILED] "),
            (&by_mail, "YWxpY2U=", "c NO [AUTHORIZATIONFAILED] "),
        ] {
            let transcript = imap(shown, answer);
            assert!(transcript.contains(&format!("\n{refusal}")) && !transcript.contains("\nd OK "), "{transcript}");
        }
        let begin = if listener.ends_with("ondemand") { "< +OK\n> STLS\n< +OK\ntls\n" } else { "tls\n< +OK\n" };
        let steps = format!("{begin}> CAPA\n.\n> AUTH EXTERNAL =\n< \n> STAT\n< \n> QUIT\nend\n");
        let transcript = users.talk(&format!("pop3-{listener}"), Some(&by_name), "", &steps);
        assert!(transcript.contains(" EXTERNAL ") && transcript.contains("\n+OK Maildrop has 0 "), "{transcript}");
        assert!(transcript.contains("\n+OK 0 0\n"), "{transcript}");
        let transcript = users.talk(&format!("pop3-{listener}"), Some(&unknown_mail), "", &steps);
        assert!(transcript.contains("\n-ERR [AUTH] ") && !transcript.contains("\n+OK 0 0\n"), "{transcript}");
    }
    // The response may come in a line of its own, and a certificate forbids no password.
    let steps = "tls\n< * OK\n> c AUTHENTICATE EXTERNAL\n< +\n> \n< c OK\n> d LOGOUT\nend\n";
    users.talk("imap-required-connection", Some(&by_name), "", steps);
    let steps = format!("tls\n< * OK\n> c LOGIN {USER} \"{PASSWORD}\"\n< c OK\n");
    assert!(users.talk("imap-required-connection", Some(&by_mail), "", &steps).contains("\nc OK "));
}

#[test]
fn without_a_certificate_there_is_no_external() {
    if !has("python3") {
        return;
    }
    let users = Users::new();
    let steps = "> b CAPABILITY\n< b OK\n> c AUTHENTICATE EXTERNAL =\n< c\n";
    for (listener, begin) in [("imap-optional-connection", "tls\n< * OK\n"), ("imap-plain", "< * OK\n")] {
        let transcript = users.talk(listener, None, "", &format!("{begin}{steps}"));
        assert!(!transcript.contains("EXTERNAL"), "{transcript}");
        assert!(transcript.lines().last().unwrap().starts_with("c NO "), "{transcript}");
    }
    let steps = "tls\n< +OK\n> CAPA\n.\n> AUTH EXTERNAL =\n< \n";
    let transcript = users.talk("pop3-optional-connection", None, "", steps);
    assert!(
        !transcript.contains("EXTERNAL") && transcript.lines().last().unwrap().starts_with("-ERR "),
        "{transcript}"
    );
}

#[test]
fn openssl_shows_a_certificate() {
    if !has("openssl") {
        return;
    }
    let users = Users::new();
    let good = users.authority.user("good", USER, None, |_| {});
    let mut bad = users.bad().into_iter().map(|(made, _)| Some(made)).collect::<Vec<_>>();
    bad.push(None);
    let run = |listener: &str, shown: Option<&Made>| {
        let files = shown.map(|made| [made.certificate.to_str().unwrap(), made.key.to_str().unwrap()]);
        let mut options = files.map(|[cert, key]| vec!["-cert", cert, "-key", key]).unwrap_or_default();
        if listener.ends_with("ondemand") {
            options.extend(["-starttls", "imap"]);
        }
        users.world.openssl(&users.server, listener, &options, "a AUTHENTICATE EXTERNAL =\nb LOGOUT\n")
    };
    for listener in ["imap-required-connection", "imap-required-ondemand"] {
        let (sent, own) = run(listener, Some(&good));
        assert!(sent.contains("a OK ") && sent.contains("\nb OK "), "{sent} {own}");
        for shown in &bad {
            let (sent, own) = run(listener, shown.as_ref());
            assert!(!sent.contains("a OK ") && own.contains("alert"), "{sent} {own}");
        }
    }
}

/// The header of the PROXY protocol's second version, with what a proxy says of its client's TLS: a certificate of this
/// name, which it has verified with this outcome.
fn header(verified: u32, name: &str) -> Vec<u8> {
    let field = |kind: u8, value: &[u8]| {
        let mut field = vec![kind];
        field.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        field.extend(value);
        field
    };
    let mut tls = vec![0x01 | 0x02];
    tls.extend(verified.to_be_bytes());
    tls.extend(field(0x21, b"TLSv1.3"));
    tls.extend(field(0x22, name.as_bytes()));
    let mut body = vec![192, 0, 2, 7, 127, 0, 0, 1, 0x30, 0x39, 0, 143];
    body.extend(field(0x20, &tls));
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    header.extend(body);
    header
}

#[test]
fn a_trusted_proxy_tells_the_name() {
    let trusted = "tls-mode = \"no\"\nproxy.trusted-networks = [\"127.0.0.0/8\"]";
    let world = World::new(&format!(
        "{}{}{}",
        listener("imap", "imap", trusted),
        listener("pop3", "pop3", trusted),
        listener("direct", "imap", "tls-mode = \"no\"")
    ));
    let server = world.start();
    let talk = |listener: &str, begin: &[u8], commands: &str| {
        let mut stream = TcpStream::connect(server.address(listener)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[begin, commands.as_bytes()].concat()).unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        String::from_utf8(heard).unwrap()
    };
    let imap = "a CAPABILITY\r\nb AUTHENTICATE EXTERNAL =\r\nc LOGOUT\r\n";
    let heard = talk("imap", &header(0, USER), imap);
    assert!(heard.contains(" AUTH=EXTERNAL ") && heard.contains("\r\nb OK "), "{heard}");
    let heard = talk("imap", &header(0, "mallory"), imap);
    assert!(heard.contains(" AUTH=EXTERNAL ") && heard.contains("\r\nb NO [AUTHENTICATIONFAILED] "), "{heard}");
    // One that the proxy has not verified tells nothing.
    let heard = talk("imap", &header(1, USER), imap);
    assert!(!heard.contains("EXTERNAL") && heard.contains("\r\nb NO ") && heard.contains("\r\nc OK"), "{heard}");
    let heard = talk("pop3", &header(0, USER), "AUTH EXTERNAL =\r\nSTAT\r\nQUIT\r\n");
    assert!(heard.contains("\r\n+OK Maildrop ") && heard.contains("\r\n+OK 0 0\r\n"), "{heard}");
    // Nobody else is believed.
    let heard = talk("direct", &header(0, USER), imap);
    assert!(!heard.contains("EXTERNAL") && !heard.contains("b OK"), "{heard}");
}

#[test]
fn a_wish_without_authorities_is_refused() {
    for (settings, line) in [
        (
            "tls.client-certificate = \"required\"",
            "7: server.listener.imaps.tls.client-certificate: is of no use without ssl-ca-file, the authorities that sign \
             them",
        ),
        (
            "tls.ssl-ca-file = \"users.pem\"\ntls.client-certificate = \"always\"",
            "8: server.listener.imaps.tls.client-certificate: unknown value \"always\"; known: optional, required",
        ),
    ] {
        let config = listener("imaps", "imap", &format!("tls-mode = \"connection\"\n{settings}"));
        let place = Place::empty(&format!("data = \"data\"\nserver.tls.certificate = \"self-signed\"\n{config}"));
        let file = place.path().join("pillarboxd.toml");
        refused(&place.command().output().unwrap(), &format!("{}:{line}", file.display()));
    }
}
