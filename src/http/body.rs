//! The body of a request, read within limits.

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// How large a body may be, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    pub max_bytes: u64,
    pub timeout: Duration,
}

impl Default for BodyLimits {
    /// 256 KiB and 20 seconds. A tool call has some hundred bytes; a few megabytes, parsed and times
    /// the number of connections, are more than any machine has.
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024,
            timeout: Duration::from_secs(20),
        }
    }
}

/// Why a body was not read to its end. The connection is closed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body could not be read")]
    BrokenOff,
    #[error("the body took longer than {} seconds", .0.as_secs_f64())]
    TooSlow(Duration),
    #[error("there is no memory for the body")]
    NoMemory,
}

impl Unreadable {
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::NoMemory => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Reads a body.
///
/// # Errors
/// [`Unreadable`] if a limit is reached or the client stops.
pub async fn read_body(body: Body, limits: BodyLimits) -> Result<Bytes, Unreadable> {
    let body = read_body_while(body, limits, |_| true).await?;
    Ok(body.into())
}

/// Reads a body, as long as `has_memory` for so many more bytes.
///
/// # Errors
/// [`Unreadable`] if a limit is reached, the client stops, or memory runs out.
pub async fn read_body_while(
    body: Body,
    limits: BodyLimits,
    mut has_memory: impl FnMut(u64) -> bool,
) -> Result<Vec<u8>, Unreadable> {
    let max_bytes = usize::try_from(limits.max_bytes).unwrap_or(usize::MAX);
    let reading = async {
        let mut chunks = Limited::new(body, max_bytes).into_data_stream();
        let mut whole = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| match is_too_large(&*error) {
                true => Unreadable::TooLarge,
                false => Unreadable::BrokenOff,
            })?;
            if !has_memory(chunk.len() as u64) {
                return Err(Unreadable::NoMemory);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    };
    let read = tokio::time::timeout(limits.timeout, reading).await;
    read.unwrap_or(Err(Unreadable::TooSlow(limits.timeout)))
}

fn is_too_large(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.is::<LengthLimitError>()
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits {
        max_bytes: 4,
        timeout: Duration::from_millis(20),
    };

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limits() {
        let read = read_body(Body::from("four"), LIMITS).await;
        assert_eq!(read, Ok(Bytes::from("four")));
        let read = read_body(Body::from("fives"), LIMITS).await;
        assert_eq!(read, Err(Unreadable::TooLarge));

        let endless = stream::pending::<Result<Bytes, std::io::Error>>();
        let read = read_body(Body::from_stream(endless), LIMITS).await;
        assert_eq!(read, Err(Unreadable::TooSlow(LIMITS.timeout)));
        let message = read.unwrap_err().to_string();
        assert_eq!(message, "the body took longer than 0.02 seconds");

        let read = read_body_while(Body::from("four"), LIMITS, |bytes| bytes < 4).await;
        assert_eq!(read, Err(Unreadable::NoMemory));
    }
}
