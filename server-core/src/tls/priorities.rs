//! Priority strings as GnuTLS has them, as far as rustls can do what they say.
//!
//! A string names a keyword first and then changes to it, all with colons between them:
//! `NORMAL:-VERS-TLS1.2:%SERVER_PRECEDENCE`. Case does not matter. What rustls can not honour to the letter is an error
//! that names the item and says why; so is what is not known at all. Nothing is passed over in silence, but that an item
//! which is never used may always be taken away: `-VERS-TLS1.0` is true of every configuration.
//!
//! | item | meaning |
//! |---|---|
//! | `NORMAL`, `PFS`, `SECURE128` | all that there is: TLS 1.2 and 1.3 with the nine [cipher suites](super::CipherSuite), which all have forward secrecy and at least 128 bits |
//! | `PERFORMANCE` | the same; AES-128-GCM is preferred, then ChaCha20-Poly1305 |
//! | `SECURE192`, `SECURE256` | TLS 1.2 and 1.3 with AES-256-GCM and ChaCha20-Poly1305, key exchange over secp384r1 |
//! | `NONE` | nothing; what is wanted is added, at least a version, a cipher, `+AEAD`, a group, `+SIGN-ALL`, and for TLS 1.2 a key exchange |
//! | `+KEYWORD` | adds what a keyword has |
//! | `+X`, `-X`, `!X` | adds X at the end of its list; takes it away |
//! | `VERS-TLS1.2`, `VERS-TLS1.3`, `VERS-ALL`, `VERS-TLS-ALL` | versions |
//! | `AES-128-GCM`, `AES-256-GCM`, `CHACHA20-POLY1305`, `CIPHER-ALL` | ciphers |
//! | `ECDHE-RSA`, `ECDHE-ECDSA`, `KX-ALL` | key exchange and kind of key, in TLS 1.2 |
//! | `AEAD`, `MAC-ALL` | integrity |
//! | `GROUP-X25519`, `GROUP-SECP256R1`, `GROUP-SECP384R1`, `GROUP-ALL`, and the same with `CURVE-` | key exchange groups |
//! | `SIGN-ALL` | signature algorithms, which can be had only together |
//! | `COMP-NULL`, `COMP-ALL`, `CTYPE-X509`, `CTYPE-ALL` | no compression, X.509 certificates: may be added, and are always so |
//! | `%SERVER_PRECEDENCE` | our order of ciphers decides, not the client's |
//! | `%FORCE_SESSION_HASH` | TLS 1.2 only with the extended master secret (RFC 7627) |
//! | `%NO_TICKETS` | sessions are not resumed |
//! | `%FORCE_ETM`, `%NO_ETM` | about CBC ciphers, of which there are none: always so |

use std::str::FromStr;

use tokio_rustls::rustls::crypto::{SupportedKxGroup, ring};

use super::suites::{CipherSuite, TlsVersion};

/// What a priority string says; see the [table](self).
///
/// ```
/// use pillarbox_server_core::tls::{Priorities, TlsVersion};
///
/// let priorities = Priorities::parse("SECURE256:-VERS-ALL:+VERS-TLS1.3:%SERVER_PRECEDENCE")?;
/// assert_eq!(priorities.versions(), [TlsVersion::Tls13]);
/// let names: Vec<_> = priorities.cipher_suites().iter().map(|suite| suite.name()).collect();
/// assert_eq!(names, ["TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256"]);
///
/// let error = Priorities::parse("NORMAL:+VERS-TLS1.0").unwrap_err();
/// assert_eq!(error.to_string(), "VERS-TLS1.0 is not supported: the oldest version is TLS 1.2");
/// # Ok::<(), pillarbox_server_core::tls::PrioritiesError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priorities {
    versions: Vec<TlsVersion>,
    cipher_suites: Vec<CipherSuite>,
    groups: Vec<Group>,
    pub(super) server_precedence: bool,
    pub(super) extended_master_secret: bool,
    pub(super) tickets: bool,
}

