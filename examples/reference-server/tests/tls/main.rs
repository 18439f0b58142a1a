//! TLS as clients and operators see it, with the program itself and other people's TLS: Python's `ssl` module and
//! `openssl s_client`.
//!
//! A program that is missing makes its tests say so and pass, or fail where the variable `CI` is set.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod authority;
mod files;
mod handshake;
mod injection;
mod modes;
#[path = "../support/mod.rs"]
mod support;
mod users;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use authority::{Authority, HOST, Made};
use support::{PATIENCE, Place, Server, run_with_input, text};

/// A place with an authority, and a certificate `mail` that it has signed.
struct World {
    place: Place,
    authority: Authority,
    mail: Made,
}

impl World {
    /// With these lines behind a table of the server that names the certificate.
    fn new(config: &str) -> Self {
        let place = Place::with_config(&format!(
            "data = \"data\"\n[certificate.mail]\ncert = \"mail.crt\"\nprivate-key = \"mail.key\"\n\
             [server]\nshutdown-grace = \"1h\"\n[server.tls]\ncertificate = \"mail\"\n{config}"
        ));
        let authority = Authority::new(place.path(), "authority");
        let mail = authority.server("mail", HOST, 1);
        Self { place, authority, mail }
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn start(&self) -> Server {
        self.place.start()
    }

    /// What Python's `ssl` is told, line by line; see `talk.py`. The options are the inside of a JSON object.
    fn talk(&self, server: &Server, listener: &str, options: &str, steps: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls/talk.py");
        let wanted = format!("{{\"authority\": {:?}{options}}}", self.authority.file);
        let mut command = Command::new("python3");
        command.arg(script).arg(server.port(listener)).arg(wanted);
        told(&run_with_input(&mut command, steps))
    }

    /// What `openssl s_client` is told, and what it says itself.
    fn openssl(&self, server: &Server, listener: &str, options: &[&str], input: &str) -> (String, String) {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-brief", "-ign_eof", "-crlf", "-verify_return_error"])
            .args(["-verify_hostname", HOST, "-CAfile"])
            .arg(&self.authority.file)
            .args(["-connect", &server.address(listener).to_string()])
            .args(options);
        let output = run_with_input(&mut command, input);
        (text(&output.stdout).replace("\r\n", "\n"), text(&output.stderr))
    }
}

fn told(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// A listener on a port that the system chooses.
fn listener(id: &str, protocol: &str, settings: &str) -> String {
    format!("[server.listener.{id}]\nbind = \"127.0.0.1:0\"\nprotocol = \"{protocol}\"\n{settings}\n")
}

/// The program does not start, and says why in this line.
#[track_caller]
fn refused(output: &Output, line: &str) {
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), (&*format!("pillarboxd: {line}\n"), Some(78)));
    assert!(output.stdout.is_empty());
}

fn until(condition: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up);
        std::thread::sleep(Duration::from_millis(5));
    }
}
