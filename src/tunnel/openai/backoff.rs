//! Delays between attempts: back-off with jitter, and `Retry-After`.

use std::time::{Duration, SystemTime};

/// Delays that double up to a limit, with jitter, so that clients do not retry in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    step: Duration,
}

impl Backoff {
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            step: first,
        }
    }

    /// The next delay: between the first one and the current step, picked by `random` in `0.0..1.0`.
    pub fn next(&mut self, random: f64) -> Duration {
        let spread = self.step.saturating_sub(self.first);
        self.step = self.step.saturating_mul(2).min(self.longest);
        self.first + spread.mul_f64(random)
    }

    /// Starts again with the first delay.
    pub fn reset(&mut self) {
        self.step = self.first;
    }
}

/// The delay of a `Retry-After` header (RFC 9110 section 10.2.3): seconds or a date. `None` if it is
/// malformed, negative or in the past.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if value.bytes().all(|it| it.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let date = httpdate::parse_http_date(value).ok()?;
    date.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(200);

    #[test]
    fn waits_double_from_the_first_to_the_longest_and_begin_again_after_a_reset() {
        let mut backoff = Backoff::new(FIRST, Duration::from_secs(10));
        let millis: Vec<u128> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(millis, [200, 400, 800, 1600, 3200, 6400, 10000, 10000]);
        assert_eq!(backoff.next(0.0), FIRST);
        assert_eq!(backoff.next(0.5).as_millis(), 5100);
        backoff.reset();
        assert_eq!(backoff.next(0.5), FIRST);
        assert_eq!(backoff.next(0.5).as_millis(), 300);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_that_is_to_come() {
        let now = httpdate::parse_http_date("Tue, 01 Sep 2026 12:00:00 GMT").unwrap();
        for (value, seconds) in [
            ("2", Some(2)),
            (" 0 ", Some(0)),
            ("3600", Some(3600)),
            ("Tue, 01 Sep 2026 12:00:05 GMT", Some(5)),
            ("Tue, 01 Sep 2026 11:59:59 GMT", None),
            ("abc", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("99999999999999999999999", None),
        ] {
            let wait = retry_after(value, now);
            assert_eq!(wait, seconds.map(Duration::from_secs), "{value}");
        }
    }
}
