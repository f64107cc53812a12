//! `ControlPlane`: a stand-in for the control plane of OpenAI's Secure MCP Tunnel. It hands out the
//! commands of a test, answers as the test says, and checks all that a client sends.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;
use serde_json::{Value, json};

use super::Server;
use super::tunnel_contract::{check_parameters, validate};

pub const TUNNEL_ID: &str = "tunnel_0123456789abcdefghijklmnopqrstuv";
pub const RUNTIME_KEY: &str = "sk-runtime-canary";

/// How long a test waits for what has to come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a request is answered.
#[derive(Clone)]
pub enum Reply {
    Answer {
        status: u16,
        retry_after: Option<String>,
        body: String,
    },
    /// The connection is closed instead.
    Drop,
    /// There is no answer.
    Hang,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        let body = json!({"error": {"message": "scripted", "type": "server_error"}});
        Self::with(status, &body.to_string())
    }

    pub fn with(status: u16, body: &str) -> Self {
        Self::Answer {
            status,
            retry_after: None,
            body: body.to_owned(),
        }
    }

    pub fn retry_after(status: u16, value: &str) -> Self {
        Self::Answer {
            status,
            retry_after: Some(value.to_owned()),
            body: String::new(),
        }
    }
}

/// A request of a client.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub headers: HeaderMap,
    pub query: HashMap<String, Vec<String>>,
    pub raw: Bytes,
    /// The body of a post.
    pub body: Value,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }

    /// The type, the status, and the payload of a post.
    pub fn answer(&self) -> (&str, u64, &Value) {
        let kind = self.body["resp_type"].as_str().unwrap();
        let code = self.body["resp_code"].as_u64().unwrap();
        (kind, code, &self.body["resp_json"])
    }

    /// Where it failed, if the post says that a call did: source, kind, and status.
    pub fn failure(&self) -> (&str, &str, Option<u64>) {
        let failure = &self.body["resp_json"]["error"]["data"]["tunnel_failure"];
        let text = |name: &str| failure[name].as_str().unwrap_or_default();
        let status = failure["upstream_status"].as_u64();
        (text("source"), text("transport_error_kind"), status)
    }
}

/// The control plane, until it is dropped. It then fails the test if a client broke the contract.
pub struct ControlPlane {
    pub url: String,
    shared: Arc<Shared>,
    _server: Server,
}

#[derive(Default)]
struct Shared {
    commands: Mutex<VecDeque<Value>>,
    polls: Mutex<VecDeque<Reply>>,
    posts: Mutex<VecDeque<Reply>>,
    metadata: Mutex<Option<Reply>>,
    seen_metadata: Mutex<Vec<Seen>>,
    seen_polls: Mutex<Vec<Seen>>,
    seen_posts: Mutex<Vec<Seen>>,
    complaints: Mutex<Vec<String>>,
    shard_tokens: Mutex<HashMap<String, String>>,
}

