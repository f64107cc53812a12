//! `Credential`: what proves to a server who sends a request.

use http::HeaderValue;
use http::header::InvalidHeaderValue;

/// The credential of a server, asked for with every request. A login, whose token changes, is a
/// variant here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Credential {
    #[default]
    None,
    /// `Bearer TOKEN`; `Debug` hides it.
    Token(HeaderValue),
}

impl Credential {
    const SCHEME: &str = "Bearer ";

    /// A bearer token (RFC 6750 section 2.1).
    ///
    /// # Errors
    /// The token has characters that a header cannot carry.
    pub fn token(token: &str) -> Result<Self, InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(format!("{}{token}", Self::SCHEME))?;
        value.set_sensitive(true);
        Ok(Self::Token(value))
    }

    /// The `Authorization` header of a request.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        match self {
            Self::None => None,
            Self::Token(value) => Some(value),
        }
    }

    /// The token alone, as a server may repeat it.
    pub(super) fn secret(&self) -> Option<&str> {
        let value = self.authorization()?.to_str().ok()?;
        value.strip_prefix(Self::SCHEME)
    }
}
