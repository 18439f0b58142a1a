//! Who has been authenticated.

/// The outcome of an authentication: whose credentials were good, and as whom the session acts
/// (RFC 4422, section 3.4.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Identity {
    /// Whose credentials were checked.
    pub authcid: String,
    /// As whom the session acts; the same unless another was asked for and allowed.
    pub authzid: String,
}

impl Identity {
    /// A user acting as themself.
    pub fn new(user: impl Into<String>) -> Self {
        let authcid = user.into();
        Self { authzid: authcid.clone(), authcid }
    }

    /// The same credentials, acting as another user.
    #[must_use]
    pub fn acting_as(self, user: impl Into<String>) -> Self {
        Self { authzid: user.into(), ..self }
    }

    /// Whose mail it is.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.authzid
    }
}
