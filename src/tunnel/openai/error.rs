//! Why a tunnel client cannot start. A running client does not fail; it retries and reports events.

/// Why a tunnel client cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the base URL of the control plane is not an http or https URL with a host")]
    BaseUrl,
    #[error("{0:?} is not the path of an MCP endpoint")]
    Path(String),
    #[error("a poll takes 1 ms to 600 s, including a guardrail of less than 60 s")]
    PollTime,
    #[error("the limits of the tunnel client allow no commands")]
    NoWork,
    #[error("the HTTP client for the control plane could not be set up")]
    Client(#[source] reqwest::Error),
}
