//! When a request may be sent again, and how long to wait before.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};

/// The longest wait, whatever a server asks for.
const LONGEST: Duration = Duration::from_secs(60);
/// The wait before the first retry; it doubles each time, up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);

/// How often, and after what, a request is sent again.
///
/// A `responses.create` may have called tools before it failed, and those must not be called
/// twice. So only a failure before anything can have run is retried: no connection, and the
/// statuses that say so. A 5xx says nothing of the kind, and is retried only if that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    pub most: u32,
    pub after_5xx: bool,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            most: 2,
            after_5xx: false,
        }
    }
}

impl Retries {
    /// Whether a refusal with this status is worth another try.
    pub fn allows(self, status: StatusCode) -> bool {
        matches!(status.as_u16(), 408 | 409 | 429) || (self.after_5xx && status.is_server_error())
    }
}

/// A request is about to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// What went wrong, in a few words.
    pub why: String,
    /// How long is waited.
    pub after: Duration,
}

/// Who hears of it, before the wait.
pub type OnRetry = Box<dyn Fn(&Retry) + Send + Sync>;

/// How long to wait before try number `attempt` (the first retry is 0): what the server asks for
/// (RFC 9110 section 10.2.3, seconds or a date), or a backoff.
pub fn wait(headers: Option<&HeaderMap>, attempt: u32, now: SystemTime) -> Duration {
    let asked_for = headers
        .and_then(|headers| headers.get(RETRY_AFTER)?.to_str().ok())
        .and_then(|value| retry_after(value, now));
    let backoff = || {
        let doubled = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(attempt));
        doubled.min(LONGEST_BACKOFF)
    };
    asked_for.unwrap_or_else(backoff).min(LONGEST)
}

fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit()) {
        // More digits than a number has are more than the longest wait.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_when_in_seconds_or_with_a_date_and_is_not_believed_beyond_a_minute() {
        let now = httpdate::parse_http_date("Sun, 22 Nov 2026 12:00:00 GMT").unwrap();
        for (value, milliseconds) in [
            ("0", 0),
            ("5", 5_000),
            ("Sun, 22 Nov 2026 12:00:07 GMT", 7_000),
            ("Sun, 22 Nov 2026 11:00:00 GMT", 0),
            ("Mon, 23 Nov 2026 12:00:00 GMT", 60_000),
            ("1000000000000000000", 60_000),
            ("99999999999999999999999", 60_000),
            ("-1", 500),
            ("1e9", 500),
            ("junk", 500),
            ("", 500),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            let wait = wait(Some(&headers), 0, now);
            assert_eq!(wait, Duration::from_millis(milliseconds), "{value:?}");
        }
    }

    #[test]
    fn the_wait_grows_and_ends_growing() {
        let waits: Vec<u128> = (0..7)
            .map(|attempt| wait(None, attempt, SystemTime::UNIX_EPOCH).as_millis())
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
    }

    #[test]
    fn only_what_cannot_have_run_is_retried() {
        let retried = |retries: Retries| -> Vec<u16> {
            let statuses = (400..600).filter_map(|it| StatusCode::from_u16(it).ok());
            let retried = statuses.filter(|it| retries.allows(*it));
            retried.map(|it| it.as_u16()).collect()
        };
        assert_eq!(retried(Retries::default()), [408, 409, 429]);
        let after_5xx = Retries {
            after_5xx: true,
            ..Retries::default()
        };
        assert_eq!(retried(after_5xx).len(), 103);
    }
}
