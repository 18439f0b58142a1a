//! Which certificate, version, cipher suite and application protocol a client gets, or why it gets none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on fails")]
#![cfg(feature = "tls")]

mod tls_support;

use pillarbox_server_core::tls::{CipherSuite, Priorities, TlsConfig, TlsError, TlsIdentity, TlsVersion};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use tls_support::{Authority, BOTH, HOST, TLS12, TLS13, both, shake, usual};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

#[tokio::test]
async fn names_that_were_given_come_before_the_certificates_own() {
    let authority = Authority::new("Authority");
    let usual = authority.server(&[HOST, "www.example.org"]);
    let own = authority.server(&["own.example.org", "*.own.example.org"]);
    let given = authority.server(&["WWW.example.org", "own.example.org", "*.example.com", "unasked.example.org"]);
    let one = authority.server(&["one.example.com", "*.example.com"]);
    let acceptor = TlsConfig::new()
        .identity(usual.identity())
        .identity(own.identity())
        .identity_for(["www.example.org", "Own.Example.org", "*.example.com"], given.identity())
        .identity_for(["one.example.com"], one.identity())
        .build()
        .unwrap();
    let client = authority.client(BOTH);
    for (host, wanted) in [
        (HOST, &usual),
        ("www.example.org", &given),
        ("own.example.org", &given),
        ("OWN.example.ORG", &given),
        ("a.own.example.org", &own),
        ("two.example.com", &given),
        ("one.example.com", &one),
    ] {
        let done = shake(&acceptor, &client, host).await.unwrap();
        assert!(done.shown == wanted.der, "{host}");
        assert_eq!(done.info.server_name.unwrap(), host.to_ascii_lowercase());
    }
    // Not by its own name, as names were given for it; so the first one, which the client refuses.
    let (served, told) = both(&acceptor, &client, "unasked.example.org").await;
    assert_eq!(served.err().unwrap(), "the client refused: alert BadCertificate");
    assert!(told.unwrap().contains("not valid for name"));
}

#[tokio::test]
async fn a_certificate_with_names_alone_serves_also_the_others() {
    let authority = Authority::new("Authority");
    let made = authority.server(&[HOST, "www.example.org"]);
    let acceptor = TlsConfig::new().identity_for([HOST], made.identity()).build().unwrap();
    shake(&acceptor, &authority.client(BOTH), "www.example.org").await.unwrap();
}

#[tokio::test]
async fn of_two_kinds_of_keys_the_client_gets_the_one_that_it_can_verify() {
    let authority = Authority::new("Authority");
    let named = |wanted: &mut rcgen::CertificateParams| {
        wanted.subject_alt_names = vec![rcgen::SanType::DnsName(HOST.try_into().unwrap())];
    };
    let edwards = authority.sign_key(&KeyPair::generate_for(&PKCS_ED25519).unwrap(), named);
    let large = authority.sign_key(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), named);
    let given = TlsConfig::new().identity_for([HOST], edwards.identity()).identity_for([HOST], large.identity());
    let own = TlsConfig::new().identity(edwards.identity()).identity(large.identity());
    for acceptor in [given.build().unwrap(), own.build().unwrap()] {
        let done = shake(&acceptor, &authority.client(BOTH), HOST).await.unwrap();
        assert!(done.shown == edwards.der, "the first");
        let mut provider = ring::default_provider();
        let known = provider.signature_verification_algorithms.mapping;
        let without: Vec<_> =
            known.iter().copied().filter(|(scheme, _)| !format!("{scheme:?}").contains("ED25519")).collect();
        provider.signature_verification_algorithms.mapping = Vec::leak(without);
        let done = shake(&acceptor, &authority.client_of(provider, BOTH), HOST).await.unwrap();
        assert!(done.shown == large.der);
    }
}

