//! Settings of IMAP.

use std::time::Duration;

use pillarbox_imap_proto::ServerId;
use serde::Deserialize;
use toml::Spanned;

use super::MINUTE;
use super::error::{ConfigError, Source};
use super::file::{Auth, Timeout, Wrong, timeouts};
use super::value::{Patience, Texts};

/// Settings of IMAP.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Imap {
    /// `LITERAL-` in place of `LITERAL+`.
    pub literal_minus: bool,
    /// Whether passwords may come over connections without TLS, where it is set; see
    /// [`Listener::allow_plain_text`](super::Listener::allow_plain_text).
    pub allow_plain_text: Option<bool>,
    /// Failed logins that end a connection.
    pub max_failures: u32,
    /// From the greeting to a login.
    pub timeout_anonymous: Duration,
    /// Without input after login.
    pub timeout_authenticated: Duration,
    /// How often a client in IDLE hears from us; `Some(None)` for never, `None` for the protocol's own default.
    pub heartbeat: Option<Option<Duration>>,
    /// Whether LOGIN is refused always, unless a listener says otherwise.
    pub login_disabled: bool,
    /// What ID tells of this server, in this order; `None` for its name and version.
    pub id_fields: Option<Vec<IdField>>,
}

impl Default for Imap {
    fn default() -> Self {
        Self {
            literal_minus: false,
            allow_plain_text: None,
            max_failures: 3,
            timeout_anonymous: MINUTE,
            timeout_authenticated: 30 * MINUTE,
            heartbeat: None,
            login_disabled: false,
            id_fields: None,
        }
    }
}

/// One field of the answer to ID.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdField {
    /// One that the server fills in itself: `name`, `version`, `vendor`, `os`, `os-version`, `command`; and `support-url`
    /// and `address`, which it has none of, and leaves out.
    Known(&'static str),
    /// `arguments`: those of the command line, values masked.
    Arguments,
    /// `environment`: these variables.
    Environment(Vec<String>),
    /// A text of one's own: `key=value`.
    Own(String, String),
}

/// Those that need nothing.
const KNOWN: [&str; 8] = ["name", "version", "vendor", "support-url", "address", "os", "os-version", "command"];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct Table {
    literal_plus: Option<Spanned<String>>,
    auth: Auth,
    timeout: Timeout,
    heartbeat: Option<Patience>,
    login_disabled: bool,
    id_fields: Option<Spanned<Texts>>,
    id_environment: Option<Spanned<Texts>>,
}

impl Table {
    /// The settings. `secret` are the variables that the configuration itself reads.
    pub(super) fn resolve(&self, source: &Source<'_>, secret: &[String]) -> Result<Imap, ConfigError> {
        let mut imap = Imap { allow_plain_text: self.auth.allow_plain_text, ..Imap::default() };
        if let Some(literal) = &self.literal_plus {
            imap.literal_minus = source.choice(literal, &[("literal+", false), ("literal-", true)])?;
        }
        source.auth(&self.auth, &mut imap.max_failures)?;
        timeouts(&self.timeout, &mut imap.timeout_anonymous, &mut imap.timeout_authenticated);
        imap.heartbeat = self.heartbeat.map(|patience| patience.0);
        imap.login_disabled = self.login_disabled;
        imap.id_fields = self.id_fields.as_ref().map(|value| self.fields(source, value, secret)).transpose()?;
        if let (None, Some(value)) = (&self.id_fields, &self.id_environment) {
            return Err(source.error(&value.span(), "is of no use without id-fields with \"environment\""));
        }
        Ok(imap)
    }

    fn fields(
        &self,
        source: &Source<'_>,
        value: &Spanned<Texts>,
        secret: &[String],
    ) -> Result<Vec<IdField>, ConfigError> {
        let mut fields = Vec::new();
        for name in &value.get_ref().0 {
            fields.push(if let Some(known) = KNOWN.iter().find(|known| *known == name) {
                IdField::Known(known)
            } else if name == "arguments" {
                IdField::Arguments
            } else if name == "environment" {
                let Some(variables) = &self.id_environment else {
                    return Err(source.error(&value.span(), "environment needs id-environment, the variables to show"));
                };
                if let Some(name) = variables.get_ref().0.iter().find(|name| secret.contains(name)) {
                    let text = format_args!("the configuration reads {name} from the environment, so it is not shown");
                    return Err(source.error(&variables.span(), text));
                }
                IdField::Environment(variables.get_ref().0.clone())
            } else if let Some((name, text)) = name.split_once('=') {
                IdField::Own(name.to_owned(), text.to_owned())
            } else {
                let mut names = KNOWN.to_vec();
                names.extend(["arguments", "environment"]);
                return Err(source.error(&value.span(), Wrong { wrong: name, names: &names }));
            });
        }
        let names = fields.iter().map(|field| match field {
            IdField::Known(name) => (*name, ""),
            IdField::Arguments => ("arguments", ""),
            IdField::Environment(_) => ("environment", ""),
            IdField::Own(name, value) => (name.as_str(), value.as_str()),
        });
        ServerId::new(names).map_err(|error| source.error(&value.span(), error))?;
        Ok(fields)
    }
}
