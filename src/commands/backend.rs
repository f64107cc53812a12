//! What stands behind the door of `serve`. The door itself (limits, access log, host policy, tokens,
//! sessions) is the same for all backends.

use axum::routing::MethodRouter;
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;

use crate::dice::{DiceServer, Roller};
use crate::error::Error;
use crate::http::{self, ServerOptions};

/// The MCP server that answers.
pub enum Backend {
    Dice(DiceServer),
}

impl Backend {
    /// The dice server; with a seed, it rolls the same dice every time.
    pub fn dice(seed: Option<u64>) -> Self {
        Self::Dice(DiceServer::new(
            seed.map_or_else(Roller::default, Roller::seeded),
        ))
    }

    /// One line for the banner.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Dice(_) => "Dice Roller: roll_dice(n_dice: int) -> list[int]",
        }
    }

    /// Whether it sends nothing but answers: no requests, no progress, no log messages.
    pub fn only_answers(&self) -> bool {
        match self {
            Self::Dice(_) => true,
        }
    }

    /// Its MCP endpoint.
    pub fn endpoint(self, options: &ServerOptions) -> MethodRouter {
        match self {
            Self::Dice(server) => http::rmcp_endpoint(server, options),
        }
    }

    /// Serves one client on stdin and stdout, until that disconnects.
    ///
    /// # Errors
    /// The client does not speak MCP, or cannot be read or written to.
    pub async fn serve_stdio(self) -> Result<(), Error> {
        match self {
            Self::Dice(server) => match server.serve(rmcp::transport::stdio()).await {
                Ok(running) => match running.waiting().await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(not_served(error)),
                },
                // The client disconnected before it sent anything.
                Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
                Err(error) => Err(not_served(error)),
            },
        }
    }
}

fn not_served(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("the MCP client at the other end of stdio could not be served")
        .with_source(error)
}
