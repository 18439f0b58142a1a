//! Behind a proxy: what its header says is who the client is, and nobody else can say so.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};

use support::raw::{Raw, loopback};
use support::{PASSWORD, Place, Server, USER, text};

/// Proxies are at 127.0.0.1; what other lines there are is for all listeners.
fn start(lines: &str) -> (Place, Server) {
    let clear = match lines.contains("allow-plain-text") {
        true => "",
        // As clients are from elsewhere, it has to be said.
        false => "imap.auth.allow-plain-text = true\npop3.auth.allow-plain-text = true\n",
    };
    let place = Place::with_config(&format!(
        "data = \"data\"\n{clear}{lines}\n[server.proxy]\ntrusted-networks = \"127.0.0.1\"\n\
         [server.listener.imap]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\n\
         [server.listener.pop3]\nbind = \"127.0.0.1:0\"\nprotocol = \"pop3\"\n\
         [server.listener.near]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\nproxy.trusted-networks = []\n"
    ));
    let server = place.start();
    (place, server)
}

fn one(client: &str, port: u16) -> String {
    format!("PROXY TCP4 {client} 192.0.2.200 {port} 143\r\n")
}

/// A header of version 2 for IPv4.
fn two(client: &str, port: u16, fields: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for address in [client, "192.0.2.200"] {
        body.extend(address.parse::<Ipv4Addr>().unwrap().octets());
    }
    body.extend(port.to_be_bytes());
    body.extend(143_u16.to_be_bytes());
    body.extend(fields.concat());
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11".as_slice(), &length(&body), &body].concat()
}

fn length(octets: &[u8]) -> [u8; 2] {
    u16::try_from(octets.len()).unwrap().to_be_bytes()
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], length(value).as_slice(), value].concat()
}

/// What a proxy tells of its client's TLS. `verified` is 0 for a good certificate.
fn tls(flags: u8, verified: u32, name: Option<&str>) -> Vec<u8> {
    let mut value = vec![flags];
    value.extend(verified.to_be_bytes());
    value.extend(field(0x21, b"TLSv1.3"));
    if let Some(name) = name {
        value.extend(field(0x22, name.as_bytes()));
    }
    field(0x20, &value)
}

/// A client of the proxy, after the greeting.
fn proxied(to: SocketAddr, header: impl AsRef<[u8]>) -> Raw {
    let mut client = Raw::connect(to);
    client.send(header).expect("* OK ");
    client
}