impl Priorities {
    /// Reads a priority string.
    ///
    /// # Errors
    ///
    /// An item is not known or can't be honoured, or nothing is left of something that is needed.
    pub fn parse(text: &str) -> Result<Self, PrioritiesError> {
        let mut items = text.trim().split(':');
        let first = items.next().unwrap_or_default();
        let mut state = State::default();
        match keyword(first) {
            _ if first.is_empty() => return Err(PrioritiesError::Empty),
            _ if first.eq_ignore_ascii_case("NONE") => {}
            Some(set) => state.add_all(set?),
            None => return Err(PrioritiesError::NoKeyword { item: shown(first) }),
        }
        items.try_for_each(|item| state.item(item))?;
        state.finish()
    }

    /// The versions, the oldest first.
    #[must_use]
    pub fn versions(&self) -> &[TlsVersion] {
        &self.versions
    }

    /// The cipher suites, the preferred one first.
    #[must_use]
    pub fn cipher_suites(&self) -> &[CipherSuite] {
        &self.cipher_suites
    }

    /// Whether our order of cipher suites decides.
    #[must_use]
    pub fn server_precedence(&self) -> bool {
        self.server_precedence
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &'static dyn SupportedKxGroup> {
        self.groups.iter().map(|group| match group {
            Group::X25519 => ring::kx_group::X25519,
            Group::Secp256r1 => ring::kx_group::SECP256R1,
            Group::Secp384r1 => ring::kx_group::SECP384R1,
        })
    }
}

impl FromStr for Priorities {
    type Err = PrioritiesError;

    fn from_str(text: &str) -> Result<Self, PrioritiesError> {
        Self::parse(text)
    }
}

