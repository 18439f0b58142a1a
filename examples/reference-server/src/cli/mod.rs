//! The command line of `pillarboxd`.

mod args;
mod expire;
mod import;
mod inetd;
mod serve;
mod user;
mod welcome;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use self::args::{Args, Command};
use crate::config::{Config, Protocol, Set, TlsMode};
use crate::daemon::{Background, Started};
use crate::data::DataFolder;
use crate::exit::{Failure, Result, Status};
use crate::logging::{self, Logger};

/// What it is called where nothing else is said.
const PROGRAM: &str = "pillarboxd";

/// Runs the program with the arguments of the process, and says how it ends.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let called = arguments.first().and_then(|name| name.to_str()).map_or(PROGRAM, base_name).to_owned();
    let args = match Args::try_parse_from(args::prepared(arguments.into_iter())) {
        Ok(args) => args,
        Err(error) => {
            // Where help is asked for, clap's error is the help.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => Status::Usage.into(),
            };
        }
    };
    // What is written to standard error would be sent to the client, where that is the client's socket.
    let silent = stderr_is_the_client();
    run(args, &called).unwrap_or_else(|failure| if silent { failure.status.into() } else { end(&failure) })
}

/// Whether standard input and standard error are the same socket, as inetd gives them.
fn stderr_is_the_client() -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let socket = |path: &str| std::fs::metadata(path).ok().filter(|data| data.file_type().is_socket());
    let ends = socket("/dev/stdin").zip(socket("/dev/stderr"));
    ends.is_some_and(|(input, error)| (input.dev(), input.ino()) == (error.dev(), error.ino()))
}

/// Says why the program ends.
fn end(failure: &Failure) -> ExitCode {
    let _ = writeln!(io::stderr(), "{PROGRAM}: {failure}");
    failure.status.into()
}

/// The name of a program without its folder.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What a program of this name speaks: those of Mailutils and Cyrus.
fn named(called: &str) -> Option<Protocol> {
    match called {
        "imap4d" | "imapd" => Some(Protocol::Imap),
        "pop3d" => Some(Protocol::Pop3),
        _ => None,
    }
}

fn run(args: Args, called: &str) -> Result<ExitCode> {
    let usage = |text: &str| Err(Failure::new(Status::Usage, text));
    if args.command.is_some() && args.serve != args::Serve::default() {
        return usage("the options of serving can't stand before another command");
    }
    let on_stdin = args.serve.inetd || args.serve.test || starts_as_inetd(&args, called);
    if args.serve.preauth && !on_stdin {
        return usage("--preauth is for -i: over the network it would make everybody this user");
    }
    // What is read again later is found from the folder of a daemon, too.
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|error| Failure::io(Status::NoInput, path.display(), &error))
    };
    let file = match (&args.config, args.serve.background) {
        (Some(path), true) => Some(absolute(path)?),
        (path, _) => path.clone(),
    };
    let settings = Settings { file, sets: args.set.clone(), serve: Overrides::new(&args, called)? };
    let config = settings.load()?;
    if args.check_config {
        return check(&args, &config);
    }
    let named = match (args.data.clone().or_else(|| config.data.clone()), args.serve.background) {
        (Some(path), true) => Some(absolute(&path)?),
        (path, _) => path,
    };
    let place = Place { named, config, settings, called: called.to_owned() };
    let Some(command) = args.command else {
        if args.serve.run_debug_command {
            debug_command(&place)?;
        }
        return if on_stdin { inetd::run(&place, &args.serve) } else { serve_network(place, &args) };
    };
    Logger::start(&place.config, PROGRAM)?;
    match command {
        Command::User { command } => user::run(&place, command).map(|()| ExitCode::SUCCESS),
        Command::Import(import) => import::run(&place, &import),
        Command::Expire(expire) => expire::run(&place, &expire),
    }
}

/// A program of a known name that is started with a socket on standard input, and not told to be a daemon.
fn starts_as_inetd(args: &Args, called: &str) -> bool {
    use std::os::unix::fs::FileTypeExt;
    named(called).is_some()
        && args.command.is_none()
        && !args.check_config
        && args.serve.daemon.is_none()
        && !args.serve.foreground
        && !args.serve.background
        && std::fs::metadata("/dev/stdin").is_ok_and(|data| data.file_type().is_socket())
}

fn serve_network(place: Place, args: &Args) -> Result<ExitCode> {
    let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
    let ready = absolute(&args.ready_file).map_err(|error| Failure::io(Status::CantCreate, "--ready-file", &error))?;
    if !args.serve.background {
        return serve::serve(&place, args, ready.as_deref(), None);
    }
    match Background::start()? {
        Started::Starter(code) => Ok(code),
        Started::Daemon(background) => {
            let mut background = Some(background);
            let ended = serve::serve(&place, args, ready.as_deref(), Some(&mut background));
            if let (Err(failure), Some(background)) = (&ended, background) {
                // Standard error is still that of the one who waits.
                let code = end(failure);
                background.failed(failure);
                return Ok(code);
            }
            ended
        }
    }
}

