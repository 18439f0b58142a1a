//! A user name and a password, however they came.

use super::{Identity, Secret, prepare_password, prepare_user};
use crate::backend::{Authenticator, Error, Result};
use crate::connection::Connection;

/// Checks a name and a password in the one way that IMAP's LOGIN, POP3's USER/PASS and the mechanisms PLAIN and LOGIN
/// share: both are prepared first ([`prepare_user`], [`prepare_password`]), so that a password good for one is good for all.
///
/// # Errors
///
/// As [`Authenticator::check_password`]; [`Error::AuthenticationFailed`] too for a name that can't be anybody's.
pub async fn verify_password(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    user: &[u8],
    password: &Secret,
) -> Result<Identity> {
    let Some(user) = prepare_user(user) else { return Err(Error::AuthenticationFailed) };
    let password = prepare_password(password);
    authenticator.check_password(connection, &user, &password).await
}
