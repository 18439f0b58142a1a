//! The exchange as protocols drive it.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use futures::executor::block_on;
use proptest::prelude::*;

use super::*;
use crate::backend::{Authenticator, Error, Questions, Result, ScramHash, ScramKeys};
use crate::connection::{Connection, SessionId, TlsInfo};
use crate::env::FixedEnv;

struct Users;

#[async_trait]
impl Authenticator for Users {
    fn questions(&self) -> Questions {
        Questions {
            scram_sha256: true,
            scram_sha1: true,
            certificate: true,
            shared_secret: true,
            ..Questions::default()
        }
    }

    async fn check_password(&self, _: &Connection, user: &str, password: &Secret) -> Result<Identity> {
        match (user, password.expose_str()) {
            ("tim", Some("tanstaaf\u{e9}")) => Ok(Identity::new("Tim")),
            ("down", _) => Err(Error::Unavailable(None)),
            _ => Err(Error::AuthenticationFailed),
        }
    }

    async fn authorize(&self, _: &Connection, who: &Identity, act_as: &str) -> Result<Identity> {
        if act_as == "Ursel" { Ok(who.clone().acting_as(act_as)) } else { Err(Error::AuthorizationFailed) }
    }

    async fn check_certificate(&self, _: &Connection) -> Result<Identity> {
        Ok(Identity::new("fred@example.com"))
    }

    async fn shared_secret(&self, _: &Connection, user: &str) -> Result<Option<Secret>> {
        match user {
            "mrose" => Ok(Some(Secret::new("tanstaaf"))),
            "down" => Err(Error::Unavailable(None)),
            _ => Ok(None),
        }
    }

    async fn scram_keys(&self, _: &Connection, user: &str, hash: ScramHash) -> Result<Option<ScramKeys>> {
        Ok((user == "tim").then(|| derive_scram_keys(&Secret::new("x"), b"salt", 2, hash)))
    }
}

fn connection() -> Connection {
    let mut connection = Connection::new(SessionId::new(3));
    connection.tls = Some(Arc::new(TlsInfo { client_certificates: vec![vec![1].into()], ..TlsInfo::default() }));
    connection
}

fn exchange(mechanism: Mechanism) -> Exchange {
    let connection = connection();
    let offer = offered(&Users.questions(), &connection, false);
    let env = Arc::new(FixedEnv { now: SystemTime::UNIX_EPOCH, byte: 1 });
    Exchange::new(mechanism, &offer, Arc::new(connection), env)
}

fn run(mechanism: Mechanism, messages: &[Option<&[u8]>]) -> Result<Vec<Step>, SaslError> {
    let mut exchange = exchange(mechanism);
    messages.iter().map(|message| block_on(exchange.step(&Users, *message))).collect()
}

fn done(steps: Result<Vec<Step>, SaslError>) -> Identity {
    match steps.unwrap().pop() {
        Some(Step::Done { identity, data: None }) => identity,
        other => panic!("{other:?}"),
    }
}

#[test]
fn plain() {
    let message = "\0tim\0tanstaaf\u{e9}".as_bytes();
    assert_eq!(done(run(Mechanism::Plain, &[Some(message)])), Identity::new("Tim"));
    let steps = run(Mechanism::Plain, &[None, Some(message)]).unwrap();
    assert_eq!(steps[0], Step::Challenge(Vec::new()));
    // The password with its accent as a character of its own is the same password.
    assert_eq!(done(run(Mechanism::Plain, &[Some("\0tim\0tanstaafe\u{301}".as_bytes())])), Identity::new("Tim"));
    // The example of RFC 4616, section 4, with an identity to act as.
    let other = done(run(Mechanism::Plain, &[Some("Ursel\0tim\0tanstaaf\u{e9}".as_bytes())]));
    assert_eq!((other.authcid.as_str(), other.user()), ("Tim", "Ursel"));
    let own = done(run(Mechanism::Plain, &[Some("tim\0tim\0tanstaaf\u{e9}".as_bytes())]));
    assert_eq!(own, Identity::new("Tim"));
    let refused = run(Mechanism::Plain, &[Some("Kurt\0tim\0tanstaaf\u{e9}".as_bytes())]);
    assert!(matches!(refused, Err(SaslError::Refused(Error::AuthorizationFailed))));
}

