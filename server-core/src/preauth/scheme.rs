//! How a hook is written in a configuration.

use std::str::FromStr;

use async_trait::async_trait;
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::auth::Identity;

use super::{Ident, Preauth, Program, Stdio, Unidentified};
use crate::address::service_port;
use crate::words::WordsError;

/// A hook as it is named in a configuration.
///
/// | text | hook |
/// |---|---|
/// | `prog:///usr/lib/whois ${client_address}`, or from the path on | [`Program`] |
/// | `ident`, `ident://:1113`, `ident://:auth` | [`Ident`], at the standard port (113), a port, or the port of a service |
/// | `stdio` | [`Stdio`] |
///
/// ```
/// use pillarbox_server_core::preauth::Scheme;
///
/// assert!(matches!("ident://:1113".parse()?, Scheme::Ident(_)));
/// let error = "radius".parse::<Scheme>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown preauth scheme 'radius'");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Scheme {
    /// Another program.
    Program(Program),
    /// The client's machine.
    Ident(Ident),
    /// The user of this process.
    Stdio(Stdio),
}

impl Scheme {
    /// The same as [`FromStr`].
    ///
    /// # Errors
    ///
    /// When the text is none of the above.
    pub fn parse(text: &str) -> Result<Self, SchemeError> {
        if text.starts_with('/') {
            return Program::new(text).map(Self::Program);
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme, Some(rest)),
            None => (text, None),
        };
        match (scheme, rest) {
            ("prog", rest) => Program::new(rest.unwrap_or_default()).map(Self::Program),
            ("ident", None | Some("")) => Ok(Self::Ident(Ident::new())),
            ("ident", Some(rest)) => {
                let port = rest.strip_prefix(':').ok_or_else(|| SchemeError(Fault::Place(rest.into())))?;
                let port = port_of(port).ok_or_else(|| SchemeError(Fault::Port(port.into())))?;
                Ok(Self::Ident(Ident::new().port(port)))
            }
            ("stdio", None) => Ok(Self::Stdio(Stdio::new())),
            _ => Err(SchemeError(Fault::Unknown(text.into()))),
        }
    }
}

/// A port by its number, or by the name of its service.
fn port_of(text: &str) -> Option<u16> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|port| *port != 0);
    }
    let port = service_port(text);
    // The name that the documents use is known also where the system has no table of services.
    port.or((text == "auth" || text == "ident").then_some(super::ident::PORT))
}

impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(text: &str) -> Result<Self, SchemeError> {
        Self::parse(text)
    }
}

#[async_trait]
impl Preauth for Scheme {
    async fn identify(&self, connection: &Connection) -> Result<Identity, Unidentified> {
        match self {
            Self::Program(hook) => hook.identify(connection).await,
            Self::Ident(hook) => hook.identify(connection).await,
            Self::Stdio(hook) => hook.identify(connection).await,
        }
    }
}

/// A text that names no hook. Its message is one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SchemeError(pub(super) Fault);

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("unknown preauth scheme '{}'", .0.escape_debug())]
    Unknown(Box<str>),
    #[error("prog: {0}")]
    Program(WordsError),
    #[error("prog: not the absolute path of a program: '{}'", .0.escape_debug())]
    Relative(Box<str>),
    #[error("ident: it is the client's machine that is asked, so only ':' and a port may follow: '{}'", .0.escape_debug())]
    Place(Box<str>),
    #[error("ident: not a port or the name of a service: '{}'", .0.escape_debug())]
    Port(Box<str>),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms() {
        assert!(matches!(Scheme::parse("prog:///bin/echo ${client_address} a"), Ok(Scheme::Program(_))));
        assert!(matches!(Scheme::parse("/bin/echo ${server_port}"), Ok(Scheme::Program(_))));
        assert!(matches!(Scheme::parse("stdio"), Ok(Scheme::Stdio(_))));
        for (text, port) in [("ident", 113), ("ident://", 113), ("ident://:1113", 1113), ("ident://:auth", 113)] {
            match Scheme::parse(text).unwrap() {
                Scheme::Ident(hook) => assert_eq!(hook.asks_at(), port, "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn texts_that_name_nothing() {
        for (text, error) in [
            ("", "unknown preauth scheme ''"),
            ("radius", "unknown preauth scheme 'radius'"),
            ("stdio://x", "unknown preauth scheme 'stdio://x'"),
            ("program:///bin/x", "unknown preauth scheme 'program:///bin/x'"),
            ("Ident", "unknown preauth scheme 'Ident'"),
            ("a\nb", "unknown preauth scheme 'a\\nb'"),
            ("prog", "prog: missing program"),
            ("prog://", "prog: missing program"),
            ("prog://bin/x", "prog: not the absolute path of a program: 'bin/x'"),
            ("/bin/x ${address}", "prog: unknown variable 'address'"),
            ("/bin/x 'a", "prog: a quote without its end"),
            (
                "ident://example.org:113",
                "ident: it is the client's machine that is asked, so only ':' and a port may follow: 'example.org:113'",
            ),
            ("ident://:", "ident: not a port or the name of a service: ''"),
            ("ident://:0", "ident: not a port or the name of a service: '0'"),
            ("ident://:65536", "ident: not a port or the name of a service: '65536'"),
            ("ident://:+113", "ident: not a port or the name of a service: '+113'"),
            ("ident://:no-such-service", "ident: not a port or the name of a service: 'no-such-service'"),
            ("ident://:a b", "ident: not a port or the name of a service: 'a b'"),
        ] {
            let parsed = Scheme::parse(text).map_err(|error| error.to_string());
            assert_eq!(parsed.map(|scheme| format!("{scheme:?}")), Err(error.into()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_in_one_line(text in "(prog|ident|stdio|)(://|/)?[:0-9 ${}'\"\n]{0,8}\\PC{0,3}") {
            if let Err(error) = Scheme::parse(&text) {
                prop_assert!(!error.to_string().contains('\n'));
            }
        }
    }
}
