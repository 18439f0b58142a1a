//! OAUTHBEARER (RFC 7628) and XOAUTH2: a bearer token in one message.
//!
//! Both are sequences of `key=value` pairs that end with the octet 1, after a header in OAUTHBEARER. A token that is
//! refused is told in a challenge, as a JSON object, which the client answers before it is told that it failed.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::exchange::{SaslError, act_as};
use super::scram::unescape;
use super::{Identity, Secret, prepare_user};
use crate::backend::{Authenticator, Error};
use crate::connection::Connection;

/// Between the pairs, and after the last.
const SEPARATOR: char = '\u{1}';

/// Why a bearer token is refused, and what a client may do about it: the object that OAUTHBEARER and XOAUTH2 send
/// (RFC 7628, section 3.2.2).
///
/// ```
/// use pillarbox_proto_core::auth::TokenRefusal;
/// use pillarbox_proto_core::backend::Error;
///
/// let refusal = TokenRefusal::new().scope("mail").openid_configuration("https://example.org/openid");
/// assert_eq!(
///     refusal.to_json(),
///     r#"{"status":"invalid_token","scope":"mail","openid-configuration":"https://example.org/openid"}"#,
/// );
/// assert!(matches!(Error::from(refusal), Error::TokenRefused(_)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct TokenRefusal {
    status: Cow<'static, str>,
    scope: Option<String>,
    openid_configuration: Option<String>,
}

impl TokenRefusal {
    /// The token is not good, or no longer: `invalid_token` (RFC 6750, section 3.1).
    pub fn new() -> Self {
        Self { status: Cow::Borrowed("invalid_token"), scope: None, openid_configuration: None }
    }

    /// Another error code of the OAuth extensions error registry, such as `insufficient_scope`.
    pub fn status(mut self, status: impl Into<Cow<'static, str>>) -> Self {
        self.status = status.into();
        self
    }

    /// The scope that a token needs here. A single one is understood best.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// The `https` URL of the OpenID provider's configuration, by which clients find out where to get a token.
    pub fn openid_configuration(mut self, url: impl Into<String>) -> Self {
        self.openid_configuration = Some(url.into());
        self
    }

    /// The object as it is sent. A challenge is one line, so it should stay well below the 12,288 octets that clients
    /// must take.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::from("{\"status\":");
        quote(&mut json, &self.status);
        for (key, value) in [("scope", &self.scope), ("openid-configuration", &self.openid_configuration)] {
            if let Some(value) = value {
                json.push(',');
                quote(&mut json, key);
                json.push(':');
                quote(&mut json, value);
            }
        }
        json.push('}');
        json
    }
}

impl Default for TokenRefusal {
    fn default() -> Self {
        Self::new()
    }
}

impl From<TokenRefusal> for Error {
    fn from(refusal: TokenRefusal) -> Self {
        Self::TokenRefused(refusal.to_json())
    }
}

/// A string of JSON (RFC 8259, section 7).
fn quote(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..='\u{1f}' => {
                // Writing to a string does not fail.
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
}

/// What a client has sent: as whom it wants to act, in any spelling, and its token.
struct Message<'a> {
    user: Option<Cow<'a, str>>,
    /// Empty where the client only asks what a token would have to be (RFC 7628, section 4.3).
    token: &'a str,
}

/// How a message was taken.
pub(super) enum Outcome {
    Done(Identity),
    /// The challenge, and what is told after the client has answered it.
    Refused(String, Error),
}

/// OAUTHBEARER's only message: `gs2-header kvsep *kvpair kvsep` (RFC 7628, section 3.1).
///
/// `host` and `port` are not compared with anything: behind forwarded ports, proxies and aliases a server does not know
/// by which name and number a client has reached it.
pub(super) async fn oauthbearer(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    message: &[u8],
) -> Result<Outcome, SaslError> {
    const MALFORMED: SaslError = SaslError::Malformed("malformed OAUTHBEARER message");
    let message = std::str::from_utf8(message).map_err(|_| MALFORMED)?;
    let (header, rest) = message.split_once(SEPARATOR).ok_or(MALFORMED)?;
    let mut parts = header.splitn(3, ',');
    let (Some(flag), Some(authzid), Some("")) = (parts.next(), parts.next(), parts.next()) else {
        return Err(MALFORMED);
    };
    match flag {
        "n" | "y" => {}
        // There is no mechanism here that binds a token to a channel, so none was offered.
        _ if flag.starts_with("p=") => return Err(Error::AuthenticationFailed.into()),
        _ => return Err(MALFORMED),
    }
    let user = match authzid {
        "" => None,
        _ => Some(authzid.strip_prefix("a=").and_then(unescape).map(Cow::Owned).ok_or(MALFORMED)?),
    };
    let (_, token) = pairs(rest).ok_or(MALFORMED)?;
    verify(authenticator, connection, Message { user, token }).await
}

