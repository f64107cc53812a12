//! ngrok's service on loopback: it takes an agent's connection, gives it a public URL, and brings it the
//! visitors of that URL. It checks what the agent says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muxado::SessionBuilder;
use muxado::heartbeat::{Heartbeat, HeartbeatConfig};
use muxado::typed::{StreamType, Typed, TypedAccept, TypedOpenClose, TypedSession};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// The only token that it knows, and the name that is of somebody else.
pub const TOKEN: &str = "2abcDEF_3ghiJKL";
pub const TAKEN: &str = "taken.example";

const AUTH: u32 = 0;
const BIND: u32 = 1;
const PROXY: u32 = 3;
const STOP_TUNNEL: u32 = 9;

/// What the service does to its agents.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// Their connections are cut.
    Cut,
    /// Their tunnels are stopped, as from ngrok's dashboard.
    Stop,
}

pub struct Ngrok {
    /// `HOST:PORT` for agents.
    pub address: String,
    /// The certificate that it shows.
    pub pem: String,
    /// Where visitors come in.
    pub public: String,
    trouble: broadcast::Sender<Trouble>,
    /// What agents asked for: its type, and the request.
    asked: Arc<Mutex<Vec<(u32, Value)>>>,
    sessions: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Ngrok {
    pub fn start() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let bind = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (agents, visitors) = (bind(), bind());
        let address = agents.local_addr().unwrap().to_string();
        let public = format!("http://{}", visitors.local_addr().unwrap());
        let (trouble, _) = broadcast::channel(4);
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let sessions = Arc::<AtomicUsize>::default();
        let (arrived, arriving) = mpsc::channel(16);
        runtime.spawn(async move {
            while let Ok((visitor, _)) = visitors.accept().await {
                arrived.send(visitor).await.unwrap();
            }
        });
        let service = Service {
            public: public.clone(),
            asked: Arc::clone(&asked),
            sessions: Arc::clone(&sessions),
            arriving: Arc::new(tokio::sync::Mutex::new(arriving)),
        };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let troubles = trouble.clone();
        runtime.spawn(async move {
            while let Ok((agent, _)) = agents.accept().await {
                let (service, acceptor) = (service.clone(), acceptor.clone());
                let troubled = troubles.subscribe();
                tokio::spawn(async move {
                    // An agent that does not believe the certificate leaves here.
                    if let Ok(agent) = acceptor.accept(agent).await {
                        service.sessions.fetch_add(1, Ordering::SeqCst);
                        service.serve(agent, troubled).await;
                        service.sessions.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self {
            address,
            pem: certificate.pem(),
            public,
            trouble,
            asked,
            sessions,
            _runtime: runtime,
        }
    }

    pub fn make(&self, trouble: Trouble) {
        self.trouble.send(trouble).expect("an agent is connected");
    }

    /// How many agents are connected.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::SeqCst)
    }

    /// The requests of a kind: to log in, and for a URL.
    pub fn logins(&self) -> Vec<Value> {
        self.asked_for(AUTH)
    }

    pub fn binds(&self) -> Vec<Value> {
        self.asked_for(BIND)
    }

    fn asked_for(&self, kind: u32) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        let of_kind = asked.iter().filter(|(it, _)| *it == kind);
        of_kind.map(|(_, request)| request.clone()).collect()
    }
}

#[derive(Clone)]
struct Service {
    public: String,
    asked: Arc<Mutex<Vec<(u32, Value)>>>,
    sessions: Arc<AtomicUsize>,
    arriving: Arc<tokio::sync::Mutex<mpsc::Receiver<TcpStream>>>,
}

impl Service {
    async fn serve(
        &self,
        agent: tokio_rustls::server::TlsStream<TcpStream>,
        mut troubled: broadcast::Receiver<Trouble>,
    ) {
        let mux = SessionBuilder::new(agent).server().start();
        let config = HeartbeatConfig::default();
        let (session, _beating) = Heartbeat::start(Typed::new(mux), config).await.unwrap();
        let (mut open, mut accept) = session.split_typed();
        let mut is_bound = false;
        loop {
            let arriving = async { self.arriving.lock().await.recv().await };
            tokio::select! {
                accepted = accept.accept_typed() => {
                    let Ok(mut stream) = accepted else { return };
                    let kind = *stream.typ();
                    let Some(request) = read_json(&mut *stream).await else { continue };
                    let answer = self.answer(kind, &request);
                    is_bound |= kind == BIND && answer["Error"].is_null();
                    self.asked.lock().unwrap().push((kind, request));
                    stream.write_all(answer.to_string().as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                    // The agent drops a visitor that comes before it has read the answer.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Some(mut visitor) = arriving, if is_bound => {
                    let mut stream = open.open_typed(StreamType::clamp(PROXY)).await.unwrap();
                    let header = json!({"Id": "tunnel1", "ClientAddr": "203.0.113.9:4711", "Proto": "https", "EdgeType": "0", "PassthroughTLS": false});
                    let header = header.to_string();
                    stream.write_i64_le(header.len().try_into().unwrap()).await.unwrap();
                    stream.write_all(header.as_bytes()).await.unwrap();
                    tokio::spawn(async move {
                        let _ = copy_bidirectional(&mut visitor, &mut *stream).await;
                    });
                }
                Ok(trouble) = troubled.recv() => match trouble {
                    Trouble::Cut => return,
                    Trouble::Stop => {
                        let mut stream = open.open_typed(StreamType::clamp(STOP_TUNNEL)).await.unwrap();
                        let reason = json!({"Id": "tunnel1", "Message": "stopped by the owner", "ErrorCode": "ERR_NGROK_3204"});
                        stream.write_all(reason.to_string().as_bytes()).await.unwrap();
                        stream.shutdown().await.unwrap();
                        is_bound = false;
                    }
                },
            }
        }
    }

    fn answer(&self, kind: u32, request: &Value) -> Value {
        let refused =
            |message: &str, code: &str| json!({"Error": format!("{message}\n\n{code}\n")});
        match kind {
            AUTH if request["Extra"]["AuthToken"] != TOKEN => refused(
                "The authtoken you specified is properly formed, but it is invalid.",
                "ERR_NGROK_107",
            ),
            AUTH => json!({"Version": "3", "ClientId": "session1", "Extra": {"Cookie": "c"}}),
            BIND if request["Opts"]["Domain"] == TAKEN => refused(
                "This domain is reserved for another account.",
                "ERR_NGROK_320",
            ),
            BIND => {
                let is_rebind = request["Id"] == "tunnel1" && request["Extra"]["Token"] == "t";
                assert!(request["Id"] == "" || is_rebind, "{request}");
                json!({
                    "Id": "tunnel1",
                    "URL": self.public,
                    "Proto": request["Proto"],
                    "Opts": request["Opts"],
                    "Extra": {"Token": "t"},
                })
            }
            _ => json!({}),
        }
    }
}

/// A request, which has no end but that of its JSON.
async fn read_json(stream: &mut (impl AsyncRead + Unpin)) -> Option<Value> {
    let mut text = Vec::new();
    while stream.read_buf(&mut text).await.ok()? > 0 {
        if let Ok(value) = serde_json::from_slice(&text) {
            return Some(value);
        }
    }
    None
}
