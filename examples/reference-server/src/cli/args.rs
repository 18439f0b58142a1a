//! What can be said on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use crate::config::{Protocol, Set};

/// Serves mail over IMAP and POP3.
///
/// Without arguments it starts at once: on this machine only, with a data folder, a user and a certificate that it makes
/// on the first start.
#[derive(Debug, Parser)]
#[command(name = "pillarboxd", version, max_term_width = 100)]
#[command(after_help = "Log lines go to standard error; PILLARBOX_LOG=debug shows more of them.")]
pub(super) struct Args {
    /// Read the configuration from this file.
    #[arg(short = 'C', long, value_name = "FILE", global = true)]
    pub(super) config: Option<PathBuf>,

    /// Keep everything in this folder, which must exist. Default: $XDG_DATA_HOME/pillarbox or
    /// ~/.local/share/pillarbox, which is made when it is missing.
    #[arg(long, value_name = "DIR", global = true)]
    pub(super) data: Option<PathBuf>,

    /// Set a key of the configuration, after the file: a dotted key of TOML, and a value, whose quotes may be left out.
    /// May be given several times.
    #[arg(long, value_name = "KEY=VALUE", global = true, action = ArgAction::Append)]
    pub(super) set: Vec<Set>,

    /// Print the settings that would hold, secrets masked, and end.
    #[arg(long, conflicts_with = "ready_file")]
    pub(super) check_config: bool,

    /// Once all listeners are there, write their addresses to this file: a line `NAME PROTOCOL TLS-MODE ADDRESS` for each.
    #[arg(long, value_name = "FILE")]
    pub(super) ready_file: Option<PathBuf>,

    #[command(flatten)]
    pub(super) serve: Serve,

    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// How it is served.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Serving")]
pub(super) struct Serve {
    /// Serve any number of clients over the network, which is the default, and at most N at a time over all listeners: 20
    /// when N is left out, 10 when this program is called pop3d, and any number with 0. There is no blank before N.
    #[arg(short = 'd', long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    #[arg(conflicts_with_all = ["inetd", "test"])]
    pub(super) daemon: Option<String>,

    /// Stay in the terminal, which is the default.
    #[arg(long, conflicts_with = "background")]
    pub(super) foreground: bool,

    /// Leave the terminal. The program that was started ends when the server is ready, or with its status when it isn't.
    /// The log goes to syslog.
    #[arg(long, conflicts_with_all = ["inetd", "test"])]
    pub(super) background: bool,

    /// Write the number of the process to this file, and remove it at the end.
    #[arg(long, value_name = "FILE")]
    pub(super) pidfile: Option<PathBuf>,

    /// Serve one client on standard input and output.
    #[arg(short = 'i', long)]
    pub(super) inetd: bool,

    /// What to speak on standard input and output. Default: what the name says that this program is called by (imap4d,
    /// imapd, pop3d).
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    pub(super) service: Option<Service>,

    /// Take the client for the user whose process this is: no password is asked for. For -i; it is so without saying where
    /// standard input is a terminal.
    #[arg(long)]
    pub(super) preauth: bool,

    /// Serve one client on standard input and output, and say that it is a test.
    #[arg(long)]
    pub(super) test: bool,

    /// Run the configuration's debug-command before anything is served.
    #[arg(short = 'D', long)]
    pub(super) run_debug_command: bool,

    /// Begin every connection with a TLS handshake, whatever the configuration says.
    #[arg(short = 's', long)]
    pub(super) immediate_tls: bool,

    /// Something outside protects the connections, with this strength: 0 or 1 for not at all, more for as good as TLS.
    #[arg(short = 'p', long, value_name = "SSF", default_value_t = 0, hide_default_value = true)]
    pub(super) external_ssf: u32,

    /// Let everybody in who says a user's name to LOGIN, or to USER and PASS, whatever the password; AUTHENTICATE is not
    /// affected.
    #[arg(short = 'N', long)]
    pub(super) any_password: bool,

    /// Do what is dangerous: --any-password also for clients from elsewhere.
    #[arg(long, requires = "any_password")]
    pub(super) insecure: bool,

    /// End after so many connections, once they have ended.
    #[arg(short = 'U', long, value_name = "N")]
    pub(super) max_uses: Option<u64>,