#[test]
fn the_name_that_was_given_is_known_whether_it_is_good_or_not() {
    let name = |mechanism, messages: &[Option<&[u8]>]| {
        let mut exchange = exchange(mechanism);
        for message in messages {
            let _ = block_on(exchange.step(&Users, *message));
        }
        assert!(!exchange.is_refused());
        exchange.user().map(str::to_owned)
    };
    let scram = Mechanism::Scram { hash: ScramHash::Sha256, plus: false };
    let first: Option<&[u8]> = Some(b"n,,n=nob=2Cody,r=nonce");
    for (mechanism, messages, expected) in [
        (Mechanism::Plain, &[None, Some(&b"x\0nobody\0y"[..])][..], Some("nobody")),
        (Mechanism::Plain, &[Some(b"\0tim\0tanstaaf\xc3\xa9")], Some("tim")),
        (Mechanism::Plain, &[None], None),
        (Mechanism::Plain, &[Some(b"\0\xff\0y")], None),
        (Mechanism::Login, &[None, Some(b"nobody")], Some("nobody")),
        (Mechanism::Login, &[None, Some(b"nobody"), Some(b"secret")], Some("nobody")),
        (Mechanism::CramMd5, &[None, Some(b"no body 00000000000000000000000000000000")], Some("no body")),
        (scram, &[first], Some("nob,ody")),
        (scram, &[first, Some(b"c=biws,r=nonce,p=AAAA")], Some("nob,ody")),
        (Mechanism::External, &[Some(b"nobody")], None),
        (Mechanism::OauthBearer, &[Some(b"x")], None),
    ] {
        assert_eq!(name(mechanism, messages).as_deref(), expected, "{mechanism:?} {messages:?}");
    }
}

#[test]
fn plain_fails() {
    for message in [&b"\0tim\0wrong"[..], b"\0nobody\0x", b"\0tim\0", b"\0\0x", b"\0t\x07im\0x", b"\0\xff\0x"] {
        let outcome = run(Mechanism::Plain, &[Some(message)]);
        assert!(matches!(outcome, Err(SaslError::Refused(Error::AuthenticationFailed))), "{message:?}: {outcome:?}");
    }
    for message in [&b""[..], b"tim", b"\0tim", b"\0tim\0x\0y"] {
        assert!(matches!(run(Mechanism::Plain, &[Some(message)]), Err(SaslError::Malformed(_))), "{message:?}");
    }
    let down = run(Mechanism::Plain, &[Some(b"\0down\0x")]);
    assert!(matches!(down, Err(SaslError::Refused(Error::Unavailable(_)))));
}

#[test]
fn login() {
    let password = "tanstaaf\u{e9}".as_bytes();
    let steps = run(Mechanism::Login, &[None, Some(b"tim"), Some(password)]).unwrap();
    assert_eq!(steps[0], Step::Challenge(b"Username:".to_vec()));
    assert_eq!(steps[1], Step::Challenge(b"Password:".to_vec()));
    assert_eq!(done(Ok(steps)), Identity::new("Tim"));
    assert_eq!(done(run(Mechanism::Login, &[Some(b"tim"), Some(password)])), Identity::new("Tim"));
    for (user, password) in [(&b"tim"[..], &b""[..]), (b"", password), (b"\xff", password), (b"tim", b"wrong")] {
        let outcome = run(Mechanism::Login, &[None, Some(user), Some(password)]);
        assert!(matches!(outcome, Err(SaslError::Refused(Error::AuthenticationFailed))), "{outcome:?}");
    }
}

/// A directory that takes a login without a password for an anonymous one, and welcomes everybody.
struct Welcoming;

#[async_trait]
impl Authenticator for Welcoming {
    async fn check_password(&self, _: &Connection, user: &str, _: &Secret) -> Result<Identity> {
        Ok(Identity::new(user))
    }
}

#[test]
fn a_password_that_is_none_never_reaches_the_authenticator() {
    let check = |password: &[u8]| block_on(verify_password(&Welcoming, &connection(), b"tim", &Secret::new(password)));
    assert!(check(b"x").is_ok());
    // The second is a soft hyphen, which preparation maps to nothing (RFC 4013, section 2.1).
    for password in [&b""[..], "\u{ad}".as_bytes(), b"\0", b"tanstaaf\0", b"\0tanstaaf"] {
        assert!(matches!(check(password), Err(Error::AuthenticationFailed)), "{password:?}");
    }
    for message in ["\0tim\0", "\0tim\0\u{ad}"] {
        let mut exchange = exchange(Mechanism::Plain);
        let outcome = block_on(exchange.step(&Welcoming, Some(message.as_bytes())));
        assert!(matches!(outcome, Err(SaslError::Refused(Error::AuthenticationFailed))), "{outcome:?}");
    }
}

/// Says by which mechanism it was asked.
struct Told;

#[async_trait]
impl Authenticator for Told {
    async fn check_password(&self, _: &Connection, _: &str, _: &Secret) -> Result<Identity> {
        Err(Error::AuthenticationFailed)
    }

    async fn check_password_by(
        &self,
        _: &Connection,
        _: &str,
        _: &Secret,
        mechanism: Option<Mechanism>,
    ) -> Result<Identity> {
        Ok(Identity::new(mechanism.map_or("a command", Mechanism::name)))
    }
}

