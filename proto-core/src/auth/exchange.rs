//! One authentication, driven message by message.

use std::fmt;
use std::sync::Arc;

use super::plain::{self, Login};
use super::scram::Scram;
use super::token::{self, Outcome};
use super::{Identity, Mechanism, anonymous, cram_md5, prepare_user};
use crate::backend::{Authenticator, Error};
use crate::connection::Connection;
use crate::env::Env;

/// One authentication exchange, seen from the server.
///
/// It is fed the client's messages, Base64 removed (see [`framing`](super::framing)). It never outlives its end: after
/// [`Step::Done`] or an error, every further step is an error.
///
/// Cancelling is the protocol's affair: it drops the exchange, once it has asked [`cancel`](Self::cancel).
pub struct Exchange {
    mechanism: Mechanism,
    connection: Arc<Connection>,
    env: Arc<dyn Env>,
    host: Box<str>,
    state: State,
    user: Option<Box<str>>,
}

/// Longest host name in a challenge.
const MAX_HOST: usize = 255;

enum State {
    Plain,
    Login(Login),
    External,
    Scram(Box<Scram>),
    OauthBearer,
    Xoauth2,
    /// The challenge, once it is sent.
    CramMd5(Option<String>),
    Anonymous,
    /// The client has been told what is wrong, and is due to answer.
    Refused(Error),
    Over,
}

impl State {
    /// The user's name in a message of the client, as it stands there, where that is easily said.
    fn name_in<'a>(&self, message: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Plain => message.split(|byte| *byte == 0).nth(1),
            Self::Login(login) => (!login.has_user()).then_some(message),
            Self::CramMd5(Some(_)) => message.rsplitn(2, |byte| *byte == b' ').nth(1),
            _ => None,
        }
    }
}

