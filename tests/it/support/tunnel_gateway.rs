//! `TunnelGateway`: a gateway with its control plane, on loopback, and requests to it as owners, tunnel clients
//! and connectors make them.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use mcp_cli::budget::Budget;
use mcp_cli::engine::model::Model;
use mcp_cli::engine::{Bounds, Engine, Store};
use mcp_cli::gateway::{self, ApiKey, GatewayOptions};
use mcp_cli::mcp::{ClientPool, PoolOptions};
use mcp_cli::secret::Secret;
use mcp_cli::tunnel::plane::{self, Plane, PlaneOptions};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Server;
use super::tunnel_contract::validate;

/// The key of the gateway.
pub const GATEWAY_KEY: &str = "sk-gateway-key-1";

/// A gateway whose deadlines no test waits for. Cloning shares it.
#[derive(Clone)]
pub struct TunnelGateway {
    pub url: String,
    pub stop: CancellationToken,
    /// What the control plane may hold.
    pub budget: Budget,
    client: reqwest::Client,
    _server: Arc<Server>,
}

/// What came back.
#[derive(Debug)]
pub struct Replied {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Replied {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}", self.text))
    }

    /// The status and the code of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        let code = &self.json()["error"]["code"];
        (self.status, code.as_str().unwrap_or_default().to_owned())
    }
}

impl TunnelGateway {
    pub fn start() -> Self {
        Self::start_with(|_| ())
    }

    pub fn start_with(change: impl FnOnce(&mut PlaneOptions)) -> Self {
        let mut options = PlaneOptions {
            answer_timeout: Duration::from_secs(60),
            max_poll: Duration::from_secs(30),
            budget: Budget::new(64 * 1024 * 1024),
            ..PlaneOptions::default()
        };
        change(&mut options);
        let (stop, budget) = (options.stop.clone(), options.budget.clone());
        let key = Secret::from(GATEWAY_KEY.to_owned());
        let plane = Plane::new(Some(&key), options);
        let clients = ClientPool::new(PoolOptions::default());
        let store = Store::in_memory(Bounds::default());
        let tunnels = Some(plane::for_engine(plane.clone()));
        let engine = Engine::shared(Model::Rules, clients, tunnels, store, Budget::unlimited());
        let gateway = gateway::Gateway::new(engine, GatewayOptions::default());
        let tunnels = plane::for_connectors(plane);
        let router = gateway::router(gateway, tunnels, Some(ApiKey::new(&key)));
        let server = super::http_server(router);
        Self {
            url: server.url.clone(),
            stop,
            budget,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            _server: Arc::new(server),
        }
    }

    /// A request with the key.
    pub fn request(&self, method: &str, path: &str, body: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{path}", self.url));
        request.bearer_auth(GATEWAY_KEY).body(body.to_owned())
    }

    pub async fn send(&self, method: &str, path: &str, body: &str) -> Replied {
        replied(self.request(method, path, body)).await
    }

    /// The same without the key, and with these headers.
    pub async fn send_as(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Replied {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        replied(request).await
    }

    /// The id of a new tunnel.
    pub async fn create(&self) -> String {
        let created = self.send("POST", "/v1/tunnels", "").await;
        assert_eq!(created.status, 200, "{}", created.text);
        created.json()["id"].as_str().unwrap().to_owned()
    }

    /// The id of a new tunnel, whose client has just polled.
    pub async fn connected(&self) -> String {
        let id = self.create().await;
        assert_eq!(self.poll(&id, "timeout_ms=1").await, [] as [Value; 0]);
        id
    }

    /// Commands, each as the contract has it.
    pub async fn poll(&self, id: &str, query: &str) -> Vec<Value> {
        let path = format!("/v1/tunnels/{id}/poll?{query}");
        let polled = self.send("GET", &path, "").await;
        if polled.status == StatusCode::NO_CONTENT {
            return Vec::new();
        }
        assert_eq!(polled.status, 200, "{}", polled.text);
        validate("/components/schemas/PolledCommandList", &polled.json()).unwrap();
        let commands = polled.json()["commands"].as_array().unwrap().clone();
        assert!(commands.iter().all(|it| it["command_type"].is_string()));
        commands
    }

    /// The one command that comes next.
    pub async fn next(&self, id: &str) -> Value {
        let mut commands = self.poll(id, "limit=1").await;
        assert_eq!(commands.len(), 1);
        commands.remove(0)
    }

    /// Posts an answer to a command.
    pub async fn post(&self, id: &str, command: &Value, answer: &Value) -> Replied {
        let mut answer = answer.clone();
        answer["request_id"] = command["request_id"].clone();
        self.post_text(id, command, &answer.to_string()).await
    }

    pub async fn post_text(&self, id: &str, command: &Value, body: &str) -> Replied {
        let path = format!("/v1/tunnels/{id}/response");
        let token = command["shard_token"].as_str().unwrap_or_default();
        let request = self.request("POST", &path, body);
        let request = request.header("content-type", "application/json");
        replied(request.header("x-tunnel-shard-token", token)).await
    }

    /// Asks as a connector, in the background.
    pub fn connect(&self, path: &str, headers: &[(&str, &str)], body: &str) -> JoinHandle<Replied> {
        let mut request = self.request("POST", &format!("/v1/mcp/{path}"), body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        tokio::spawn(replied(request))
    }
}

async fn replied(request: reqwest::RequestBuilder) -> Replied {
    let response = request.send().await.unwrap();
    Replied {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

/// An answer with a result.
pub fn result(code: u16) -> Value {
    json!({"resp_json": {"jsonrpc": "2.0", "id": "a", "result": {}}, "resp_code": code})
}

/// A note of progress.
pub fn note(progress: u64) -> Value {
    json!({"resp_type": "jsonrpc_notify", "resp_code": 200, "resp_json": {"jsonrpc": "2.0",
        "method": "notifications/progress", "params": {"progress": progress}}})
}
