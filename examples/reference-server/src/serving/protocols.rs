//! The settings of each protocol, as its crate takes them.

use std::time::Duration;

use pillarbox_imap_proto::ServerId;

use crate::config::{Config, IdField, Listener};

/// The least of the two, where there is a limit on silence.
fn login_time(anonymous: Duration, listener: &Listener) -> Duration {
    listener.timeout.flatten().map_or(anonymous, |timeout| timeout.min(anonymous))
}

fn idle_time(authenticated: Duration, listener: &Listener) -> Option<Duration> {
    listener.timeout.unwrap_or(Some(authenticated))
}

/// IMAP's, on this listener. `greeting` is what it says where the configuration does not.
pub(super) fn imap(config: &Config, listener: &Listener, test: bool) -> pillarbox_imap_proto::Config {
    use pillarbox_imap_proto::LiteralMode;
    let mut imap = pillarbox_imap_proto::Config::default();
    imap.tls_mode = listener.tls_mode;
    imap.allow_plaintext = listener.allow_plain_text;
    imap.login_disabled = listener.login_disabled;
    imap.literal_mode = if config.imap.literal_minus { LiteralMode::Minus } else { LiteralMode::Plus };
    imap.append_limit = Some(config.max_message_size);
    if let Some(greeting) = &listener.greeting {
        imap.greeting.clone_from(greeting);
    }
    if test {
        imap.greeting.push_str(", Test mode");
    }
    if let Some(fields) = &config.imap.id_fields {
        match ServerId::new(id_fields(fields, std::env::args())) {
            Ok(id) => imap.id_fields = id,
            Err(error) => tracing::warn!("imap.id-fields: {error}"),
        }
    }
    imap.limits.failed_logins = config.imap.max_failures;
    imap.timeouts.login = Some(login_time(config.imap.timeout_anonymous, listener));
    imap.timeouts.idle = idle_time(config.imap.timeout_authenticated, listener);
    if let Some(heartbeat) = config.imap.heartbeat {
        imap.timeouts.heartbeat = heartbeat;
    }
    imap
}

/// POP3's, on this listener.
pub(super) fn pop3(config: &Config, listener: &Listener, test: bool) -> pillarbox_pop3_proto::Config {
    let mut pop3 = pillarbox_pop3_proto::Config::default();
    pop3.tls_mode = listener.tls_mode;
    pop3.allow_plaintext = listener.allow_plain_text;
    if let Some(name) = &listener.hostname {
        pop3.host_name.clone_from(name);
    }
    if let Some(greeting) = &listener.greeting {
        pop3.greeting.clone_from(greeting);
    }
    if test {
        pop3.greeting.push_str(", Test mode");
    }
    pop3.limits.failed_logins = config.pop3.max_failures;
    pop3.undelete = config.pop3.undelete;
    pop3.internationalized = config.pop3.internationalized;
    // The first is what `LANG *` selects.
    pop3.languages.sort_by_key(|language| language.tag() != config.pop3.language);
    pop3.timeouts.login = Some(login_time(config.pop3.timeout_anonymous, listener));
    pop3.timeouts.idle = idle_time(config.pop3.timeout_authenticated, listener);
    pop3
}

/// LMTP's, on this listener.
pub(super) fn lmtp(config: &Config, listener: &Listener) -> pillarbox_example_lmtp::Config {
    let mut lmtp = pillarbox_example_lmtp::Config::default();
    lmtp.tls_mode = listener.tls_mode;
    if let Some(name) = &listener.hostname {
        lmtp.host_name.clone_from(name);
    }
    lmtp.max_message_size = config.max_message_size;
    if let Some(timeout) = listener.timeout {
        lmtp.idle = timeout;
    }
    lmtp
}

/// The longest value in an answer to ID (RFC 2971, section 3.3).
const LONGEST_VALUE: usize = 1024;

/// What ID answers. What the server has no value for is left out.
fn id_fields(fields: &[IdField], mut arguments: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let command = arguments.next().unwrap_or_default();
    let value = |field: &IdField| match field {
        IdField::Known("name" | "vendor") => Some("Pillarbox".to_owned()),
        IdField::Known("version") => Some(env!("CARGO_PKG_VERSION").to_owned()),
        IdField::Known("os") => Some(rustix::system::uname().sysname().to_string_lossy().into_owned()),
        IdField::Known("os-version") => Some(rustix::system::uname().release().to_string_lossy().into_owned()),
        IdField::Known("command") => Some(crate::cli::base_name(&command).to_owned()),
        IdField::Environment(names) => {
            let shown = |name: &String| std::env::var(name).ok().map(|value| format!("{name}={value}"));
            Some(names.iter().filter_map(shown).collect::<Vec<_>>().join(" "))
        }
        IdField::Own(_, value) => Some(value.clone()),
        _ => None,
    };
    let masked: Vec<String> = arguments.map(|argument| masked(&argument)).collect();
    fields
        .iter()
        .filter_map(|field| {
            let name = match field {
                IdField::Known(name) => (*name).to_owned(),
                IdField::Arguments => "arguments".to_owned(),
                IdField::Environment(_) => "environment".to_owned(),
                IdField::Own(name, _) => name.clone(),
            };
            let value = match field {
                IdField::Arguments => Some(masked.join(" ")),
                field => value(field),
            };
            value.map(|mut value| {
                let end = (0..=LONGEST_VALUE).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0);
                value.truncate(end);
                (name, value)
            })
        })
        .collect()
}

/// An argument without what may be secret: options stay, their values and everything else do not.
fn masked(argument: &str) -> String {
    match argument.split_once('=') {
        Some((option, _)) if option.starts_with('-') => format!("{option}=***"),
        _ if argument.starts_with('-') => argument.to_owned(),
        _ => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_tells_what_was_listed_in_that_order() {
        let fields = [
            IdField::Own("x".into(), "y z".into()),
            IdField::Known("version"),
            IdField::Known("support-url"),
            IdField::Known("name"),
            IdField::Known("command"),
            IdField::Arguments,
            IdField::Environment(vec!["CARGO_PKG_NAME".into(), "NO SUCH".into()]),
        ];
        let arguments = ["/usr/sbin/pillarboxd", "-d5", "--config", "/etc/secret", "--set=a=b", "-N"];
        let answered = id_fields(&fields, arguments.into_iter().map(str::to_owned));
        let answered: Vec<_> = answered.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            answered,
            [
                ("x", "y z"),
                ("version", version),
                ("name", "Pillarbox"),
                ("command", "pillarboxd"),
                ("arguments", "-d5 --config *** --set=*** -N"),
                ("environment", "CARGO_PKG_NAME=pillarbox-reference-server"),
            ]
        );
        let long = id_fields(&[IdField::Own("x".into(), "ä".repeat(1000))], std::iter::empty());
        assert_eq!(long[0].1.len(), 1024);
    }
}
