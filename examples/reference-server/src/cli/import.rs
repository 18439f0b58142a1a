//! `pillarboxd import`.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use pillarbox_proto_core::mail::MailboxName;

use super::args;
use super::{Place, runtime, say};
use crate::exit::{Failure, Result, Status};
use crate::import::{Import, Progress};
use crate::users::{Users, names};

pub(super) fn run(place: &Place, args: &args::Import) -> Result<ExitCode> {
    let data = place.data()?;
    let users = Users::open(data.users())?;
    let user = whose(&users, args.user.as_deref())?;
    let mailbox = MailboxName::new(&args.mailbox)
        .map_err(|error| Failure::new(Status::Usage, format_args!("--mailbox {:?}: {error}", args.mailbox)))?;
    let import = Import::open(&args.path, place.config.max_message_size)?;
    let bar = bar(&import);
    let done = runtime()?.block_on(async {
        let backend = super::serve::backend(&place.config, &data, users)?;
        let account =
            backend.account(&user).await.map_err(|error| crate::import::refused(&MailboxName::inbox(), &error))?;
        import.run(&*account, &mailbox, |progress| show(&bar, progress)).await
    });
    bar.finish_and_clear();
    let done = done?;
    say(format_args!("Imported {} messages into {mailbox} of {user}\n", done.added));
    if done.skipped > 0 {
        let limit = place.config.max_message_size;
        let text = format_args!("{} messages were left out: each has more than {limit} octets", done.skipped);
        return Err(Failure::new(Status::DataError, text));
    }
    Ok(ExitCode::SUCCESS)
}

/// The user that was named, or the only one.
fn whose(users: &Users, named: Option<&str>) -> Result<String> {
    let table = users.table();
    match named {
        Some(name) => {
            let (name, _) = names(name)?;
            match table.contains_key(&name) {
                true => Ok(name),
                false => Err(Failure::new(Status::NoUser, format_args!("no user {name:?}"))),
            }
        }
        None => {
            let mut names = table.keys();
            match (names.next(), names.next()) {
                (Some(only), None) => Ok(only.clone()),
                (None, _) => Err(Failure::new(
                    Status::NoUser,
                    "there is no user yet: start pillarboxd once, or run pillarboxd user add NAME",
                )),
                _ => Err(Failure::new(Status::Usage, "there are several users: say whose mail it is with --user NAME")),
            }
        }
    }
}

/// A bar on standard error; nothing is drawn where that is no terminal.
fn bar(import: &Import) -> ProgressBar {
    let template = if import.counts_octets() {
        "{bar:40} {bytes}/{total_bytes}  {msg}  {eta} left"
    } else {
        "{bar:40} {pos}/{len}  {msg}  {eta} left"
    };
    let bar = ProgressBar::new(import.total());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_position(progress.done);
    if !bar.is_hidden() {
        bar.set_message(format!("{} messages", progress.added));
    }
}