    /// End when there has been no connection for so long, after at least one; 0 for never.
    #[arg(short = 'T', long, value_name = "SECONDS")]
    pub(super) idle_exit: Option<u64>,
}

/// What can be spoken on standard input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Service {
    Imap,
    Pop3,
    Lmtp,
}

impl From<Service> for Protocol {
    fn from(service: Service) -> Self {
        match service {
            Service::Imap => Self::Imap,
            Service::Pop3 => Self::Pop3,
            Service::Lmtp => Self::Lmtp,
        }
    }
}

/// The arguments in the form that the parser knows: `-d5` is `-d=5` to it.
pub(super) fn prepared(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut done = false;
    arguments
        .map(|argument| {
            done |= argument == "--";
            match argument.to_str().and_then(|text| text.strip_prefix("-d")) {
                Some(number) if !done && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                    format!("-d={number}").into()
                }
                _ => argument,
            }
        })
        .collect()
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say who may log in. A running server notices.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Bring mail in from an mbox file, a Maildir, a folder of .eml files or one such file.
    Import(Import),
    /// Remove the messages that were first retrieved over POP3 long enough ago. For cron, where they are not removed at
    /// QUIT.
    Expire(Expire),
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user. The password is asked for, or read from standard input: one line.
    Add {
        /// The name to log in with.
        name: String,
        /// The folder of the user's mail, below `mail` in the data folder. Default: made from the name.
        #[arg(long, value_name = "FOLDER")]
        home: Option<String>,
        /// Make a password and print it.
        #[arg(long)]
        generate: bool,
        /// Do not serve this user over POP3.
        #[arg(long)]
        no_pop3: bool,
    },
    /// Change a user's password. It is asked for, or read from standard input: one line.
    Passwd {
        /// The user's name.
        name: String,
        /// Make a password and print it.
        #[arg(long)]
        generate: bool,
        /// Not the password, but the user's secret for APOP and CRAM-MD5. It is kept as it is, so it must be another.
        #[arg(long)]
        apop: bool,
        /// Take that secret away.
        #[arg(long, requires = "apop", conflicts_with = "generate")]
        remove: bool,
    },
    /// Remove a user. The mail stays where it is.
    Remove {
        /// The user's name.
        name: String,
    },
    /// Print the users' names and the folders of their mail.
    List,
}

#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// What to import. It is not changed.
    pub(super) path: PathBuf,
    /// Whose mail it becomes. Default: the only user there is.
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// The mailbox, which is made when it is missing. Folders of a Maildir go below it, or beside INBOX.
    #[arg(long, value_name = "MAILBOX", default_value = "INBOX")]
    pub(super) mailbox: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Expire {
    /// Remove nothing, and print what would be removed.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Only this user's mail. May be given several times.
    #[arg(long, value_name = "NAME")]
    pub(super) user: Vec<String>,
    /// How many days ago, in place of what the configuration and users' settings say.
    #[arg(long, value_name = "DAYS")]
    pub(super) days: Option<u32>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let all = std::iter::once("pillarboxd").chain(arguments.iter().copied()).map(OsString::from);
        Args::try_parse_from(prepared(all))
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_number_of_d_is_glued_to_it() {
        assert_eq!(parse(&["-d"]).unwrap().serve.daemon.as_deref(), Some(""));
        assert_eq!(parse(&["-d3"]).unwrap().serve.daemon.as_deref(), Some("3"));
        assert_eq!(parse(&["--daemon=3"]).unwrap().serve.daemon.as_deref(), Some("3"));
        assert_eq!(parse(&["-d", "user", "list"]).unwrap().serve.daemon.as_deref(), Some(""));
        assert!(parse(&["-d", "3"]).is_err());
        assert!(parse(&["-dx"]).is_err());
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        for arguments in [
            &["-d", "-i"][..],
            &["--foreground", "--background"],
            &["-i", "--background"],
            &["--insecure"],
            &["-U", "x"],
            &["-p", "-1"],
            &["--service", "smtp"],
            &["--set", "x"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
        let args = parse(&["-s", "-p", "2", "-N", "-U", "5", "-T", "60", "-D", "-C", "f", "--set", "a.b=c=d"]).unwrap();
        assert!(args.serve.immediate_tls && args.serve.any_password && args.serve.run_debug_command);
        assert_eq!((args.serve.external_ssf, args.serve.max_uses, args.serve.idle_exit), (2, Some(5), Some(60)));
        assert_eq!(args.set, ["a.b = c=d".parse().unwrap()]);
    }
}
