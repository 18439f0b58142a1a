//! LOGIN, AUTHENTICATE and PREAUTH (RFC 9051, sections 6.2.2, 6.2.3 and 7.1.4).

use std::sync::Arc;

use pillarbox_proto_core::auth::{Exchange, Identity, SaslError, Secret, Step, prepare_user, verify_password};
use pillarbox_proto_core::backend::{Backend, Error, OnRefusal};
use pillarbox_proto_core::connection::Connection;

use super::completion::Completion;
use super::port::{Input, Port};
use super::reply::Reply;
use crate::wire::encode::Code;

/// Checks a password and opens the account.
pub(crate) async fn login(
    port: Port,
    backend: Arc<dyn Backend>,
    connection: Arc<Connection>,
    user: Vec<u8>,
    password: Secret,
) -> Completion {
    let completion = match verify_password(backend.as_ref(), &connection, &user, &password).await {
        Ok(identity) => enter(&port, &*backend, &connection, identity, "LOGIN completed").await,
        Err(error) => error.into(),
    };
    if completion.is_failed_login() {
        refuse(&port, &*backend, &connection, prepare_user(&user).as_deref()).await;
    }
    completion
}

/// A login has failed: lets the backend take its time before the client hears of it.
async fn refuse(port: &Port, backend: &dyn Backend, connection: &Connection, user: Option<&str>) {
    if backend.login_refused(connection, user).await == OnRefusal::Drop {
        port.emit(Reply::Abort).await;
        port.settle().await;
    }
}

/// Opens the account of a client whose identity is known from elsewhere.
pub(crate) async fn preauth(
    port: Port,
    backend: Arc<dyn Backend>,
    connection: Arc<Connection>,
    identity: Identity,
) -> Completion {
    match backend.open(&connection, &identity).await {
        Ok(account) => {
            port.emit(Reply::LoggedIn { account, identity, preauth: true }).await;
            port.settle().await;
            Completion::ok("")
        }
        Err(error) => error.into(),
    }
}

/// Opens the account after good credentials.
pub(crate) async fn enter(
    port: &Port,
    backend: &dyn Backend,
    connection: &Connection,
    identity: Identity,
    text: &'static str,
) -> Completion {
    match backend.open(connection, &identity).await {
        Ok(account) => {
            port.emit(Reply::LoggedIn { account, identity, preauth: false }).await;
            port.settle().await;
            Completion::ok(text)
        }
        Err(Error::AuthenticationFailed) => Error::AuthenticationFailed.into(),
        Err(error) => error.into(),
    }
}

/// Carries out a SASL exchange, then opens the account.
pub(crate) async fn authenticate(
    port: Port,
    backend: Arc<dyn Backend>,
    connection: Arc<Connection>,
    mut exchange: Exchange,
    initial: Option<Vec<u8>>,
) -> Completion {
    let mut refused = false;
    let completion = converse(&port, &backend, &connection, &mut exchange, initial, &mut refused).await;
    if completion.is_failed_login() && !refused {
        refuse(&port, &*backend, &connection, exchange.user()).await;
    }
    completion
}

/// Sets `refused` when the backend has had its time for a refusal.
async fn converse(
    port: &Port,
    backend: &Arc<dyn Backend>,
    connection: &Connection,
    exchange: &mut Exchange,
    initial: Option<Vec<u8>>,
    refused: &mut bool,
) -> Completion {
    let mut response = initial;
    let mut step = exchange.step(backend.as_ref(), response.as_deref()).await;
    loop {
        match step {
            Ok(Step::Done { identity, data }) => {
                if let Some(data) = data {
                    // The tagged response can't carry it, so it goes out as a challenge (RFC 4422, section 3.6).
                    port.emit(Reply::Challenge(data)).await;
                    match port.input().await {
                        Input::Response(response) if response.is_empty() => {}
                        Input::Response(_) => return failed("an empty response was expected"),
                        // The session says what was wrong, or that the client has cancelled.
                        _ => return Completion::bad("Authentication cancelled"),
                    }
                }
                return enter(port, &**backend, connection, identity, "AUTHENTICATE completed").await;
            }
            Ok(Step::Challenge(challenge)) => {
                // This challenge says that the credentials are not good.
                if exchange.is_refused() && !std::mem::replace(refused, true) {
                    refuse(port, &**backend, connection, exchange.user()).await;
                }
                port.emit(Reply::Challenge(challenge)).await;
            }
            Ok(_) => return Completion::no("Authentication failed").with(Code::AuthenticationFailed),
            // The command was right, and what it carried proves nothing: as with SCRAM over another channel.
            Err(SaslError::Malformed(text)) => return failed(text),
            Err(error) => return Error::from(error).into(),
        }
        response = match port.input().await {
            Input::Response(response) => Some(response),
            // The session says what was wrong, or that the client has cancelled; unless it was refused before that.
            _ => {
                return exchange.cancel().map_or_else(|| Completion::bad("Authentication cancelled"), Completion::from);
            }
        };
        step = exchange.step(backend.as_ref(), response.as_deref()).await;
    }
}

fn failed(why: &'static str) -> Completion {
    Completion::no(format!("Authentication failed: {why}")).with(Code::AuthenticationFailed)
}