impl ControlPlane {
    pub fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let router = Router::new()
            .route("/v1/tunnels/{id}", get(metadata))
            .route("/v1/tunnels/{id}/poll", get(poll))
            .route("/v1/tunnels/{id}/response", post(response))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let server = super::http_server(router);
        Self {
            url: server.url.clone(),
            shared,
            _server: server,
        }
    }

    /// A request id that will be handed out, and its shard token.
    pub fn know(&self, request_id: &str, shard_token: &str) {
        let mut tokens = self.shared.shard_tokens.lock().unwrap();
        tokens.insert(request_id.to_owned(), shard_token.to_owned());
    }

    /// Hands out a command as it is.
    pub fn send(&self, command: Value) {
        self.know_of(&command);
        self.shared.commands.lock().unwrap().push_back(command);
    }

    /// Hands out commands at once, whatever the limit of the poll is.
    pub fn send_all(&self, commands: &[Value]) {
        commands.iter().for_each(|it| self.know_of(it));
        let body = json!({"commands": commands});
        self.script_polls([Reply::with(200, &body.to_string())]);
    }

    fn know_of(&self, command: &Value) {
        let text = |name: &str| command[name].as_str().unwrap_or_default();
        self.know(text("request_id"), text("shard_token"));
    }

    /// Hands out a JSON-RPC message, with more fields of a command.
    pub fn send_message(&self, request_id: &str, message: &Value, more: Value) {
        self.send(command(request_id, message, more));
    }

    /// What the next polls are answered.
    pub fn script_polls(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.polls.lock().unwrap().extend(replies);
    }

    /// What the next posts are answered.
    pub fn script_posts(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.posts.lock().unwrap().extend(replies);
    }

    pub fn script_metadata(&self, reply: Reply) {
        *self.shared.metadata.lock().unwrap() = Some(reply);
    }

    pub fn metadata(&self) -> Vec<Seen> {
        self.shared.seen_metadata.lock().unwrap().clone()
    }

    pub fn polls(&self) -> Vec<Seen> {
        self.shared.seen_polls.lock().unwrap().clone()
    }

    pub fn posts(&self) -> Vec<Seen> {
        self.shared.seen_posts.lock().unwrap().clone()
    }

    /// Waits until so many posts came.
    pub async fn wait_for_posts(&self, count: usize) -> Vec<Seen> {
        until("posts", || {
            let posts = self.posts();
            (posts.len() >= count).then_some(posts)
        })
        .await
    }

    /// Waits until so many polls came.
    pub async fn wait_for_polls(&self, count: usize) -> Vec<Seen> {
        until("polls", || {
            let polls = self.polls();
            (polls.len() >= count).then_some(polls)
        })
        .await
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let complaints = self.shared.complaints.lock().unwrap().join("\n");
        if !std::thread::panicking() {
            assert!(complaints.is_empty(), "{complaints}");
        }
    }
}

/// A command with a JSON-RPC message.
pub fn command(request_id: &str, message: &Value, more: Value) -> Value {
    let mut command = json!({
        "request_id": request_id, "shard_token": format!("shard-{request_id}"),
        "command_type": "jsonrpc", "channel": "main", "created_at": "2026-01-01T00:00:00Z",
        "headers": {"Mcp-Protocol-Version": ["2025-11-25"]}, "jsonrpc": message,
    });
    if let Value::Object(more) = more {
        command.as_object_mut().unwrap().extend(more);
    }
    command
}

/// A request of MCP.
pub fn request(id: Value, method: &str, params: Value) -> Value {
    let mut request = json!({"jsonrpc": "2.0", "method": method});
    request["params"] = params;
    if !id.is_null() {
        request["id"] = id;
    }
    request
}

/// Waits until there is something.
pub async fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "there are no {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

type Query = HashMap<String, Vec<String>>;

impl Shared {
    /// Keeps a request, and checks what all have in common.
    fn see(
        &self,
        id: &str,
        (seen, operation): (&Mutex<Vec<Seen>>, &str),
        (headers, query, raw): (HeaderMap, Query, Bytes),
    ) {
        let request = Seen {
            at: Instant::now(),
            body: serde_json::from_slice(&raw).unwrap_or_default(),
            headers,
            query,
            raw,
        };
        let mut complain = |what: String| {
            let mut complaints = self.complaints.lock().unwrap();
            complaints.push(format!("{operation}: {what}"));
        };
        if id != TUNNEL_ID {
            complain(format!("another tunnel: {id}"));
        }
        let bearer = format!("Bearer {RUNTIME_KEY}");
        for (name, value) in [
            ("authorization", bearer.as_str()),
            ("accept", "application/json"),
            ("x-tunnel-client-name", "mcp-cli"),
            ("x-tunnel-client-version", env!("CARGO_PKG_VERSION")),
            ("x-tunnel-client-wire-protocol-version", "2026-08-25"),
        ] {
            if request.header(name) != value {
                complain(format!("{name} is {:?}", request.header(name)));
            }
        }
        let instance = request.header("x-tunnel-client-instance-id");
        if instance.len() != 32 || !instance.bytes().all(|it| it.is_ascii_hexdigit()) {
            complain(format!("the instance id is {instance:?}"));
        }
        check_parameters(operation, &request, &mut complain);
        seen.lock().unwrap().push(request);
    }

