//! A user name and a password, however they came.

use super::{Identity, Mechanism, Secret, prepare_password, prepare_user};
use crate::backend::{Authenticator, Error, Result};
use crate::connection::Connection;

/// Checks a name and a password of IMAP's LOGIN or POP3's USER/PASS, in the one way that they share with the mechanisms
/// PLAIN and LOGIN: both are prepared first ([`prepare_user`], [`prepare_password`]), so that a password good for one is
/// good for all.
///
/// A password that is empty, or that nothing is left of when it is prepared, is good for nobody and never reaches the
/// authenticator (RFC 4616, section 2): a directory asked with an empty one may answer that anybody is welcome. Nor
/// does one with a NUL, which a library in C would take for shorter than it is.
///
/// # Errors
///
/// As [`Authenticator::check_password_by`], which is asked without a mechanism; [`Error::AuthenticationFailed`] too for a
/// name that can't be anybody's and for such a password.
pub async fn verify_password(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    user: &[u8],
    password: &Secret,
) -> Result<Identity> {
    verify_password_by(authenticator, connection, user, password, None).await
}

/// The same for a password that came by this mechanism.
pub(super) async fn verify_password_by(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    user: &[u8],
    password: &Secret,
    mechanism: Option<Mechanism>,
) -> Result<Identity> {
    let Some(user) = prepare_user(user) else { return Err(Error::AuthenticationFailed) };
    let password = prepare_password(password);
    if password.expose().is_empty() || password.expose().contains(&0) {
        return Err(Error::AuthenticationFailed);
    }
    authenticator.check_password_by(connection, &user, &password, mechanism).await
}
