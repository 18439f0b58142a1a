//! The RFCs' own exchanges, and everything that must not get through.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::executor::block_on;

use super::*;
use crate::backend::{Questions, Result as BackendResult};
use crate::connection::{ChannelBinding, SessionId, TlsInfo};
use crate::env::FixedEnv;

const ENV: FixedEnv = FixedEnv { now: SystemTime::UNIX_EPOCH, byte: 9 };

struct Users {
    salt: &'static str,
}

#[async_trait]
impl Authenticator for Users {
    fn questions(&self) -> Questions {
        Questions { scram_sha256: true, scram_sha1: true, ..Questions::default() }
    }

    async fn check_password(&self, _: &Connection, _: &str, _: &Secret) -> BackendResult<Identity> {
        Err(Error::AuthenticationFailed)
    }

    async fn scram_keys(&self, _: &Connection, user: &str, hash: ScramHash) -> BackendResult<Option<ScramKeys>> {
        match user {
            "user" => {
                let salt = STANDARD.decode(self.salt).unwrap();
                let mut keys = derive_scram_keys(&Secret::new("pencil"), &salt, 4096, hash);
                keys.user = Some("User".into());
                Ok(Some(keys))
            }
            "down" => Err(Error::Unavailable(None)),
            _ => Ok(None),
        }
    }

    async fn authorize(&self, _: &Connection, who: &Identity, act_as: &str) -> BackendResult<Identity> {
        match act_as {
            "boss" => Ok(who.clone().acting_as("boss")),
            _ => Err(Error::AuthorizationFailed),
        }
    }

    fn dummy_salt_key(&self) -> Option<Secret> {
        Some(Secret::new(*b"a key that outlives the process"))
    }

    fn scram_iterations(&self) -> Option<u32> {
        Some(4096)
    }
}

const USERS: Users = Users { salt: "W22ZaJ0SNY7soEsUEjb6gQ==" };

fn plain_connection() -> Connection {
    Connection::new(SessionId::new(1))
}

fn tls_connection() -> Connection {
    let mut connection = plain_connection();
    connection.tls = Some(Arc::new(TlsInfo {
        exporter: Some(ChannelBinding::new(b"exported")),
        server_end_point: Some(ChannelBinding::new(b"end point")),
        ..TlsInfo::default()
    }));
    connection
}

/// A client of our own, to meet the server on the other side.
fn client_final(hash: ScramHash, password: &str, first: &str, bound: &[u8], challenge: &[u8]) -> String {
    let challenge = std::str::from_utf8(challenge).unwrap();
    let mut parts = challenge.split(',').map(|part| &part[2..]);
    let (nonce, salt, iterations) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let salt = STANDARD.decode(salt).unwrap();
    let salted = salted_password(hash, password.as_bytes(), &salt, iterations.parse().unwrap());
    let client_key = hmac(hash, salted.expose(), &[b"Client Key"]);
    let stored_key = digest(hash, client_key.expose());
    let header = first.splitn(3, ',').take(2).map(|part| part.len() + 1).sum::<usize>();
    let mut binding = first.as_bytes()[..header].to_vec();
    binding.extend_from_slice(bound);
    let without_proof = format!("c={},r={nonce}", STANDARD.encode(binding));
    let message = format!("{},{challenge},{without_proof}", &first[header..]);
    let signature = hmac(hash, stored_key.expose(), &[message.as_bytes()]);
    let proof: Vec<u8> = signature.expose().iter().zip(client_key.expose()).map(|(a, b)| a ^ b).collect();
    format!("{without_proof},p={}", STANDARD.encode(proof))
}

fn run(scram: &mut Scram, connection: &Connection, message: &str) -> Result<Step, SaslError> {
    block_on(scram.step(&USERS, connection, &ENV, message.as_bytes()))
}

fn challenge(step: Step) -> Vec<u8> {
    match step {
        Step::Challenge(challenge) => challenge,
        Step::Done { .. } => panic!("done too early"),
    }
}

fn whole(plus: bool, connection: &Connection, password: &str, first: &str, bound: &[u8]) -> Result<Step, SaslError> {
    let mut scram = Scram::new(ScramHash::Sha256, plus, connection.tls.is_some());
    let asked = challenge(run(&mut scram, connection, first)?);
    run(&mut scram, connection, &client_final(ScramHash::Sha256, password, first, bound, &asked))
}