    fn check_post(&self, seen: &Seen) {
        let complain = |what: String| self.complaints.lock().unwrap().push(what);
        if let Err(why) = validate("/components/schemas/TunnelResponsePayload", &seen.body) {
            complain(why);
        }
        let failure = &seen.body["resp_json"]["error"]["data"]["tunnel_failure"];
        let schema = "/components/schemas/TunnelResponsePayload/properties/resp_json/x-tunnel-failure-schema";
        if let Some(why) = (!failure.is_null())
            .then(|| validate(schema, failure).err())
            .flatten()
        {
            complain(why);
        }
        let request_id = seen.body["request_id"].as_str().unwrap_or_default();
        let token = self.shard_tokens.lock().unwrap().get(request_id).cloned();
        if token.as_deref() != Some(seen.header("x-tunnel-shard-token")) {
            complain(format!("the shard token of {request_id} is wrong"));
        }
        if seen.header("content-type") != "application/json" {
            complain(format!("a post has {:?}", seen.header("content-type")));
        }
        let (kind, _, message) = seen.answer();
        let has_message = kind.starts_with("jsonrpc_");
        if has_message != message.is_object() || seen.body["channel"].is_null() {
            complain(format!("a post is not complete: {}", seen.body));
        }
        if has_message && seen.body["resp_headers"]["Content-Type"].is_null() {
            complain(format!("a post has no type: {}", seen.body));
        }
        if String::from_utf8_lossy(&seen.raw).contains(RUNTIME_KEY) {
            complain("the runtime key is in a post".to_owned());
        }
    }

    async fn reply(&self, reply: Reply) -> Response {
        match reply {
            Reply::Drop => std::panic::resume_unwind(Box::new("the connection is dropped")),
            Reply::Hang => std::future::pending().await,
            Reply::Answer {
                status,
                retry_after,
                body,
            } => {
                let mut response = Response::builder().status(status);
                if let Some(value) = retry_after {
                    response = response.header("retry-after", value);
                }
                response.body(Body::from(body)).unwrap()
            }
        }
    }
}

async fn metadata(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let operation = (&shared.seen_metadata, "/v1/tunnels/{tunnel_id}");
    shared.see(&id, operation, (headers, read_query(query), Bytes::new()));
    let scripted = shared.metadata.lock().unwrap().take();
    let body = json!({"id": id, "name": "Test", "description": "A tunnel", "more": []});
    let reply = scripted.unwrap_or_else(|| Reply::with(200, &body.to_string()));
    shared.reply(reply).await
}

async fn poll(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = read_query(query);
    let number = |name: &str| query.get(name).map_or(0, |it| it[0].parse().unwrap());
    let (limit, wait) = (number("limit"), number("timeout_ms"));
    let operation = (&shared.seen_polls, "/v1/tunnels/{tunnel_id}/poll");
    shared.see(&id, operation, (headers, query, Bytes::new()));
    let until = Instant::now() + Duration::from_millis(wait);
    while Instant::now() < until {
        let scripted = shared.polls.lock().unwrap().pop_front();
        if let Some(reply) = scripted {
            return shared.reply(reply).await;
        }
        let commands: Vec<Value> = {
            let mut commands = shared.commands.lock().unwrap();
            let count = commands.len().min(usize::try_from(limit).unwrap());
            commands.drain(..count).collect()
        };
        if !commands.is_empty() {
            let body = json!({"commands": commands});
            return shared.reply(Reply::with(200, &body.to_string())).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    shared.reply(Reply::with(204, "")).await
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    raw: Bytes,
) -> Response {
    let operation = (&shared.seen_posts, "/v1/tunnels/{tunnel_id}/response");
    shared.see(&id, operation, (headers, read_query(query), raw));
    let seen = shared.seen_posts.lock().unwrap().last().unwrap().clone();
    shared.check_post(&seen);
    let scripted = shared.posts.lock().unwrap().pop_front();
    let reply = scripted.unwrap_or_else(|| Reply::with(200, r#"{"status":"ok"}"#));
    shared.reply(reply).await
}

fn read_query(query: Option<String>) -> Query {
    let mut read = Query::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        read.entry(name.into_owned())
            .or_default()
            .push(value.into_owned());
    }
    read
}
