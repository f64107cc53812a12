//! The body of a request, read with a deadline and a cap.

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt;
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
    #[error("there is no memory for the body")]
    NoRoom,
}

impl Unreadable {
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Reads a body of up to `most` bytes.
pub async fn read_body(body: Body, most: u64) -> Result<Bytes, Unreadable> {
    let body = read_body_with_room(body, most, |_| true).await?;
    Ok(body.into())
}

/// Reads a body of up to `most` bytes, as long as there `is_room` for so many more.
pub async fn read_body_with_room(
    body: Body,
    most: u64,
    mut is_room: impl FnMut(u64) -> bool,
) -> Result<Vec<u8>, Unreadable> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let reading = async {
        let mut chunks = Limited::new(body, most).into_data_stream();
        let mut whole = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| match is_too_large(&*error) {
                true => Unreadable::TooLarge,
                false => Unreadable::BrokenOff,
            })?;
            if !is_room(chunk.len() as u64) {
                return Err(Unreadable::NoRoom);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    };
    let read = tokio::time::timeout(DEADLINE, reading).await;
    read.unwrap_or(Err(Unreadable::TooSlow))
}

fn is_too_large(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.is::<LengthLimitError>()
}