#[test]
fn the_exchange_of_rfc_5802_section_5() {
    let users = Users { salt: "QSXCR+Q6sek8bf92" };
    let mut scram = Scram::new(ScramHash::Sha1, false, false);
    scram.fixed_nonce = Some("3rfcNHYJY1ZVvWVs7j");
    let mut step = |message: &str| block_on(scram.step(&users, &plain_connection(), &ENV, message.as_bytes())).unwrap();
    let first = step("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
    assert_eq!(
        first,
        Step::Challenge(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096".to_vec())
    );
    let last = step("c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=");
    let data = Some(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=".to_vec());
    assert_eq!(last, Step::Done { identity: Identity::new("User"), data });
}

#[test]
fn the_exchange_of_rfc_7677_section_3() {
    let mut scram = Scram::new(ScramHash::Sha256, false, false);
    scram.fixed_nonce = Some("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    let mut step = |message: &str| run(&mut scram, &plain_connection(), message).unwrap();
    let first = step("n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let expected = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".to_vec();
    assert_eq!(first, Step::Challenge(expected));
    let last = step(
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    );
    let data = Some(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec());
    assert_eq!(last, Step::Done { identity: Identity::new("User"), data });
}

#[test]
fn a_wrong_password_fails() {
    let outcome = whole(false, &plain_connection(), "pencils", "n,,n=user,r=abc", b"");
    assert!(matches!(outcome, Err(SaslError::Refused(Error::AuthenticationFailed))), "{outcome:?}");
}

#[test]
fn an_unknown_user_looks_like_a_known_one() {
    let ask = |user: &str| {
        let mut scram = Scram::new(ScramHash::Sha256, false, false);
        let asked = challenge(run(&mut scram, &plain_connection(), &format!("n,,n={user},r=abc")).unwrap());
        String::from_utf8(asked).unwrap()
    };
    let salt = |challenge: &str| challenge.split(',').nth(1).unwrap().to_owned();
    let (known, unknown) = (ask("user"), ask("nobody"));
    assert_eq!(known.len(), unknown.len());
    assert_eq!(known.split(',').next_back(), unknown.split(',').next_back());
    assert_eq!(salt(&ask("nobody")), salt(&unknown), "the salt of a name stays");
    assert_ne!(salt(&ask("no-one")), salt(&unknown), "each name has its own");
    let made_up = dummy::keys(&USERS, &ENV, "nobody", ScramHash::Sha256);
    assert_eq!(made_up.salt.len(), 16);
    assert_ne!(made_up.stored_key.expose(), made_up.server_key.expose());
    let outcome = whole(false, &plain_connection(), "pencil", "n,,n=nobody,r=abc", b"");
    assert!(matches!(outcome, Err(SaslError::Refused(Error::AuthenticationFailed))), "{outcome:?}");
}

#[test]
fn a_store_that_is_down_is_not_a_wrong_password() {
    let outcome = whole(false, &plain_connection(), "pencil", "n,,n=down,r=abc", b"");
    assert!(matches!(outcome, Err(SaslError::Refused(Error::Unavailable(_)))), "{outcome:?}");
}

#[test]
fn acting_as_another_user_is_asked_for() {
    let act = |authzid: &str| whole(false, &plain_connection(), "pencil", &format!("n,a={authzid},n=user,r=abc"), b"");
    let Ok(Step::Done { identity, .. }) = act("boss") else { panic!("boss is allowed") };
    assert_eq!((identity.authcid.as_str(), identity.user()), ("User", "boss"));
    let Ok(Step::Done { identity, .. }) = act("user") else { panic!("everybody may be themself") };
    assert_eq!(identity, Identity::new("User"));
    assert!(matches!(act("other"), Err(SaslError::Refused(Error::AuthorizationFailed))));
}

#[test]
fn channel_binding() {
    let tls = tls_connection();
    for (name, data) in [("tls-exporter", &b"exported"[..]), ("tls-server-end-point", b"end point")] {
        let first = format!("p={name},,n=user,r=abc");
        assert!(matches!(whole(true, &tls, "pencil", &first, data), Ok(Step::Done { .. })));
        assert!(matches!(
            whole(true, &tls, "pencil", &first, b"another"),
            Err(SaslError::Refused(Error::AuthenticationFailed))
        ));
        assert!(matches!(
            whole(true, &tls, "pencil", &first, b""),
            Err(SaslError::Refused(Error::AuthenticationFailed))
        ));
    }
    let refused = [
        (true, "p=tls-unique,,n=user,r=abc"),
        (true, "n,,n=user,r=abc"),
        (true, "y,,n=user,r=abc"),
        (false, "p=tls-exporter,,n=user,r=abc"),
        // The client could bind but was not offered to, though we did: a downgrade.
        (false, "y,,n=user,r=abc"),
    ];
    for (plus, first) in refused {
        assert!(
            matches!(whole(plus, &tls, "pencil", first, b""), Err(SaslError::Refused(Error::AuthenticationFailed))),
            "{plus} {first}"
        );
    }
    assert!(matches!(whole(false, &tls, "pencil", "n,,n=user,r=abc", b""), Ok(Step::Done { .. })));
    assert!(matches!(whole(false, &plain_connection(), "pencil", "y,,n=user,r=abc", b""), Ok(Step::Done { .. })));
}

#[test]
fn replayed_and_altered_messages_fail() {
    let connection = plain_connection();
    let mut scram = Scram::new(ScramHash::Sha256, false, false);
    let first = "n,,n=user,r=abc";
    let asked = challenge(run(&mut scram, &connection, first).unwrap());
    let good = client_final(ScramHash::Sha256, "pencil", first, b"", &asked);
    // Another exchange has another nonce.
    let mut other = Scram::new(ScramHash::Sha256, false, false);
    other.fixed_nonce = Some("other");
    run(&mut other, &connection, first).unwrap();
    assert!(matches!(run(&mut other, &connection, &good), Err(SaslError::Refused(Error::AuthenticationFailed))));
    // A header other than the one sent (`y,,` for `n,,`).
    let mut third = Scram::new(ScramHash::Sha256, false, false);
    run(&mut third, &connection, first).unwrap();
    assert!(run(&mut third, &connection, &good.replace("c=biws", "c=eSws")).is_err());
    // A proof that is cut short, or longer.
    for change in [",p=AAAA", ",p="] {
        let mut scram = Scram::new(ScramHash::Sha256, false, false);
        run(&mut scram, &connection, first).unwrap();
        let cut = format!("{}{change}", good.rsplit_once(",p=").unwrap().0);
        assert!(matches!(run(&mut scram, &connection, &cut), Err(SaslError::Refused(Error::AuthenticationFailed))));
    }
}
