//! The program in server-core's documentation, built and run as a stranger would: in a package of its own, outside this
//! workspace, on public API alone.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests, and their helpers")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, ServerName};
use socket2::{Domain, Socket, Type};
use support::{read, repository};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Kills the program when a test fails before it has ended it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn manifest() -> String {
    let repository = repository();
    let folder = |name: &str| repository.join(name).display().to_string();
    format!(
        "[package]\nname = \"echo-outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         bytes = \"1\"\npillarbox-proto-core = {{ path = {:?} }}\npillarbox-server-core = {{ path = {:?} }}\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\", \"signal\"] }}\n\
         [profile.dev]\ndebug = \"line-tables-only\"\n",
        folder("proto-core"),
        folder("server-core")
    )
}

fn build(package: &Path) -> std::path::PathBuf {
    fs::create_dir(package.join("src")).unwrap();
    fs::write(package.join("Cargo.toml"), manifest()).unwrap();
    fs::write(package.join("src/main.rs"), read("server-core/examples/echo.rs")).unwrap();
    // What this workspace was built with is there already.
    fs::copy(repository().join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    // So may what was built: the folder is this workspace's own.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline"])
        .current_dir(package)
        .env("CARGO_TARGET_DIR", target)
        .status()
        .unwrap();
    assert!(status.success());
    target.join("debug/echo-outside")
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
    socket.into()
}

#[test]
fn the_program_in_the_documentation_is_what_is_built() {
    let source = read("server-core/examples/echo.rs");
    assert!(source.lines().count() < 60, "{} lines", source.lines().count());
    let documentation = read("server-core/src/lib.rs");
    assert!(documentation.contains("include_str!(\"../examples/echo.rs\")"));
}

#[test]
fn it_echoes_under_tls_and_keeps_others_out() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();

    let mut command = Command::new(program);
    command.arg("127.0.0.1:0").args([&cert, &key]).stdout(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().trim_start_matches("Some(").trim_end_matches(')').parse().unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut client = StreamOwned::new(session, connect(Ipv4Addr::LOCALHOST, address));
    client.write_all(b"hello\r\n").unwrap();
    let mut back = [0; 7];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello\r\n");

    // Somebody else gets no byte.
    let mut other = connect(Ipv4Addr::new(127, 0, 0, 2), address);
    assert_eq!(other.read(&mut [0; 1]).unwrap_or(0), 0);
}
