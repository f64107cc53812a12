//! What stands behind the door of `serve`. The door itself (limits, access log, host policy, tokens,
//! sessions) is the same for all backends.

use std::sync::Arc;

use axum::routing::MethodRouter;
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;

use super::bundled;
use super::label::ServerLabel;
use crate::dice::{DiceServer, Roller};
use crate::error::Error;
use crate::http::{self, ServerOptions};
use crate::relay::{Name, Relay};

/// The MCP server that answers.
pub enum Backend {
    Dice(DiceServer),
    /// A server of the user's own.
    Relay(Arc<Relay>),
}

/// What a backend is.
pub struct Described {
    /// What it calls itself.
    pub name: String,
    /// For the banner.
    pub line: String,
    /// A label for it in a request.
    pub label: String,
}

impl Backend {
    /// The dice server; with a seed, it rolls the same dice every time.
    pub fn dice(seed: Option<u64>) -> Self {
        Self::Dice(DiceServer::new(
            seed.map_or_else(Roller::default, Roller::seeded),
        ))
    }

    /// Makes it ready, and returns what it is.
    ///
    /// # Errors
    /// The user's own server cannot be used.
    pub async fn start(&self) -> Result<Described, Error> {
        let Self::Relay(relay) = self else {
            return Ok(Described {
                name: "Dice Roller".to_owned(),
                line: "Dice Roller: roll_dice(n_dice: int) -> list[int]".to_owned(),
                label: bundled::LABEL.to_owned(),
            });
        };
        let Some(Name { name, version }) = relay.start().await? else {
            return Ok(Described {
                name: "MCP server".to_owned(),
                line: "a server without a name".to_owned(),
                label: ServerLabel::named_after("server"),
            });
        };
        Ok(Described {
            line: format!("{name} {version}").trim_end().to_owned(),
            label: ServerLabel::named_after(&name),
            name,
        })
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