#[test]
fn names_that_can_not_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Authority");
    let made = authority.server(&[HOST, "*.example.com"]);
    let (certificate, key) = made.write(folder.path(), "server");
    let says = |name: &str| {
        let identity = TlsIdentity::from_pem_files(&certificate, &key).unwrap();
        TlsConfig::new().identity_for([name], identity).build().unwrap_err().to_string()
    };
    let certificate = certificate.display();
    for name in ["other.example.org", "example.com", "a.b.example.com", "*.example.org"] {
        let valid = format!("{HOST}, *.example.com");
        let expected = format!("{name}: the certificate {certificate} is not valid for this name, but for {valid}");
        assert_eq!(says(name), expected);
    }
    for name in ["", "127.0.0.1", "a b", "ü.example.org", "*", "a.*.org", "-", "x\n"] {
        let name = (name, name.escape_debug());
        assert_eq!(says(name.0), format!("{}: not a host name that a client can ask for", name.1));
    }
    let nameless = authority.sign(|wanted| wanted.distinguished_name.push(rcgen::DnType::CommonName, HOST));
    let error = TlsConfig::new().identity_for([HOST], nameless.identity()).build().unwrap_err();
    let expected = format!("{HOST}: the certificate {HOST} is not valid for this name, but for no host name");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn versions_have_a_lower_and_an_upper_end() {
    let (authority, config) = usual();
    let newest = config.clone().oldest_version(TlsVersion::Tls13).build().unwrap();
    let oldest = config.clone().newest_version(TlsVersion::Tls12).build().unwrap();
    assert_eq!(shake(&newest, &authority.client(BOTH), HOST).await.unwrap().info.version, "TLSv1.3");
    assert_eq!(shake(&oldest, &authority.client(BOTH), HOST).await.unwrap().info.version, "TLSv1.2");
    assert_eq!(shake(&oldest, &authority.client(TLS12), HOST).await.unwrap().info.version, "TLSv1.2");
    for (acceptor, versions) in [(&newest, TLS12), (&oldest, TLS13)] {
        let (served, told) = both(acceptor, &authority.client(versions), HOST).await;
        assert_eq!(served.err().unwrap(), "no TLS version in common");
        assert!(told.unwrap().contains("ProtocolVersion"));
    }
    let none = config.oldest_version(TlsVersion::Tls13).newest_version(TlsVersion::Tls12).build().unwrap_err();
    assert_eq!(none.to_string(), "TLS: the oldest version TLSv1.3 is newer than the newest version TLSv1.2");
}

fn suite(name: &str) -> CipherSuite {
    name.parse().unwrap()
}

