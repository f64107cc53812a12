//! The words of the API that decide something: a status and a role. Any other word is carried as it came.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An enum of words, with `Other` for those that are not known.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$about_word:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[$about_word])* $variant,)*
            /// A word that this program does not know.
            Other(String),
        }

        impl $name {
            /// The word as the API writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)*
                    word => Self::Other(word.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Ok(Self::from(word.as_ref()))
            }
        }
    };
}

words! {
    /// The `status` of a response or of an item (Responses API).
    Status {
        Queued = "queued",
        InProgress = "in_progress",
        Completed = "completed",
        Incomplete = "incomplete",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

words! {
    /// The `role` of a message (Responses API).
    Role {
        User = "user",
        Assistant = "assistant",
        System = "system",
        Developer = "developer",
    }
}

impl Status {
    /// Whether the response or item can still change.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Queued | Self::InProgress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_nobody_knows_is_carried() {
        for word in ["completed", "in_progress", "calling"] {
            let json = format!("\"{word}\"");
            let status: Status = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&status).unwrap(), json);
        }
        assert_eq!(Status::from("calling"), Status::Other("calling".to_owned()));
        assert_eq!(Role::from("user"), Role::User);
    }
}
