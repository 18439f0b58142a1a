//! TLS by rustls: certificates, the handshake, and what it tells the protocols.
//!
//! [`TlsConfig`] gathers certificates and rules and builds a [`TlsAcceptor`], which is cheap to clone and goes to a
//! [`Listener`](crate::Listener) or into [`ServeOptions`](crate::ServeOptions). TLS 1.2 and 1.3 are spoken, with ring's
//! cryptography. Early data is never accepted: it can be replayed.
//!
//! ```no_run
//! use pillarbox_server_core::tls::{TlsConfig, TlsIdentity};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = TlsIdentity::from_pem_files("server.crt", "server.key")?;
//! let acceptor = TlsConfig::new().identity(identity).build()?;
//! // One set of certificates, each protocol with its own name for it (RFC 7301; RFC 8314, section 3.2 has ports instead).
//! let imap = acceptor.with_alpn(["imap"]);
//! let pop3 = acceptor.with_alpn(["pop3"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Files
//!
//! Certificates, keys, authorities and revocation lists are PEM. What is wrong with a file is told in one line that
//! names it. [`FileChecks`] refuse files that others may read or change; they are made by the program, before it reads a
//! file. A certificate that has expired is served, with a warning in the log ([`TlsConfig::warnings`]): clients that mind
//! see it themselves, and a server that does not start helps nobody.
//!
//! # Reload
//!
//! [`TlsAcceptor::reload`] takes a new configuration for all handshakes to come, also those of listeners that hold
//! clones. Nothing is dropped by it, and a configuration that can't be built changes nothing.
//!
//! ```no_run
//! # use pillarbox_server_core::tls::{FileChecks, FileKind, TlsAcceptor, TlsConfig, TlsIdentity};
//! /// On SIGHUP: the same files, with new content.
//! fn renew(acceptor: &TlsAcceptor) -> Result<(), Box<dyn std::error::Error>> {
//!     FileChecks::default().check("server.key", FileKind::Key)?;
//!     let identity = TlsIdentity::from_pem_files("server.crt", "server.key")?;
//!     acceptor.reload(TlsConfig::new().identity(identity))?;
//!     Ok(())
//! }
//! ```
//!
//! # Names
//!
//! A client that asks for a host name (SNI) gets the certificate that was [given](TlsConfig::identity_for) for it, else
//! one whose own names have it, else the first one.
//!
//! ```no_run
//! # use pillarbox_server_core::tls::{TlsConfig, TlsIdentity};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let usual = TlsIdentity::from_pem_files("mail.crt", "mail.key")?;
//! let other = TlsIdentity::from_pem_files("star.crt", "star.key")?;
//! let acceptor = TlsConfig::new()
//!     .identity(usual)
//!     .identity_for(["imap.example.com", "pop.example.com"], other)
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Clients' certificates
//!
//! ```no_run
//! # use pillarbox_server_core::tls::{ClientCertificates, RevocationLists, TlsConfig, TlsIdentity};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let identity = TlsIdentity::from_pem_files("mail.crt", "mail.key")?;
//! let roots = ClientCertificates::roots_from_pem_file("users-ca.pem")?;
//! let acceptor = TlsConfig::new()
//!     .identity(identity)
//!     .client_certificates(ClientCertificates::Optional(roots))
//!     .revoked(RevocationLists::from_pem_file("users-ca.crl")?)
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! A certificate that was shown and is good makes SASL EXTERNAL possible; [`CertificateNames`] finds the user in it. One
//! that is not good ends the handshake, whether certificates are required or not.
//!
//! # Versions and cipher suites
//!
//! By name ([`TlsVersion`], [`CipherSuite`]) or by a GnuTLS [priority string](priorities), as far as rustls goes.

mod acceptor;
mod binding;
mod checks;
mod clients;
mod config;
mod error;
mod identity;
mod names;
mod pem;
pub mod priorities;
mod suites;

pub use acceptor::TlsAcceptor;
pub use checks::{FileCheckError, FileChecks, FileKind, UnknownFileCheck};
pub use clients::{ClientCertificates, RevocationLists};
pub use config::TlsConfig;
pub use error::{HandshakeError, TlsError};
pub use identity::TlsIdentity;
pub use names::CertificateNames;
pub use priorities::{Priorities, PrioritiesError};
pub use suites::{CipherSuite, TlsVersion, UnknownName};
/// A stream under TLS, with us as the server.
pub use tokio_rustls::server::TlsStream;