/// What comes next in an exchange.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Send this challenge, which may be empty, and give the client's answer to the next step.
    Challenge(Vec<u8>),
    /// The client is authenticated.
    Done {
        /// Who it is.
        identity: Identity,
        /// A last message of the server, with which it proves that it too knows the secret. IMAP and POP3 can't send
        /// it with their success reply: it goes out as a challenge, and the client has to answer it with an empty
        /// response (RFC 4422, section 3.6; RFC 5034, section 4) before success is told.
        data: Option<Vec<u8>>,
    },
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Challenge(_) => f.write_str("Challenge(***)"),
            Self::Done { identity, .. } => f.debug_struct("Done").field("identity", identity).finish_non_exhaustive(),
        }
    }
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaslError {
    /// The client broke the mechanism's rules, in this way. The text may be shown to it.
    #[error("{0}")]
    Malformed(&'static str),
    /// The credentials are not good, or could not be checked.
    #[error(transparent)]
    Refused(#[from] Error),
}

impl From<SaslError> for Error {
    /// For protocols that make no difference between a client that fails and one that fumbles.
    fn from(error: SaslError) -> Self {
        match error {
            SaslError::Malformed(_) => Self::AuthenticationFailed,
            SaslError::Refused(error) => error,
        }
    }
}

impl Exchange {
    /// Begins an exchange. `offered` is the list that the client was shown: by it SCRAM notices when somebody in the
    /// middle has removed the channel-binding mechanisms (RFC 5802, section 6).
    ///
    /// The caller has checked that the mechanism is in the list.
    #[must_use]
    pub fn new(mechanism: Mechanism, offered: &[Mechanism], connection: Arc<Connection>, env: Arc<dyn Env>) -> Self {
        let state = match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::Login(Login::default()),
            Mechanism::External => State::External,
            Mechanism::Scram { hash, plus } => {
                let plus_offered = offered.iter().any(|other| matches!(other, Mechanism::Scram { plus: true, .. }));
                State::Scram(Box::new(Scram::new(hash, plus, plus_offered)))
            }
            Mechanism::OauthBearer => State::OauthBearer,
            Mechanism::Xoauth2 => State::Xoauth2,
            Mechanism::CramMd5 => State::CramMd5(None),
            Mechanism::Anonymous => State::Anonymous,
        };
        Self { mechanism, connection, env, host: "localhost".into(), state, user: None }
    }

    /// The server's name, which stands in CRAM-MD5's challenge (RFC 2195, section 2). What can't be in a host name is
    /// left out. Default: `localhost`.
    #[must_use]
    pub fn host_name(mut self, name: &str) -> Self {
        let of_a_host = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.' | '_');
        let name: String = name.chars().filter(of_a_host).take(MAX_HOST).collect();
        if !name.is_empty() {
            self.host = name.into();
        }
        self
    }

    /// The mechanism.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The name that the client has given, prepared as names are compared, where the mechanism has one (not EXTERNAL,
    /// ANONYMOUS and the ones with tokens). Nothing says yet that there is such a user, nor that it is this one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether the credentials have been refused, though the exchange goes on: the challenge that the step has given
    /// tells the client why. [`Authenticator::login_refused`] is due before it is sent.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.state, State::Refused(_))
    }

    /// Takes the client's next message. `None` begins an exchange for which the client sent no initial response; the
    /// step then is the challenge that asks for one, empty in most mechanisms.
    ///
    /// # Errors
    ///
    /// [`SaslError::Malformed`] when the message breaks the mechanism's rules, [`SaslError::Refused`] when the
    /// authenticator refuses. The exchange is over then.
    pub async fn step(
        &mut self,
        authenticator: &dyn Authenticator,
        response: Option<&[u8]>,
    ) -> Result<Step, SaslError> {
        if let Some(name) = response.and_then(|message| self.state.name_in(message)).and_then(prepare_user) {
            self.user = Some(name.into());
        }
        let connection = &*self.connection;
        // Over, until the step has come out well and there is more to come.
        let identity = match (std::mem::replace(&mut self.state, State::Over), response) {
            (State::Plain, Some(message)) => plain::plain(authenticator, connection, message).await?,
            (State::External, Some(message)) => plain::external(authenticator, connection, message).await?,
            (State::Login(mut login), Some(message)) if login.has_user() => {
                login.password(authenticator, connection, message).await?
            }
            (State::Login(mut login), Some(message)) => {
                login.user(message);
                self.state = State::Login(login);
                return Ok(Step::Challenge(Login::ASK_PASSWORD.to_vec()));
            }
            (State::Login(login), None) if !login.has_user() => {
                self.state = State::Login(login);
                return Ok(Step::Challenge(Login::ASK_USER.to_vec()));
            }
            (State::Scram(mut scram), Some(message)) => {
                let step = scram.step(authenticator, connection, &*self.env, message).await?;
                if matches!(step, Step::Challenge(_)) {
                    self.user = scram.user().map(Into::into);
                    self.state = State::Scram(scram);
                }
                return Ok(step);
            }
            (State::Anonymous, Some(message)) => anonymous::anonymous(authenticator, connection, message).await?,
            (State::OauthBearer, Some(message)) => {
                let outcome = token::oauthbearer(authenticator, connection, message).await?;
                return Ok(self.outcome(outcome));
            }
            (State::Xoauth2, Some(message)) => {
                let outcome = token::xoauth2(authenticator, connection, message).await?;
                return Ok(self.outcome(outcome));
            }
            (State::CramMd5(None), None) => {
                let challenge = cram_md5::challenge(&*self.env, &self.host);
                let step = Step::Challenge(challenge.clone().into_bytes());
                self.state = State::CramMd5(Some(challenge));
                return Ok(step);
            }
            (State::CramMd5(None), Some(_)) => {
                // RFC 4422, section 5, lets the server speak first or the client, by the mechanism.
                return Err(SaslError::Malformed("CRAM-MD5 begins with the server's challenge"));
            }
            (State::CramMd5(Some(challenge)), Some(answer)) => {
                cram_md5::verify(authenticator, connection, &challenge, answer).await?
            }
            // One octet, an empty message: whatever it says, it is the client's last word (RFC 7628, section 3.2.3).
            (State::Refused(error), Some(_)) => return Err(error.into()),
            (State::Over | State::Refused(_), _) | (State::Login(_) | State::CramMd5(_), None) => {
                return Err(SaslError::Malformed("the exchange is over"));
            }
            (
                state @ (State::Plain
                | State::External
                | State::Scram(_)
                | State::OauthBearer
                | State::Xoauth2
                | State::Anonymous),
                None,
            ) => {
                self.state = state;
                return Ok(Step::Challenge(Vec::new()));
            }
        };
        Ok(Step::Done { identity, data: None })
    }

    fn outcome(&mut self, outcome: Outcome) -> Step {
        match outcome {
            Outcome::Done(identity) => Step::Done { identity, data: None },
            Outcome::Refused(challenge, error) => {
                self.state = State::Refused(error);
                Step::Challenge(challenge.into_bytes())
            }
        }
    }

    /// The client has cancelled the exchange, or its line can't be taken. If its credentials were refused before, which
    /// clients of OAUTHBEARER may answer by cancelling (RFC 7628, section 3.2.3), this is the reason: it counts as a failed
    /// login.
    pub fn cancel(&mut self) -> Option<Error> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Refused(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// Lets an authenticated user act as another, if one is named and the authenticator agrees.
pub(super) async fn act_as(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    identity: Identity,
    authzid: &[u8],
) -> Result<Identity, SaslError> {
    if authzid.is_empty() {
        return Ok(identity);
    }
    let Some(authzid) = prepare_user(authzid) else { return Err(Error::AuthorizationFailed.into()) };
    if *authzid == *identity.authcid {
        return Ok(identity);
    }
    Ok(authenticator.authorize(connection, &identity, &authzid).await?)
}
