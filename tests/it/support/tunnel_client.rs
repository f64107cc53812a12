//! `TunnelClient`: the client of a tunnel in this process, and servers to put behind it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::response::Response;
use axum::routing::any;
use http::{HeaderMap, Method};
use mcp_cli::secret::Secret;
use mcp_cli::tunnel::openai::{self, Error, Event, Limits, Options, ServerInfo};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::control_plane::{ControlPlane, RUNTIME_KEY, TUNNEL_ID, until};

/// A client that is running.
pub struct TunnelClient {
    stop: CancellationToken,
    running: AbortOnDropHandle<Result<(), Error>>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl TunnelClient {
    /// A client with short delays, and `router` behind it at `/mcp`.
    pub fn start(plane: &ControlPlane, router: Router) -> Self {
        Self::start_with(plane, router, |_| ())
    }

    pub fn start_with(
        plane: &ControlPlane,
        router: Router,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let mut options = Options {
            base_url: plane.url.parse().unwrap(),
            url_path: String::new(),
            tunnel_id: TUNNEL_ID.parse().unwrap(),
            key: Secret::from(RUNTIME_KEY.to_owned()).try_into().unwrap(),
            organization: None,
            channels: Vec::new(),
            server: ServerInfo::default(),
            limits: Limits {
                poll_wait: Duration::from_millis(300),
                first_poll_wait: Duration::from_millis(50),
                poll_guardrail: Duration::from_secs(5),
                first_retry: Duration::from_millis(20),
                longest_retry: Duration::from_millis(80),
                refused_retry: Duration::from_millis(150),
                ..Limits::default()
            },
        };
        change(&mut options);
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let told = Arc::clone(&events);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let running = tokio::spawn(async move {
            let on_event = move |event| told.lock().unwrap().push(event);
            openai::run(options, router, "/mcp", on_event, stopped).await
        });
        Self {
            stop,
            running: AbortOnDropHandle::new(running),
            events,
        }
    }

    /// Waits until an event comes of which `find` makes something.
    pub async fn told<T>(&self, find: impl Fn(&Event) -> Option<T>) -> T {
        until("such events", || {
            self.events.lock().unwrap().iter().find_map(&find)
        })
        .await
    }

    pub fn has_told(&self, is_it: impl Fn(&Event) -> bool) -> bool {
        self.events.lock().unwrap().iter().any(is_it)
    }

    /// Stops the client, and waits until it has ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// A request to a server behind a tunnel.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub message: Value,
}

/// A server behind a tunnel, and what it was asked.
#[derive(Clone)]
pub struct Behind {
    pub router: Router,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Behind {
    pub fn new<F>(answer: impl Fn(Call) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send,
    {
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let asked = Arc::clone(&calls);
        let handle = move |method: Method, headers: HeaderMap, body: Bytes| {
            assert!(!format!("{headers:?}").contains(RUNTIME_KEY));
            let message = serde_json::from_slice(&body).unwrap_or_default();
            let call = Call {
                method,
                headers,
                body,
                message,
            };
            asked.lock().unwrap().push(call.clone());
            answer(call)
        };
        Self {
            router: Router::new().route("/mcp", any(handle)),
            calls,
        }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub async fn wait_for_calls(&self, count: usize) -> Vec<Call> {
        until("calls", || {
            let calls = self.calls();
            (calls.len() >= count).then_some(calls)
        })
        .await
    }
}
