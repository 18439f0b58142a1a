//! Certificates of clients: good ones, and every kind of bad one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]
#![cfg(feature = "tls")]

mod tls_support;

use std::sync::Arc;

use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::{Exchange, Identity, Mechanism, Secret, Step, offered};
use pillarbox_proto_core::backend::{Authenticator, Error, Questions};
use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::env::FixedEnv;
use pillarbox_server_core::tls::{CertificateNames, ClientCertificates, RevocationLists, TlsConfig};
use tls_support::{Authority, HOST, Made, TLS12, TLS13, both, shake, usual};

/// A backend in which every certificate names its user.
struct Users;

#[async_trait::async_trait]
impl Authenticator for Users {
    fn questions(&self) -> Questions {
        let mut questions = Questions::default();
        questions.certificate = true;
        questions
    }
    async fn check_password(&self, _: &Connection, _: &str, _: &Secret) -> Result<Identity, Error> {
        Err(Error::AuthenticationFailed)
    }
    async fn check_certificate(&self, connection: &Connection) -> Result<Identity, Error> {
        let names = CertificateNames::of(connection).ok_or(Error::AuthenticationFailed)?;
        names.user().map(Identity::new).ok_or(Error::AuthenticationFailed)
    }
}

/// Who SASL EXTERNAL makes of the client; `None` where it is not offered, or refused.
async fn external(connection: &Connection) -> Option<String> {
    let offer = offered(&Users.questions(), connection, false);
    if !offer.contains(&Mechanism::External) {
        return None;
    }
    let env = Arc::new(FixedEnv { now: std::time::SystemTime::UNIX_EPOCH, byte: 7 });
    let mut exchange = Exchange::new(Mechanism::External, &offer, Arc::new(connection.clone()), env);
    match exchange.step(&Users, Some(b"")).await {
        Ok(Step::Done { identity, .. }) => Some(identity.user().to_owned()),
        _ => None,
    }
}

#[tokio::test]
async fn a_proxys_word_is_enough_for_external() {
    let mut connection = Connection::new(SessionId::new(1));
    assert_eq!(external(&connection).await, None);
    connection.certificate_name = Some("tim".into());
    assert_eq!(external(&connection).await.unwrap(), "tim");
}

fn optional(config: &TlsConfig, authority: &Authority) -> TlsConfig {
    config.clone().client_certificates(ClientCertificates::Optional(authority.roots()))
}

fn required(config: &TlsConfig, authority: &Authority) -> TlsConfig {
    config.clone().client_certificates(ClientCertificates::Required(authority.roots()))
}

#[tokio::test]
async fn good_certificates_are_told_with_their_names() {
    let (authority, config) = usual();
    let users = Authority::new("Users");
    let tim = users.user("tim", 1, |_| {});
    for config in [optional(&config, &users), required(&config, &users)] {
        let acceptor = config.build().unwrap();
        for versions in [TLS12, TLS13] {
            let client = authority.client_with(&tim, versions);
            for resumed in [false, true] {
                let done = shake(&acceptor, &client, HOST).await.unwrap();
                assert_eq!(done.resumed, resumed);
                // Also when the certificate came in a ticket, it says who it is.
                let mut connection = Connection::new(SessionId::new(1));
                connection.tls = Some(Arc::new(done.info));
                assert_eq!(external(&connection).await.unwrap(), "tim@example.org");
                let names = CertificateNames::of(&connection).unwrap();
                assert_eq!(names.user(), Some("tim@example.org"));
                assert_eq!(names.common_name.as_deref(), Some("tim"));
            }
        }
    }
}

