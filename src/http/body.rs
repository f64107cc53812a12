//! The body of a request, read with a deadline and a cap.

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// How long a body may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// Why a body was not read to its end. What the client still sends is not worth reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body could not be read")]
    BrokenOff,
    #[error("the body took longer than 20 seconds")]
    TooSlow,
}

impl Unreadable {
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

/// Reads a body of up to `most` bytes.
pub async fn read_body(body: Body, most: u64) -> Result<Bytes, Unreadable> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let collected = Limited::new(body, most).collect();
    match tokio::time::timeout(DEADLINE, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if is_too_large(&*error) => Err(Unreadable::TooLarge),
        Ok(Err(_)) => Err(Unreadable::BrokenOff),
        Err(_) => Err(Unreadable::TooSlow),
    }
}

fn is_too_large(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.is::<LengthLimitError>()
}
