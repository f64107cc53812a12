//! What `benches/serve.py` measures the dice server against: axum, answering every POST with the
//! bytes that a roll of three dice takes. Prints where it listens.

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use axum::serve::ListenerExt;
use http::header::CONTENT_TYPE;
use std::io::Write;

const ANSWER: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"[3,1,1]"}],"structuredContent":{"result":[3,1,1]},"isError":false}}"#;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "http://{}/mcp", listener.local_addr()?)?;
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    let answer = async |_: Bytes| ([(CONTENT_TYPE, "application/json")], ANSWER);
    axum::serve(listener, Router::new().route("/mcp", post(answer))).await
}
