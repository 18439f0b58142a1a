//! What a certificate says of itself: its names, and when it is valid.

use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::prepare_user;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

/// The names in a certificate, for a backend that maps a client's certificate to a user (SASL EXTERNAL).
///
/// That the certificate is good was checked in the handshake. Which of its names to believe depends on the authority
/// that signed it, and is the backend's to decide.
///
/// ```
/// use pillarbox_proto_core::Connection;
/// use pillarbox_proto_core::auth::Identity;
/// use pillarbox_proto_core::backend::{Error, Result};
/// use pillarbox_server_core::tls::CertificateNames;
///
/// # struct Users;
/// # impl Users {
/// async fn check_certificate(&self, connection: &Connection) -> Result<Identity> {
///     let names = CertificateNames::of(connection).ok_or(Error::AuthenticationFailed)?;
///     names.user().map(Identity::new).ok_or(Error::AuthenticationFailed)
/// }
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateNames {
    /// The mail addresses: alternative names of type `rfc822Name` (RFC 5280, section 4.2.1.6), as they are spelled.
    pub emails: Vec<String>,
    /// The host names: alternative names of type `dNSName`, as they are spelled.
    pub dns_names: Vec<String>,
    /// The common name of the subject; `None` where it has none, or several.
    pub common_name: Option<String>,
}

impl CertificateNames {
    /// The names of the client of a connection: in the certificate that it showed us, else the one name that a trusted
    /// proxy told ([`Connection::certificate_name`], as the common name). `None` when there is neither.
    #[must_use]
    pub fn of(connection: &Connection) -> Option<Self> {
        if let Some(shown) = connection.tls.as_ref().and_then(|tls| tls.client_certificates.first()) {
            return Self::from_der(shown);
        }
        let told = connection.certificate_name.as_deref().and_then(printable)?;
        Some(Self { common_name: Some(told), ..Self::default() })
    }

    /// Reads the names in a certificate; `None` when it is malformed. Names with control characters are left out, and those
    /// that are not in the form in which names are compared ([`prepare_user`]), which have invisible characters or others
    /// that stand for different ones.
    #[must_use]
    pub fn from_der(certificate: &[u8]) -> Option<Self> {
        Facts::of(certificate).map(|facts| facts.names)
    }

    /// The name that most likely is a user's: the first mail address, else the common name.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.emails.first().or(self.common_name.as_ref()).map(String::as_str)
    }

    /// Whether a host of this name, in lower case, may show the certificate (RFC 6125, section 6.4). A name that itself
    /// begins with `*.` must be there as it is.
    pub(super) fn covers(&self, host: &str) -> bool {
        let pattern = wildcard(host).filter(|_| !host.starts_with("*."));
        self.dns_names.iter().any(|own| {
            own.eq_ignore_ascii_case(host) || pattern.as_ref().is_some_and(|pattern| own.eq_ignore_ascii_case(pattern))
        })
    }
}

/// The name with a star that stands for this host among others.
pub(super) fn wildcard(host: &str) -> Option<String> {
    host.split_once('.').map(|(_, domain)| format!("*.{domain}"))
}

/// What this crate wants to know of a certificate.
pub(super) struct Facts {
    pub(super) names: CertificateNames,
    /// Whether it is of version 3, as certificates with extensions are.
    pub(super) modern: bool,
    not_before: ASN1Time,
    not_after: ASN1Time,
}

impl Facts {
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut names = CertificateNames::default();
        for name in parsed.subject_alternative_name().ok()?.iter().flat_map(|extension| &extension.value.general_names)
        {
            match name {
                GeneralName::RFC822Name(name) => names.emails.extend(printable(name)),
                GeneralName::DNSName(name) => names.dns_names.extend(printable(name)),
                _ => {}
            }
        }
        let mut common = parsed.subject().iter_common_name();
        // Of several it is anybody's guess which one the authority has looked at.
        if let (Some(only), None) = (common.next(), common.next()) {
            names.common_name = only.as_str().ok().and_then(printable);
        }
        let validity = parsed.validity();
        Some(Self {
            names,
            modern: parsed.version() == X509Version::V3,
            not_before: validity.not_before,
            not_after: validity.not_after,
        })
    }

    /// Why it is not valid at this time, in seconds since 1970.
    pub(super) fn untimely(&self, now: i64) -> Option<String> {
        if now > self.not_after.timestamp() {
            Some(format!("has expired on {}", date(&self.not_after)))
        } else if now < self.not_before.timestamp() {
            Some(format!("is not valid before {}", date(&self.not_before)))
        } else {
            None
        }
    }
}

/// As RFC 3339 has it.
pub(super) fn date(time: &ASN1Time) -> String {
    let time = time.to_datetime();
    let (hour, minute, second) = time.to_hms();
    format!("{}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", time.year(), u8::from(time.month()), time.day())
}

