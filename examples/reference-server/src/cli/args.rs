//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Serves mail over IMAP and POP3.
///
/// Without arguments it starts at once: on this machine only, with a data folder, a user and a certificate that it makes
/// on the first start.
#[derive(Debug, Parser)]
#[command(name = "pillarboxd", version, max_term_width = 100)]
#[command(after_help = "Log lines go to standard error; PILLARBOX_LOG=debug shows more of them.")]
pub(super) struct Args {
    /// Read the configuration from this file.
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) config: Option<PathBuf>,

    /// Keep everything in this folder, which must exist. Default: $XDG_DATA_HOME/pillarbox or
    /// ~/.local/share/pillarbox, which is made when it is missing.
    #[arg(long, value_name = "DIR", global = true)]
    pub(super) data: Option<PathBuf>,

    /// Print the settings that would hold, secrets masked, and end.
    #[arg(long, conflicts_with = "ready_file")]
    pub(super) check_config: bool,

    /// Once all listeners are there, write their addresses to this file: a line `NAME PROTOCOL TLS-MODE ADDRESS` for each.
    #[arg(long, value_name = "FILE")]
    pub(super) ready_file: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) command: Option<Command>,
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