/// Runs the command of the configuration, as Cyrus's -D has it: with the program's name, the process's number and the
/// service's name for `%s`, `%d` and `%s`.
fn debug_command(place: &Place) -> Result<()> {
    let Some((program, arguments)) = place.config.debug_command.split_first() else {
        return Err(Failure::new(Status::Config, "debug-command: there is none for -D"));
    };
    let service = named(&place.called).map_or("pillarbox", Protocol::name);
    let mut names = [place.called.as_str(), service].into_iter();
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| {
            let mut argument = argument.replace("%d", &std::process::id().to_string());
            while argument.contains("%s") {
                let Some(name) = names.next() else { break };
                argument = argument.replacen("%s", name, 1);
            }
            argument
        })
        .collect();
    let mut command = std::process::Command::new(program);
    // What a service manager has told us is not meant for it.
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"] {
        command.env_remove(name);
    }
    let status = command.args(arguments).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let _ = writeln!(io::stderr(), "{PROGRAM}: debug-command: {program}: {status}");
            Ok(())
        }
        Err(error) => Err(Failure::io(Status::OsError, format_args!("debug-command: {program}"), &error)),
    }
}

/// Where the settings come from, so that they can be read again.
#[derive(Clone, Debug)]
struct Settings {
    file: Option<PathBuf>,
    sets: Vec<Set>,
    serve: Overrides,
}

/// What the command line says that the configuration has keys for.
#[derive(Clone, Debug, Default)]
struct Overrides {
    max_children: Option<Option<usize>>,
    pidfile: Option<PathBuf>,
    immediate_tls: bool,
    preauth: bool,
}

impl Overrides {
    fn new(args: &Args, called: &str) -> Result<Self> {
        let serve = &args.serve;
        let max_children = match serve.daemon.as_deref() {
            None => None,
            Some("") => Some(Some(if named(called) == Some(Protocol::Pop3) { 10 } else { 20 })),
            Some(number) => match number.parse() {
                Ok(0) => Some(None),
                Ok(number) => Some(Some(number)),
                Err(_) => return Err(Failure::new(Status::Usage, format_args!("-d{number}: no number"))),
            },
        };
        let pidfile = serve.pidfile.as_ref().map(std::path::absolute).transpose();
        let pidfile = pidfile.map_err(|error| Failure::io(Status::CantCreate, "--pidfile", &error))?;
        Ok(Self { max_children, pidfile, immediate_tls: serve.immediate_tls, preauth: serve.preauth })
    }
}

impl Settings {
    fn load(&self) -> Result<Config> {
        let mut config = Config::load(self.file.as_deref(), &self.sets)?;
        if let Some(number) = self.serve.max_children {
            config.server.max_children = number;
        }
        if let Some(file) = &self.serve.pidfile {
            config.server.pidfile = Some(file.clone());
        }
        if self.serve.immediate_tls {
            for listener in config.listeners.iter_mut().chain(&mut config.inetd) {
                listener.tls_mode = TlsMode::Connection;
            }
        }
        if self.serve.preauth {
            for listener in &mut config.inetd {
                listener.preauth.scheme = Some("stdio".to_owned());
            }
        }
        Ok(config)
    }
}

/// The configuration, and where the data is.
struct Place {
    config: Config,
    named: Option<PathBuf>,
    settings: Settings,
    /// The name by which the program was called.
    called: String,
}

impl Place {
    fn data(&self) -> Result<DataFolder> {
        match &self.named {
            Some(path) => DataFolder::open(path),
            None => DataFolder::open_default(),
        }
    }
}

/// Says what holds, if it is right. Certificates are looked at, nothing is made or bound.
fn check(args: &Args, config: &Config) -> Result<ExitCode> {
    logging::filter(config)?;
    if !args.serve.inetd && !args.serve.test {
        config.servable()?;
    }
    crate::serving::check(config)?;
    let mut shown = config.clone();
    if let Some(data) = args.data.as_ref() {
        shown.data = Some(data.clone());
    }
    say(format_args!("{shown}"));
    Ok(ExitCode::SUCCESS)
}

/// Whether somebody sits before standard input.
fn is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Prints to standard output. Nobody may be there to read it, which is no reason to end.
fn say(text: std::fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    let _ = out.write_fmt(text).and_then(|()| out.flush());
}

/// A runtime for the command.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io(Status::OsError, "starting threads", &error))
}