/// The name, unless it has control characters, or is but another spelling of the name that a backend would look for: an
/// authority that takes "ro\u{ad}ot" for nobody's yet must not make a root.
fn printable(name: &str) -> Option<String> {
    (prepare_user(name.as_bytes()).as_deref() == Some(name)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pillarbox_proto_core::connection::{SessionId, TlsInfo};
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut parameters);
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn names_are_found_by_kind() {
        let der = certificate(|wanted| {
            wanted.distinguished_name.push(DnType::CommonName, "tim");
            wanted.subject_alt_names = vec![
                SanType::DnsName("Client.example.org".try_into().unwrap()),
                SanType::Rfc822Name("Tim@example.org".try_into().unwrap()),
                SanType::Rfc822Name("second@example.org".try_into().unwrap()),
                SanType::IpAddress([127, 0, 0, 1].into()),
            ];
        });
        let names = CertificateNames::from_der(&der).unwrap();
        assert_eq!(names.emails, ["Tim@example.org", "second@example.org"]);
        assert_eq!(names.dns_names, ["Client.example.org"]);
        assert_eq!(names.common_name.as_deref(), Some("tim"));
        assert_eq!(names.user(), Some("Tim@example.org"));

        let only = certificate(|wanted| wanted.distinguished_name.push(DnType::CommonName, "tim"));
        assert_eq!(CertificateNames::from_der(&only).unwrap().user(), Some("tim"));
        let none = CertificateNames::from_der(&certificate(|_| {})).unwrap();
        assert_eq!(none.user(), None);
        assert_eq!(none, CertificateNames::default());
    }

    #[test]
    fn names_that_mislead_are_left_out() {
        let der = certificate(|wanted| {
            wanted.distinguished_name.push(DnType::CommonName, "tim\0other");
            wanted.subject_alt_names = vec![SanType::Rfc822Name("tim@example.org\0x".try_into().unwrap())];
        });
        assert_eq!(CertificateNames::from_der(&der).unwrap(), CertificateNames::default());
        // What SASLprep would make another name of: a soft hyphen, wide letters, a ligature, a right-to-left mark.
        for name in ["ro\u{ad}ot", "\u{ff52}\u{ff4f}\u{ff4f}\u{ff54}", "\u{fb01}ona", "root\u{200f}"] {
            let der = certificate(|wanted| wanted.distinguished_name.push(DnType::CommonName, name));
            assert_eq!(CertificateNames::from_der(&der).unwrap(), CertificateNames::default(), "{name:?}");
            let mut connection = Connection::new(SessionId::new(1));
            connection.certificate_name = Some(name.into());
            assert_eq!(CertificateNames::of(&connection), None, "{name:?}");
        }
        let der = certificate(|wanted| wanted.distinguished_name.push(DnType::CommonName, "Zo\u{eb} M\u{fc}ller"));
        assert_eq!(CertificateNames::from_der(&der).unwrap().user(), Some("Zo\u{eb} M\u{fc}ller"));
        let two = certificate(|wanted| {
            wanted.distinguished_name.push(DnType::CommonName, "tim");
            wanted.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "root");
        });
        assert_eq!(CertificateNames::from_der(&two).unwrap().common_name, None);
    }

    #[test]
    fn broken_certificates_have_no_names() {
        let whole = certificate(|wanted| wanted.distinguished_name.push(DnType::CommonName, "tim"));
        for length in 0..whole.len() {
            assert_eq!(CertificateNames::from_der(&whole[..length]), None, "{length}");
        }
        assert_eq!(CertificateNames::from_der(&[&whole[..], &[0]].concat()), None);
        // Whatever a byte is changed to, it is read or refused.
        for at in 0..whole.len() {
            for to in [0, 0x30, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = to;
                let _ = CertificateNames::from_der(&changed);
            }
        }
    }

    #[test]
    fn a_certificate_of_our_own_tls_comes_before_a_proxys_word() {
        let mut connection = Connection::new(SessionId::new(1));
        assert_eq!(CertificateNames::of(&connection), None);
        connection.certificate_name = Some("from-proxy".into());
        assert_eq!(CertificateNames::of(&connection).unwrap().user(), Some("from-proxy"));
        let shown = certificate(|wanted| wanted.distinguished_name.push(DnType::CommonName, "shown"));
        let tls = |shown: Vec<u8>| {
            Some(Arc::new({
                let mut info = TlsInfo::default();
                info.client_certificates = vec![shown.into()];
                info
            }))
        };
        connection.tls = tls(shown);
        assert_eq!(CertificateNames::of(&connection).unwrap().user(), Some("shown"));
        connection.tls = tls(vec![1, 2, 3]);
        assert_eq!(CertificateNames::of(&connection), None, "never the proxy's in its place");
        connection.tls = None;
        connection.certificate_name = Some("a\nb".into());
        assert_eq!(CertificateNames::of(&connection), None);
    }

    #[test]
    fn hosts_are_covered_by_name_or_star() {
        let names = CertificateNames {
            dns_names: vec!["Mail.example.org".into(), "*.example.com".into()],
            ..CertificateNames::default()
        };
        for host in ["mail.example.org", "a.example.com", "*.example.com"] {
            assert!(names.covers(host), "{host}");
        }
        for host in ["example.org", "example.com", "a.b.example.com", "*.example.org", "*.a.example.com", "com", ""] {
            assert!(!names.covers(host), "{host}");
        }
    }

    #[test]
    fn times_are_told() {
        let der = certificate(|wanted| {
            wanted.not_before = rcgen::date_time_ymd(2001, 2, 3);
            wanted.not_after = rcgen::date_time_ymd(2004, 5, 6);
        });
        let facts = Facts::of(&der).unwrap();
        assert_eq!(facts.untimely(1_000_000_000), None);
        let early = facts.untimely(0).unwrap();
        assert_eq!(early, "is not valid before 2001-02-03T00:00:00Z");
        assert_eq!(facts.untimely(1 << 32).unwrap(), "has expired on 2004-05-06T00:00:00Z");
    }
}
