//! The memory backend lets clients in by every mechanism that its builder has been told of, and by no other.
#![cfg(feature = "memory")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests fail by panics")]

use std::sync::Arc;

use futures::executor::block_on;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{
    Exchange, Mechanism, SaslError, Secret, Step, TokenRefusal, cram_md5_digest, offered,
};
use pillarbox_proto_core::backend::{Authenticator, Backend, Error};
use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::env::SystemEnv;
use pillarbox_proto_core::memory::{Builder, MemoryBackend};

fn connection() -> Connection {
    let mut connection = Connection::new(SessionId::new(1));
    connection.externally_secured = true;
    connection
}

fn offer(store: &MemoryBackend) -> Vec<&'static str> {
    offered(&store.questions(), &connection(), false).into_iter().map(Mechanism::name).collect()
}

/// Whom these messages let in; the account can be opened.
fn enter(store: &MemoryBackend, mechanism: Mechanism, messages: &[&str]) -> Result<String, SaslError> {
    let mut exchange = Exchange::new(mechanism, &[], Arc::new(connection()), Arc::new(SystemEnv));
    let mut last = None;
    for message in messages {
        last = Some(block_on(exchange.step(store, Some(message.as_bytes())))?);
    }
    match last {
        Some(Step::Done { identity, .. }) => {
            block_on(store.open(&connection(), &identity)).unwrap();
            Ok(identity.user().to_owned())
        }
        other => panic!("{other:?}"),
    }
}

fn cram(store: &MemoryBackend, user: &str, secret: &str) -> Result<String, SaslError> {
    let mut exchange = Exchange::new(Mechanism::CramMd5, &[], Arc::new(connection()), Arc::new(SystemEnv));
    let Step::Challenge(challenge) = block_on(exchange.step(store, None))? else { panic!("no challenge") };
    let digest = cram_md5_digest(std::str::from_utf8(&challenge).unwrap(), &Secret::new(secret));
    match block_on(exchange.step(store, Some(format!("{user} {digest}").as_bytes())))? {
        Step::Done { identity, .. } => Ok(identity.user().to_owned()),
        other => panic!("{other:?}"),
    }
}

fn refused(outcome: &Result<String, SaslError>) -> bool {
    matches!(outcome, Err(SaslError::Refused(Error::AuthenticationFailed)))
}

#[test]
fn what_is_offered_follows_from_what_users_have() {
    let build = |builder: Builder| builder.build().unwrap();
    let passwords = build(MemoryBackend::builder().user("ada", "secret"));
    assert_eq!(offer(&passwords), ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"]);
    assert!(passwords.questions().shared_secret, "APOP takes the password");
    let tokens = build(MemoryBackend::builder().token("ada", "t0ken"));
    assert_eq!(offer(&tokens), ["OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]);
    assert!(!tokens.questions().shared_secret);
    let secrets = build(MemoryBackend::builder().shared_secret("ada", "shared"));
    assert_eq!(offer(&secrets), ["PLAIN", "LOGIN", "CRAM-MD5"]);
    assert!(secrets.questions().shared_secret);
    assert_eq!(offer(&build(MemoryBackend::builder().anonymous("guest"))), ["PLAIN", "LOGIN", "ANONYMOUS"]);
}

#[test]
fn users_come_in_by_each_mechanism() {
    let store = MemoryBackend::builder()
        .user("ada", "secret")
        .token("ada", "t0ken")
        .may_act_as("ada", "eve")
        .user("eve", "hidden")
        .shared_secret("eve", "shared")
        .anonymous("guest")
        .token_refusal(TokenRefusal::new().scope("mail"))
        .build()
        .unwrap();
    let bearer = |user: &str, token: &str| {
        let message = format!("n,{user},\u{1}auth=Bearer {token}\u{1}\u{1}");
        enter(&store, Mechanism::OauthBearer, &[&message])
    };
    assert_eq!(bearer("", "t0ken").unwrap(), "ada");
    assert_eq!(bearer("a=ada", "t0ken").unwrap(), "ada");
    assert_eq!(bearer("a=eve", "t0ken").unwrap(), "eve");
    assert_eq!(enter(&store, Mechanism::Xoauth2, &["user=ada\u{1}auth=Bearer t0ken\u{1}\u{1}"]).unwrap(), "ada");
    for user in ["ada", "guest", "nobody"] {
        let message = format!("user={user}\u{1}auth=Bearer wrong\u{1}\u{1}");
        assert!(refused(&enter(&store, Mechanism::Xoauth2, &[&message, ""])), "{user}");
    }
    assert!(refused(&enter(&store, Mechanism::OauthBearer, &["n,a=guest,\u{1}auth=Bearer t0ken\u{1}\u{1}", "\u{1}"])));
    assert_eq!(store.token_refusal(&connection()).to_json(), r#"{"status":"invalid_token","scope":"mail"}"#);

    assert_eq!(enter(&store, Mechanism::Anonymous, &["somebody@example.org"]).unwrap(), "guest");
    assert!(refused(&enter(&store, Mechanism::Plain, &["\0guest\0guest"])), "a guest has no password");

    assert_eq!(cram(&store, "eve", "shared").unwrap(), "eve");
    // The secret takes the password's place.
    assert!(refused(&cram(&store, "eve", "hidden")));
    assert_eq!(cram(&store, "ada", "secret").unwrap(), "ada");
    assert!(refused(&cram(&store, "guest", "")));
    assert!(refused(&enter(&store, Mechanism::Plain, &["\0eve\0shared"])), "the secret is no password");

    let strict = MemoryBackend::builder().user("ada", "secret").build().unwrap();
    assert!(refused(&enter(&strict, Mechanism::Anonymous, &["x"])));
}