#[test]
fn an_authenticator_knows_how_a_password_came() {
    let secret = Secret::new("x");
    let by_command = block_on(verify_password(&Told, &connection(), b"tim", &secret)).unwrap();
    assert_eq!(by_command.user(), "a command");
    let (plain, login) = (&[Some(&b"\0tim\0x"[..])][..], &[None, Some(&b"tim"[..]), Some(b"x")][..]);
    for (mechanism, messages) in [(Mechanism::Plain, plain), (Mechanism::Login, login)] {
        let mut exchange = exchange(mechanism);
        let mut last = None;
        for message in messages {
            last = Some(block_on(exchange.step(&Told, *message)).unwrap());
        }
        assert!(matches!(last, Some(Step::Done { identity, .. }) if identity.user() == mechanism.name()));
    }
    // Who does not ask is told nothing.
    assert!(block_on(Welcoming.check_password_by(&connection(), "tim", &secret, Some(Mechanism::Plain))).is_ok());
}

#[test]
fn secrets_compare_by_what_they_hold() {
    assert_eq!(Secret::new("a"), Secret::new("a"));
    assert_ne!(Secret::new("a"), Secret::new("b"));
    assert_ne!(Secret::new("a"), Secret::new("ab"));
}

#[test]
fn external() {
    assert_eq!(done(run(Mechanism::External, &[None, Some(b"")])), Identity::new("fred@example.com"));
    assert_eq!(done(run(Mechanism::External, &[Some(b"Ursel")])).user(), "Ursel");
    assert!(run(Mechanism::External, &[Some(b"Kurt")]).is_err());
    assert!(run(Mechanism::External, &[Some(b"\xff")]).is_err());
}

#[test]
fn an_exchange_never_outlives_its_end() {
    let good = "\0tim\0tanstaaf\u{e9}".as_bytes();
    for first in [good, b"\0tim\0wrong", b"junk"] {
        let mut exchange = exchange(Mechanism::Plain);
        let _ = block_on(exchange.step(&Users, Some(first)));
        assert!(matches!(block_on(exchange.step(&Users, Some(good))), Err(SaslError::Malformed(_))));
        assert!(matches!(block_on(exchange.step(&Users, None)), Err(SaslError::Malformed(_))));
    }
}

#[test]
fn apop() {
    let check = |user: &[u8], digest: &[u8]| {
        block_on(verify_apop(&Users, &connection(), "<1896.697170952@dbc.mtview.ca.us>", user, digest))
    };
    assert_eq!(check(b"mrose", b"c4c9334bac560ecc979e58001b3e22fb").unwrap(), Identity::new("mrose"));
    for (user, digest) in [
        (&b"mrose"[..], &b"c4c9334bac560ecc979e58001b3e22fc"[..]),
        (b"mrose", b""),
        (b"nobody", b"c4c9334bac560ecc979e58001b3e22fb"),
    ] {
        assert!(matches!(check(user, digest), Err(Error::AuthenticationFailed)));
    }
    assert!(matches!(check(b"down", b"x"), Err(Error::Unavailable(_))));
    let made_up = apop_digest("<1896.697170952@dbc.mtview.ca.us>", &Secret::new("a secret that nobody has"));
    assert!(matches!(check(b"nobody", made_up.as_bytes()), Err(Error::AuthenticationFailed)));
}

#[test]
fn nothing_secret_is_printed() {
    let mut exchange = exchange(Mechanism::Login);
    let step = block_on(exchange.step(&Users, Some(b"tim"))).unwrap();
    let keys = derive_scram_keys(&Secret::new("hunter2"), b"pepper", 2, ScramHash::Sha256);
    let text = format!("{exchange:?} {step:?} {keys:?} {:?}", Secret::new("hunter2"));
    for secret in ["tim", "hunter2", "pepper", "salt", "112, 101"] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn any_mechanism() -> impl Strategy<Value = Mechanism> {
    proptest::sample::select(vec![
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::External,
        Mechanism::Scram { hash: ScramHash::Sha1, plus: false },
        Mechanism::Scram { hash: ScramHash::Sha256, plus: true },
        Mechanism::Scram { hash: ScramHash::Sha256, plus: false },
    ])
}

proptest! {
    #[test]
    fn no_message_panics_or_lets_anyone_in(
        mechanism in any_mechanism(),
        messages in proptest::collection::vec(
            proptest::option::of(prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80),
                "[nyp],(a=[a-z]{0,3})?,n=(tim|[a-z=]{0,4}),r=[!-~]{0,6}(,.{0,5})?".prop_map(String::into_bytes),
                "c=(biws|[A-Za-z0-9=]{0,6}),r=.{0,40},p=[A-Za-z0-9=]{0,48}".prop_map(String::into_bytes),
            ]),
            0..4,
        ),
    ) {
        let mut exchange = exchange(mechanism);
        for message in &messages {
            match block_on(exchange.step(&Users, message.as_deref())) {
                // The certificate lets in whoever does not ask to be somebody else.
                Ok(Step::Done { .. }) => prop_assert_eq!(mechanism, Mechanism::External),
                Ok(Step::Challenge(_)) | Err(_) => {}
            }
        }
    }

    #[test]
    fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..200), limit in 0_usize..200) {
        if let Ok(secret) = framing::decode(&line, limit) {
            let again = framing::encode(secret.expose());
            prop_assert_eq!(again.as_bytes(), &line[..]);
        }
        let _ = framing::decode_initial(&line, limit);
    }
}
