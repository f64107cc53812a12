//! What a tunnel client reports to its caller, who decides what to show.

use std::time::Duration;

use super::control::Metadata;
use super::refusal::Fault;

/// Something that a person may want to know.
#[derive(Debug)]
pub enum Event {
    /// The client starts. Its id tells it from others that poll the same tunnel.
    Started { instance_id: String },
    /// The name and the description of the tunnel.
    Metadata(Metadata),
    /// The metadata could not be read. Polling continues.
    NoMetadata(Fault),
    /// The first poll succeeded: the tunnel is usable.
    Connected,
    /// A poll failed and will be retried. If [`Fault::needs_a_person`], retries alone do not help;
    /// [`Fault::remedy`] says what to try.
    PollFailed { fault: Fault, retry_in: Duration },
    /// A poll succeeded after this many failures.
    Recovered { failures: u32 },
    /// The control plane no longer waits for this answer (HTTP 404): it was too late, or another client
    /// with the same tunnel id answered first.
    Unclaimed { request_id: String },
    /// An answer could not be posted; its caller gets none.
    PostFailed { request_id: String, fault: Fault },
}
