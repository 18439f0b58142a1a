//! PLAIN, LOGIN and EXTERNAL: one message from the client, or two.

use super::exchange::{SaslError, act_as};
use super::password::verify_password_by;
use super::{Identity, Mechanism, Secret, prepare_user};
use crate::backend::Authenticator;
use crate::connection::Connection;

/// PLAIN: `[authzid] NUL authcid NUL passwd` (RFC 4616, section 2).
pub(super) async fn plain(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    message: &[u8],
) -> Result<Identity, SaslError> {
    const MALFORMED: SaslError = SaslError::Malformed("PLAIN wants two NULs between identity, user and password");
    let mut parts = message.splitn(3, |byte| *byte == 0);
    let (Some(authzid), Some(authcid), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(MALFORMED);
    };
    if password.contains(&0) {
        return Err(MALFORMED);
    }
    let by = Some(Mechanism::Plain);
    let identity = verify_password_by(authenticator, connection, authcid, &Secret::new(password), by).await?;
    // The client may name itself as the identity to act as, in its own spelling.
    let authzid = if authzid == authcid { b"" } else { authzid };
    act_as(authenticator, connection, identity, authzid).await
}

/// EXTERNAL: the client's certificate, and `[authzid]` (RFC 4422, appendix A).
pub(super) async fn external(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    authzid: &[u8],
) -> Result<Identity, SaslError> {
    let identity = authenticator.check_certificate(connection).await?;
    act_as(authenticator, connection, identity, authzid).await
}

/// LOGIN: the server asks for the user's name, then for the password, each in one message.
#[derive(Default)]
pub(super) struct Login {
    user: Option<Vec<u8>>,
}

impl Login {
    pub(super) const ASK_USER: &'static [u8] = b"Username:";
    pub(super) const ASK_PASSWORD: &'static [u8] = b"Password:";

    /// Takes the name; the password is to come.
    pub(super) fn user(&mut self, name: &[u8]) {
        // A name that can't be anybody's is not kept, and fails only after the password, like any other.
        self.user = Some(prepare_user(name).map(|name| name.into_owned().into_bytes()).unwrap_or_default());
    }

    pub(super) fn has_user(&self) -> bool {
        self.user.is_some()
    }

    pub(super) async fn password(
        &mut self,
        authenticator: &dyn Authenticator,
        connection: &Connection,
        password: &[u8],
    ) -> Result<Identity, SaslError> {
        let user = self.user.take().unwrap_or_default();
        let by = Some(Mechanism::Login);
        Ok(verify_password_by(authenticator, connection, &user, &Secret::new(password), by).await?)
    }
}
