//! Servers on a free port: the real dice server, with and without keys, and any router.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use mcp_cli::auth::{self, Claims, Policy, SigningKey, Verifier};
use mcp_cli::dice::{DiceServer, Roller};
use mcp_cli::http::{self, ServerOptions};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A server, until it is dropped.
pub struct Server {
    pub url: String,
    _stop: DropGuard,
}

/// The dice server with a seed, so that its dice are known.
pub fn dice_server() -> Server {
    mcp_server(dice_router())
}

/// The dice server behind the bearer layer, and the keys to it.
pub fn dice_server_with_auth(required_scopes: &[&str]) -> (Server, Keys) {
    let keys = Keys::new();
    let policy = Policy {
        audiences: vec!["dice-server".to_owned()],
        required_scopes: required_scopes.iter().map(|&it| it.to_owned()).collect(),
        ..Policy::default()
    };
    let key = keys.signing.verifying_key().clone().pin(None).unwrap();
    let verifier = Arc::new(Verifier::new(key, policy));
    (
        mcp_server(auth::protect(dice_router(), "/mcp", verifier)),
        keys,
    )
}

/// The dice server at `/mcp`, without a listener.
pub fn dice_router() -> Router {
    let options = ServerOptions {
        only_answers: true,
        ..ServerOptions::default()
    };
    http::at(
        "/mcp",
        http::rmcp_endpoint(DiceServer::new(Roller::seeded(7)), &options),
    )
}

fn mcp_server(router: Router) -> Server {
    let server = http_server(router);
    Server {
        url: format!("{}/mcp", server.url),
        ..server
    }
}

/// Any router, on a free port.
pub fn http_server(router: Router) -> Server {
    http_server_with(router, ServerOptions::default())
}

/// The same, with other limits.
pub fn http_server_with(router: Router, options: ServerOptions) -> Server {
    let (address, stop) = start(router, options);
    Server {
        url: format!("http://{address}"),
        _stop: stop.drop_guard(),
    }
}

/// Serves from a thread of its own, so that tests need no runtime.
pub fn start(router: Router, options: ServerOptions) -> (SocketAddr, CancellationToken) {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
                .await
                .unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            tokio::select! {
                () = http::serve(http::accepted(listener), router, options) => {}
                () = stopped.cancelled() => {}
            }
        });
    });
    (receiver.recv().unwrap(), stop)
}

/// A key pair for one test.
pub struct Keys {
    pub signing: SigningKey,
}

impl Keys {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keys");
        let (signing, _) = SigningKey::load_or_create(&path).unwrap();
        Self { signing }
    }

    /// A token of these claims, minted `ago` before now.
    pub fn token(&self, claims: &Claims, ago: std::time::Duration) -> String {
        let when = std::time::SystemTime::now() - ago;
        let token = claims.mint(&self.signing, auth::Algorithm::RS256, when);
        token.unwrap().expose().to_owned()
    }
}
