//! Versions and cipher suites by their names.

use std::fmt;
use std::str::FromStr;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// A version of TLS that this crate speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), the oldest that is still allowed (RFC 8996).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl TlsVersion {
    pub(super) const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    pub(super) fn rustls(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &version::TLS12,
            Self::Tls13 => &version::TLS13,
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        })
    }
}

/// By name or by the number on the wire: `TLSv1.2` or `0x0303`, `TLSv1.3` or `0x0304`.
impl FromStr for TlsVersion {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "TLSv1.2" | "0x0303" => Ok(Self::Tls12),
            "TLSv1.3" | "0x0304" => Ok(Self::Tls13),
            "SSLv3" | "TLSv1" | "TLSv1.0" | "TLSv1.1" | "0x0300" | "0x0301" | "0x0302" => Err(UnknownName {
                name: name.to_owned(),
                why: "is not supported: the oldest version is TLSv1.2",
                known: Vec::new(),
            }),
            _ => Err(UnknownName {
                name: name.to_owned(),
                why: "is not a TLS version",
                known: vec!["TLSv1.2", "0x0303", "TLSv1.3", "0x0304"],
            }),
        }
    }
}

/// A cipher suite: one of the nine below, named as in rustls, by IANA, or by OpenSSL.
///
/// | rustls | IANA | OpenSSL |
/// |---|---|---|
/// | `TLS13_AES_256_GCM_SHA384` | `TLS_AES_256_GCM_SHA384` | the same |
/// | `TLS13_AES_128_GCM_SHA256` | `TLS_AES_128_GCM_SHA256` | the same |
/// | `TLS13_CHACHA20_POLY1305_SHA256` | `TLS_CHACHA20_POLY1305_SHA256` | the same |
/// | `TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384` | the same | `ECDHE-ECDSA-AES256-GCM-SHA384` |
/// | `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256` | the same | `ECDHE-ECDSA-AES128-GCM-SHA256` |
/// | `TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256` | the same | `ECDHE-ECDSA-CHACHA20-POLY1305` |
/// | `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384` | the same | `ECDHE-RSA-AES256-GCM-SHA384` |
/// | `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` | the same | `ECDHE-RSA-AES128-GCM-SHA256` |
/// | `TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256` | the same | `ECDHE-RSA-CHACHA20-POLY1305` |
///
/// The first three are for TLS 1.3, the others for TLS 1.2, those with `ECDSA` also for Ed25519 keys.
#[derive(Clone, Copy, PartialEq)]
pub struct CipherSuite(pub(super) SupportedCipherSuite);

// Suites are compared by their numbers.
impl Eq for CipherSuite {}

impl CipherSuite {
    /// All nine, the preferred one first.
    pub fn all() -> impl Iterator<Item = Self> {
        ring::ALL_CIPHER_SUITES.iter().map(|suite| Self(*suite))
    }

    /// The version of TLS that it is for.
    #[must_use]
    pub fn version(self) -> TlsVersion {
        if self.0.tls13().is_some() { TlsVersion::Tls13 } else { TlsVersion::Tls12 }
    }

    /// Its name in rustls.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.suite().as_str().unwrap_or_default()
    }

    fn is_called(self, name: &str) -> bool {
        let own = self.name();
        if own == name {
            return true;
        }
        if let Some(rest) = own.strip_prefix("TLS13_") {
            return name.strip_prefix("TLS_") == Some(rest);
        }
        // TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 is ECDHE-RSA-AES128-GCM-SHA256 there; with ChaCha20 it has no hash.
        let openssl = own
            .trim_start_matches("TLS_")
            .replace("_WITH", "")
            .replace("AES_", "AES")
            .replace("POLY1305_SHA256", "POLY1305")
            .replace('_', "-");
        openssl == name
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CipherSuite {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::all().find(|suite| suite.is_called(name)).ok_or_else(|| UnknownName {
            name: name.to_owned(),
            why: "is not a cipher suite that is supported",
            known: Self::all().map(Self::name).collect(),
        })
    }
}

/// A version or cipher suite that is not supported. Tells which ones are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    name: String,
    why: &'static str,
    known: Vec<&'static str>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name.escape_debug(), self.why)?;
        if self.known.is_empty() { Ok(()) } else { write!(f, " (known: {})", self.known.join(", ")) }
    }
}

impl std::error::Error for UnknownName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_go_by_name_and_number() {
        for (name, version) in [
            ("TLSv1.2", TlsVersion::Tls12),
            ("0x0303", TlsVersion::Tls12),
            ("TLSv1.3", TlsVersion::Tls13),
            ("0x0304", TlsVersion::Tls13),
        ] {
            assert_eq!(name.parse(), Ok(version));
        }
        let says = |name: &str| name.parse::<TlsVersion>().unwrap_err().to_string();
        assert_eq!(says("TLSv1.1"), "TLSv1.1 is not supported: the oldest version is TLSv1.2");
        assert_eq!(says("0x0301"), "0x0301 is not supported: the oldest version is TLSv1.2");
        assert_eq!(says("tls\n"), r"tls\n is not a TLS version (known: TLSv1.2, 0x0303, TLSv1.3, 0x0304)");
    }

    #[test]
    fn suites_have_three_names() {
        assert_eq!(CipherSuite::all().count(), 9);
        let names = [
            ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
            ("TLS13_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
            ("TLS13_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
            ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
            ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
            ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
            ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
            ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
            ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ];
        for (suite, (own, other)) in CipherSuite::all().zip(names) {
            assert_eq!(suite.to_string(), own);
            assert_eq!(own.parse(), Ok(suite));
            assert_eq!(other.parse(), Ok(suite));
            assert_eq!(suite.version() == TlsVersion::Tls13, own.starts_with("TLS13"));
        }
        let error = "ECDHE-RSA-AES128-SHA".parse::<CipherSuite>().unwrap_err().to_string();
        let start = "ECDHE-RSA-AES128-SHA is not a cipher suite that is supported (known: TLS13_AES_256_GCM_SHA384, ";
        assert!(error.starts_with(start), "{error}");
    }
}
