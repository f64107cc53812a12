//! Tunnels with a public URL: kept running, printed, and checked through that URL.

use std::convert::Infallible;
#[cfg(feature = "ngrok")]
use std::io;
use std::time::Duration;

use axum::Router;
use futures::future::BoxFuture;
#[cfg(feature = "ngrok")]
use tokio::sync::mpsc;
use url::Url;

use super::Door;
use crate::check::{self, Subject, Verdict};
use crate::engine::Engine;
use crate::engine::model::Model;
use crate::error::Error;
use crate::http::{PublicHost, ServerOptions};
use crate::mcp::{ClientPool, EgressPolicy, PoolOptions, Redirects};
use crate::responses::MCPTool;
#[cfg(feature = "ngrok")]
use crate::tunnel::ngrok;
use crate::tunnel::program::{self, Kind, START_TIMEOUT, Wanted};
use crate::ui::Ui;

/// How long the address is checked for, until it is given up: a new name takes a while to be known.
const CHECK_PATIENCE: Duration = Duration::from_secs(20);
const CHECK_PAUSE: Duration = Duration::from_secs(1);
/// How long the first answer may take.
const CHECK_LIMIT: Duration = Duration::from_secs(10);
/// How long a program that ended is left alone: the first time, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A tunnel with a public URL.
pub enum Public {
    /// A program, which connects to the port of this server.
    Program(Kind, Wanted),
    /// A client in this process, which brings connections.
    #[cfg(feature = "ngrok")]
    Ngrok {
        options: Box<ngrok::Options>,
        visitors: ngrok::Visitors,
        arriving: Option<mpsc::Receiver<io::Result<ngrok::Connection>>>,
    },
}

/// A running [`Public`] tunnel. Dropping it ends it.
enum Running {
    Program(program::Tunnel),
    #[cfg(feature = "ngrok")]
    Ngrok(Box<ngrok::Tunnel>, ngrok::Visitors),
}

impl Public {
    #[cfg(feature = "ngrok")]
    pub fn ngrok(options: ngrok::Options) -> Self {
        // One at a time: what is not served yet waits at ngrok.
        let (visitors, arriving) = mpsc::channel(1);
        Self::Ngrok {
            options: Box::new(options),
            visitors,
            arriving: Some(arriving),
        }
    }

    /// The tunnel to a port of this machine.
    pub fn at_port(mut self, port: u16) -> Self {
        match &mut self {
            Self::Program(_, wanted) => wanted.port = port,
            #[cfg(feature = "ngrok")]
            Self::Ngrok { .. } => {}
        }
        self
    }

    /// Serves `router` on the connections that the tunnel brings, if it brings any, until
    /// [`ServerOptions::stop`] is cancelled.
    pub fn serve(&mut self, router: Router, options: ServerOptions) -> BoxFuture<'static, ()> {
        match self {
            Self::Program(..) => {
                drop((router, options));
                Box::pin(async {})
            }
            #[cfg(feature = "ngrok")]
            Self::Ngrok { arriving, .. } => {
                let arriving = arriving.take();
                let next = async |mut arriving: Option<mpsc::Receiver<_>>| {
                    let visitor = arriving.as_mut()?.recv().await?;
                    Some((visitor, arriving))
                };
                let connections = futures::stream::unfold(arriving, next);
                Box::pin(crate::http::serve(connections, router, options))
            }
        }
    }

    /// # Errors
    /// It has no public URL.
    async fn start(&self) -> Result<Running, Error> {
        Ok(match self {
            Self::Program(kind, wanted) => {
                Running::Program(program::start(*kind, wanted, START_TIMEOUT).await?)
            }
            #[cfg(feature = "ngrok")]
            Self::Ngrok {
                options, visitors, ..
            } => Running::Ngrok(Box::new(ngrok::start(options).await?), visitors.clone()),
        })
    }
}