fn capabilities(client: &mut Raw) -> Vec<String> {
    let lines = client.imap("CAPABILITY");
    let line = lines.iter().find_map(|line| line.strip_prefix("* CAPABILITY ")).unwrap();
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_client_is_who_the_header_names() {
    let (_place, server) = start("[logging]\nseverity = \"debug\"");
    let to = server.address("imap");
    let mut first = proxied(to, one("192.0.2.7", 1111));
    assert!(first.tagged(&format!("LOGIN {USER} \"{PASSWORD}\"")).starts_with("t OK"));
    let mut second = proxied(to, two("192.0.2.8", 2222, &[field(0x05, b"unique-1")]));
    assert!(second.tagged(&format!("LOGIN {USER} \"{PASSWORD}\"")).starts_with("t OK"));
    let six = proxied(to, "PROXY TCP6 2001:db8::9 2001:db8::1 3333 143\r\n");
    drop(six);
    let mut pop3 = Raw::connect(server.address("pop3"));
    pop3.send(one("192.0.2.10", 4444)).expect("+OK ");
    let log = server.log();
    for client in ["192.0.2.7:1111", "192.0.2.8:2222", "[2001:db8::9]:3333", "192.0.2.10:4444"] {
        assert!(log.contains(client), "{client}: {log}");
    }
    assert!(log.contains("unique-1"), "{log}");
    let logins: Vec<&str> = log.lines().filter(|line| line.contains("logged in")).collect();
    assert!(logins.len() == 2 && logins[0].contains("192.0.2.7") && logins[1].contains("192.0.2.8"), "{logins:?}");
}

#[test]
fn what_is_sent_in_one_packet_with_the_header_is_not_lost() {
    let (_place, server) = start("");
    for header in [one("192.0.2.7", 1).into_bytes(), two("192.0.2.7", 1, &[])] {
        let mut client = Raw::connect(server.address("imap"));
        client.send([header, b"a NOOP\r\n".to_vec()].concat()).expect("* OK ");
        client.expect("a OK ");
    }
    // And in as many packets as it has octets.
    let mut client = Raw::connect(server.address("imap"));
    for octet in two("192.0.2.7", 1, &[]) {
        client.send([octet]);
    }
    client.expect("* OK ");
}

#[test]
fn without_a_good_header_nothing_is_said() {
    let (_place, server) = start("[server.tls]\ntimeout = \"1h\"");
    let to = server.address("imap");
    let mut unknown = two("192.0.2.7", 1, &[]);
    unknown[13] = 0x12;
    let mut version = two("192.0.2.7", 1, &[]);
    version[12] = 0x31;
    let mut short = two("192.0.2.7", 1, &[]);
    short[15] = 4;
    let bad: [&[u8]; 8] = [
        b"a NOOP\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PROXY TCP4 192.0.2.7 192.0.2.200 1111\r\n",
        b"PROXY TCP4 192.0.2.777 192.0.2.200 1111 143\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.200 99999 143\r\n",
        &unknown,
        &version,
        &short,
    ];
    for header in bad {
        Raw::connect(to).send(header).is_over();
    }
    proxied(to, one("192.0.2.7", 1));
    // One who says nothing at all waits in vain, and is sent away without a byte.
    let (_place, server) = start("[server.tls]\ntimeout = \"1s\"");
    Raw::connect(server.address("imap")).is_over();
}

#[test]
fn others_are_who_they_are() {
    let (_place, server) = start("");
    // From elsewhere, and on a listener that has no proxies.
    for (from, listener) in [("127.0.0.2", "imap"), ("127.0.0.1", "near")] {
        for header in [one("192.0.2.7", 1111).into_bytes(), two("192.0.2.7", 1111, &[])] {
            let mut client = Raw::from(loopback(from), server.address(listener));
            client.expect("* OK ");
            client.send(header);
            let reply = client.line().unwrap();
            assert!(reply.contains(" BAD ") || reply.starts_with("* BYE "), "{reply}");
        }
    }
    let mut client = Raw::from(loopback("127.0.0.2"), server.address("pop3"));
    client.expect("+OK ");
    client.send(one("192.0.2.7", 1111)).expect("-ERR ");
    assert!(!server.log().contains("192.0.2.7"), "{}", server.log());
}

#[test]
fn lists_and_limits_are_about_the_client_behind_it() {
    let (_place, server) = start(
        "server.acl = [\"log from any 'hit ${address} ${port}'\", \"deny from 192.0.2.66\", \"allow from any\"]\n\
         [limits]\nexempt = []\naddress.connections = 1",
    );
    let to = server.address("imap");
    Raw::connect(to).send(one("192.0.2.66", 1)).is_over();
    let log = server.log();
    assert!(log.contains("hit 192.0.2.66 1") && log.contains("access from 192.0.2.66 blocked"), "{log}");
    let seven = proxied(to, one("192.0.2.7", 1));
    let _eight = proxied(to, two("192.0.2.8", 1, &[]));
    Raw::connect(to).send(one("192.0.2.7", 2)).is_over();
    Raw::connect(server.address("pop3")).send(one("192.0.2.7", 3)).is_over();
    drop(seven);
    support::raw::wait_for("there is room again", || {
        let mut client = Raw::connect(to);
        client.send(one("192.0.2.7", 4)).line()
    });
}

#[test]
fn failed_logins_block_the_client_and_not_the_proxy() {
    let (_place, server) =
        start("[limits]\nexempt = []\nlogin = { free = 100, block-after = 2, block-for = \"1h\", window = \"1h\" }");
    let to = server.address("imap");
    for _ in 0..2 {
        assert!(proxied(to, one("192.0.2.7", 1)).tagged("LOGIN alice wrong").starts_with("t NO"));
    }
    Raw::connect(to).send(one("192.0.2.7", 1)).is_over();
    assert!(proxied(to, one("192.0.2.8", 1)).tagged(&format!("LOGIN {USER} \"{PASSWORD}\"")).starts_with("t OK"));
}

#[test]
fn tls_at_the_proxy_protects_the_session() {
    let (_place, server) = start("imap.auth.allow-plain-text = false\npop3.auth.allow-plain-text = false");
    let to = server.address("imap");
    for header in [one("192.0.2.7", 1).into_bytes(), two("192.0.2.7", 1, &[tls(0, 1, None)])] {
        let mut client = proxied(to, header);
        assert!(capabilities(&mut client).contains(&"LOGINDISABLED".to_owned()));
        assert!(client.tagged(&format!("LOGIN {USER} \"{PASSWORD}\"")).starts_with("t NO"));
    }
    let mut client = proxied(to, two("192.0.2.7", 1, &[field(0x01, b"h2"), tls(1, 0, None)]));
    let seen = capabilities(&mut client);
    assert!(!seen.contains(&"LOGINDISABLED".to_owned()), "{seen:?}");
    assert!(seen.contains(&"AUTH=PLAIN".to_owned()) && !seen.contains(&"AUTH=EXTERNAL".to_owned()), "{seen:?}");
    assert!(client.tagged(&format!("LOGIN {USER} \"{PASSWORD}\"")).starts_with("t OK"));
    let mut pop3 = Raw::connect(server.address("pop3"));
    pop3.send(two("192.0.2.7", 1, &[tls(1, 0, None)])).expect("+OK ");
    pop3.say(&format!("USER {USER}")).expect("+OK");
    pop3.say(&format!("PASS {PASSWORD}")).expect("+OK");
}

#[test]
fn a_certificate_that_the_proxy_has_verified_is_a_way_in() {
    let (_place, server) = start("");
    let to = server.address("imap");
    let with = |name: &str| proxied(to, two("192.0.2.7", 1, &[tls(1 | 2 | 4, 0, Some(name))]));
    let mut client = with(USER);
    assert!(capabilities(&mut client).contains(&"AUTH=EXTERNAL".to_owned()));
    assert!(client.tagged("AUTHENTICATE EXTERNAL =").starts_with("t OK"));
    assert!(client.tagged("SELECT INBOX").starts_with("t OK"));
    // As whom it is, said by name; nobody else.
    assert!(with(USER).tagged("AUTHENTICATE EXTERNAL YWxpY2U=").starts_with("t OK"));
    assert!(with(USER).tagged("AUTHENTICATE EXTERNAL Ym9i").starts_with("t NO"));
    assert!(with("bob").tagged("AUTHENTICATE EXTERNAL =").starts_with("t NO"));
    // One that was not verified, and one that was not shown.
    for fields in [tls(1 | 2 | 4, 1, Some(USER)), tls(1, 0, Some(USER))] {
        let mut client = proxied(to, two("192.0.2.7", 1, &[fields]));
        assert!(!capabilities(&mut client).contains(&"AUTH=EXTERNAL".to_owned()));
        assert!(!client.tagged("AUTHENTICATE EXTERNAL =").starts_with("t OK"));
    }
    let mut pop3 = Raw::connect(server.address("pop3"));
    pop3.send(two("192.0.2.7", 1, &[tls(1 | 2 | 4, 0, Some(USER))])).expect("+OK ");
    pop3.say("AUTH EXTERNAL =").expect("+OK");
}

#[test]
fn who_comes_by_a_proxy_is_not_from_this_machine() {
    let listener =
        |lines: &str| format!("[server.listener.imap]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\n{lines}");
    let place =
        Place::with_config(&format!("data = \"data\"\n{}", listener("proxy.trusted-networks = [\"127.0.0.1\"]\n")));
    let output = place.command().arg("-N").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("--any-password: listener imap is open to others"));
    let server = place.start();
    let mut client = proxied(server.address("imap"), one("192.0.2.7", 1));
    assert!(client.tagged(&format!("LOGIN {USER} \"{PASSWORD}\"")).starts_with("t NO"));
    drop(server);
    let place = Place::with_config(&format!("data = \"data\"\n{}", listener("")));
    let server = place.start();
    let mut client = Raw::connect(server.address("imap"));
    client.expect("* OK");
    assert!(client.tagged(&format!("LOGIN {USER} \"{PASSWORD}\"")).starts_with("t OK"));
}

#[test]
fn networks_that_can_not_be_meant() {
    for (networks, wanted) in [
        ("\"0.0.0.0/0\"", "more than a /8 is not to be trusted"),
        ("[\"127.0.0.1\", \"proxy.example.org\"]", "not an IP address: proxy.example.org"),
        ("\"10.0.0.0/33\"", "10.0.0.0/33"),
    ] {
        let place = Place::empty(&format!(
            "data = \"data\"\n[server.listener.imap]\nbind = \"127.0.0.1:0\"\nprotocol = \"imap\"\n\
             proxy.trusted-networks = {networks}\n"
        ));
        let output = place.command().output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let file = place.path().join("pillarboxd.toml");
        assert!(
            stderr.starts_with(&format!("pillarboxd: {}:5:", file.display())) && stderr.contains(wanted),
            "{stderr}"
        );
    }
}
