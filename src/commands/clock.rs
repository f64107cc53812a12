//! The clock of this machine: HTTP and TLS need a time that they can express.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Error;

/// The first second of the year 10000, which no date of HTTP or RFC 3339 can express.
const TOO_LATE: Duration = Duration::from_secs(253_402_300_800);

/// Rejects a time that makes the libraries for HTTP and TLS panic.
///
/// # Errors
/// The clock is before 1970 or after 9999.
pub fn check(now: SystemTime) -> Result<(), Error> {
    match is_expressible(now) {
        true => Ok(()),
        false => Err(Error::internal(
            "the clock of this machine is set to a time before 1970 or after 9999",
        )),
    }
}

/// Whether the time has a year of four digits, from 1970 on.
pub fn is_expressible(time: SystemTime) -> bool {
    let since_1970 = time.duration_since(UNIX_EPOCH);
    since_1970.is_ok_and(|since_1970| since_1970 < TOO_LATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_refused_before_1970_and_after_9999() {
        assert!(check(UNIX_EPOCH).is_ok());
        assert!(check(SystemTime::now()).is_ok());
        for time in [
            UNIX_EPOCH - Duration::from_secs(1),
            UNIX_EPOCH - Duration::from_nanos(1),
            UNIX_EPOCH + TOO_LATE,
        ] {
            assert!(check(time).is_err(), "{time:?}");
        }
    }
}
