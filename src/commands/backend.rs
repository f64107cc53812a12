//! What stands behind the door of `serve`. The door itself (limits, access log, host policy, tokens,
//! sessions) is the same for all backends.

use std::sync::Arc;

use axum::routing::MethodRouter;
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;

use crate::dice::{DiceServer, Roller};
use crate::error::Error;
use crate::http::{self, ServerOptions};
use crate::relay::Relay;

/// The MCP server that answers.
pub enum Backend {
    Dice(DiceServer),
    /// A server of the user's own.
    Relay(Arc<Relay>),
}

impl Backend {
    /// The dice server; with a seed, it rolls the same dice every time.
    pub fn dice(seed: Option<u64>) -> Self {
        Self::Dice(DiceServer::new(
            seed.map_or_else(Roller::default, Roller::seeded),
        ))
    }

    /// Makes it ready, and returns one line for the banner.
    ///
    /// # Errors
    /// The user's own server cannot be used.
    pub async fn start(&self) -> Result<String, Error> {
        match self {
            Self::Dice(_) => Ok("Dice Roller: roll_dice(n_dice: int) -> list[int]".to_owned()),
            Self::Relay(relay) => Ok(relay
                .start()
                .await?
                .unwrap_or_else(|| "a server without a name".to_owned())),
        }
    }

    /// Whether it sends nothing but answers: no requests, no progress, no log messages.
    pub fn only_answers(&self) -> bool {
        match self {
            Self::Dice(_) => true,
            Self::Relay(_) => false,
        }
    }

    /// Its MCP endpoint.
    pub fn endpoint(&self, options: &ServerOptions) -> MethodRouter {
        match self {
            Self::Dice(server) => http::rmcp_endpoint(server.clone(), options),
            Self::Relay(relay) => Arc::clone(relay).endpoint(options),
        }
    }

    /// Serves one client on stdin and stdout, until that disconnects.
    ///
    /// # Errors
    /// The client does not speak MCP, or cannot be read or written to.
    pub async fn serve_stdio(&self) -> Result<(), Error> {
        match self {
            Self::Dice(server) => match server.clone().serve(rmcp::transport::stdio()).await {
                Ok(running) => match running.waiting().await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(not_served(error)),
                },
                // The client disconnected before it sent anything.
                Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
                Err(error) => Err(not_served(error)),
            },
            Self::Relay(relay) => {
                let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
                let served = Arc::clone(relay).serve_stdio(input, output).await;
                served.map_err(not_served)
            }
        }
    }

    /// Ends what it started.
    pub async fn close(&self) {
        if let Self::Relay(relay) = self {
            relay.close().await;
        }
    }
}

fn not_served(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("the MCP client at the other end of stdio could not be served")
        .with_source(error)
}
