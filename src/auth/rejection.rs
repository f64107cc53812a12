//! Why a token does not open the door, in words that a developer can act on.

use std::fmt;
use std::time::Duration;

use crate::auth::Algorithm;

/// The first thing that is wrong with a token.
///
/// It contains no part of the token: it is logged, and sent to the client.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Rejection {
    #[error("the token is longer than 8 KiB")]
    TooLong,
    #[error("the token is not three base64url parts with dots between them")]
    Malformed,
    #[error(
        "the token's header is not a JSON object with every name once and every value of its type"
    )]
    Header,
    #[error("the token's header has `{0}`, which is not supported here")]
    HeaderParameter(&'static str),
    #[error("the token's header says that it is another type than JWT or at+jwt")]
    Type,
    /// A key that was published a moment ago may be known in a moment: this is the one that is looked into twice.
    #[error("the token names a key that is not known here")]
    UnknownKey,
    #[error("the token does not say which of several keys it was signed with")]
    NoKeyId,
    #[error("the token is not signed with {expected}")]
    Algorithm { expected: Algorithm },
    #[error("the token was not signed with the key that is trusted here")]
    Signature,
    #[error(
        "the token's claims are not a JSON object with every name once and every value of its type"
    )]
    Claims,
    #[error("the token has no `{0}` claim")]
    ClaimMissing(&'static str),
    #[error("the token's `{0}` claim has the wrong type")]
    ClaimType(&'static str),
    #[error("the token expired {} ago", Words(*ago))]
    Expired { ago: Duration },
    #[error("the token is not valid before {} from now", Words(*ahead))]
    NotYetValid { ahead: Duration },
    #[error("the token expires more than ten years from now: is its `exp` in milliseconds?")]
    ExpiresTooLate,
    #[error("the token's issuer is not {}", expected.join(" or "))]
    Issuer { expected: Vec<String> },
    #[error("the token's audience is not {}", expected.join(" or "))]
    Audience { expected: Vec<String> },
    /// The only one that more rights would cure: HTTP 403, where all others are 401.
    #[error("the token lacks the scope {}", missing.join(" "))]
    InsufficientScope { missing: Vec<String> },
}

/// A duration in its largest unit, which is all that a person wants to know.
struct Words(Duration);

impl fmt::Display for Words {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (count, unit) = match seconds {
            0 => return formatter.write_str("less than a second"),
            1..60 => (seconds, "second"),
            60..3600 => (seconds / 60, "minute"),
            3600..86_400 => (seconds / 3600, "hour"),
            86_400..31_536_000 => (seconds / 86_400, "day"),
            _ => (seconds / 31_536_000, "year"),
        };
        let plural = if count == 1 { "" } else { "s" };
        write!(formatter, "{count} {unit}{plural}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        for (seconds, words) in [
            (0, "less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (300, "5 minutes"),
            (7199, "1 hour"),
            (172_800, "2 days"),
            (31_536_000 * 3, "3 years"),
        ] {
            let rejection = Rejection::Expired {
                ago: Duration::from_secs(seconds),
            };
            assert_eq!(
                rejection.to_string(),
                format!("the token expired {words} ago")
            );
        }
    }

    #[test]
    fn every_expected_value_is_named() {
        let rejection = Rejection::Audience {
            expected: vec!["dice_server".to_owned(), "dice".to_owned()],
        };

        assert_eq!(
            rejection.to_string(),
            "the token's audience is not dice_server or dice"
        );
    }
}
