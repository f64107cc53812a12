//! `Secret`: a string whose `Debug` says nothing.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};

use crate::file;
use crate::private_file;

/// A token, a private key or a header's value: wiped when dropped, never shown by accident.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The text itself, for the one place that has to send or print it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Writes the text atomically to a file with mode 0600.
    /// Without `force`, a file that is there already is left alone.
    pub fn save(&self, path: &Path, force: bool) -> Result<(), file::Error> {
        if force {
            private_file::replace(path, self.expose())
        } else {
            private_file::create(path, self.expose())
        }
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_says_nothing_even_inside_other_types() {
        let secret = Secret::from("hunter2".to_owned());

        assert_eq!(format!("{:?}", Some(secret.clone())), "Some([redacted])");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn any_text_is_a_secret() {
        let secret: Secret = "".parse().unwrap();

        assert_eq!(secret.expose(), "");
    }
}