impl Running {
    fn url(&self) -> &Url {
        match self {
            Self::Program(tunnel) => &tunnel.url,
            #[cfg(feature = "ngrok")]
            Self::Ngrok(tunnel, _) => &tunnel.url,
        }
    }

    async fn close(self) {
        match self {
            Self::Program(tunnel) => tunnel.close().await,
            #[cfg(feature = "ngrok")]
            Self::Ngrok(tunnel, _) => drop(tunnel),
        }
    }

    /// Waits until it ends by itself, and says so.
    async fn ended(&mut self) -> String {
        match self {
            Self::Program(tunnel) => {
                let (program, said) = tunnel.ended().await;
                match said.as_str() {
                    "" => format!("the tunnel of `{program}` ended"),
                    said => format!("the tunnel of `{program}` ended; it wrote: {said}"),
                }
            }
            #[cfg(feature = "ngrok")]
            Self::Ngrok(tunnel, visitors) => {
                let reason = tunnel.run(visitors).await;
                format!("the tunnel of ngrok ended: {reason}")
            }
        }
    }
}

/// Starts a tunnel, says where the server is and whether it can be used from there, and starts it anew when
/// it ends. It never ends by itself.
///
/// # Errors
/// It has no public URL the first time.
pub async fn keep(
    tunnel: &Public,
    door: &Door<'_>,
    host: &PublicHost,
    ui: &mut Ui,
) -> Result<Infallible, Error> {
    let mut running = tunnel.start().await?;
    let mut pause = FIRST_PAUSE;
    loop {
        let url = at(running.url(), door.path);
        host.set(running.url());
        ui.ready(&format!("public address: {url}"));
        ui.banner(&door.to_paste("server_url", url.as_str()));
        let watching = async {
            let verdict = verdict(&url, door).await;
            ui.note(&verdict);
            std::future::pending::<Infallible>().await
        };
        let said = tokio::select! {
            said = running.ended() => said,
            never = watching => match never {},
        };
        ui.note(&said);
        running.close().await;
        running = loop {
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            match tunnel.start().await {
                Ok(running) => break running,
                Err(error) => ui.note(&format!("{error}; trying again")),
            }
        };
        pause = FIRST_PAUSE;
    }
}

/// The MCP endpoint behind a public URL.
fn at(public: &Url, path: &str) -> Url {
    let mut url = public.clone();
    url.set_path(path);
    url
}

/// What OpenAI would have answered, through the public address.
async fn verdict(url: &Url, door: &Door<'_>) -> String {
    let clients = ClientPool::new(PoolOptions {
        egress: EgressPolicy::Anywhere,
        redirects: Redirects::Refused,
        list_timeout: CHECK_LIMIT,
        ..PoolOptions::default()
    });
    let commands = std::collections::HashMap::new();
    let engine = Engine::with_clients(Model::Rules, commands, clients);
    let started = tokio::time::Instant::now();
    let said = loop {
        let token = door.token.as_ref();
        let subject = Subject {
            entry: MCPTool {
                server_label: door.label.to_owned(),
                server_url: Some(url.to_string()),
                authorization: token.map(|it| it.expose().to_owned()),
                ..MCPTool::default()
            },
            call: None,
            recorded: None,
            limit: CHECK_LIMIT,
        };
        let said = match check::check(&engine, subject, |_| {}).await {
            Ok(report) => match report.verdict {
                Verdict::Listed { tools } => {
                    let s = if tools == 1 { "" } else { "s" };
                    break format!("check: OpenAI would list {tools} tool{s} at {url}");
                }
                Verdict::FailedDependency(error) => {
                    format!("check: OpenAI would answer HTTP 424: {}", error.message)
                }
            },
            Err(error) => format!("check: {error}"),
        };
        if started.elapsed() > CHECK_PATIENCE {
            break format!("{said}; `mcp-cli check {url}` says why");
        }
        tokio::time::sleep(CHECK_PAUSE).await;
    };
    engine.close().await;
    said
}
