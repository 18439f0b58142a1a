//! `pillarboxd user`.

use std::io::{self, BufRead, IsTerminal, Read};
use std::sync::Arc;

use console::Term;
use pillarbox_proto_core::auth::{Secret, prepare_password};
use zeroize::Zeroizing;

use super::args::UserCommand;
use super::{Place, say};
use crate::apop::SharedSecrets;
use crate::data::DataFolder;
use crate::exit::{Failure, Result, Status};
use crate::users::{Table, User, Users, generate_password, is_home, names};

/// The longest password that is read, in octets.
const MAX_PASSWORD: usize = 1024;

pub(super) fn run(place: &Place, command: UserCommand) -> Result<()> {
    let data = place.data()?;
    let users = Users::open(data.users())?;
    match command {
        UserCommand::Add { name, home, generate, no_pop3 } => {
            let (name, default_home) = names(&name)?;
            let home = home.unwrap_or(default_home);
            if !is_home(&home) {
                let text = format_args!("--home {home:?}: not the name of a folder");
                return Err(Failure::new(Status::Usage, text));
            }
            let taken = |table: &Table| match table.contains_key(&name) {
                true => Err(Failure::new(Status::CantCreate, format_args!("user {name} exists already"))),
                false => Ok(()),
            };
            taken(&users.table())?;
            let password = password(generate)?;
            let mut user = User::new(home, &password)?;
            user.pop3.enabled = !no_pop3;
            users.change(|table| {
                taken(table)?;
                table.insert(name.clone(), Arc::new(user));
                Ok(())
            })?;
            show(generate, &password);
        }
        UserCommand::Passwd { name, generate, apop: true, remove } => {
            let name = known(&users, &name)?;
            let secrets = SharedSecrets::open(data.apop())?;
            if remove {
                if !secrets.set(&name, None)? {
                    return Err(Failure::new(Status::NoUser, format_args!("{name} has no secret for APOP")));
                }
                return Ok(());
            }
            let secret = password(generate)?;
            // Kept as it is, it would tell the password to whoever gets hold of it.
            if users.get(&name).is_some_and(|user| user.secret.verify(&prepare_password(&secret))) {
                tracing::warn!("this is also the user's password, which is kept as it is now: better take another");
            }
            secrets.set(&name, Some(&secret))?;
            show(generate, &secret);
        }
        UserCommand::Passwd { name, generate, .. } => {
            let name = known(&users, &name)?;
            let password = password(generate)?;
            users.change(|table| {
                let user = table.get_mut(&name).ok_or_else(|| unknown(&name))?;
                Arc::make_mut(user).set_password(&password)
            })?;
            show(generate, &password);
        }
        UserCommand::Remove { name } => {
            let name = known(&users, &name)?;
            let user = users.change(|table| table.remove(&name).ok_or_else(|| unknown(&name)))?;
            // Whoever has the name later shall not have the secret.
            SharedSecrets::open(data.apop())?.set(&name, None)?;
            say(format_args!("Removed {name}. The mail stays in {}\n", mail(&data, &user)));
        }
        UserCommand::List => {
            for (name, user) in users.table().iter() {
                let pop3 = if user.pop3.enabled { "" } else { "  (not over POP3)" };
                say(format_args!("{name}  {}{pop3}\n", mail(&data, user)));
            }
        }
    }
    Ok(())
}

fn mail(data: &DataFolder, user: &User) -> String {
    data.home(&user.home).display().to_string()
}

fn unknown(name: &str) -> Failure {
    Failure::new(Status::NoUser, format_args!("no user {name:?}"))
}

fn known(users: &Users, name: &str) -> Result<String> {
    let (name, _) = names(name)?;
    if users.get(&name).is_none() {
        return Err(unknown(&name));
    }
    Ok(name)
}

fn show(generated: bool, password: &Secret) {
    if generated {
        say(format_args!("{}\n", password.expose_str().unwrap_or_default()));
    }
}

/// A new password: made, asked for, or read.
fn password(generate: bool) -> Result<Secret> {
    if generate {
        return generate_password();
    }
    let failed = |error: io::Error| Failure::io(Status::NoInput, "reading a password", &error);
    let password = if io::stdin().is_terminal() {
        let term = Term::stderr();
        let ask = |prompt: &str| {
            term.write_str(prompt)?;
            term.read_secure_line().map(Secret::new)
        };
        let password = ask("New password: ").map_err(failed)?;
        if ask("Once more: ").map_err(failed)? != password {
            return Err(Failure::new(Status::DataError, "the passwords differ"));
        }
        password
    } else {
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD + 3));
        io::stdin().lock().take(MAX_PASSWORD as u64 + 2).read_until(b'\n', &mut line).map_err(failed)?;
        let end = line.strip_suffix(b"\n").unwrap_or(&line);
        Secret::new(end.strip_suffix(b"\r").unwrap_or(end))
    };
    match password.expose().len() {
        0 => Err(Failure::new(Status::DataError, "the password is empty")),
        length if length > MAX_PASSWORD => {
            Err(Failure::new(Status::DataError, format_args!("the password has more than {MAX_PASSWORD} octets")))
        }
        _ if password.expose().contains(&0) => Err(Failure::new(Status::DataError, "the password has a NUL octet")),
        _ => Ok(password),
    }
}
