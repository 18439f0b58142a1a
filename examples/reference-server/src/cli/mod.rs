//! The command line of `pillarboxd`.

mod args;
mod expire;
mod import;
mod listeners;
mod serve;
mod user;
mod welcome;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tracing_subscriber::EnvFilter;

use self::args::{Args, Command};
use crate::config::Config;
use crate::data::DataFolder;
use crate::exit::{Failure, Result, Status};

/// Runs the program with the arguments of the process, and says how it ends.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
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
    match run(args) {
        Ok(code) => code,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "pillarboxd: {failure}");
            failure.status.into()
        }
    }
}

fn run(args: Args) -> Result<ExitCode> {
    let config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::built_in(),
    };
    if args.check_config {
        return check(&args, &config);
    }
    log(&config)?;
    let place = Place { named: args.data.clone().or_else(|| config.data.clone()), config };
    match args.command {
        None => serve::serve(&place, args.ready_file.as_deref()),
        Some(Command::User { command }) => user::run(&place, command).map(|()| ExitCode::SUCCESS),
        Some(Command::Import(import)) => import::run(&place, &import),
        Some(Command::Expire(expire)) => expire::run(&place, &expire),
    }
}

/// The configuration, and where the data is.
struct Place {
    config: Config,
    named: Option<std::path::PathBuf>,
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
    filter(config)?;
    for (id, certificate) in &config.certificates {
        listeners::identity(id, certificate)?;
    }
    let mut shown = config.clone();
    if let Some(data) = args.data.as_ref() {
        shown.data = Some(data.clone());
    }
    say(format_args!("{shown}"));
    Ok(ExitCode::SUCCESS)
}

/// Log lines go to standard error. `PILLARBOX_LOG` wins over the configuration.
fn log(config: &Config) -> Result<()> {
    let stderr = io::stderr();
    tracing_subscriber::fmt()
        .with_env_filter(filter(config)?)
        .with_ansi(stderr.is_terminal())
        .with_writer(io::stderr)
        .init();
    Ok(())
}

fn filter(config: &Config) -> Result<EnvFilter> {
    const VARIABLE: &str = "PILLARBOX_LOG";
    let (source, text) = match std::env::var(VARIABLE) {
        Ok(text) => (VARIABLE, text),
        Err(_) => ("log.level", config.log.clone()),
    };
    EnvFilter::try_new(&text).map_err(|error| {
        Failure::new(Status::Config, format_args!("{source}: {text:?} is no filter for logs: {error}"))
    })
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
