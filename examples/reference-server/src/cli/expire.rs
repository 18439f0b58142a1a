//! `pillarboxd expire`.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use pillarbox_proto_core::backend::Expiry;
use pillarbox_proto_core::mail::MailboxName;

use super::args;
use super::{Place, runtime, say};
use crate::exit::{Failure, Result, Status};
use crate::users::{Users, names};

pub(super) fn run(place: &Place, args: &args::Expire) -> Result<ExitCode> {
    let data = place.data()?;
    let users = Users::open(data.users())?;
    let table = users.table();
    let mut whose = Vec::new();
    for name in &args.user {
        let (name, _) = names(name)?;
        if !table.contains_key(&name) {
            return Err(Failure::new(Status::NoUser, format_args!("no user {name:?}")));
        }
        whose.push(name);
    }
    if whose.is_empty() {
        whose.extend(table.keys().cloned());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    runtime()?.block_on(async {
        let backend = super::serve::backend(&place.config, &data, users)?;
        let mut nobody = true;
        let mut failed = None;
        for name in &whose {
            let Some(user) = table.get(name) else { continue };
            let expiry = match args.days {
                Some(days) => Some(Expiry::after(days)),
                None => backend.policies().expiry(&user.pop3),
            };
            let Some(cutoff) = expiry.and_then(|expiry| expiry.deleting().cutoff(now)) else { continue };
            nobody = false;
            let expired = async { backend.home(name).await?.expire(cutoff, args.dry_run).await };
            let expired = match expired.await {
                Ok(expired) => expired,
                // The mail of the others is looked at all the same.
                Err(error) => {
                    let failure = crate::import::refused(&MailboxName::inbox(), &error);
                    tracing::error!(user = name, "{failure}");
                    failed = Some(failure);
                    continue;
                }
            };
            for message in &expired {
                say(format_args!("{name} {} retrieved {}\n", message.unique_id, message.stamp));
            }
            let done = if args.dry_run { "would be removed" } else { "removed" };
            say(format_args!("{name}: {} messages {done}\n", expired.len()));
        }
        match failed {
            Some(failure) => Err(failure),
            None if nobody && args.days.is_none() && !whose.is_empty() => Err(Failure::new(
                Status::Config,
                "pop3.expire is not set, for no user: say after how many days with --days",
            )),
            None => Ok(ExitCode::SUCCESS),
        }
    })
}
