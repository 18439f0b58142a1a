//! What the server can do, as CAPABILITY tells it.
//!
//! There is no list to keep in step: each word follows from the connection, the configuration and the account.

use pillarbox_proto_core::auth::offered;
use pillarbox_proto_core::connection::TlsMode;

use super::Session;
use crate::config::LiteralMode;

impl Session {
    /// The capabilities that hold now, in the order in which they are told.
    pub(crate) fn capabilities(&self) -> String {
        self.capability_words().join(" ")
    }

    fn capability_words(&self) -> Vec<String> {
        let mut words: Vec<String> = ["IMAP4rev1", "IMAP4rev2"].map(String::from).to_vec();
        let mut add = |word: &str| words.push(word.to_owned());
        add(match self.config.literal_mode {
            LiteralMode::Plus => "LITERAL+",
            LiteralMode::Minus => "LITERAL-",
        });
        add("ENABLE");
        add("ID");
        if let Some(account) = &self.account {
            for word in [
                "BINARY",
                "CHILDREN",
                "ESEARCH",
                "IDLE",
                "LIST-EXTENDED",
                "LIST-STATUS",
                "MOVE",
                "MULTIAPPEND",
                "NAMESPACE",
                "SEARCHRES",
                "SPECIAL-USE",
                "STATUS=SIZE",
                "UIDPLUS",
                "UNSELECT",
                "WITHIN",
            ] {
                add(word);
            }
            if account.creates_special_use() {
                add("CREATE-SPECIAL-USE");
            }
            if let Some(limit) = [self.config.append_limit, account.append_limit()].into_iter().flatten().min() {
                add(&format!("APPENDLIMIT={limit}"));
            }
            return words;
        }
        add("SASL-IR");
        if self.offers_starttls() {
            add("STARTTLS");
        }
        if self.needs_tls() {
            add("XTLSREQUIRED");
        } else {
            for mechanism in self.mechanisms() {
                add(&format!("AUTH={}", mechanism.name()));
            }
        }
        if !self.takes_login() {
            add("LOGINDISABLED");
        }
        words
    }

    /// The SASL mechanisms that may be used on this connection.
    pub(crate) fn mechanisms(&self) -> Vec<pillarbox_proto_core::auth::Mechanism> {
        if self.needs_tls() {
            return Vec::new();
        }
        let plaintext = self.config.allow_plaintext && self.config.tls_mode != TlsMode::Required;
        offered(&self.backend.questions(), &self.connection, plaintext)
    }

    /// Whether the LOGIN command is taken now (RFC 9051, section 6.2.3).
    pub(crate) fn takes_login(&self) -> bool {
        !self.config.login_disabled && self.takes_plaintext() && self.backend.questions().password
    }
}
