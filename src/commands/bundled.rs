//! The dice server that `ask --local` runs for a question that names no server.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use crate::dice::DiceServer;
use crate::error::Error;
use crate::http::{self, HostPolicy, ServerOptions};

/// Its label, unless the user chooses another.
pub const LABEL: &str = "dice_server";

/// The running server.
pub struct Bundled {
    serving: JoinHandle<()>,
}

impl Bundled {
    /// Starts it on a free port, and returns its URL.
    ///
    /// # Errors
    /// The system refuses a port.
    pub async fn start() -> Result<(Self, Url), Error> {
        let address: SocketAddr = ([127, 0, 0, 1], 0).into();
        let listen = |source| Error::listen(address, source);
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let url =
            Url::parse(&format!("http://{address}/mcp")).expect("a socket address makes a URL");

        let options = ServerOptions {
            only_answers: true,
            ..ServerOptions::default()
        };
        let router = http::at("/mcp", http::rmcp_endpoint(DiceServer::default(), &options));
        let router = HostPolicy::default().protect(router, options.body.max_bytes);
        let serving = tokio::spawn(http::serve(http::accepted(listener), router, options));
        Ok((Self { serving }, url))
    }

    /// Stops it at once, because nobody waits for an answer any more.
    pub async fn stop(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }
}