#[tokio::test]
async fn bad_certificates_end_the_handshake_and_the_log_says_why() {
    let (authority, config) = usual();
    let (users, strangers) = (Authority::new("Users"), Authority::new("Strangers"));
    let expired = users.user("tim", 1, |wanted| wanted.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let early = users.user("tim", 2, |wanted| wanted.not_before = rcgen::date_time_ymd(2099, 1, 1));
    let revoked = users.user("tim", 3, |_| {});
    let strange = strangers.user("tim", 4, |_| {});
    let server = users.user("tim", 5, |wanted| {
        wanted.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    // The name of the authority alone is not enough.
    let forged = Authority::new("Users").user("tim", 6, |_| {});
    let lists = RevocationLists::from_pem("list", users.revoke(&[9, 3], 2099).as_bytes()).unwrap();
    let cases: [(&Made, &str, &str); 6] = [
        (&expired, "the client's certificate has expired", "CertificateExpired"),
        (&early, "the client's certificate is not valid yet", "CertificateExpired"),
        (&revoked, "the client's certificate is revoked", "CertificateRevoked"),
        (&strange, "the client's certificate is from no authority that is trusted here", "UnknownCA"),
        (&server, "the client's certificate is not made for clients", "UnsupportedCertificate"),
        (&forged, "the client's certificate has a wrong signature", "DecryptError"),
    ];
    for config in [optional(&config, &users), required(&config, &users)] {
        let acceptor = config.revoked(lists.clone()).build().unwrap();
        for versions in [TLS12, TLS13] {
            for (made, log, alert) in cases {
                let (served, told) = both(&acceptor, &authority.client_with(made, versions), HOST).await;
                let (served, told) = (served.err().unwrap(), told.unwrap());
                assert_eq!(served, log);
                assert!(told.contains(alert), "{log}: {told}");
            }
            let good = users.user("tim", 10, |_| {});
            shake(&acceptor, &authority.client_with(&good, versions), HOST).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_certificate_is_required_or_it_is_not() {
    let (authority, config) = usual();
    let users = Authority::new("Users");
    let tim = users.user("tim", 1, |_| {});
    for versions in [TLS12, TLS13] {
        let none = authority.client(versions);
        let done = shake(&optional(&config, &users).build().unwrap(), &none, HOST).await.unwrap();
        assert!(done.info.client_certificates.is_empty());
        let (served, told) = both(&required(&config, &users).build().unwrap(), &none, HOST).await;
        assert_eq!(served.err().unwrap(), "the client showed no certificate");
        let alert = told.unwrap();
        assert!(alert.contains("CertificateRequired") || alert.contains("HandshakeFailure"), "{alert}");
        // Not asked, none is shown.
        let done = shake(&config.clone().build().unwrap(), &authority.client_with(&tim, versions), HOST).await.unwrap();
        assert!(done.info.client_certificates.is_empty());
    }
}

#[tokio::test]
async fn an_authority_without_a_list_vouches_for_nobody() {
    let (authority, config) = usual();
    let (users, others) = (Authority::new("Users"), Authority::new("Others"));
    let mut both_roots = (*users.roots()).clone();
    both_roots.add(others.der.clone()).unwrap();
    let lists = RevocationLists::from_pem("list", users.revoke(&[], 2099).as_bytes()).unwrap();
    let config = config.client_certificates(ClientCertificates::Optional(Arc::new(both_roots))).revoked(lists);
    let acceptor = config.build().unwrap();
    shake(&acceptor, &authority.client_with(&users.user("tim", 1, |_| {}), TLS13), HOST).await.unwrap();
    let other = authority.client_with(&others.user("tim", 1, |_| {}), TLS13);
    let error = shake(&acceptor, &other, HOST).await.err().unwrap();
    assert_eq!(error, "the client's certificate is from an authority without a revocation list");
}

#[tokio::test]
async fn an_old_list_is_used_with_a_warning() {
    let (authority, config) = usual();
    let users = Authority::new("Users");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.crl");
    std::fs::write(&path, users.revoke(&[3], 2021)).unwrap();
    let config = required(&config, &users).revoked(RevocationLists::from_pem_file(&path).unwrap());
    let warning = "the revocation list should have been renewed by 2021-01-01T00:00:00Z";
    assert_eq!(config.warnings(), [format!("{}: {warning}", path.display())]);
    let acceptor = config.build().unwrap();
    shake(&acceptor, &authority.client_with(&users.user("tim", 1, |_| {}), TLS13), HOST).await.unwrap();
    let revoked = authority.client_with(&users.user("tim", 3, |_| {}), TLS13);
    assert_eq!(shake(&acceptor, &revoked, HOST).await.err().unwrap(), "the client's certificate is revoked");
}

#[tokio::test]
async fn a_ticket_is_no_way_around_another_rule() {
    let (authority, config) = usual();
    let users = Authority::new("Users");
    let tim = authority.client_with(&users.user("tim", 1, |_| {}), TLS13);
    let nobody = authority.client(TLS13);
    let acceptor = optional(&config, &users).build().unwrap();
    for client in [&tim, &nobody] {
        shake(&acceptor, client, HOST).await.unwrap();
        assert!(shake(&acceptor, client, HOST).await.unwrap().resumed);
    }
    // Revoked in the meantime, and required.
    let lists = RevocationLists::from_pem("list", users.revoke(&[1], 2099).as_bytes()).unwrap();
    acceptor.reload(required(&config, &users).revoked(lists)).unwrap();
    assert_eq!(shake(&acceptor, &tim, HOST).await.err().unwrap(), "the client's certificate is revoked");
    assert_eq!(shake(&acceptor, &nobody, HOST).await.err().unwrap(), "the client showed no certificate");
    // And another server with the same certificate takes none of them.
    let other = optional(&config, &Authority::new("Others")).build().unwrap();
    assert!(shake(&other, &tim, HOST).await.is_err());
}