/// What is wrong with a priority string. One line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrioritiesError {
    /// There is nothing in it.
    #[error("an empty priority string; NORMAL is a good one")]
    Empty,
    /// It does not begin with a keyword.
    #[error("{item} is not a keyword to begin with, such as NORMAL")]
    NoKeyword {
        /// What it begins with.
        item: String,
    },
    /// An item has neither sign nor percent sign.
    #[error("{item} needs a sign: + to add it, - to take it away")]
    NoSign {
        /// The item.
        item: String,
    },
    /// GnuTLS has no such item either.
    #[error("{item} is not known")]
    Unknown {
        /// The item.
        item: String,
    },
    /// An item that can't be honoured.
    #[error("{item} is not supported: {why}")]
    Unsupported {
        /// The item.
        item: String,
        /// Why not.
        why: &'static str,
    },
    /// Of something that is needed nothing is left.
    #[error("no {what} is left")]
    NothingLeft {
        /// What is needed.
        what: &'static str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    X25519,
    Secp256r1,
    Secp384r1,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Aes128,
    Aes256,
    ChaCha20,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyExchange {
    Rsa,
    Ecdsa,
}

/// What stands behind a name.
#[derive(Clone, Copy)]
enum Item {
    Version(TlsVersion),
    Cipher(Cipher),
    KeyExchange(KeyExchange),
    Group(Group),
    Aead,
    Signatures,
    /// So in any case.
    Always,
    /// Never so, with the reason.
    Never(&'static str),
    /// Neither to be added nor to be taken away, with the reason.
    Fixed(&'static str),
}

/// Lists in the order in which things were added.
#[derive(Default)]
struct State {
    versions: Vec<TlsVersion>,
    ciphers: Vec<Cipher>,
    key_exchanges: Vec<KeyExchange>,
    groups: Vec<Group>,
    aead: bool,
    signatures: bool,
    server_precedence: bool,
    extended_master_secret: bool,
    no_tickets: bool,
}

const ALL_VERSIONS: &[Item] = &[Item::Version(TlsVersion::Tls12), Item::Version(TlsVersion::Tls13)];
const ALL_KEY_EXCHANGES: &[Item] = &[Item::KeyExchange(KeyExchange::Ecdsa), Item::KeyExchange(KeyExchange::Rsa)];
const BY_STRENGTH: &[Item] =
    &[Item::Cipher(Cipher::Aes256), Item::Cipher(Cipher::ChaCha20), Item::Cipher(Cipher::Aes128)];
const BY_SPEED: &[Item] = &[Item::Cipher(Cipher::Aes128), Item::Cipher(Cipher::ChaCha20), Item::Cipher(Cipher::Aes256)];
const STRONG: &[Item] = &[Item::Cipher(Cipher::Aes256), Item::Cipher(Cipher::ChaCha20)];
const ALL_GROUPS: &[Item] = &[Item::Group(Group::X25519), Item::Group(Group::Secp256r1), Item::Group(Group::Secp384r1)];
const STRONG_GROUPS: &[Item] = &[Item::Group(Group::Secp384r1)];
const INTEGRITY: &[Item] = &[Item::Aead, Item::Signatures];

type Set = &'static [&'static [Item]];

/// What a keyword other than `NONE` has; the error is for those that can't be honoured.
fn keyword(name: &str) -> Option<Result<Set, PrioritiesError>> {
    const NORMAL: Set = &[ALL_VERSIONS, BY_STRENGTH, ALL_KEY_EXCHANGES, ALL_GROUPS, INTEGRITY];
    const FAST: Set = &[ALL_VERSIONS, BY_SPEED, ALL_KEY_EXCHANGES, ALL_GROUPS, INTEGRITY];
    const SECURE: Set = &[ALL_VERSIONS, STRONG, ALL_KEY_EXCHANGES, STRONG_GROUPS, INTEGRITY];
    let refused = |why| Some(Err(PrioritiesError::Unsupported { item: shown(name), why }));
    if name.starts_with('@') {
        return refused("there are no keywords from a system's policy file");
    }
    match name.to_ascii_uppercase().as_str() {
        "NORMAL" | "PFS" | "SECURE128" => Some(Ok(NORMAL)),
        "PERFORMANCE" => Some(Ok(FAST)),
        "SECURE192" | "SECURE256" => Some(Ok(SECURE)),
        "LEGACY" => refused("what it has beyond NORMAL is too old for rustls"),
        "SUITEB128" | "SUITEB192" => refused("signature algorithms can't be chosen one by one"),
        "SYSTEM" => refused("there are no keywords from a system's policy file"),
        _ => None,
    }
}

fn named(name: &str) -> Option<&'static [Item]> {
    const OLD: &[Item] = &[Item::Never("the oldest version is TLS 1.2")];
    const DATAGRAM: &[Item] = &[Item::Never("there is no TLS over datagrams here")];
    const CIPHER: &[Item] = &[Item::Never("rustls has AES-GCM and ChaCha20-Poly1305 only")];
    const EXCHANGE: &[Item] = &[Item::Never("rustls has ECDHE only")];
    const MAC: &[Item] = &[Item::Never("rustls has AEAD only")];
    const CURVE: &[Item] = &[Item::Never("ring has X25519, SECP256R1 and SECP384R1 only")];
    const SIGNATURE: &[Item] = &[Item::Fixed("signature algorithms can't be chosen one by one")];
    const OLD_SIGNATURE: &[Item] = &[Item::Never("rustls does not sign so")];
    const COMPRESSION: &[Item] = &[Item::Never("rustls does not compress")];
    const CERTIFICATE: &[Item] = &[Item::Never("certificates are X.509 only")];
    Some(match name {
        "VERS-ALL" | "VERS-TLS-ALL" => ALL_VERSIONS,
        "VERS-TLS1.2" => &[Item::Version(TlsVersion::Tls12)],
        "VERS-TLS1.3" => &[Item::Version(TlsVersion::Tls13)],
        "VERS-SSL3.0" | "VERS-TLS1.0" | "VERS-TLS1.1" => OLD,
        "VERS-DTLS0.9" | "VERS-DTLS1.0" | "VERS-DTLS1.2" | "VERS-DTLS-ALL" => DATAGRAM,
        "CIPHER-ALL" => BY_STRENGTH,
        "AES-128-GCM" => &[Item::Cipher(Cipher::Aes128)],
        "AES-256-GCM" => &[Item::Cipher(Cipher::Aes256)],
        "CHACHA20-POLY1305" => &[Item::Cipher(Cipher::ChaCha20)],
        "AES-128-CBC"
        | "AES-192-CBC"
        | "AES-256-CBC"
        | "AES-128-CCM"
        | "AES-256-CCM"
        | "AES-128-CCM-8"
        | "AES-256-CCM-8"
        | "3DES-CBC"
        | "DES-CBC"
        | "ARCFOUR-128"
        | "ARCFOUR-40"
        | "RC2-40"
        | "NULL"
        | "CAMELLIA-128-CBC"
        | "CAMELLIA-192-CBC"
        | "CAMELLIA-256-CBC"
        | "CAMELLIA-128-GCM"
        | "CAMELLIA-256-GCM"
        | "SALSA20-256"
        | "ESTREAM-SALSA20-256"
        | "GOST28147-TC26Z-CNT" => CIPHER,
        "KX-ALL" => ALL_KEY_EXCHANGES,
        "ECDHE-RSA" => &[Item::KeyExchange(KeyExchange::Rsa)],
        "ECDHE-ECDSA" => &[Item::KeyExchange(KeyExchange::Ecdsa)],
        "RSA" | "RSA-EXPORT" | "DHE-RSA" | "DHE-DSS" | "SRP" | "SRP-RSA" | "SRP-DSS" | "PSK" | "DHE-PSK"
        | "ECDHE-PSK" | "RSA-PSK" | "ANON-DH" | "ANON-ECDH" | "VKO-GOST-12" => EXCHANGE,
        "AEAD" | "MAC-ALL" => &[Item::Aead],
        "MD5" | "SHA1" | "SHA256" | "SHA384" | "SHA512" | "UMAC-96" | "UMAC-128" | "GOST28147-TC26Z-IMIT" => MAC,
        "GROUP-ALL" | "CURVE-ALL" => ALL_GROUPS,
        "GROUP-X25519" | "CURVE-X25519" => &[Item::Group(Group::X25519)],
        "GROUP-SECP256R1" | "CURVE-SECP256R1" => &[Item::Group(Group::Secp256r1)],
        "GROUP-SECP384R1" | "CURVE-SECP384R1" => &[Item::Group(Group::Secp384r1)],
        "GROUP-SECP192R1"
        | "CURVE-SECP192R1"
        | "GROUP-SECP224R1"
        | "CURVE-SECP224R1"
        | "GROUP-SECP521R1"
        | "CURVE-SECP521R1"
        | "GROUP-X448"
        | "CURVE-X448"
        | "GROUP-FFDHE2048"
        | "GROUP-FFDHE3072"
        | "GROUP-FFDHE4096"
        | "GROUP-FFDHE6144"
        | "GROUP-FFDHE8192"
        | "GROUP-DH-ALL"
        | "GROUP-GOST-ALL"
        | "GROUP-X25519-MLKEM768"
        | "GROUP-SECP256R1-MLKEM768"
        | "GROUP-SECP384R1-MLKEM1024" => CURVE,
        "SIGN-ALL" => &[Item::Signatures],
        "SIGN-RSA-MD5" | "SIGN-RSA-SHA1" | "SIGN-RSA-SHA224" | "SIGN-DSA-SHA1" | "SIGN-DSA-SHA224"
        | "SIGN-DSA-SHA256" | "SIGN-ECDSA-SHA1" | "SIGN-ECDSA-SHA224" | "SIGN-EDDSA-ED448" | "SIGN-GOST-ALL" => {
            OLD_SIGNATURE
        }
        name if name.starts_with("SIGN-") => SIGNATURE,
        "COMP-NULL" | "COMP-ALL" | "CTYPE-X509" | "CTYPE-X.509" | "CTYPE-ALL" => &[Item::Always],
        "COMP-DEFLATE" => COMPRESSION,
        "CTYPE-OPENPGP" | "CTYPE-RAWPK" | "CTYPE-CLI-RAWPK" | "CTYPE-SRV-RAWPK" => CERTIFICATE,
        _ => return None,
    })
}

impl State {
    fn add_all(&mut self, set: Set) {
        set.iter().copied().flatten().for_each(|item| self.add(*item));
    }

    fn item(&mut self, item: &str) -> Result<(), PrioritiesError> {
        let mut letters = item.chars();
        let sign = letters.next();
        let name = letters.as_str();
        let unsupported = |why| PrioritiesError::Unsupported { item: shown(name), why };
        match sign {
            None => return Err(PrioritiesError::Unknown { item: "an empty item".to_owned() }),
            Some('%') => return self.flag(item),
            Some('+' | '-' | '!') => {}
            Some(_) => return Err(PrioritiesError::NoSign { item: shown(item) }),
        }
        let adding = sign == Some('+');
        if name.eq_ignore_ascii_case("NONE") {
            return Err(unsupported("it has its place at the beginning"));
        }
        if let Some(set) = keyword(name) {
            if !adding {
                return Err(unsupported("keywords can't be taken away"));
            }
            self.add_all(set?);
            return Ok(());
        }
        let items = named(&name.to_ascii_uppercase()).ok_or_else(|| PrioritiesError::Unknown { item: shown(name) })?;
        for item in items {
            match item {
                Item::Fixed(why) => return Err(unsupported(why)),
                Item::Never(why) if adding => return Err(unsupported(why)),
                Item::Always if !adding => return Err(unsupported("it can't be taken away")),
                item if adding => self.add(*item),
                item => self.remove(*item),
            }
        }
        Ok(())
    }

    fn flag(&mut self, flag: &str) -> Result<(), PrioritiesError> {
        let refused = |why| Err(PrioritiesError::Unsupported { item: shown(flag), why });
        match flag.to_ascii_uppercase().as_str() {
            "%SERVER_PRECEDENCE" => self.server_precedence = true,
            "%FORCE_SESSION_HASH" => self.extended_master_secret = true,
            "%NO_TICKETS" => self.no_tickets = true,
            "%FORCE_ETM" | "%NO_ETM" => {}
            "%COMPAT" | "%DUMBFW" => return refused("rustls has no ways around faults of old clients"),
            "%SAFE_RENEGOTIATION"
            | "%UNSAFE_RENEGOTIATION"
            | "%PARTIAL_RENEGOTIATION"
            | "%DISABLE_SAFE_RENEGOTIATION" => return refused("rustls never renegotiates"),
            "%NO_SESSION_HASH" => return refused("rustls uses the extended master secret with all who have it"),
            "%NO_TICKETS_TLS12" => return refused("tickets are for both versions or for none"),
            "%VERIFY_ALLOW_SIGN_RSA_MD5"
            | "%VERIFY_ALLOW_SIGN_WITH_SHA1"
            | "%VERIFY_ALLOW_BROKEN"
            | "%VERIFY_ALLOW_X509_V1_CA_CRT"
            | "%VERIFY_DISABLE_CRL_CHECKS"
            | "%DISABLE_WILDCARDS" => {
                return refused("rustls decides by itself which certificates of clients are good");
            }
            name if name.starts_with("%PROFILE_") => {
                return refused("rustls decides by itself which certificates of clients are good");
            }
            "%LATEST_RECORD_VERSION"
            | "%SSL3_RECORD_VERSION"
            | "%FALLBACK_SCSV"
            | "%NO_EXTENSIONS"
            | "%NO_STATUS_REQUEST"
            | "%NO_SHUFFLE_EXTENSIONS"
            | "%STATELESS_COMPRESSION"
            | "%ALLOW_SMALL_RECORDS"
            | "%DISABLE_TLS13_COMPAT_MODE" => return refused("rustls has no such switch"),
            _ => return Err(PrioritiesError::Unknown { item: shown(flag) }),
        }
        Ok(())
    }

    fn add(&mut self, item: Item) {
        match item {
            Item::Version(version) => push(&mut self.versions, version),
            Item::Cipher(cipher) => push(&mut self.ciphers, cipher),
            Item::KeyExchange(exchange) => push(&mut self.key_exchanges, exchange),
            Item::Group(group) => push(&mut self.groups, group),
            Item::Aead => self.aead = true,
            Item::Signatures => self.signatures = true,
            Item::Always | Item::Never(_) | Item::Fixed(_) => {}
        }
    }

    fn remove(&mut self, item: Item) {
        match item {
            Item::Version(version) => self.versions.retain(|own| *own != version),
            Item::Cipher(cipher) => self.ciphers.retain(|own| *own != cipher),
            Item::KeyExchange(exchange) => self.key_exchanges.retain(|own| *own != exchange),
            Item::Group(group) => self.groups.retain(|own| *own != group),
            Item::Aead => self.aead = false,
            Item::Signatures => self.signatures = false,
            Item::Always | Item::Never(_) | Item::Fixed(_) => {}
        }
    }

    fn finish(mut self) -> Result<Priorities, PrioritiesError> {
        let left = |what| Err(PrioritiesError::NothingLeft { what });
        if self.versions.is_empty() {
            return left("TLS version");
        }
        if !self.aead {
            return left("integrity (AEAD)");
        }
        if self.groups.is_empty() {
            return left("key exchange group");
        }
        if !self.signatures {
            return left("signature algorithm (SIGN-ALL)");
        }
        let suites =
            self.ciphers.iter().flat_map(|cipher| CipherSuite::all().filter(|suite| self.has(*suite, *cipher)));
        let cipher_suites: Vec<_> = suites.collect();
        // A version without a cipher suite is not spoken.
        self.versions.retain(|version| cipher_suites.iter().any(|suite| suite.version() == *version));
        self.versions.sort_unstable();
        if cipher_suites.is_empty() {
            return left("cipher suite");
        }
        Ok(Priorities {
            versions: self.versions,
            cipher_suites,
            groups: self.groups,
            server_precedence: self.server_precedence,
            extended_master_secret: self.extended_master_secret,
            tickets: !self.no_tickets,
        })
    }

    fn has(&self, suite: CipherSuite, cipher: Cipher) -> bool {
        let name = suite.name();
        let is = match cipher {
            Cipher::Aes128 => name.contains("AES_128"),
            Cipher::Aes256 => name.contains("AES_256"),
            Cipher::ChaCha20 => name.contains("CHACHA20"),
        };
        let exchanged = suite.version() == TlsVersion::Tls13
            || self.key_exchanges.iter().any(|exchange| match exchange {
                KeyExchange::Rsa => name.contains("_RSA_"),
                KeyExchange::Ecdsa => name.contains("_ECDSA_"),
            });
        is && exchanged && self.versions.contains(&suite.version())
    }
}

fn push<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// An item as an error names it: it came from a file, and may be anything.
fn shown(item: &str) -> String {
    item.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Priorities {
        Priorities::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn names(text: &str) -> Vec<&'static str> {
        parse(text).cipher_suites().iter().map(|suite| suite.name()).collect()
    }

    fn error(text: &str) -> String {
        Priorities::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn keywords() {
        let normal = parse("NORMAL");
        assert_eq!(normal.versions(), TlsVersion::ALL);
        assert_eq!(normal.cipher_suites().len(), 9);
        assert_eq!(normal.groups().count(), 3);
        assert!(!normal.server_precedence() && normal.tickets && !normal.extended_master_secret);
        for same in ["PFS", "SECURE128", "normal", " NORMAL ", "NORMAL:+SECURE256", "NORMAL:+COMP-NULL:+CTYPE-X509"] {
            assert_eq!(parse(same), normal, "{same}");
        }
        for strong in ["SECURE192", "SECURE256"] {
            assert_eq!(names(strong).len(), 6);
            assert!(names(strong).iter().all(|name| !name.contains("AES_128")));
            assert_eq!(parse(strong).groups, [Group::Secp384r1]);
        }
        assert_eq!(names("PERFORMANCE")[0], "TLS13_AES_128_GCM_SHA256");
        assert_eq!(parse("SECURE256:+SECURE128").cipher_suites(), normal.cipher_suites());
        assert_eq!(parse("SECURE256:+SECURE128").groups, [Group::Secp384r1, Group::X25519, Group::Secp256r1]);
    }

    #[test]
    fn items_are_added_and_taken_away() {
        assert_eq!(parse("NORMAL:-VERS-ALL:+VERS-TLS1.3").versions(), [TlsVersion::Tls13]);
        assert_eq!(parse("NORMAL:!VERS-TLS1.3").versions(), [TlsVersion::Tls12]);
        assert_eq!(names("NORMAL:-VERS-TLS1.2").len(), 3);
        assert!(names("NORMAL:-AES-128-GCM").iter().all(|name| !name.contains("128_GCM")));
        assert_eq!(names("NORMAL:-AES-256-GCM:+AES-256-GCM:-VERS-TLS1.2")[2], "TLS13_AES_256_GCM_SHA384");
        assert!(names("NORMAL:-ECDHE-ECDSA").iter().all(|name| !name.contains("_ECDSA_")));
        assert_eq!(parse("NORMAL:-KX-ALL").versions(), [TlsVersion::Tls13]);
        assert_eq!(parse("NORMAL:-GROUP-ALL:+CURVE-SECP384R1").groups, [Group::Secp384r1]);
        let gone = "NORMAL:-VERS-SSL3.0:-VERS-TLS1.0:-VERS-TLS1.1:-VERS-DTLS-ALL:-ARCFOUR-128:-3DES-CBC:-RSA:-DHE-RSA:-SHA1:-MD5:-SIGN-RSA-SHA1";
        assert_eq!(parse(gone), parse("NORMAL"));
        let least = "NONE:+VERS-TLS1.2:+AES-256-GCM:+ECDHE-ECDSA:+AEAD:+GROUP-X25519:+SIGN-ALL:+COMP-NULL";
        assert_eq!(names(least), ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]);
        let newest = parse("NONE:+VERS-TLS1.3:+CIPHER-ALL:+MAC-ALL:+GROUP-ALL:+SIGN-ALL");
        assert_eq!(newest, parse("NORMAL:-VERS-TLS1.2"));
    }

    #[test]
    fn flags() {
        assert!(parse("NORMAL:%SERVER_PRECEDENCE").server_precedence());
        assert!(parse("NORMAL:%force_session_hash").extended_master_secret);
        assert!(!parse("NORMAL:%NO_TICKETS").tickets);
        assert_eq!(parse("NORMAL:%NO_ETM:%FORCE_ETM"), parse("NORMAL"));
    }

    #[test]
    fn what_can_not_be_honoured_is_named() {
        let table = [
            ("", "an empty priority string; NORMAL is a good one"),
            ("NORMAL:", "an empty item is not known"),
            ("+NORMAL", "+NORMAL is not a keyword to begin with, such as NORMAL"),
            ("HIGH", "HIGH is not a keyword to begin with, such as NORMAL"),
            ("NORMAL:AES-128-GCM", "AES-128-GCM needs a sign: + to add it, - to take it away"),
            ("NORMAL:+NONE", "NONE is not supported: it has its place at the beginning"),
            ("NORMAL:-PFS", "PFS is not supported: keywords can't be taken away"),
            ("LEGACY", "LEGACY is not supported: what it has beyond NORMAL is too old for rustls"),
            ("SUITEB128", "SUITEB128 is not supported: signature algorithms can't be chosen one by one"),
            ("@SYSTEM", "@SYSTEM is not supported: there are no keywords from a system's policy file"),
            ("NORMAL:+VERS-TLS1.0", "VERS-TLS1.0 is not supported: the oldest version is TLS 1.2"),
            ("NORMAL:+VERS-DTLS1.2", "VERS-DTLS1.2 is not supported: there is no TLS over datagrams here"),
            ("NORMAL:+3DES-CBC", "3DES-CBC is not supported: rustls has AES-GCM and ChaCha20-Poly1305 only"),
            ("NORMAL:+RSA", "RSA is not supported: rustls has ECDHE only"),
            ("NORMAL:+SHA1", "SHA1 is not supported: rustls has AEAD only"),
            ("NORMAL:+GROUP-X448", "GROUP-X448 is not supported: ring has X25519, SECP256R1 and SECP384R1 only"),
            (
                "NORMAL:-SIGN-RSA-SHA256",
                "SIGN-RSA-SHA256 is not supported: signature algorithms can't be chosen one by one",
            ),
            ("NORMAL:+SIGN-RSA-SHA1", "SIGN-RSA-SHA1 is not supported: rustls does not sign so"),
            ("NORMAL:+COMP-DEFLATE", "COMP-DEFLATE is not supported: rustls does not compress"),
            ("NORMAL:-COMP-NULL", "COMP-NULL is not supported: it can't be taken away"),
            ("NORMAL:+CTYPE-OPENPGP", "CTYPE-OPENPGP is not supported: certificates are X.509 only"),
            ("NORMAL:%COMPAT", "%COMPAT is not supported: rustls has no ways around faults of old clients"),
            ("NORMAL:%SAFE_RENEGOTIATION", "%SAFE_RENEGOTIATION is not supported: rustls never renegotiates"),
            (
                "NORMAL:%PROFILE_HIGH",
                "%PROFILE_HIGH is not supported: rustls decides by itself which certificates of clients are good",
            ),
            (
                "NORMAL:%DISABLE_TLS13_COMPAT_MODE",
                "%DISABLE_TLS13_COMPAT_MODE is not supported: rustls has no such switch",
            ),
            ("NORMAL:%NONSENSE", "%NONSENSE is not known"),
            ("NORMAL:+AES-512-GCM", "AES-512-GCM is not known"),
            ("NORMAL:+A\nB", r"A\nB is not known"),
            ("NORMAL:-VERS-ALL", "no TLS version is left"),
            ("NORMAL:-CIPHER-ALL", "no cipher suite is left"),
            ("NORMAL:-VERS-TLS1.3:-KX-ALL", "no cipher suite is left"),
            ("NORMAL:-AEAD", "no integrity (AEAD) is left"),
            ("NORMAL:-GROUP-ALL", "no key exchange group is left"),
            ("NONE", "no TLS version is left"),
            ("NONE:+VERS-ALL:+CIPHER-ALL:+MAC-ALL:+GROUP-ALL", "no signature algorithm (SIGN-ALL) is left"),
        ];
        for (text, expected) in table {
            assert_eq!(error(text), expected, "{text}");
        }
        assert!(error(&format!("NORMAL:+{}", "A".repeat(100_000))).len() < 100);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_in_one_line(text in "(NORMAL|NONE|[A-Z@]{0,8})(:[-+!%]?[A-Z0-9.\\-\\PC\n]{0,12}){0,6}") {
            match Priorities::parse(&text) {
                Ok(read) => assert!(!read.versions().is_empty() && !read.cipher_suites().is_empty()),
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
    }
}
