//! The dice server, for the length of a question that names no server.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::dice::DiceServer;
use crate::error::Error;
use crate::http;

/// Its label, if the user gives it no other.
pub const LABEL: &str = "dice_server";

/// The running server.
pub struct Bundled {
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Bundled {
    /// Starts it on a free port, and returns its URL.
    pub async fn start() -> Result<(Self, Url), Error> {
        let address: SocketAddr = ([127, 0, 0, 1], 0).into();
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let url =
            Url::parse(&format!("http://{address}/mcp")).expect("a socket address makes a URL");

        let stop = CancellationToken::new();
        let options = http::EndpointOptions {
            only_answers: true,
            stop: stop.clone(),
            ..http::EndpointOptions::default()
        };
        let router = http::at("/mcp", http::endpoint(DiceServer::default(), options));
        let router = http::HostPolicy::default().protect(router);
        let serving = tokio::spawn(http::serve(listener, router, stop.clone()));
        Ok((Self { stop, serving }, url))
    }

    /// Nobody waits for its answers any more, so neither does it.
    pub async fn stop(self) {
        self.stop.cancel();
        self.serving.abort();
        let _ = self.serving.await;
    }
}