/// XOAUTH2's only message: `user=` name, `auth=Bearer ` token, each with an octet 1 after it, and one more. It is no
/// standard; large mail providers and the clients for them use it.
pub(super) async fn xoauth2(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    message: &[u8],
) -> Result<Outcome, SaslError> {
    const MALFORMED: SaslError = SaslError::Malformed("malformed XOAUTH2 message");
    let message = std::str::from_utf8(message).map_err(|_| MALFORMED)?;
    let (user, token) = pairs(message).ok_or(MALFORMED)?;
    let user = user.filter(|user| !user.is_empty()).map(Cow::Borrowed).ok_or(MALFORMED)?;
    verify(authenticator, connection, Message { user: Some(user), token }).await
}

/// The values of `user` and `auth`, of the latter the token. Keys that are not known are passed over
/// (RFC 7628, section 3.1); none may come twice.
fn pairs(text: &str) -> Option<(Option<&str>, &str)> {
    let (mut user, mut auth) = (None, None);
    let text = text.strip_suffix(SEPARATOR)?;
    for pair in text.split_terminator(SEPARATOR) {
        let (key, value) = pair.split_once('=')?;
        let control = |character: char| character.is_control() && !matches!(character, '\t' | '\r' | '\n');
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphabetic()) || value.contains(control) {
            return None;
        }
        let known = match key {
            "user" => &mut user,
            "auth" => &mut auth,
            _ => continue,
        };
        if known.replace(value).is_some() {
            return None;
        }
    }
    // `split_terminator` takes the last pair with its separator or without: it has to have one.
    if !text.is_empty() && !text.ends_with(SEPARATOR) {
        return None;
    }
    Some((user, bearer(auth?)?))
}

/// The token of `Bearer token` (RFC 6750, section 2.1); empty for an empty value.
fn bearer(auth: &str) -> Option<&str> {
    if auth.is_empty() {
        return Some("");
    }
    let (scheme, token) = auth.split_once(' ').unwrap_or((auth, ""));
    let token = token.trim_matches(' ');
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    (scheme.eq_ignore_ascii_case("Bearer") && token.bytes().all(is_token)).then_some(token)
}

async fn verify(
    authenticator: &dyn Authenticator,
    connection: &Connection,
    message: Message<'_>,
) -> Result<Outcome, SaslError> {
    let refused = |error| Ok(Outcome::Refused(authenticator.token_refusal(connection).to_json(), error));
    let user = match message.user.as_deref().map(|user| prepare_user(user.as_bytes())) {
        None => None,
        Some(Some(user)) => Some(user),
        // Nobody's name.
        Some(None) => return refused(Error::AuthenticationFailed),
    };
    // A token that is none never reaches the authenticator, as with passwords.
    if message.token.is_empty() {
        return refused(Error::AuthenticationFailed);
    }
    match authenticator.check_token(connection, user.as_deref(), &Secret::new(message.token)).await {
        Ok(identity) => {
            // The authenticator was told as whom the client wants to act, and may have answered that, too.
            let authzid = user.as_deref().filter(|user| *user != identity.authzid).unwrap_or_default();
            Ok(Outcome::Done(act_as(authenticator, connection, identity, authzid.as_bytes()).await?))
        }
        Err(Error::TokenRefused(json)) => Ok(Outcome::Refused(json.clone(), Error::TokenRefused(json))),
        Err(error @ (Error::AuthenticationFailed | Error::Expired)) => refused(error),
        // A store that is down says nothing of the token.
        Err(error) => Err(error.into()),
    }
}