#[tokio::test]
async fn cipher_suites_are_those_wanted_in_the_order_of_either_side() {
    let (authority, config) = usual();
    let only = |names: &[&str]| config.clone().cipher_suites(names.iter().map(|name| suite(name)));
    let acceptor = only(&["ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"]).build().unwrap();
    for (versions, cipher) in [(TLS12, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"), (TLS13, "TLS13_AES_128_GCM_SHA256")]
    {
        assert_eq!(shake(&acceptor, &authority.client(versions), HOST).await.unwrap().info.cipher, cipher);
    }
    // A version without a suite is not spoken.
    let old = only(&["ECDHE-ECDSA-CHACHA20-POLY1305"]).build().unwrap();
    assert_eq!(shake(&old, &authority.client(BOTH), HOST).await.unwrap().info.version, "TLSv1.2");

    let mut provider = ring::default_provider();
    provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("AES_256"));
    let (served, _) = both(&acceptor, &authority.client_of(provider, BOTH), HOST).await;
    assert_eq!(served.err().unwrap(), "no cipher suite in common");

    // The client likes AES-256 best.
    let client = authority.client(TLS13);
    let order = only(&["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"]);
    let theirs = shake(&order.clone().build().unwrap(), &client, HOST).await.unwrap().info.cipher;
    assert_eq!(theirs, "TLS13_AES_256_GCM_SHA384");
    let ours = shake(&order.ignore_client_order(true).build().unwrap(), &client, HOST).await.unwrap().info.cipher;
    assert_eq!(ours, "TLS13_CHACHA20_POLY1305_SHA256");
}

#[test]
fn suites_that_leave_nothing_to_speak_are_refused() {
    let (_, config) = usual();
    let says = |error: TlsError| error.to_string();
    let none = config.clone().cipher_suites([]).build().unwrap_err();
    assert_eq!(says(none), "TLS: none of the cipher suites is for TLSv1.2 or TLSv1.3");
    let new = config.clone().cipher_suites([suite("TLS_AES_128_GCM_SHA256")]);
    let none = new.newest_version(TlsVersion::Tls12).build().unwrap_err();
    assert_eq!(says(none), "TLS: none of the cipher suites is for TLSv1.2");
    let none = config.cipher_suites([suite("ECDHE-RSA-AES128-GCM-SHA256")]).build().unwrap_err();
    assert_eq!(says(none), format!("{HOST}: none of the cipher suites can be used with this kind of key"));
}

#[tokio::test]
async fn priority_strings_are_carried_out() {
    let (authority, config) = usual();
    let with = |text: &str| config.clone().priorities(&Priorities::parse(text).unwrap()).build().unwrap();
    let client = authority.client(BOTH);
    let cipher = async |text: &str| shake(&with(text), &client, HOST).await.unwrap().info.cipher;
    assert_eq!(cipher("NORMAL").await, "TLS13_AES_256_GCM_SHA384");
    assert_eq!(cipher("PERFORMANCE").await, "TLS13_AES_256_GCM_SHA384", "the client's order");
    assert_eq!(cipher("PERFORMANCE:%SERVER_PRECEDENCE").await, "TLS13_AES_128_GCM_SHA256");
    assert_eq!(cipher("NORMAL:-AES-256-GCM:-VERS-TLS1.3").await, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    let older = shake(&with("NORMAL:-VERS-ALL:+VERS-TLS1.3"), &authority.client(TLS12), HOST).await;
    assert_eq!(older.err().unwrap(), "no TLS version in common");

    let groups = |kept: &str| {
        let mut provider: CryptoProvider = ring::default_provider();
        provider.kx_groups.retain(|group| format!("{:?}", group.name()) == kept);
        authority.client_of(provider, BOTH)
    };
    shake(&with("SECURE256"), &groups("secp384r1"), HOST).await.unwrap();
    let weak = shake(&with("SECURE256"), &groups("X25519"), HOST).await;
    assert_eq!(weak.err().unwrap(), "no key exchange group in common");

    for (text, resumed) in [("NORMAL", true), ("NORMAL:%NO_TICKETS", false)] {
        for versions in [TLS12, TLS13] {
            let (acceptor, client) = (with(text), authority.client(versions));
            assert!(!shake(&acceptor, &client, HOST).await.unwrap().resumed);
            assert_eq!(shake(&acceptor, &client, HOST).await.unwrap().resumed, resumed, "{text}");
        }
    }
    let bound = async |text: &str| shake(&with(text), &authority.client(TLS12), HOST).await.unwrap().info.exporter;
    assert!(bound("NORMAL").await.is_none());
    assert!(bound("NORMAL:%FORCE_SESSION_HASH").await.is_some());
}

#[tokio::test]
async fn application_protocols_are_agreed_on_where_the_client_names_some() {
    let (authority, config) = usual();
    let base = config.build().unwrap();
    let offering = |names: &[&str]| {
        let mut client = authority.client(BOTH);
        client.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        client
    };
    for (ours, other) in [("imap", "pop3"), ("pop3", "imap")] {
        let acceptor = base.with_alpn([ours]);
        assert_eq!(shake(&acceptor, &offering(&[]), HOST).await.unwrap().alpn, None, "who names none is served");
        let agreed = shake(&acceptor, &offering(&[other, ours]), HOST).await.unwrap();
        assert_eq!(
            (agreed.alpn.as_deref(), agreed.info.alpn.as_deref()),
            (Some(ours.as_bytes()), Some(ours.as_bytes()))
        );
        let (served, told) = both(&acceptor, &offering(&[other, "http/1.1"]), HOST).await;
        assert_eq!(served.err().unwrap(), "the client speaks none of the application protocols served here (ALPN)");
        assert!(told.unwrap().contains("NoApplicationProtocol"));
    }
    assert_eq!(
        shake(&base, &offering(&["h2"]), HOST).await.unwrap().alpn,
        None,
        "a server without names does not mind"
    );
}
